"""A search whose names were looked up: devices to profiles, objectives to costs and proxies, constraints to limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

import nas.proxies
from nas._config import DEFAULT_PROXY
from nas._config import SearchConfig
from nas._costs import CostTable
from nas._costs import LatencySource
from nas._costs import PipelineCost
from nas._costs import cost_function
from nas.proxies import QualityProxy
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError
from subdit.core.quantities import FIGURES
from subdit.core.quantities import LATENCY
from subdit.core.quantities import PARAMS
from subdit.core.quantities import PER_DEVICE
from subdit.core.quantities import PIPELINE
from subdit.core.quantities import is_figure
from subdit.core.run import Run
from subdit.space import SearchSpace

if TYPE_CHECKING:
    from device_profiles import DeviceProfile

_EARLIER_OBJECTIVES = {
    "latency": LATENCY,
    "pipeline": PIPELINE,
    "memory": "memory_mb",
    "file": "file_mb",
    "flops": "gflops",
}
"""What objectives were called before, for the sentence that refuses them."""


@dataclass(frozen=True)
class Objectives:
    """What is minimised, by name: costs, then quality proxies.

    Attributes:
        costs: figures of the cost table.
        qualities: ids of quality proxies.
        limits: upper limits by quality proxy. No table knows them, so trials are spent on finding out; a sub-DiT
            beyond one is never on the front.
    """

    costs: tuple[str, ...] = (LATENCY,)
    qualities: tuple[str, ...] = (DEFAULT_PROXY,)
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.costs, *self.qualities)

    @property
    def weighed(self) -> tuple[str, str]:
        """The first cost and the first quality proxy, which picks weigh against each other."""
        return self.costs[0], self.qualities[0]

    def excess(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How far objective values (n, objectives) exceed `limits`, in fractions of these, summed; shape (n,)."""
        total = np.zeros(len(points))
        for name, limit in self.limits.items():
            beyond = np.maximum(np.nan_to_num(points[:, self.names.index(name)] - limit), 0.0)
            total += beyond / max(abs(limit), 1e-12)
        return total


@dataclass(frozen=True)
class SearchProblem:
    """A search whose names were looked up.

    Attributes:
        tables: costs, with the constraints on them.
        objectives: what is minimised, with the limits on quality proxies.
        proxies: by id, those of `objectives.qualities` in their order.
        profiles: of the devices; empty where the tables come from elsewhere.
    """

    config: SearchConfig
    tables: CostTable
    proxies: Mapping[str, QualityProxy]
    objectives: Objectives = field(default_factory=Objectives)
    profiles: tuple[DeviceProfile, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Ids of the devices."""
        return tuple(profile.id for profile in self.profiles) or tuple(map(str, self.config.devices))

    @property
    def device_facts(self) -> dict[str, Any]:
        """What readers of the results must know of the first device's profile; empty without profiles."""
        if not self.profiles:
            return {}
        from device_profiles import fallback

        first = self.profiles[0]
        missed = fallback(first)
        facts: dict[str, Any] = {"provenance": str(first.provenance), "noisy": bool(first.noisy)}
        return facts if missed is None else facts | {"fallback": missed}

    @property
    def constraints(self) -> dict[str, float]:
        """All limits by name, on costs and on quality proxies."""
        return {**self.tables.constraints, **self.objectives.limits}

    def violations(self, values: Mapping[str, float]) -> dict[str, float]:
        """By constraint how far a sub-DiT's values exceed it, in their unit; at most zero where kept, as in Optuna."""
        return {name: values[name] - limit for name, limit in self.constraints.items()}

    def with_latencies(self, latencies: LatencySource) -> SearchProblem:
        """The problem with these latencies of one step on the first device, and pictures on it that take as long."""
        functions = dict(self.tables.functions)
        if PIPELINE in functions:
            functions[PIPELINE] = PipelineCost(self.profiles[0], self.tables.space, self.config.steps, latencies)
        return dataclasses.replace(
            self, tables=dataclasses.replace(self.tables, latencies=latencies, functions=functions)
        )

    def save_profiles(self, folder: Path) -> None:
        """Write the profiles as the search used them: a registry's may be measured again, and a file may move."""
        from device_profiles import save_profile

        for number, profile in enumerate(self.profiles, start=1):
            save_profile(profile, folder / ("device.json" if number == 1 else f"device_{number}.json"), force=True)


def resolve(run: Run, config: SearchConfig) -> SearchProblem:
    """Look up the names in a configuration; raises `SearchError` and `ProfileError` that say which one is wrong."""
    from device_profiles import LatencyEstimator
    from subdit.space import count_params
    from subdit.space import run_space

    space = run_space(run)
    given = {each.id: each for each in config.objectives if not isinstance(each, str)}
    wanted = config.objective_names
    _check_objectives(wanted, given)
    profiles = tuple(_profile(device, space, allow_noisy=config.allow_noisy) for device in config.devices)
    devices = [profile.id for profile in profiles]
    if len(set(devices)) < len(devices):
        raise SearchError(f"The device {devices[0]} is named twice; name each once.")
    qualities = tuple(name for name in wanted if not is_figure(name))
    costs = [column for name in wanted if is_figure(name) for column in _columns(name, devices)]
    if len(set(costs)) < len(costs):
        raise SearchError(f"A cost is an objective twice ({', '.join(costs)}); name each once.")
    limits = _limits(config.constraints, devices, qualities)
    pick_at = {_columns(name, devices)[0] if "@" in name else name: value for name, value in config.pick_at.items()}
    # Where a profile covers small sub-DiTs only, others have no latency to hold against a limit.
    covered = [profile.max_params for profile in profiles if profile.max_params is not None]
    if covered:
        limits[PARAMS] = min([*covered, limits.get(PARAMS, math.inf)])
    constraints = {name: limit for name, limit in limits.items() if name not in qualities}
    functions = {
        name: cost_function(name, space, profiles, steps=config.steps)
        for name in dict.fromkeys([*costs, *constraints])
        if name not in (LATENCY, PARAMS)
    }
    return SearchProblem(
        dataclasses.replace(config, pick_at=pick_at),
        CostTable(space, LatencyEstimator(profiles[0], space), count_params, constraints, functions),
        {name: given.get(name) or nas.proxies.make_proxy(name, run.supernet, space.name) for name in qualities},
        Objectives(tuple(costs), qualities, {name: limits[name] for name in qualities if name in limits}),
        profiles,
    )


def _check_objectives(names: Sequence[str], given: Mapping[str, Any]) -> None:
    proxies = dict.fromkeys([*nas.proxies.PROXIES, *given])
    for name in names:
        if instead := _EARLIER_OBJECTIVES.get(name):
            raise SearchError(f"The objective {name!r} is now called {instead}, as its column and its limit are.")
        if not is_figure(name) and name not in proxies:
            raise SearchError(f"There is no objective {name!r}; there is {', '.join([*FIGURES, *proxies])}.")
    if len(set(names)) < len(names):
        raise SearchError(f"An objective is named twice ({', '.join(names)}); name each once.")
    if len(set(map(is_figure, names))) < 2:
        missing = "quality, such as validation_loss," if any(map(is_figure, names)) else "cost, such as latency_ms,"
        raise SearchError(f"The objectives {', '.join(names)} name no {missing} so there is nothing to weigh; add one.")


def _columns(name: str, devices: Sequence[str]) -> list[str]:
    """Columns that a figure's name stands for: one of each device where the figure has one and no device is named."""
    figure, _, device = name.partition("@")
    if not device:
        return [figure, *(f"{figure}@{other}" for other in devices[1:] if figure in PER_DEVICE)]
    found = [each for each in devices if each == device] or [each for each in devices if each.startswith(device)]
    if figure not in PER_DEVICE or len(found) != 1:
        raise SearchError(
            f"There is no {name!r} in this search; after the @ of {' or '.join(PER_DEVICE)} give one of its devices: "
            f"{', '.join(devices)}."
        )
    return [figure if found[0] == devices[0] else f"{figure}@{found[0]}"]


def _limits(constraints: Mapping[str, float], devices: Sequence[str], qualities: Sequence[str]) -> dict[str, float]:
    """Limits by column or quality proxy; what is said of one device counts more than what is said of all."""
    limits: dict[str, float] = {}
    for name in sorted(constraints, key=lambda name: "@" in name):
        for column in [name] if name in qualities else _columns(name, devices):
            limits[column] = constraints[name]
    return limits


def _profile(device: str | DeviceProfile, space: SearchSpace, *, allow_noisy: bool) -> DeviceProfile:
    from device_profiles import LatencyEstimator
    from device_profiles import load_profile

    profile = load_profile(device, space=space) if isinstance(device, str) else device
    if profile.noisy and not allow_noisy:
        raise ProfileError(
            f"The profile {profile.id} was measured on too noisy a machine; measure again with 'subdit profile', or "
            "search with it all the same with --allow-noisy."
        )
    # Raises where the profile is of another space or incomplete.
    LatencyEstimator(profile, space)
    return profile
