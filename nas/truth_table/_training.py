"""One training of a sub-DiT on its own, and what it is worth by images that no training saw."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from nas.truth_table._recipe import TruthRecipe
from nas.truth_table._recipe import training_config
from nas.truth_table._table import TrainedAlone
from subdit.core.errors import TrainingError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from supernet.data.data_set import DataSet
    from supernet.evaluation.judge import Judge
    from supernet.model.dit import SubDiT

LOSS = "loss"
CURVE_POINTS = 6
"""Numbers of updates at which the loss is looked at: the whole number, half of it, a quarter, and so on."""
_CURVE_IMAGES = 256
_MOST_IMAGES = 1024
"""Of the split judge, that the loss is of; per image one noise level."""
_SAMPLES_STREAM = 2**31


@dataclass(frozen=True)
class Seeds:
    """Of one training: initial weights, then batches and noise, then the noise that samples start from."""

    weights: int
    batches: int
    samples: int

    @classmethod
    def of(cls, recipe: TruthRecipe, spec: SubDiTSpec, number: int) -> Seeds:
        """Of training `number` of a spec. What is common to all specs does not depend on the spec."""

        def draw(stream: int, *, own: bool) -> int:
            entropy = [recipe.seed, number, stream, *([int(spec.hash, 16)] if own else [])]
            return int(np.random.SeedSequence(entropy).generate_state(1)[0])

        own = not recipe.common_noise
        return cls(draw(0, own=True), draw(1, own=own), draw(2, own=own) % _SAMPLES_STREAM)


class StandaloneTraining:
    """Trains sub-DiTs on their own by a recipe, on a data set, and judges them; `judge` may be None without samples."""

    def __init__(self, recipe: TruthRecipe, data: DataSet, judge: Judge | None) -> None:
        self._recipe = recipe
        self.data = data
        self.judge = judge

    def __call__(self, spec: SubDiTSpec, number: int, progress: ProgressCallback = no_progress) -> TrainedAlone:
        """Training `number` of a spec; raises `TrainingError` where what comes out is not finite."""
        import torch

        from supernet.evaluation.validation_loss import validation_loss
        from supernet.training.standalone import train_alone

        began, seeds = time.perf_counter(), Seeds.of(self._recipe, spec, number)
        updates, curve = self._recipe.updates, {}
        looked_at = curve_updates(updates)

        def look(done: int, loss: float, averaged: AbstractContextManager[SubDiT]) -> None:
            if done in looked_at:
                with averaged as model:
                    curve[done] = validation_loss(model, self._curve_triples)

        model = train_alone(
            spec,
            self.data,
            updates=updates,
            seed=seeds.batches,
            init_seed=seeds.weights,
            config=training_config(self._recipe),
            after_step=look,
            progress=progress,
        )
        qualities = {LOSS: validation_loss(model, self._triples), **self._judged(model, spec, seeds.samples)}
        if not np.isfinite([*qualities.values(), *curve.values()]).all():
            raise TrainingError(
                f"The training of {spec} alone diverged (seed {seeds.batches}); give fewer --updates, or train the "
                "supernet with lower learning rates and begin another table."
            )
        return TrainedAlone(
            number=number,
            seed=seeds.batches,
            qualities=qualities,
            curve=curve,
            weights=_digest(model),
            seconds=round(time.perf_counter() - began, 2),
            threads=torch.get_num_threads(),
        )

    def _judged(self, model: SubDiT, spec: SubDiTSpec, seed: int) -> dict[str, float]:
        """Figures of samples; one without a value, such as an accuracy without classes, is left out."""
        from supernet.evaluation.judge import ACCURACY
        from supernet.evaluation.judge import FRECHET
        from supernet.evaluation.judge import KERNEL
        from supernet.evaluation.samples import generate

        recipe, judge = self._recipe, self.judge
        if judge is None:
            return {}
        # The same prompts for all; only their noise has a seed.
        prompts = judge.reference.draw_prompts(recipe.samples, seed=0)
        drawn = generate(
            model,
            spec.space,
            judge.reference.condition(prompts),
            steps=recipe.sample_steps,
            shift=recipe.sample_shift,
            seed=seed,
        )
        figures = judge.figures(drawn, prompts.labels)
        wanted = [FRECHET, KERNEL, *(name for name in figures if name.startswith(ACCURACY))]
        return {name: value for name in wanted if (value := figures[name]) is not None}

    @cached_property
    def _triples(self) -> Any:
        from supernet.evaluation.validation_loss import validation_set

        return validation_set(self.data, split="judge", most=_MOST_IMAGES, per_image=1)

    @cached_property
    def _curve_triples(self) -> Any:
        return self._triples.spread(_CURVE_IMAGES)


def curve_updates(updates: int) -> set[int]:
    """The numbers of updates at which the loss is looked at."""
    return {max(1, updates >> halvings) for halvings in range(CURVE_POINTS)}


def _digest(model: SubDiT) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:10]
