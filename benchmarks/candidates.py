"""Candidates looked at per second and core, through the latency table and the surrogate together.

    python benchmarks/candidates.py [--space digits]

The surrogate is fitted on 400 made-up qualities: its speed does not depend on what it was fitted on. One thread; best
and median of the repetitions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypervolume import machine
from threadpoolctl import threadpool_limits

from nas._limits import Tables
from nas._surrogate import fit_surrogate
from subdit.run import write_json
from supernet.space import SearchSpace
from supernet.space import all_components
from supernet.space import component_counts
from supernet.space import component_flops
from supernet.space import count_params
from supernet.space import get_space

CHUNK = 16_384


class FlopLatency:
    """A latency table in the form of `device_profiles.LatencyEstimator`, a nanosecond for each 10 FLOPs."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._each_ms = np.asarray([component_flops(space, part) for part in all_components(space)]) / 1e7

    def estimate(self, encoded: Any) -> Any:
        from device_profiles import LatencyEstimate

        counts = component_counts(self._space, encoded).astype(np.float64)
        latency = counts @ self._each_ms
        half = np.sqrt(np.square(counts) @ np.square(0.01 * self._each_ms))
        return LatencyEstimate(latency, latency - half, latency + half)


def measure(space_name: str, repetitions: int) -> dict[str, Any]:
    """Candidates per second, on one thread."""
    space = get_space(space_name)
    tables = Tables(space, FlopLatency(space), count_params)
    rng = np.random.default_rng(0)
    known = space.sample(rng, 400)
    surrogate = fit_surrogate(space, known, rng.standard_normal(400))
    weights = surrogate.draw(rng)
    rates = []
    with threadpool_limits(1):
        for _ in range(repetitions):
            batch = space.sample(rng, CHUNK)
            began = time.perf_counter()
            tables.look_up(batch)
            surrogate.predict_drawn(batch, weights)
            rates.append(CHUNK / (time.perf_counter() - began))
    return {
        "machine": machine(),
        "space": space_name,
        "chunk": CHUNK,
        "threads": 1,
        "repetitions": repetitions,
        "median_per_second": float(np.median(rates)),
        "best_per_second": float(np.max(rates)),
        "ofa_notebook_per_second": 2255,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="digits")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    result = measure(given.space, given.repetitions)
    write_json(given.out / f"candidates_{given.space}.json", result)
    print(
        f"{result['median_per_second']:,.0f} candidates a second on one core through table and surrogate (best "
        f"{result['best_per_second']:,.0f}), space {given.space}, on {result['machine']}"
    )


if __name__ == "__main__":
    main()
