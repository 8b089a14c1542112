"""What a search is asked, and whether it was asked before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._costs import Constraints
from nas._costs import CostTable
from nas.proxies import QualityProxy
from nas.samplers._proposal import MOST_EXHAUSTIVE
from nas.samplers._proposal import SAMPLERS
from nas.samplers._proposal import Way
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.origin import NO_PART
from subdit.core.origin import of_others
from subdit.space import MEMORY_MODEL

DEFAULT_TRIALS = 400
PROPOSALS = 2
"""Named in search.json; a change of what samplers propose is a new number, so no study goes on with another one."""
PROPOSALS_OF_MANY = 3
"""The same where there are three objectives and more, whose hypervolumes are exact since 3."""


def default_trials(sampler: str) -> int:
    """When a search ends that was not told: an exhaustive one when everything is evaluated."""
    return MOST_EXHAUSTIVE if sampler == "exhaustive" else DEFAULT_TRIALS


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many trials or so many seconds, whichever is first.

    Seconds count the work of killed attempts too, as far as their trials were finished.
    """

    trials: int = DEFAULT_TRIALS
    budget_s: float | None = None


@dataclass(frozen=True)
class Question:
    """What is searched for; two searches with equal questions, seed and trials give the same study.

    Attributes:
        device: id of the device profile.
        device_facts: what readers of the results must know of the profile, such as provenance and noise.
        limits: hard limits.
        seed: of the proposals.
        sampler: one of `nas.samplers._proposal.SAMPLERS`.
        surrogate: whether the default sampler asks one.
        objectives: figures of the tables, then qualities: "quality" is the first proxy's, "quality_ID" another's.
        others: ids of the other devices.
        steps: of a picture, where one is an objective or limited.
    """

    device: str
    device_facts: Mapping[str, Any] = field(default_factory=dict)
    limits: Constraints = field(default_factory=Constraints)
    seed: int = 0
    sampler: str = "nsga2"
    surrogate: bool = True
    objectives: tuple[str, ...] = ("latency_ms", "quality")
    others: tuple[str, ...] = ()
    steps: int | None = None

    @property
    def way(self) -> Way:
        """How proposals are made."""
        qualities = sum(name.startswith("quality") for name in self.objectives)
        bounds = tuple(self.limits.qualities.get(name, math.inf) for name in self.objectives)
        return Way(self.sampler, self.surrogate, self.seed, self.objectives, qualities, bounds)


def describe(tables: CostTable, proxies: Mapping[str, QualityProxy], question: Question) -> dict[str, Any]:
    """What search.json says of the question; equal for equal questions and nothing else."""
    known = tables.look_up(tables.space.sample(np.random.default_rng(0), 256))
    proxy = proxies["quality"]
    described: dict[str, Any] = {
        "subdit_search": 1,
        "subdit_version": _version(),
        "space": tables.space.name,
        "device": question.device,
        "device_facts": dict(question.device_facts),
        # A profile that was measured again under the same id is another question.
        "latency_hash": _hash(known.latency_ms),
        "limits": question.limits.to_dict(),
        "seed": question.seed,
        "sampler": f"{question.sampler}-{PROPOSALS if len(question.objectives) < 3 else PROPOSALS_OF_MANY}",
        "surrogate": question.surrogate and question.sampler == "nsga2",
        "proxy": _proxy_to_dict(proxy),
        "objectives": list(question.objectives),
    }
    if question.others:
        described["other_devices"] = list(question.others)
    if question.steps is not None:
        described["steps"] = question.steps
    if "memory_mb" in tables.columns:
        # Before the hashes of its values, so that a search of an earlier version is refused by this name.
        described["memory_model"] = MEMORY_MODEL
    if tables.columns:
        described["column_hashes"] = {name: _hash(known.figures[name]) for name in tables.columns}
    if len(proxies) > 1:
        described["other_proxies"] = {
            name: _proxy_to_dict(other) for name, other in proxies.items() if name != "quality"
        }
    return described


def _proxy_to_dict(proxy: QualityProxy) -> dict[str, Any]:
    return {
        "id": proxy.id,
        "unit": proxy.unit,
        "supernet_digest": proxy.supernet_digest,
        "data_hash": proxy.data_hash,
    }


def other_weights(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[str, str] | None:
    """The digests of the weights asked about before and now, where the same proxy is asked of others; else None."""

    def by_proxy(config: Mapping[str, Any]) -> dict[str, str]:
        others = config.get("other_proxies")
        proxies = [config.get("proxy"), *(others.values() if isinstance(others, dict) else ())]
        return {str(one.get("id")): str(one.get("supernet_digest")) for one in proxies if isinstance(one, dict)}

    before, now = by_proxy(stored), by_proxy(asked)
    return next(((before[id], now[id]) for id in now if id in before and before[id] != now[id]), None)


def weights_asked(proxies: Mapping[str, QualityProxy], digest: str | None) -> str:
    """What search.json says under `supernet`: the digest of the run's weights where a proxy judges those."""
    return digest if digest is not None and digest in {one.supernet_digest for one in proxies.values()} else NO_PART


def _hash(values: npt.NDArray[np.float64]) -> str:
    return hashlib.sha256(np.round(values, 9).tobytes()).hexdigest()[:16]


def is_finished(folder: Path, config: Mapping[str, Any], budget: Budget, name: str, *, resume: bool) -> bool:
    """Whether the search was asked before and is answered; raises where it may be neither read nor gone on with."""
    path = folder / "search.json"
    if not path.exists():
        return False
    stored = read_json(path, f"search {name!r}")
    if not isinstance(stored, dict):
        raise RunError(
            f"The search {name!r} at {folder} is damaged (search.json is no object); search again with --force."
        )
    finished = stored.get("state") == "finished"
    if weights := other_weights(stored, config):
        remedy = "begin it anew with --force, or give another --name"
        raise SearchError(of_others(f"The search {name!r}", *weights, remedy))
    differing = [key for key, value in config.items() if key != "subdit_version" and stored.get(key) != value]
    if differing:
        said = f"{differing[0]} {stored.get(differing[0])!r} instead of {config[differing[0]]!r}"
        if resume:
            raise SearchError(
                f"The search {name!r} cannot be resumed with other settings ({said}); give another --name or --force."
            )
        raise RunError(
            f"There is a search {name!r} in this run already, with other settings ({said}); give another --name, or "
            "--force to replace it."
        )
    if not resume:
        if not finished:
            raise RunError(
                f"The search {name!r} was begun with these settings and is not finished; go on with --resume, or begin "
                "anew with --force."
            )
        same = "" if stored.get("budget") == asdict(budget) else " but for the budget"
        raise RunError(
            f"The search {name!r} is finished already with these very settings{same}, its results are in {folder}; "
            "read those, or give --resume, --force or another --name."
        )
    return finished and stored.get("budget") == asdict(budget)


def _version() -> str:
    # Not subdit.__version__: the facade is a floor above.
    try:
        return metadata.version("subdit")
    except metadata.PackageNotFoundError:
        return "not installed"


def checked_name(name: str) -> str:
    """Return the search's name; raises `SearchError` where it cannot be a folder's."""
    if not name or name.startswith(".") or any(letter in name for letter in "/\\\0"):
        raise SearchError(f"A search cannot be named {name!r}; use letters, digits and dashes.")
    return name


def check_options(budget: Budget, limits: Constraints, seed: int, sampler: str = SAMPLERS[0]) -> None:
    """Raises `SearchError` where a number is out of range, or the sampler unknown."""
    if sampler not in SAMPLERS:
        raise SearchError(f"There is no sampler {sampler!r}; there is {', '.join(SAMPLERS)}.")
    if budget.trials < 1:
        raise SearchError(f"A search of {budget.trials} trials finds nothing; give --trials at least 1.")
    on_figures = {name: limit for name, limit in limits.to_dict().items() if name[4:] not in limits.qualities}
    for label, value in {"budget_s": budget.budget_s, **on_figures}.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise SearchError(f"The option {label} is {value}; it must be a finite number above zero.")
    if seed < 0:
        raise SearchError(f"The seed is {seed}; it must not be negative.")
