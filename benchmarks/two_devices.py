"""Two profiles, two fronts: what one pays on one device for the picks of a search for the other.

    python benchmarks/two_devices.py runs/demo --device linux-amd-epyc/onnxruntime/fp32/t1 \\
        --device linux-amd-epyc/onnxruntime/int8/t1

Searches the run for each device with the default budget and several seeds, and sets the picks of each search against
the front of the other, as `subdit report` does. Differences between seeds on one device stand beside those between
devices: only what is beyond them is the device's. Quality evaluations are shared through the run's store.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from hypervolume import bar
from hypervolume import machine

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import load_profile
from nas import SearchConfig
from nas import search
from reports import OtherDevice
from reports import compare_searches
from reports import read_results
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.space import run_space


def compare(run: Run, profiles: list[DeviceProfile], *, trials: int, seeds: int) -> dict[str, Any]:
    """Picks of every device's search on every device, by seed."""
    space = run_space(run)
    progress = bar()
    results = {}
    for index, profile in enumerate(profiles):
        for seed in range(seeds):
            name = f"two-devices-{index}-{seed}"
            search(
                run.path, SearchConfig((profile,), trials=trials, seed=seed), name=name, resume=True, progress=progress
            )
            results[profile.id, seed] = read_results(run, name)
    rows = []
    for here in profiles:
        estimator = LatencyEstimator(here, space)
        for other in profiles:
            for seed in range(seeds):
                # Of one device, another seed's search: what two searches differ by anyway.
                beside = seed if other is not here else (seed + 1) % seeds
                found = compare_searches(results[here.id, seed], results[other.id, beside], estimator)
                rows.append(_row(here, other, seed, found))
    return {"machine": machine(), "space": space.name, "trials": trials, "seeds": seeds, "rows": rows}


def _row(here: DeviceProfile, other: DeviceProfile, seed: int, found: OtherDevice) -> dict[str, Any]:
    return {
        "on": here.id,
        "searched_for": other.id,
        "seed": seed,
        "front": found.front,
        "shared": found.shared,
        "beaten": found.beaten,
        "picks": {
            name: {
                "spec": str(pick.pick.trial.spec),
                "latency_ms": pick.latency_ms,
                "latency_paid": pick.latency_paid,
                "quality_paid": pick.quality_paid,
            }
            for pick in found.picks
            for name in pick.pick.names
        },
    }


def describe(result: dict[str, Any]) -> str:
    """The result as text: medians over the seeds."""
    lines = [
        f"What the picks of a search for another device cost, {result['space']}, {result['trials']} evaluations, "
        f"median of {result['seeds']} seeds; on {result['machine']}.",
        "Paid: latency beyond the fastest at least as good, on the front searched for the device itself.",
        "A row with one device twice shows what two seeds differ by.",
        "",
        f"{'on':<36}{'searched for':<36}{'shared':>8}{'beaten':>8}{'fastest':>10}{'balanced':>10}{'best':>10}",
    ]
    pairs = dict.fromkeys((row["on"], row["searched_for"]) for row in result["rows"])
    for on, other in pairs:
        rows = [row for row in result["rows"] if (row["on"], row["searched_for"]) == (on, other)]
        cells = "".join(f"{_median_paid(rows, name):>10}" for name in ("fastest", "balanced", "best"))
        shared = median(row["shared"] / row["front"] for row in rows)
        beaten = median(row["beaten"] for row in rows)
        lines.append(f"{on:<36}{other:<36}{shared:>8.0%}{beaten:>8.0%}{cells}")
    return "\n".join(lines) + "\n"


def _median_paid(rows: list[dict[str, Any]], name: str) -> str:
    """Where nothing on the front is as good, there is nothing to pay."""
    paid = [row["picks"][name]["latency_paid"] for row in rows]
    known = [value for value in paid if value is not None]
    return f"{median(known):+.1%}" if known else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", action="append", required=True, help="name each device; at least two")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    try:
        run = Run(given.run).require()
        space = run_space(run)
        profiles = [load_profile(device, space=space) for device in given.device]
        result = compare(run, profiles, trials=given.trials, seeds=given.seeds)
    except SubditError as error:
        sys.exit(f"Error: {error}")
    write_json(given.out / f"two_devices_{result['space']}.json", result)
    text = describe(result)
    write_atomic(given.out / f"two_devices_{result['space']}.txt", text)
    print(text)


if __name__ == "__main__":
    main()
