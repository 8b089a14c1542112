"""From what a user asks to tables, proxies and a question: devices, objectives and limits by their names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import nas.proxies
from nas._config import Budget
from nas._config import Question
from nas._config import check_options
from nas._cost_functions import file_column
from nas._cost_functions import flops_column
from nas._cost_functions import latency_column
from nas._cost_functions import memory_column
from nas._cost_functions import pipeline_column
from nas._costs import LATENCY
from nas._costs import PARAMS
from nas._costs import PIPELINE
from nas._costs import Constraints
from nas._costs import CostFunction
from nas._costs import CostTable
from nas._costs import LatencySource
from nas.proxies import QualityProxy
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.space import SearchSpace

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

DEFAULT_OBJECTIVES = ("latency", "validation_loss")
FIGURES = {"params": PARAMS, "memory": "memory_mb", "file": "file_mb", "flops": "gflops"}
"""Objectives that depend on no device, by the name of their figure."""
PER_DEVICE = {"latency": LATENCY, "pipeline": PIPELINE}
"""Objectives that each device has one of."""


@dataclass(frozen=True)
class SearchProblem:
    """A search as asked for; `proxies` by the names of their objectives, "quality" first; `steps` of a picture."""

    question: Question
    tables: CostTable
    proxies: Mapping[str, QualityProxy]
    profiles: tuple[DeviceProfile, ...]
    steps: int = 4

    def with_latencies(self, latencies: LatencySource) -> CostTable:
        """The tables if one step takes so long on the first device: a picture on it takes its steps at that pace."""
        columns = dict(self.tables.columns)
        if PIPELINE in columns:
            columns[PIPELINE] = pipeline_column(self.profiles[0], self.tables.space, self.steps, latencies)
        return dataclasses.replace(self.tables, latencies=latencies, columns=columns)


def resolve(
    run: Run,
    *,
    devices: Sequence[str | DeviceProfile],
    objectives: Sequence[str] | None,
    max_latency_ms: float | Sequence[float] | None,
    max_params: int | None,
    limits: Mapping[str, float],
    sampler: str,
    surrogate: bool,
    budget: Budget,
    seed: int,
    steps: int,
    allow_noisy: bool,
    proxy: QualityProxy | None,
) -> SearchProblem:
    """Resolve names; raises `SearchError` and `ProfileError` that say which of them is wrong."""
    from subdit.space import get_space

    space = get_space(str(read_manifest(run).get("space")))
    wanted = tuple(objectives or DEFAULT_OBJECTIVES)
    if proxy is not None and objectives is None:
        wanted = ("latency", proxy.id)
    known = (*PER_DEVICE, *FIGURES, *nas.proxies.PROXIES, *(() if proxy is None else (proxy.id,)))
    for name in wanted:
        if name not in known:
            raise SearchError(f"There is no objective {name!r}; there is {', '.join(dict.fromkeys(known))}.")
    if len(set(wanted)) < len(wanted):
        raise SearchError(f"An objective is named twice ({', '.join(wanted)}); name each once.")
    costs = [name for name in wanted if name in PER_DEVICE or name in FIGURES]
    qualities = [name for name in wanted if name not in costs]
    if not costs or not qualities:
        missing = "cost, such as latency," if not costs else "quality, such as validation_loss,"
        raise SearchError(
            f"The objectives {', '.join(wanted)} name no {missing} so there is nothing to weigh; add one."
        )
    if not devices:
        raise SearchError("No device is named; give --device.")
    profiles = tuple(_profile(device, space, allow_noisy=allow_noisy) for device in devices)
    if len({profile.id for profile in profiles}) < len(profiles):
        raise SearchError(f"The device {profiles[0].id} is named twice; name each once.")
    labels = {name: "quality" if at == 0 else f"quality_{name}" for at, name in enumerate(qualities)}
    bounds = _limits(profiles, max_latency_ms, max_params, limits, labels)
    check_options(budget, bounds, seed, sampler)
    names = [figure for name in costs for figure in _figures_of(name, profiles)]
    needed = dict.fromkeys([*names, *bounds.others])
    columns = {
        name: _column(name, space, profiles, steps=steps) for name in needed if name not in (LATENCY, PARAMS)
    }  # fmt: skip
    made = {label: _proxy(run, space, name, proxy) for name, label in labels.items()}
    first = profiles[0]
    question = Question(
        first.id,
        {"provenance": str(first.provenance), "noisy": bool(first.noisy)},
        bounds,
        seed,
        sampler,
        surrogate,
        (*names, *made),
        tuple(profile.id for profile in profiles[1:]),
        steps if any(name.partition("@")[0] == PIPELINE for name in needed) else None,
    )
    return SearchProblem(question, make_tables(space, first, bounds, columns), made, profiles, steps)


def make_tables(
    space: SearchSpace, profile: DeviceProfile, limits: Constraints, columns: Mapping[str, CostFunction] | None = None
) -> CostTable:
    """Tables of a space with this profile's device as the first."""
    from device_profiles import LatencyEstimator
    from subdit.space import count_params

    return CostTable(space, LatencyEstimator(profile, space), count_params, limits, columns or {})


def device_tables(
    run: Run, device: str | DeviceProfile, *, limits: Constraints | None = None, allow_noisy: bool = False
) -> tuple[CostTable, dict[str, Any], str]:
    """Tables of the run's space on a device, what readers must know of its profile, and the profile's id."""
    from subdit.space import get_space

    space = get_space(str(read_manifest(run).get("space")))
    profile = _profile(device, space, allow_noisy=allow_noisy)
    facts = {"provenance": str(profile.provenance), "noisy": bool(profile.noisy)}
    return make_tables(space, profile, limits or Constraints()), facts, profile.id


def _profile(device: str | DeviceProfile, space: SearchSpace, *, allow_noisy: bool) -> DeviceProfile:
    from device_profiles import LatencyEstimator
    from device_profiles import load_profile

    profile = load_profile(device, space=space.name) if isinstance(device, str) else device
    if profile.noisy and not allow_noisy:
        raise ProfileError(
            f"The profile {profile.id} was measured on too noisy a machine; measure again with 'subdit profile', or "
            "search with it all the same with --allow-noisy."
        )
    # Raises where the profile is of another space or incomplete.
    LatencyEstimator(profile, space)
    return profile


def _limits(
    profiles: Sequence[DeviceProfile],
    max_latency_ms: float | Sequence[float] | None,
    max_params: int | None,
    limits: Mapping[str, float],
    labels: Mapping[str, str],
) -> Constraints:
    """`labels` are names of objectives by ids of the quality proxies that are asked."""
    for name, limit in limits.items():
        if name not in (*FIGURES.values(), PIPELINE, *labels):
            raise SearchError(
                f"There is no figure {name!r} to limit; there is pipeline_ms, {', '.join(FIGURES.values())}, and of "
                f"quality proxies those that are objectives: {', '.join(labels)}."
            )
        if not math.isfinite(limit):
            raise SearchError(f"The limit on {name} is {limit}; give a finite number, or leave it out.")
    each: list[float | None] = (
        [max_latency_ms] if max_latency_ms is None or isinstance(max_latency_ms, int | float) else [*max_latency_ms]
    )
    if len(each) == 1:
        each *= len(profiles)
    if len(each) not in (0, len(profiles)):
        raise SearchError(
            f"There are {len(each)} latency limits for {len(profiles)} devices; give one for all, or one for each."
        )
    others = {
        _on("latency_ms", profile): limit
        for profile, limit in zip(profiles[1:], each[1:], strict=True)
        if limit is not None
    }
    for name, limit in limits.items():
        if name in labels:
            continue
        spread = [_on(name, profile) for profile in profiles[1:]] if name == PIPELINE else []
        others |= dict.fromkeys([name, *spread], float(limit))
    others.pop(PARAMS, None)
    first = each[0] if each else None
    # What a profile does not cover, no limit can be kept on.
    covered = [profile.max_params for profile in profiles if profile.max_params is not None]
    asked = max_params if PARAMS not in limits else int(limits[PARAMS])
    on_qualities = {label: float(limits[name]) for name, label in labels.items() if name in limits}
    return Constraints(first, min([*covered, *([] if asked is None else [asked])], default=None), others, on_qualities)


def _on(figure: str, profile: DeviceProfile) -> str:
    return f"{figure}@{profile.id}"


def _figures_of(objective: str, profiles: Sequence[DeviceProfile]) -> list[str]:
    if objective in FIGURES:
        return [FIGURES[objective]]
    figure = PER_DEVICE[objective]
    return [figure, *(_on(figure, profile) for profile in profiles[1:])]


def _column(name: str, space: SearchSpace, profiles: Sequence[DeviceProfile], *, steps: int) -> CostFunction:
    from device_profiles import LatencyEstimator

    figure, _, device = name.partition("@")
    profile = next((profile for profile in profiles if profile.id == device), profiles[0])
    match figure:
        case "latency_ms":
            return latency_column(LatencyEstimator(profile, space))
        case "pipeline_ms":
            return pipeline_column(profile, space, steps)
        case "memory_mb":
            return memory_column(space, profile.precision)
        case "file_mb":
            return file_column(space, profile.precision)
        case "gflops":
            return flops_column(space)
    raise SearchError(f"There is no figure {name!r}.")


def _proxy(run: Run, space: SearchSpace, name: str, given: QualityProxy | None) -> QualityProxy:
    if given is not None and given.id == name:
        return given
    return nas.proxies.make_proxy(name, run.supernet, space.name)
