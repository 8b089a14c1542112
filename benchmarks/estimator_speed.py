"""How long 100,000 specs take: from encoded specs to latencies with intervals, on one core.

    OMP_NUM_THREADS=1 python benchmarks/estimator_speed.py

Latencies of the tables are made up: only how many there are matters. Prints the median of five runs for each kind of
profile, and writes it to benchmarks/results/estimator_speed.txt. Exit code 1 where one takes a second or more.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from subdit.core.files import write_atomic
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_flops
from subdit.space import component_params
from subdit.space import count_params
from subdit.space import get_space
from subdit.space import peak_memory_bytes

RESULTS = Path(__file__).parent / "results"
SPECS = 100_000
LIMIT_S = 1.0
WHOLE = 60


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    lines = [f"Seconds for {SPECS:,} specs, median of 5, {platform.machine()}, one core", ""]
    lines.append(f"{'space':<12}{'components':>11}{'calibrated table':>18}{'fit to 60 whole':>17}{'parameters':>12}"
                 f"{'peak memory':>13}")  # fmt: skip
    slowest = 0.0
    for name in ("digits", "mobile-1k"):
        space = get_space(name)
        encoded = space.sample(np.random.default_rng(0), SPECS)
        table, fit = (LatencyEstimator(profile, space) for profile in profiles(space))
        taken = [seconds(partial(used.estimate, encoded)) for used in (table, fit)]
        others = [
            seconds(partial(count_params, space, encoded)),
            seconds(partial(peak_memory_bytes, space, encoded, "fp16")),
        ]
        slowest = max(slowest, *taken)
        lines.append(
            f"{name:<12}{len(all_components(space)):>11}{taken[0]:>16.3f} s{taken[1]:>15.3f} s{others[0]:>10.3f} s"
            f"{others[1]:>11.3f} s"
        )
    text = "\n".join([*lines, "", f"asked for: below {LIMIT_S:g} s: {'met' if slowest < LIMIT_S else 'NOT met'}"])
    print(text)
    if not options.no_write:
        write_atomic(RESULTS / "estimator_speed.txt", text + "\n")
    return int(slowest >= LIMIT_S)


def seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def profiles(space: SearchSpace) -> tuple[DeviceProfile, DeviceProfile]:
    """Made-up ones: a calibrated table, and a fit to whole sub-DiTs over a table."""
    components = all_components(space)
    each = np.asarray([0.01 + 1e-9 * component_flops(space, component) for component in components])
    params = np.asarray([component_params(space, component) for component in components], dtype=np.float64)
    encoded = space.sample(np.random.default_rng(1), WHOLE)
    counts = component_counts(space, encoded).astype(np.float64)
    latencies = 1.1 * counts @ each * np.random.default_rng(2).normal(1, 0.01, WHOLE)
    whole = tuple(
        WholeLatency(spec, Latency(ms, 0.99 * ms, 1.01 * ms))
        for spec, ms in zip(space.decode(encoded), latencies.tolist(), strict=True)
    )
    table = DeviceProfile(
        device="made-up",
        runtime="none",
        precision="fp32",
        threads=1,
        space=space.name,
        kit_hash="0" * 16,
        provenance="estimated",
        noisy=False,
        components={one.name: Latency(ms, ms, ms) for one, ms in zip(components, each.tolist(), strict=True)},
        conditions=Conditions("", "", 0, "", "", "", ""),
        calibration=fit_calibration(components, each, counts, whole, params=params),
    )
    return table, dataclasses.replace(table, calibration=None, whole=whole)


if __name__ == "__main__":
    sys.exit(main())
