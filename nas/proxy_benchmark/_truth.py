"""True quality: sub-DiTs trained on their own and judged on images that no training saw; each is kept."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from subdit.core.errors import RunError
from subdit.core.files import append_line
from subdit.core.origin import warn_stale
from subdit.core.run import Run
from subdit.space import SubDiTSpec
from subdit.space import run_space

TRUTHS = ("loss", "fd")
STARTS = ("inherited", "scratch")
MOST_JUDGE_IMAGES = 1024
"""Of the split judge, that the loss of a trained sub-DiT is of."""


@dataclass(frozen=True)
class Training:
    """How each sub-DiT is trained before it is judged.

    Attributes:
        start: "inherited" (fine-tuned from the supernet's weights) or "scratch" (its own initialisation).
        updates: of each, the same for all.
        per_class: samples of each class that the Frechet distance is taken of; 0 for none.
        steps: Euler steps of those samples.
    """

    start: str = "inherited"
    updates: int = 200
    per_class: int = 90
    steps: int = 28


class TruthStore:
    """True quality of sub-DiTs, trained when it is asked for and kept in proxies/truth.jsonl."""

    def __init__(self, run: Run, training: Training) -> None:
        from subdit.core.weights import supernet_digest

        self._run = run
        self._training = training
        self._path = run.proxies / "truth.jsonl"
        # From scratch the supernet has no part in it.
        self._digest = supernet_digest(run.supernet) if training.start == "inherited" else ""
        self._known = self._read()

    @property
    def judged(self) -> tuple[str, ...]:
        """By what sub-DiTs are judged."""
        return TRUTHS if self._training.per_class else TRUTHS[:1]

    def of(self, spec: SubDiTSpec, number: int) -> dict[str, float]:
        """Loss and Frechet distance after training number `number` of the spec; each number is another seed."""
        key = (spec.hash, number)
        if key not in self._known:
            self._known[key] = self._judge(spec, number)
            entry = {"spec_hash": spec.hash, "number": number, **self._how, **self._known[key]}
            append_line(self._path, entry)
        return self._known[key]

    @property
    def _how(self) -> dict[str, Any]:
        return {**asdict(self._training), "supernet_digest": self._digest}

    @cached_property
    def _data(self) -> Any:
        from supernet.data.data_sets import checkpoint_data

        return checkpoint_data(self._run.supernet, run_space(self._run))

    @cached_property
    def _judge_of_samples(self) -> Any:
        from supernet.evaluation.run_reference import run_judge

        return run_judge(self._run.supernet, run_space(self._run))

    @cached_property
    def _supernet(self) -> Any:
        from supernet.checkpoints import load_supernet_of

        return load_supernet_of(self._run.supernet, self._digest)

    @cached_property
    def _triples(self) -> Any:
        from supernet.evaluation.validation_loss import validation_set

        return validation_set(self._data, split="judge", most=MOST_JUDGE_IMAGES, per_image=1)

    def _judge(self, spec: SubDiTSpec, number: int) -> dict[str, float]:
        from supernet.evaluation.metrics import frechet_distance
        from supernet.evaluation.samples import generate
        from supernet.evaluation.validation_loss import validation_loss
        from supernet.training.standalone import train_alone

        began = time.perf_counter()
        supernet = self._supernet if self._training.start == "inherited" else None
        # Other specs get other batches: what a seed does to one must not be what it does to all.
        seed = int(np.random.SeedSequence([int(spec.hash, 16), number]).generate_state(1)[0])
        model = train_alone(spec, self._data, updates=self._training.updates, seed=seed, supernet=supernet)
        found = {"loss": validation_loss(model, self._triples)}
        if self._training.per_class:
            judge = self._judge_of_samples
            text = judge.reference.condition(judge.reference.balanced_prompts(self._training.per_class))
            samples = generate(model, spec.space, text, steps=self._training.steps, seed=seed % 2**31)
            found["fd"] = frechet_distance(judge.features(samples), judge.judge_features)
        found["seconds"] = round(time.perf_counter() - began, 2)
        return found

    def _read(self) -> dict[tuple[str, int], dict[str, float]]:
        if not self._path.exists():
            return {}
        *lines, _ = self._path.read_bytes().split(b"\n")
        known: dict[tuple[str, int], dict[str, float]] = {}
        others = 0
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                others += all(entry[key] == value for key, value in asdict(self._training).items()) and (
                    entry["supernet_digest"] != self._digest
                )
                if all(entry[key] == value for key, value in self._how.items()):
                    found = {key: float(entry[key]) for key in (*TRUTHS, "seconds") if key in entry}
                    known[str(entry["spec_hash"]), int(entry["number"])] = found
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"Line {number} of {self._path} is damaged ({error!r}); delete the line.") from error
        if others:
            warn_stale(
                f"Of the trainings in {self._path} {others} began from other weights than the run's, {self._digest}; "
                "they stay there and are not used."
            )
        return known
