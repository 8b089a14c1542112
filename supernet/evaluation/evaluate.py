"""`evaluate`: how good sub-DiTs of a run are by their samples, kept in the run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from subdit.core.errors import EvaluationError
from subdit.core.origin import NO_PART
from subdit.core.origin import Standing
from subdit.core.origin import name_search
from subdit.core.origin import of_others
from subdit.core.origin import say
from subdit.core.origin import set_aside
from subdit.core.origin import standing
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import read_pick
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.checkpoints import load_supernet_of
from supernet.checkpoints import supernet_digest
from supernet.data.digits import load_data
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.figures import REAL
from supernet.evaluation.figures import Conditions
from supernet.evaluation.figures import Evaluation
from supernet.evaluation.figures import Evaluations
from supernet.evaluation.figures import evaluation_file
from supernet.evaluation.figures import read_evaluation
from supernet.evaluation.figures import write_evaluation
from supernet.evaluation.judge import Judge
from supernet.evaluation.plot import save_plot
from supernet.evaluation.reference import reference_of
from supernet.evaluation.samples import generate
from supernet.model.elastic import ElasticDiT
from supernet.recipe import MANY_STEPS

MOST_SAMPLES = 5000
"""Samples where no number is given: as many as there are judge images, and no more than this."""
PLOT = "evaluation.png"


def evaluate(
    run_path: Path,
    *,
    points: Sequence[str] = (),
    specs: Sequence[SubDiTSpec] = (),
    picks: Sequence[str] = (),
    search: str = "default",
    steps: int = MANY_STEPS.steps,
    shift: float = MANY_STEPS.shift,
    guidance_scale: float = 1.0,
    samples: int | None = None,
    seeds: Sequence[int] = (0,),
    features: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Evaluations:
    """Evaluate sub-DiTs of a run, with the supernet's weights, by samples drawn for prompts of the judge split.

    Each evaluation is written to `evaluation/` of the run when it is done, so that a killed call goes on; one of other
    weights is set aside, with a warning. `evaluation/evaluation.png` shows those of the last call.

    Args:
        run_path: the run.
        points: named points of its space; where neither points nor specs nor picks are given, all of them.
        specs: further sub-DiTs.
        picks: of a finished search.
        search: its name.
        steps: Euler steps.
        shift: time shift.
        guidance_scale: of classifier-free guidance; 1 is without.
        samples: how many are drawn of each; by default as many as there are judge images, at most `MOST_SAMPLES`.
        seeds: of noise and prompts; everything is evaluated with each.
        features: name of a feature space; by default `pixels` where latents are pixels, else `latents`.
        progress: reports samples.

    Raises:
        EvaluationError: a value that nothing can be evaluated with, an unknown feature space, or broken weights.
        SpecError: a point or a spec that is not of the run's space.
        SpaceError: the space has no data.
        RunError: no such run, search or pick, or a damaged evaluation.
        CheckpointError: no supernet, or a damaged one.
    """
    run = Run(run_path).require()
    space = get_space(str(read_manifest(run).get("space")))
    _check(steps=steps, shift=shift, guidance_scale=guidance_scale, samples=samples, seeds=seeds)
    digest = supernet_digest(run.supernet)
    named = _named_specs(run, space, points, specs, picks, search)
    if picks:
        name_search(run, search, digest)
    data = load_data(space.name)
    reference = reference_of(data, space.name)
    default = "latents" if reference.decode is None else "pixels"
    judge = Judge(reference, make_feature_space(features or default, reference.train))
    count = min(len(reference.judge), MOST_SAMPLES) if samples is None else samples
    work = _Work(run, space, judge, digest)
    conditions = [
        Conditions(
            samples=count,
            seed=seed,
            steps=steps,
            shift=shift,
            guidance_scale=guidance_scale,
            feature_space=judge.space.id,
            feature_hash=judge.space.hash,
            reference_hash=reference.hash,
        )
        for seed in seeds
    ]
    total = count * len(named) * len(seeds)
    models: list[Evaluation] = []
    for name, spec in named.items():
        for each in conditions:
            part = _part(progress, len(models) * count, total, name)
            models.append(work.model(name, spec, each, part))
    found = Evaluations(tuple(models), tuple(work.real(each) for each in conditions))
    save_plot(found, run.evaluation / PLOT, supernet=digest)
    return found


class _Work:
    """Evaluates what is not evaluated yet; the supernet is loaded when the first sub-DiT is."""

    def __init__(self, run: Run, space: SearchSpace, judge: Judge, digest: str) -> None:
        self._run = run
        self._space = space
        self._judge = judge
        self._digest = digest
        self._supernet: ElasticDiT | None = None

    def model(self, point: str, spec: SubDiTSpec, conditions: Conditions, progress: ProgressCallback) -> Evaluation:
        """Of one sub-DiT, made or read."""
        progress(0, conditions.samples, "")
        if (known := self._known(spec, conditions)) is not None:
            return replace(known, point=point)
        if self._supernet is None:
            self._supernet = load_supernet_of(self._run.supernet, self._digest)
        prompts = self._judge.reference.draw_prompts(conditions.samples, seed=conditions.seed)
        drawn = generate(
            self._supernet.extract(spec),
            self._space.name,
            prompts.captions,
            steps=conditions.steps or 0,
            shift=conditions.shift or 0.0,
            seed=conditions.seed,
            guidance_scale=conditions.guidance_scale or 0.0,
            progress=progress,
        )
        figures = self._judge.figures(drawn, prompts.labels)
        return self._keep(Evaluation(point, spec, self._digest, conditions, figures))

    def real(self, conditions: Conditions) -> Evaluation:
        """Of real images, as many as samples or all of the train half."""
        count = min(conditions.samples, len(self._judge.reference.train))
        conditions = replace(conditions, samples=count, steps=None, shift=None, guidance_scale=None)
        if (known := self._known(None, conditions)) is not None:
            return known
        figures = self._judge.real_figures(count, seed=conditions.seed)
        return self._keep(Evaluation(REAL, None, NO_PART, conditions, figures))

    def _keep(self, evaluation: Evaluation) -> Evaluation:
        write_evaluation(evaluation, self._run.evaluation)
        return evaluation

    def _known(self, spec: SubDiTSpec | None, conditions: Conditions) -> Evaluation | None:
        path = self._run.evaluation / evaluation_file(spec, conditions)
        if not path.exists():
            return None
        known = read_evaluation(path)
        if standing(known.supernet, self._digest) is Standing.FRESH:
            return known
        folder = set_aside(self._run, known.supernet, path)
        what = f"The evaluation of {known.point!r} at {path}"
        say(of_others(what, known.supernet, self._digest, f"it now lies in {folder}, and a new one is made"))
        return None


def _named_specs(
    run: Run,
    space: SearchSpace,
    points: Sequence[str],
    specs: Sequence[SubDiTSpec],
    picks: Sequence[str],
    search: str,
) -> Mapping[str, SubDiTSpec]:
    """What is evaluated, by what it is called in tables."""
    if not (points or specs or picks):
        points = tuple(space.named)
    found = {name: space.named_spec(name) for name in points}
    found |= {spec.hash: space.check(spec) for spec in specs}
    for name in picks:
        spec = SubDiTSpec.from_dict(read_pick(run, name, search=search)["spec"])
        # A search may call its picks as the space calls its points.
        found[f"pick {name}" if name in found else name] = space.check(spec)
    return found


def _check(*, steps: int, shift: float, guidance_scale: float, samples: int | None, seeds: Sequence[int]) -> None:
    """Raise `EvaluationError` on a value that nothing can be evaluated with."""
    if steps < 1:
        raise EvaluationError(f"A sample cannot be drawn in {steps} steps; take at least 1.")
    if not (math.isfinite(shift) and shift > 0):
        raise EvaluationError(f"Samples cannot be drawn with shift {shift:g}; it must be positive.")
    if not (math.isfinite(guidance_scale) and guidance_scale > 0):
        raise EvaluationError(f"Samples cannot be drawn with guidance scale {guidance_scale:g}; it must be positive.")
    if samples is not None and samples < 2:
        raise EvaluationError(f"A distribution has no figures by {samples} samples; draw at least 2.")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise EvaluationError(f"The seeds {list(seeds)} cannot be used; give at least one, each once, none negative.")


def _part(progress: ProgressCallback, start: float, total: float, note: str) -> ProgressCallback:
    """The progress of one evaluation within that of all."""
    return lambda done, _, __: progress(start + done, total, note)
