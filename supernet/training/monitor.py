"""What is looked at and kept while a training runs: validation losses, checkpoints, pictures of the same prompts.

All of it is of the averaged weights, which are what is saved in the end, and none of it changes the training.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import torch

from subdit.core.errors import MissingExtraError
from supernet.checkpoints import save_model
from supernet.data.data_record import DataRecord
from supernet.data.prompt_encoders import open_prompt_encoders
from supernet.model.placement import float_array
from supernet.model.placement import model_inputs
from supernet.pictures import save_contact_sheet
from supernet.sampling import Array
from supernet.sampling import draw_pictures
from supernet.training.metrics import MetricsLog
from supernet.training.metrics import read_metrics
from supernet.training.metrics import require_log
from supernet.training.trainer import Trainer
from supernet.training.validation import fixed_validation_set
from supernet.training.validation import point_losses

CHECKPOINTS = "checkpoints"
SAMPLES = "samples"
BEST = "best"
"""In `CHECKPOINTS`, a link to the checkpoint with the lowest mean of the named points' losses."""
VALIDATION = "validation"
"""The key of a line of metrics that has the named points' losses."""
TOKENS_AT_ONCE = 16_384
"""That a validation computes at least, where the parts of a batch have fewer."""
_SAMPLE_SEED = 0


class Monitor:
    """Looks at a training every so many steps, as its configuration says.

    Attributes:
        folder: of the training, in its run.
        validation_loss: the mean over the named points, of the last validation in this process.
    """

    def __init__(self, trainer: Trainer, folder: Path, data: DataRecord) -> None:
        """Read what it needs; nothing is written before `begin`.

        Raises:
            DataError: there is nothing to validate on, or a text encoder is not there.
            SampleError: a prompt cannot be read.
            MissingExtraError: TensorBoard or pictures are asked for, and what they need is not installed.
        """
        self.folder = folder
        self.validation_loss: float | None = None
        self._trainer, self._data = trainer, data
        config, space = trainer.config, trainer.space
        require_log(config.log)
        self._validation = fixed_validation_set(trainer.data) if config.validate_every else None
        self._text: tuple[Array, ...] = ()
        if config.sample_every:
            if importlib.util.find_spec("PIL") is None:
                raise MissingExtraError("Pillow is not installed; install it with pip install 'subdit[data]'.")
            encoders = open_prompt_encoders(data.key["text"], data.places, data.null)
            self._text = encoders.embed(config.sample_prompts or (space.example_prompt,))

    def begin(self, log: MetricsLog, *, after: int) -> None:
        """Go on after so many steps; later checkpoints, which a killed training left, will be made again."""
        self._log = log
        for step, path in self._checkpoints().items():
            if step > after:
                shutil.rmtree(path)
        self._link_best()

    def look(self, step: int, *, last: bool) -> None:
        """Do what is due after a step, the last one or not."""
        config = self._trainer.config
        validate = _is_due(config.validate_every, step, last)
        sample = _is_due(config.sample_every, step, last)
        if not (validate or sample):
            return
        with self._trainer.averaged():
            if validate:
                self._validate(step)
                self._keep(step)
            if sample:
                self._sample(step)

    def _validate(self, step: int) -> None:
        trainer = self._trainer
        assert self._validation is not None
        config = trainer.config
        # Without a backward pass a forward pass takes little memory.
        rows_at_once = max(config.batch_size // config.accumulation, TOKENS_AT_ONCE // trainer.space.tokens)
        found = point_losses(trainer.supernet, self._validation, trainer.space.named, rows_at_once=rows_at_once)
        means = {name: round(losses.mean, 6) for name, losses in found.items()}
        by_sigma = {
            f"{name} {sigma:g}": round(loss, 6)
            for name, losses in found.items()
            for sigma, loss in losses.by_sigma.items()
        }
        self.validation_loss = float(np.mean(list(means.values())))
        self._log.write(step, {VALIDATION: means, f"{VALIDATION}_by_sigma": by_sigma})

    def _keep(self, step: int) -> None:
        """Write a checkpoint, and remove those that are neither the best nor among the last ones."""
        trainer, count = self._trainer, self._trainer.config.keep_checkpoints
        if not count:
            return
        made = self.folder / CHECKPOINTS / f"step-{step:06d}"
        save_model(trainer.supernet, made, recipe=trainer.recipe, data=self._data)
        best, there = self._link_best(), self._checkpoints()
        for old in sorted(there)[:-count]:
            if old != best:
                shutil.rmtree(there[old])

    def _link_best(self) -> int | None:
        """Let the link point to the best checkpoint, and return its step; None where there is none."""
        there, link = self._checkpoints(), self.folder / CHECKPOINTS / BEST
        losses = {
            line["step"]: float(np.mean(list(line[VALIDATION].values())))
            for line in read_metrics(self._log.path)
            if VALIDATION in line and line["step"] in there
        }
        if not losses:
            link.unlink(missing_ok=True)
            return None
        best = min(losses, key=lambda step: losses[step])
        temporary = link.with_name(f".{BEST}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(there[best].name)
        temporary.replace(link)
        return best

    def _sample(self, step: int) -> None:
        trainer = self._trainer
        model = trainer.supernet.full

        def velocity(*inputs: Array) -> Array:
            x, timestep, *text = (torch.from_numpy(value) for value in inputs)
            with torch.no_grad():
                return float_array(model(*model_inputs(model, x, timestep, text)))

        drawn = draw_pictures(velocity, self._text, self._data, trainer.space, recipe=trainer.recipe, seed=_SAMPLE_SEED)
        save_contact_sheet(drawn, self.folder / SAMPLES / f"step-{step:06d}.png", columns=min(10, len(drawn)))
        self._log.write_pictures(step, drawn)

    def _checkpoints(self) -> dict[int, Path]:
        """Folders by their steps."""
        found = (self.folder / CHECKPOINTS).glob("step-*")
        return {int(path.name.removeprefix("step-")): path for path in found}


def _is_due(every: int, step: int, last: bool) -> bool:
    return every > 0 and (last or step % every == 0)
