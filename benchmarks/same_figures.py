"""Whether the same steps give the same weights on another machine of the same kind.

    python benchmarks/same_figures.py

Trains the supernet of digits for 60 steps, on 2 threads and on 1, and compares the weights, bit for bit, with those
that earlier machines of the same kind left in `results/same_figures.json`. A kind is the processor's model, the
instruction set that torch uses, torch's version, and the code that trains, as a hash of its files: to compare with an
entry of older code, check its commit out. Ends with 1 where the weights differ. Takes about a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from profilers import cpu_model
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.weights import supernet_digest
from supernet.training.config import TrainingConfig
from supernet.training.train import train

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
STEPS = 60
THREADS = (2, 1)


def kind() -> str:
    """What two machines must have in common to be held against each other."""
    return f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def code() -> str:
    """Eight hexadecimal digits of the files that a training depends on."""
    files = sorted(path for room in ("supernet", "subdit/space") for path in (ROOT / room).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def commit() -> str:
    """Where the code is; empty where there is no git."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip()


def machine() -> str:
    """Eight hexadecimal digits that tell one boot of one machine from others, and nothing else of it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return hashlib.sha256(boot.read_bytes() if boot.exists() else time.ctime().encode()).hexdigest()[:8]


def trained(threads: int) -> str:
    """Digest of the weights after the steps."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        return supernet_digest(train("digits", Path(folder), config=TrainingConfig(steps=STEPS, ceiling_s=None)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    path = RESULTS / "same_figures.json"
    known = json.loads(path.read_text()) if path.exists() else []
    found = {str(threads): trained(threads) for threads in THREADS}
    what = {"kind": kind(), "code": code()}
    entry = {**what, "commit": commit(), "machine": machine(), "date": time.strftime("%Y-%m-%d"), "weights": found}
    alike = [each for each in known if all(each[name] == value for name, value in what.items())]
    others = [each for each in alike if each["machine"] != entry["machine"]]
    differ = [each for each in others if each["weights"] != found]
    said = "none of them is of another machine of this kind"
    if others:
        said = f"those of {len(others) - len(differ)} of {len(others)} other machines of this kind are equal"
    lines = [
        f"{STEPS} steps of digits on {entry['kind']}",
        *(f"{threads} threads: weights {digest}" for threads, digest in found.items()),
        f"Of the weights that earlier runs left, {said}.",
    ]
    print("\n".join(lines))
    kept = [each for each in known if each not in alike or each in others]
    write_json(path, [*kept, entry])
    write_atomic(RESULTS / "same_figures.txt", "\n".join(lines) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
