"""The models to evaluate: sub-DiTs with the supernet's weights, and picks with their distilled weights."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import partial
from pathlib import Path

from subdit.core.errors import CheckpointError
from subdit.core.errors import RunError
from subdit.core.origin import warn_of_stale_search
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.weights import supernet_digest
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet_of
from supernet.export.export_pick import student_origin
from supernet.model.dit import SubDiT
from supernet.recipe import SamplingRecipe
from supernet.recipe import read_recipe


@dataclass(frozen=True)
class EvaluatedModel:
    """A sub-DiT and where its weights come from.

    Attributes:
        name: its name in tables.
        spec: its architecture.
        supernet: digest of the supernet that its weights are part of, or were distilled from.
        weights: digest of its own weights; empty if they are the supernet's.
        recipe: how it is sampled.
        load: reads it; raises `CheckpointError`, also if the weights were replaced meanwhile.
    """

    name: str
    spec: SubDiTSpec
    supernet: str
    weights: str
    recipe: SamplingRecipe
    load: Callable[[], SubDiT]


def chosen_models(
    run: Run,
    digest: str,
    space: SearchSpace,
    *,
    points: Sequence[str],
    specs: Sequence[SubDiTSpec],
    picks: Sequence[str],
    distilled: Sequence[str],
    search: str,
) -> list[EvaluatedModel]:
    """The models that `evaluate` is asked for; all named points if it is asked for none.

    Warns if the search is of other weights than `digest`, the run's. Raises `SpecError` if a spec is not of the space,
    `RunError` if there is no such pick, or if its student is missing or of other weights, and `CheckpointError`.
    """
    if not (points or specs or picks or distilled):
        points = tuple(space.named)
    named = {name: space.named_spec(name) for name in points}
    named |= {spec.hash: space.check(spec) for spec in specs}
    chosen = {name: _spec_of(run, space, name, search) for name in (*picks, *distilled)}
    # A pick may have the name of a named point.
    named |= {f"pick {name}" if name in space.named else name: chosen[name] for name in picks}
    if chosen:
        warn_of_stale_search(run, search, digest)
    # The supernet is loaded once, with the first sub-DiT.
    supernet, recipe = cache(partial(load_supernet_of, run.supernet, digest)), read_recipe(run.supernet)[0]
    models = [
        EvaluatedModel(name, spec, digest, "", recipe, lambda spec=spec: supernet().extract(spec))  # type: ignore[misc]
        for name, spec in named.items()
    ]
    return models + [_student(run, name, chosen[name], digest) for name in dict.fromkeys(distilled)]


def _spec_of(run: Run, space: SearchSpace, pick: str, search: str) -> SubDiTSpec:
    return space.check(SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"]))


def _student(run: Run, pick: str, spec: SubDiTSpec, digest: str) -> EvaluatedModel:
    folder = run.pick(spec.hash) / "distilled"
    if not (folder / "config.json").exists():
        raise RunError(f"The pick {pick!r} is not distilled; do it with 'subdit distill', or pass --pick {pick}.")
    made_from = student_origin(run, pick, folder, digest) or digest
    weights = supernet_digest(folder)
    load = partial(_load_student, folder, weights)
    return EvaluatedModel(f"{pick} distilled", spec, made_from, weights, read_recipe(folder)[0], load)


def _load_student(folder: Path, weights: str) -> SubDiT:
    student = load_sub_dit(folder)
    if supernet_digest(folder) != weights:
        raise CheckpointError(f"The sub-DiT at {folder} was distilled again meanwhile; run the command again.")
    return student
