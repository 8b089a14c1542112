"""A device and a supernet in closed form: every test of the search that is not about real ones runs on these."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._config import SearchConfig
from nas._costs import CostTable
from nas._problem import Objectives
from nas._problem import SearchProblem
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space

LIMIT_MS = 3.0


def columns(space: SearchSpace, encoded: EncodedSpecs) -> dict[str, npt.NDArray[np.float64]]:
    return {
        label: np.asarray(allowed, dtype=np.float64)[encoded[:, index]]
        for index, (label, allowed) in enumerate(space.dimensions.items())
    }


def params(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.int64]:
    at = columns(space, encoded)
    blocks = sum(at[f"depth_{stage}"] * (6 + 2 * at[f"ffn_ratio_{stage}"]) for stage in ("down", "middle", "up"))
    return np.asarray(at["width"] ** 2 * blocks, dtype=np.int64)


class Latency:
    """Milliseconds that grow with width, depth, FFN ratio, strips and radius."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @property
    def fingerprint(self) -> str:
        return type(self).__name__

    def estimate(self, encoded: EncodedSpecs) -> Any:
        at = columns(self.space, encoded)
        width = at["width"] / 96
        total = 0.1 + 0.1 * width
        for stage, cost in (("down", 1.0), ("middle", 0.4), ("up", 1.0)):
            attention = 0.15 * width
            if stage != "middle":
                attention = attention * (1 + 0.02 * at[f"bna_blocks_{stage}"] + 0.1 * at[f"bna_radius_{stage}"])
            total = total + cost * at[f"depth_{stage}"] * (0.05 + attention + 0.1 * width**2 * at[f"ffn_ratio_{stage}"])
        return SimpleNamespace(latency_ms=total, low_ms=0.95 * total, high_ms=1.05 * total)


@dataclass
class Loss:
    """A loss that falls with capacity, by dimension with its own weight and diminishing returns; a little rough."""

    space: SearchSpace
    id: str = "analytic"
    unit: str = "analytic loss"
    supernet_digest: str = "0123abcd"
    data_hash: str = "feed"
    pause_s: float = 0.0
    holds_after: int | None = None
    asked: list[str] = field(default_factory=list)
    log: Path | None = None

    def evaluate(self, spec: SubDiTSpec) -> float:
        self.asked.append(spec.hash)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(spec.hash + "\n")
        time.sleep(self.pause_s)
        if self.holds_after is not None and len(self.asked) >= self.holds_after:
            # Until it is killed, however late that comes.
            threading.Event().wait()
        at = self.space.values(spec)
        loss = 0.2 + 0.06 * (96 / at["width"] - 1)
        for stage, weight in (("down", 1.0), ("middle", 0.7), ("up", 1.3)):
            capacity = at[f"depth_{stage}"] * (0.5 + at[f"ffn_ratio_{stage}"] ** 0.5)
            loss += weight * 0.03 / capacity
            if stage != "middle":
                loss += 0.002 / ((0.5 + at[f"bna_radius_{stage}"]) * 8 / at[f"bna_blocks_{stage}"])
        rough = int(hashlib.sha256(spec.hash.encode()).hexdigest()[:8], 16) / 16**8
        return loss * (1 + 0.01 * (rough - 0.5))


def tables(constraints: Mapping[str, float] | None = None) -> CostTable:
    space = get_space("digits")
    return CostTable(space, Latency(space), params, constraints or {})


def problem(
    constraints: Mapping[str, float] | None = None,
    *,
    losses: Sequence[Loss] = (),
    table: CostTable | None = None,
    costs: tuple[str, ...] = ("latency_ms",),
    **settings: Any,
) -> SearchProblem:
    """A search of `table` with these settings of `SearchConfig`; limits on losses go by their ids."""
    table = tables() if table is None else table
    proxies = {loss.id: loss for loss in losses or [Loss(table.space)]}
    limits = dict(constraints or {})
    on_costs = {name: limit for name, limit in limits.items() if name not in proxies}
    return SearchProblem(
        SearchConfig(("analytic",), (*costs, *proxies), limits, **settings),
        dataclasses.replace(table, constraints={**table.constraints, **on_costs}),
        proxies,
        Objectives(costs, tuple(proxies), {name: limit for name, limit in limits.items() if name in proxies}),
    )


def little_space() -> SearchSpace:
    """A space of 48 sub-DiTs, to be used up."""
    digits = get_space("digits")
    return dataclasses.replace(
        digits,
        depths=((1, 2), (2,), (1, 2)),
        ffn_ratios=((1, 2, 3), (3,), (4,)),
        bna_blocks=(8,),
        bna_radii=(1,),
        named={},
    )


def main() -> None:
    """A search of its own process, to be killed: RUN TRIALS PAUSE_S LOG, then for a worker STORAGE STALE_S LIMIT.

    With $HOLDS_AFTER it waits for its end after so many evaluations.
    """
    from nas._loop import run_search
    from nas.study._location import StudyLocation
    from nas.study._location import StudyOptions
    from subdit.core.run import Run

    path, trials, pause_s, log, *shared = sys.argv[1:]
    run = Run(Path(path))
    limit_ms = float(shared[2]) if shared else LIMIT_MS
    holds_after = os.environ.get("HOLDS_AFTER")
    loss = Loss(
        get_space("digits"),
        pause_s=float(pause_s),
        holds_after=None if holds_after is None else int(holds_after),
        log=Path(log),
    )
    asked = problem({"latency_ms": limit_ms}, losses=[loss], trials=int(trials), surrogate=not shared)
    location = None
    if shared:
        storage, stale_s, _ = shared
        options = StudyOptions(storage=storage, worker=True, stale_s=float(stale_s))
        location = StudyLocation.of(run, "default", options)
    run_search(run, "default", asked, location=location, resume=True)


if __name__ == "__main__":
    main()
