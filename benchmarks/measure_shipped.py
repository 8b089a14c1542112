"""Measures the profiles that are shipped, one after another, on this machine, and names them by its processor.

    python benchmarks/measure_shipped.py --work FOLDER

Run it on a machine that does nothing else. Kits and raw timings stay in FOLDER; killed, the same command goes on where
it was, and a profile that is there already is left alone. One that came out noisy, or that `subdit devices check`
refuses, is not shipped: it stays in FOLDER, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import check_plausibility
from device_profiles import read_profile
from device_profiles import save_profile
from profilers import device_name
from subdit.cli._progress import progress_bar
from subdit.core.errors import SubditError
from subdit.space import count_params
from subdit.space import get_space

SHIPPED = Path(__file__).parents[1] / "device_profiles" / "shipped"


@dataclass(frozen=True)
class Combination:
    """What one shipped profile is measured with; `up_to` names the largest point that a kit covers."""

    space: str
    runtime: str
    precision: str = "fp32"
    threads: int = 1
    whole: int = 30
    up_to: str | None = None
    budget_s: float = 180.0


DIGITS = (
    Combination("digits", "onnxruntime"),
    Combination("digits", "onnxruntime", threads=2),
    Combination("digits", "onnxruntime", precision="int8"),
    Combination("digits", "litert"),
    Combination("digits", "litert", precision="int8"),
    Combination("digits", "tflite"),
    Combination("digits", "torch"),
)
# Whole sub-DiTs of mobile-1k take half a minute a run and 2 GB each: a few calibrate the table.
MOBILE = (
    Combination("mobile-1k", "onnxruntime", whole=6, up_to="small", budget_s=900.0),
    Combination("mobile-1k", "litert", precision="int8", whole=6, up_to="small", budget_s=900.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where one could not be measured or is not shipped."""
    options = _parser().parse_args(arguments)
    left_out = 0
    for combination in (*DIGITS, *MOBILE):
        if options.only and options.only not in label(combination):
            continue
        if options.child:
            return measure(combination, options.work, options.out)
        # Each in a process of its own, so that no runtime's threads or memory are there while another is measured.
        began = time.perf_counter()
        command = [sys.executable, __file__, "--work", str(options.work), "--out", str(options.out), "--child"]
        failed = subprocess.run([*command, "--only", label(combination)], check=False).returncode
        minutes = (time.perf_counter() - began) / 60
        print(f"{label(combination)}: {'NOT shipped' if failed else 'there'}, {minutes:.1f} minutes", flush=True)
        left_out += bool(failed)
    return int(left_out > 0)


def label(one: Combination) -> str:
    """Such as 'digits/onnxruntime/fp32/t1', as the end of the profile's id is."""
    return f"{one.space}/{one.runtime}/{one.precision}/t{one.threads}"


def measure(one: Combination, work: Path, out: Path) -> int:
    """Kit, profile, check; 0 where the profile is shipped."""
    from profilers import is_kit
    from profilers import kit
    from profilers import profile

    name = label(one).replace("/", "--")
    space = get_space(one.space)
    made_here = work / f"{name}.json"
    if (out / f"{device_name()}--{name.partition('--')[2]}--{one.space}.json").exists():
        return 0
    options: dict[str, Any] = {"runtime": one.runtime, "precision": one.precision, "whole": one.whole}
    if one.up_to:
        options["max_params"] = int(count_params(space, space.encode([space.named_spec(one.up_to)]))[0])
    # A kit is for a format and a precision, whatever the threads; those of tflite and litert are the same.
    family = "tflite" if one.runtime == "litert" else one.runtime
    folder = work / f"kit--{one.space}--{family}--{one.precision}"
    try:
        work.mkdir(parents=True, exist_ok=True)
        if not is_kit(folder):
            with progress_bar(f"Exporting {folder.name}") as progress:
                kit(one.space, folder, progress=progress, **options)
        with progress_bar(f"Measuring {label(one)}") as progress:
            made = profile(
                folder,
                runtime=one.runtime,
                threads=one.threads,
                out=made_here,
                budget_s=one.budget_s,
                progress=progress,
                force=True,
            )
        found = check_plausibility(read_profile(made_here))
        for finding in found:
            print(f"  {finding.rule}: {finding.message}", file=sys.stderr)
        if made.noisy or found:
            return 1
        print(save_profile(made, out / f"{made.id.replace('/', '--')}--{made.space}.json"))
    except SubditError as error:
        print(f"Error: {label(one)}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for kits and raw timings")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the shipped profiles")
    parser.add_argument("--only", default="", help="those of this text, such as digits/litert")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
