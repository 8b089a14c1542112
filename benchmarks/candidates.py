"""Candidates looked at per second and core, through the latency table and the surrogate together.

    python benchmarks/candidates.py [--space digits] [--device linux-amd-epyc/onnxruntime/fp32/t1]

The latency table is a profile's, with all that its estimator does. The surrogate is fitted on 400 made-up qualities:
its speed does not depend on what it was fitted on. One thread; best and median of the repetitions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypervolume import machine
from threadpoolctl import threadpool_limits

from device_profiles import LatencyEstimator
from device_profiles import load_profile
from nas._costs import CostTable
from nas.samplers._surrogate import fit_surrogate
from subdit.core.files import write_json
from subdit.space import count_params
from subdit.space import get_space

CHUNK = 16_384


def measure(space_name: str, device: str, repetitions: int) -> dict[str, Any]:
    """Candidates per second, on one thread."""
    space = get_space(space_name)
    profile = load_profile(device, space=space_name)
    tables = CostTable(space, LatencyEstimator(profile, space), count_params)
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
        "profile": profile.id,
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
    parser.add_argument("--device", default="linux-amd-epyc/onnxruntime/fp32/t1")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    result = measure(given.space, given.device, given.repetitions)
    write_json(given.out / f"candidates_{given.space}.json", result)
    print(
        f"{result['median_per_second']:,.0f} candidates a second on one core through table and surrogate (best "
        f"{result['best_per_second']:,.0f}), space {given.space}, profile {result['profile']}, on {result['machine']}"
    )


if __name__ == "__main__":
    main()
