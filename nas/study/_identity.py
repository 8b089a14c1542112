"""What identifies a search: two searches with equal identities, seeds among them, have the same study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._costs import LatencyCost
from nas._costs import PipelineCost
from nas._problem import SearchProblem
from nas.proxies import QualityProxy
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import read_json
from subdit.core.origin import NO_PART
from subdit.core.origin import stale_sentence
from subdit.core.quantities import PIPELINE
from subdit.core.version import VERSION
from subdit.results import SEARCH_FORMAT
from subdit.results import upgrade_config
from subdit.space import MEMORY_MODEL
from subdit.space import space_hash

PROPOSALS = 2
"""Named in search.json; a change of what samplers propose is a new number, so no study is resumed with another one."""
PROPOSALS_OF_MANY = 3
"""The same for proposals by a surrogate for three objectives and more, whose hypervolumes are exact since 3."""


@dataclass(frozen=True)
class SearchIdentity:
    """What is searched for, as JSON gives it back.

    Attributes:
        settings: what search.json says: equal for equal searches and nothing else, but for the version.
        earlier: the settings whose values earlier versions computed in another way, with those values.
    """

    settings: Mapping[str, Any]
    earlier: Mapping[str, Any]

    @property
    def question(self) -> dict[str, Any]:
        """What identifies a study beside its name: the same for every version of subdit."""
        return {key: value for key, value in self.settings.items() if key != "subdit_version"}

    def difference(self, stored: Mapping[str, Any]) -> str:
        """The first setting in which a stored search differs, such as "seed 0 instead of 1"; empty where none does."""
        now = self.question
        # Searches of earlier versions have the space's name alone.
        stored = {"space_hash": now["space_hash"], **stored}
        if "latency_model" not in stored:
            now |= {**self.earlier, "latency_model": None}
        differing = [key for key, value in now.items() if stored.get(key) != value]
        return f"{differing[0]} {stored.get(differing[0])!r} instead of {now[differing[0]]!r}" if differing else ""

    def differing_weights(self, stored: Mapping[str, Any]) -> tuple[str, str] | None:
        """The digests of the weights judged before and now, where the same proxy judges others now; else None."""
        known = stored.get("proxies")
        before = {id: each.get("supernet_digest") for id, each in known.items()} if isinstance(known, dict) else {}
        now = {id: each["supernet_digest"] for id, each in self.settings["proxies"].items()}
        return next(((str(before[id]), now[id]) for id in now if id in before and before[id] != now[id]), None)


def identify(problem: SearchProblem) -> SearchIdentity:
    """The identity of a search.

    Latencies are identified by what they are computed from. Their values, which earlier versions hashed, differ in a
    last bit between processors where they come from a fit, and workers of one study may run on unlike processors.
    """
    from device_profiles import LATENCY_MODEL

    tables, config, names = problem.tables, problem.config, problem.objectives.names
    guided = config.surrogate and config.sampler == "nsga2"
    known = tables.look_up(tables.space.sample(np.random.default_rng(0), 256))
    identity: dict[str, Any] = {
        "subdit_search": SEARCH_FORMAT,
        "subdit_version": VERSION,
        "space": tables.space.name,
        "space_hash": space_hash(tables.space),
        "device": problem.devices[0],
        "device_facts": problem.device_facts,
        # Before the hashes, so that a search by another model of latency is refused by this name.
        "latency_model": LATENCY_MODEL,
        # A profile that was measured again under the same id makes another search.
        "latency_hash": tables.latencies.fingerprint,
        "constraints": problem.constraints,
        "seed": config.seed,
        "sampler": f"{config.sampler}-{PROPOSALS_OF_MANY if guided and len(names) > 2 else PROPOSALS}",
        "surrogate": guided,
        "proxies": {
            name: {"unit": proxy.unit, "supernet_digest": proxy.supernet_digest, "data_hash": proxy.data_hash}
            for name, proxy in problem.proxies.items()
        },
        "objectives": list(names),
    }
    if len(problem.devices) > 1:
        identity["other_devices"] = list(problem.devices[1:])
    if any(name.partition("@")[0] == PIPELINE for name in tables.functions):
        identity["steps"] = config.steps
    if "memory_mb" in tables.functions:
        # Before the hashes of its values, so that a search by another memory model is refused by this name.
        identity["memory_model"] = MEMORY_MODEL
    if tables.functions:
        identity["cost_hashes"] = {
            # Other costs are exact, and have the same values on every processor.
            name: cost.fingerprint if isinstance(cost, LatencyCost | PipelineCost) else _hash(known.figures[name])
            for name, cost in tables.functions.items()
        }
    earlier: dict[str, Any] = {"latency_hash": _hash(known.latency_ms)}
    if tables.functions:
        earlier["cost_hashes"] = {name: _hash(known.figures[name]) for name in tables.functions}
    return SearchIdentity(json.loads(json.dumps(identity)), earlier)


def _hash(values: npt.NDArray[np.float64]) -> str:
    return hashlib.sha256(np.round(values, 9).tobytes()).hexdigest()[:16]


def judged_weights(proxies: Mapping[str, QualityProxy], digest: str | None) -> str:
    """What search.json says under `supernet`: the digest of the run's weights where a proxy judges those."""
    return digest if digest is not None and digest in {one.supernet_digest for one in proxies.values()} else NO_PART


def is_finished(folder: Path, identity: SearchIdentity, budget: Mapping[str, Any], *, resume: bool) -> bool:
    """Whether the folder's search is this one and finished; raises where it may be neither read nor resumed."""
    path, name = folder / "search.json", folder.name
    if not path.exists():
        return False
    stored = read_json(path, f"search {name!r}")
    if not isinstance(stored, dict):
        raise RunError(
            f"The search {name!r} at {folder} is damaged (search.json is no object); search again with --force."
        )
    stored = upgrade_config(stored)
    if weights := identity.differing_weights(stored):
        remedy = "start again with --force, or give another --name"
        raise SearchError(stale_sentence(f"The search {name!r}", *weights, remedy))
    if said := identity.difference(stored):
        if resume:
            raise SearchError(
                f"The search {name!r} cannot be resumed with other settings ({said}); give another --name or --force."
            )
        raise RunError(
            f"There is a search {name!r} in this run already, with other settings ({said}); give another --name, or "
            "--force to replace it."
        )
    finished = stored.get("state") == "finished"
    if not resume:
        if not finished:
            raise RunError(
                f"The search {name!r} was started with these settings and is not finished; continue it with --resume, "
                "or start again with --force."
            )
        same = "" if stored.get("budget") == budget else " but for the budget"
        raise RunError(
            f"The search {name!r} is finished already with these very settings{same}, its results are in {folder}; "
            "read those, or give --resume, --force or another --name."
        )
    return finished and stored.get("budget") == budget
