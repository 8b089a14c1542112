"""How long the verbs that only look take: wall and processor time of a fresh process, median of five.

    python benchmarks/verb_times.py [--repeats 5]

The processor time is what other work on the machine leaves alone. A minute on a quiet machine. Writes
benchmarks/results/verb_times.txt.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hypervolume import machine

ROOT = Path(__file__).parents[1]
PROFILES = [f"linux-amd-epyc/{runtime}/fp32/t1" for runtime in ("onnxruntime", "litert")]
VERBS: list[list[str]] = [
    ["--help"],
    [],
    ["--version"],
    *([verb, "--help"] for verb in ("spaces", "devices", "search", "import", "kit", "profile", "demo", "report")),
    ["spaces"],
    ["spaces", "show", "digits"],
    ["spaces", "show", "mid-256"],
    ["spaces", "show", "mobile-1k"],
    ["spaces", "show", "mobile-1k", "--point", "full", "--json"],
    ["devices"],
    ["devices", "show", PROFILES[0], "--space", "digits"],
    ["devices", "show", PROFILES[0], "--space", "mobile-1k", "--components"],
    ["devices", "compare", *PROFILES, "--space", "digits"],
    ["devices", "check", "device_profiles/shipped/linux-amd-epyc--onnxruntime--fp32--t1--mobile-1k.json"],
    ["import", "tests/golden/onnxruntime_profile.json", "--show"],
    ["import", "tests/golden/aihub_perf.yaml", "--show"],
]
"""`report` writes, so only its help is here; `devices check` fits what whole sub-DiTs a profile has, which is work."""


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "subdit", *arguments]
    subprocess.run(command, capture_output=True, check=bool(arguments), cwd=ROOT, env={**os.environ, "PYTHONPATH": "."})
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    lines = [f"{machine()}, median of {repeats}, load {os.getloadavg()[0]:.1f}", ""]
    lines.append(f"{'wall s':>7} {'cpu s':>7}  subdit ...")
    for arguments in VERBS:
        walls, processor = zip(*(seconds(arguments) for _ in range(repeats)), strict=True)
        lines.append(f"{statistics.median(walls):7.2f} {statistics.median(processor):7.2f}  {' '.join(arguments)}")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "verb_times.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
