"""A kit through programs that run its files here: the road of a phone, with this machine as the phone.

    subdit kit emoji-32 --runtime litert --no-parts --whole 40 --out kits/emoji-32
    python benchmarks/litert_benchmark.py kits/emoji-32
    python benchmarks/litert_benchmark.py kits/emoji-32 --phone

No package carries the C++ benchmark_model. `litert-benchmark` of ai-edge-litert's wheel runs the same .tflite files on
the same runtime, prints the same results block, and rounds to 0.01 ms: of a small space on a fast machine it can only
time whole sub-DiTs. One process for each model, in an order drawn by a fixed seed; what it wrote is kept in
KIT/litert-benchmark, where an interrupted run goes on. Both forms of each log, the JSON and what was printed, are read
and must agree.

With --phone the kit goes over adb to the tests' fake phone, where their stand-in for benchmark_model runs the files and
prints microseconds: `subdit profile --adb` as it is, outputs compared with torch's included; --rounds are the fewest.

Prints the profile and its predictions, and writes them to benchmarks/results/litert_benchmark_SPACE.txt, or
fake_phone_SPACE.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import check_plausibility
from profilers import open_kit
from profilers.importers import import_logs
from profilers.importers import read_log
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from subdit.cli._progress import progress_bar
from subdit.core.errors import DeviceError
from subdit.core.errors import ImportLogError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.space import count_params

RESULTS = Path(__file__).parent / "results"
WARMUP_RUNS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where the profile cannot be true, 2 where there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path, help="of .tflite files")
    parser.add_argument("--num-runs", type=int, default=30, help="timed runs of each model (default: 30)")
    parser.add_argument("--phone", action="store_true", help="over adb, with the tests' stand-in for benchmark_model")
    parser.add_argument("--rounds", type=int, default=8, help="--phone: the fewest (default: 8)")
    options = parser.parse_args(arguments)
    try:
        kit = open_kit(options.kit)
        with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
            out = Path(folder) / "profile.json"
            if options.phone:
                how, made = on_the_fake_phone(kit, Path(folder), options.rounds, out)
            else:
                how, made = with_litert_benchmark(kit, options.num_runs, out)
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    text = describe(kit, made, how)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    write_atomic(RESULTS / f"{'fake_phone' if options.phone else 'litert_benchmark'}_{kit.space}.txt", text + "\n")
    return 1 if check_plausibility(made) else 0


def with_litert_benchmark(kit: Kit, num_runs: int, out: Path) -> tuple[str, DeviceProfile]:
    """How it was measured, and the profile."""
    measure(kit, num_runs)
    logs = [_log(kit, entry) for entry in kit.entries]
    require_agreement(logs)
    how = (
        f"through litert-benchmark of ai-edge-litert {version('ai-edge-litert')}, one thread, {num_runs} runs each "
        f"after {WARMUP_RUNS}; the JSON and the printed text of every run are read as the same"
    )
    return how, import_logs(logs, device="this-machine", kit=kit.folder, out=out)


def on_the_fake_phone(kit: Kit, folder: Path, rounds: int, out: Path) -> tuple[str, DeviceProfile]:
    """How it was measured, and the profile; `folder` is for the phone and the home of its adb."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from profilers.adb import measure as rounds_of
    from profilers.adb import profile_over_adb
    from tests.profilers.adb.phones import bench
    from tests.profilers.adb.phones import make_phone
    from tests.profilers.adb.stand_in import write_stand_in

    rounds_of.MIN_ROUNDS = rounds
    begin = time.monotonic()
    with bench(folder / "home") as desk, progress_bar("Measuring") as progress:
        os.environ |= {name: desk.environment[name] for name in ("ANDROID_ADB_SERVER_PORT", "HOME", "ADB_MDNS")}
        desk.plug_in(make_phone(folder / "phone"))
        program = write_stand_in(folder / "benchmark_model", "tflite")
        (found,) = profile_over_adb(
            kit.folder, benchmark_model=program, cooling_s=0.01, budget_s=1.0, out=out, progress=progress
        )
    if found.profile is None:
        raise DeviceError("The fake phone was not measured; see what was said of it.")
    how = f"over adb, by a stand-in for benchmark_model that runs the files, at least {rounds} rounds, "
    return f"{how}{time.monotonic() - begin:.0f} s; {found.profile.source}", found.profile


def measure(kit: Kit, num_runs: int) -> None:
    """Run the tool once for each model without a log."""
    tool = Path(sys.executable).with_name("litert-benchmark")
    program = str(tool) if tool.exists() else shutil.which("litert-benchmark")
    if program is None:
        raise MissingExtraError("litert-benchmark is not installed; install it (pip install 'subdit[litert]').")
    with progress_bar("Measuring") as progress:
        for done, index in enumerate(np.random.default_rng(0).permutation(len(kit.entries))):
            entry = kit.entries[index]
            progress(done, len(kit.entries), entry.name)
            if _log(kit, entry).exists():
                continue
            _log(kit, entry).parent.mkdir(exist_ok=True)
            command = [program, "--model", str(entry.model), "--num_threads", "1", "--num_runs", str(num_runs)]
            partial = _log(kit, entry).with_suffix(".partial")
            command += ["--warmup_runs", str(WARMUP_RUNS), "--result_json", str(partial)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if ran.returncode != 0:
                raise ImportLogError(f"litert-benchmark failed on {entry.name}: {ran.stdout.splitlines()[-1:]}.")
            write_atomic(_log(kit, entry).with_suffix(".txt"), ran.stdout)
            partial.replace(_log(kit, entry))


def require_agreement(logs: Sequence[Path]) -> None:
    """Raise `ImportLogError` where the JSON of a run and what was printed of it are read differently."""
    for path in logs:
        (stated,), (printed,) = read_log(path), read_log(path.with_suffix(".txt"))
        for name in ("model_file", "count", "threads", "mean_ms", "median_ms", "min_ms", "max_ms", "delegate"):
            if getattr(stated, name) != getattr(printed, name):
                raise ImportLogError(
                    f"{path.name} has {name} {getattr(stated, name)}, and what was printed {getattr(printed, name)}."
                )


def describe(kit: Kit, made: DeviceProfile, how: str) -> str:
    """The result for people."""
    space, found = kit.search_space, Counter(one.rule for one in check_plausibility(made))
    latencies = [one.latency_ms for one in made.components.values()] or [row.latency.latency_ms for row in made.whole]
    lines = [
        f"{made.space}: {len(kit.components)} components and {len(kit.whole)} whole sub-DiTs",
        how,
        f"profile {made.id}{', noisy' if made.noisy else ''}: {min(latencies):.2f} to {max(latencies):.2f} ms each",
        f"devices check: {', '.join(f'{count} of {rule}' for rule, count in found.items()) or 'nothing to say'}; load "
        f"average of the last 15 minutes {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores",
    ]
    if made.calibration is not None:
        error = made.calibration.error
        lines.append(
            f"whole sub-DiTs left out in turn ({made.calibration.form}): mean error {100 * error.mean:.1f} %, worst "
            f"{100 * error.worst:.1f} %, Kendall tau {error.kendall_tau:.2f}"
        )
    params = {name: int(count_params(space, space.encode([spec]))[0]) for name, spec in space.named.items()}
    within = [name for name, count in params.items() if kit.max_params is None or count <= kit.max_params]
    estimate = LatencyEstimator(made, space).estimate(space.encode([space.named_spec(name) for name in within]))
    for name, ms, low, high in zip(within, estimate.latency_ms, estimate.low_ms, estimate.high_ms, strict=True):
        lines.append(f"  {name:<8} {ms:9.2f} ms ({low:.2f} to {high:.2f})")
    return "\n".join(lines)


def _log(kit: Kit, entry: KitEntry) -> Path:
    return kit.folder / "litert-benchmark" / f"{entry.name}.json"


if __name__ == "__main__":
    raise SystemExit(main())
