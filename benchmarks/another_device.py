"""How long a search for another device takes on a supernet that was searched before.

    python benchmarks/another_device.py runs/demo

Copies the run's supernet into a temporary run, so that no evaluation is there, searches it with the command line for
the first device and then for the others, each with the default budget, and says how long each process took from start
to end, and how many of its quality evaluations others had paid for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hypervolume import machine

from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run

DEVICES = (
    "linux-amd-epyc/onnxruntime/fp32/t1",
    "linux-amd-epyc/onnxruntime/int8/t1",
    "linux-amd-epyc/litert/int8/t1",
    "linux-amd-epyc/tflite/fp32/t1",
)
BAR_S = 60.0
"""Asked for, on two cores."""


def measure(run: Run, devices: list[str]) -> dict[str, Any]:
    """Seconds of each search and what it evaluated, the devices in their order."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Run(Path(folder) / "run")
        shutil.copytree(run.supernet, copy.supernet)
        shutil.copy(run.manifest, copy.manifest)
        for at, device in enumerate(devices):
            began = time.perf_counter()
            command = [sys.executable, "-m", "subdit", "search", str(copy.path), "--device", device, "--json"]
            done = subprocess.run([*command, "--name", f"device-{at}"], check=True, stdout=subprocess.PIPE)
            seconds = time.perf_counter() - began
            config = json.loads(done.stdout)["config"]
            stored = sum(len(file.read_bytes().splitlines()) for file in copy.quality.glob("*.jsonl"))
            before = rows[-1]["stored"] if rows else 0
            row = {"device": device, "trials": config["trials"], "seconds": seconds}
            rows.append({**row, "stored": stored, "paid": stored - before})
    return {"machine": machine(), "bar_s": BAR_S, "rows": rows}


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"A search for another device on a searched supernet; on {result['machine']}.", ""]
    lines.append(f"{'device':<40}{'trials':>8}{'evaluated':>11}{'known':>8}{'seconds':>10}")
    for row in result["rows"]:
        known = row["trials"] - row["paid"]
        lines.append(f"{row['device']:<40}{row['trials']:>8}{row['paid']:>11}{known:>8}{row['seconds']:>10.1f}")
    slowest = max(row["seconds"] for row in result["rows"][1:])
    verdict = "met" if slowest <= result["bar_s"] else "not met"
    lines += ["", f"asked for, after the first: below {result['bar_s']:g} s: {verdict} ({slowest:.1f} s at most)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", action="append", help="in this order; by default four shipped ones")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    try:
        result = measure(Run(given.run).require(), given.device or list(DEVICES))
    except SubditError as error:
        sys.exit(f"Error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"Error: a search ended with {error.returncode}; what it said stands above.")
    write_json(given.out / "another_device.json", result)
    text = describe(result)
    write_atomic(given.out / "another_device.txt", text)
    print(text)


if __name__ == "__main__":
    main()
