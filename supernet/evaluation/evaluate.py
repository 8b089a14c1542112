"""`evaluate`: figures of a run's sub-DiTs by their samples, kept in the run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from subdit.core.errors import EvaluationError
from subdit.core.origin import NO_PART
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.origin import warn_stale
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from subdit.space import SubDiTSpec
from subdit.space import run_space
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.figures import REAL
from supernet.evaluation.figures import Conditions
from supernet.evaluation.figures import Evaluation
from supernet.evaluation.figures import Evaluations
from supernet.evaluation.figures import evaluation_file
from supernet.evaluation.figures import read_evaluation
from supernet.evaluation.figures import write_evaluation
from supernet.evaluation.judge import Judge
from supernet.evaluation.models import EvaluatedModel
from supernet.evaluation.models import chosen_models
from supernet.evaluation.plot import save_plot
from supernet.evaluation.reference import Reference
from supernet.evaluation.run_reference import default_features
from supernet.evaluation.run_reference import run_reference
from supernet.evaluation.samples import generate
from supernet.model.placement import torch_device

MOST_SAMPLES = 5000
"""Upper limit of the default number of samples, which is the number of judge images."""
PLOT = "evaluation.png"


def evaluate(
    run_path: Path,
    *,
    points: Sequence[str] = (),
    specs: Sequence[SubDiTSpec] = (),
    picks: Sequence[str] = (),
    distilled: Sequence[str] = (),
    search: str = "default",
    steps: int | None = None,
    shift: float | None = None,
    guidance_scale: float = 1.0,
    samples: int | None = None,
    seeds: Sequence[int] = (0,),
    features: str | None = None,
    data: str | Path | None = None,
    vae: Path | None = None,
    reference: Reference | None = None,
    device: str = "auto",
    progress: ProgressCallback = no_progress,
) -> Evaluations:
    """Evaluate sub-DiTs of a run by samples drawn for prompts of the judge split.

    Each evaluation is written to `evaluation/` of the run when it is done, so a call after a kill goes on. Evaluations
    of other weights are set aside, with a warning. `evaluation/evaluation.png` shows those of the last call.

    Args:
        run_path: the run.
        points: named points of its space, with the supernet's weights; all of them if no model is named.
        specs: further sub-DiTs, with the supernet's weights.
        picks: picks of a finished search, with the supernet's weights.
        distilled: picks with their distilled weights.
        search: name of the search.
        steps: Euler steps; by default those of each model's recipe.
        shift: time shift; by default that of each model's recipe.
        guidance_scale: scale of classifier-free guidance; 1 turns it off.
        samples: samples per model and seed; by default as many as there are judge images, at most `MOST_SAMPLES`.
        seeds: seeds of noise and prompts; every model is evaluated with each.
        features: name of a feature space; by default `pixels` or `latents`, the plain numbers of small images, and
            `convolutional` for images of `LARGE_IMAGE` numbers or more.
        data: name or folder of the data set whose judge split is compared with; by default that of training.
        vae: path of the autoencoder of the latents, for feature spaces of pictures.
        reference: real images to use instead of a data set.
        device: torch's name of the device that draws samples; "auto" is CUDA, else MPS, else the CPU.
        progress: reports samples.

    Raises:
        EvaluationError: an invalid option, an unknown feature space, or broken weights.
        SpecError: a point or a spec that is not of the run's space.
        SpaceError: an earlier version trained the run, and did not record on what.
        DataError: the data set is missing, damaged, of another space or of other text encoders.
        RunError: no such run, search or pick; a pick that is not distilled or of other weights; a damaged evaluation.
        CheckpointError: no supernet, or a damaged one.
    """
    run = Run(run_path).require()
    _check(steps=steps, shift=shift, guidance_scale=guidance_scale, samples=samples, seeds=seeds)
    space = run_space(run)
    digest = supernet_digest(run.supernet)
    models = chosen_models(
        run, digest, space, points=points, specs=specs, picks=picks, distilled=distilled, search=search
    )
    reference = reference or run_reference(run.supernet, space, data=data, vae=vae)
    count = min(len(reference.judge), MOST_SAMPLES) if samples is None else samples
    total = len(models) * len(seeds) * count
    features = features or default_features(reference)
    progress(0, total, f"{features} features")
    judge = Judge(reference, make_feature_space(features, reference.train))
    evaluator = _Evaluator(run, judge, digest, torch_device(device))
    found: list[Evaluation] = []
    for model in models:
        for seed in seeds:
            conditions = Conditions(
                samples=count,
                seed=seed,
                weights=model.weights,
                steps=steps or model.recipe.steps,
                shift=shift or model.recipe.shift,
                guidance_scale=guidance_scale,
                feature_space=judge.space.id,
                feature_hash=judge.space.hash,
                reference_hash=reference.hash,
            )
            part = _part(progress, len(found) * count, total, model.name)
            found.append(evaluator.evaluate(model, conditions, part))
    real = [evaluator.evaluate_real(replace(found[index].conditions, weights="")) for index in range(len(seeds))]
    evaluations = Evaluations(tuple(found), tuple(real))
    save_plot(evaluations, run.evaluation / PLOT, supernet=digest)
    return evaluations


class _Evaluator:
    """Makes evaluations, or reads those that the run has already."""

    def __init__(self, run: Run, judge: Judge, digest: str, device: torch.device) -> None:
        self._run = run
        self._judge = judge
        self._digest = digest
        self._device = device

    def evaluate(self, model: EvaluatedModel, conditions: Conditions, progress: ProgressCallback) -> Evaluation:
        """The evaluation of one model, made or read."""
        progress(0, conditions.samples, "")
        if (known := self._known(model.spec, conditions)) is not None:
            return replace(known, point=model.name)
        prompts = self._judge.reference.draw_prompts(conditions.samples, seed=conditions.seed)
        drawn = generate(
            model.load().to(self._device),
            model.spec.space,
            self._judge.reference.condition(prompts),
            steps=conditions.steps or 0,
            shift=conditions.shift or 0.0,
            seed=conditions.seed,
            guidance_scale=conditions.guidance_scale or 0.0,
            progress=progress,
        )
        figures = self._judge.figures(drawn, prompts.labels)
        return self._keep(Evaluation(model.name, model.spec, model.supernet, conditions, figures))

    def evaluate_real(self, conditions: Conditions) -> Evaluation:
        """The evaluation of real images: as many of the train half as there are samples, or all of it."""
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
        if freshness(known.supernet, self._digest) is Freshness.FRESH:
            return known
        folder = set_aside(self._run, known.supernet, path)
        what = f"The evaluation of {known.point!r} at {path}"
        warn_stale(
            stale_sentence(what, known.supernet, self._digest, f"it now lies in {folder}, and a new one is made")
        )
        return None


def _check(
    *, steps: int | None, shift: float | None, guidance_scale: float, samples: int | None, seeds: Sequence[int]
) -> None:
    """Raise `EvaluationError` on an invalid option."""
    if steps is not None and steps < 1:
        raise EvaluationError(f"A sample cannot be drawn in {steps} steps; take at least 1.")
    if shift is not None and not (math.isfinite(shift) and shift > 0):
        raise EvaluationError(f"Samples cannot be drawn with shift {shift:g}; it must be positive.")
    if not (math.isfinite(guidance_scale) and guidance_scale > 0):
        raise EvaluationError(f"Samples cannot be drawn with guidance scale {guidance_scale:g}; it must be positive.")
    if samples is not None and samples < 2:
        raise EvaluationError(f"A distribution cannot be compared by {samples} samples; draw at least 2.")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise EvaluationError(f"The seeds {list(seeds)} cannot be used; give at least one, each once, none negative.")


def _part(progress: ProgressCallback, start: float, total: float, note: str) -> ProgressCallback:
    """The progress of one evaluation within that of all."""
    return lambda done, _, __: progress(start + done, total, note)
