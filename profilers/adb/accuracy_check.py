"""Outputs on the phone against torch's: where benchmark_model can be given inputs and writes outputs."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from profilers.adb.adb import PHONE_FOLDER
from profilers.adb.adb import Phone
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import BenchmarkResult
from profilers.adb.benchmark_model import Job
from profilers.adb.benchmark_model import call
from profilers.adb.store import push_missing
from profilers.kits.kit import KitEntry
from profilers.measuring.accuracy_check import error_of
from subdit.core.errors import DeviceError

# For inputs and outputs, on the phone.
_FOLDER = f"{PHONE_FOLDER}/outputs"


def run_checked(
    phone: Phone, program: BenchmarkModel, job: Job, entry: KitEntry, *, precision: str, tolerance: float
) -> BenchmarkResult:
    """Run a model of the kit on its own inputs and compare what it writes.

    Args:
        precision: of the weights.
        tolerance: the largest error of the output, as `error_of` computes it.

    Returns:
        What the run said.

    Raises:
        DeviceError: the outputs differ, or the run failed.
    """
    inputs, expected = entry.arrays()
    with tempfile.TemporaryDirectory(prefix="subdit-") as scratch:
        names, files = [], []
        for index, (name, array) in enumerate(inputs.items()):
            # The tool only warns of another name; a comma or colon in one would end it.
            names.append(name if re.fullmatch(r"[A-Za-z0-9_./-]+", name) else f"input{index}")
            files.append(Path(scratch) / f"{entry.name}.{index}.bin")
            files[-1].write_bytes(np.ascontiguousarray(array).tobytes())
        push_missing(phone, _FOLDER, files)
        output = f"{_FOLDER}/{entry.name}.output.bin"
        phone.shell(["rm", "-f", output])
        extra = {
            "input_layer": ",".join(names),
            "input_layer_shape": ":".join(",".join(map(str, array.shape)) for array in inputs.values()),
            "input_layer_value_files": ",".join(
                f"{name}:{_FOLDER}/{file.name}" for name, file in zip(names, files, strict=True)
            ),
            "output_filepath": output,
        }
        said = call(phone, program, job, extra)
        there = Path(scratch) / "output.bin"
        phone.pull(output, there, size=expected.nbytes)
        found = np.frombuffer(there.read_bytes(), dtype=np.float32)
    if found.size != expected.size:
        raise DeviceError(
            f"{entry.name} wrote {found.size} numbers on the phone {phone.serial} where torch has {expected.size}; "
            "make the kit again."
        )
    error = error_of(found.reshape(expected.shape), expected, precision)
    # Written so that a NaN is refused too.
    if not error <= tolerance:
        raise DeviceError(
            f"{program.name} computes wrong values on the phone {phone.serial}: {entry.name} in {precision} differs "
            f"from torch's float32 by {error:.2g}, and {tolerance:.2g} is allowed; give another build of it, or make "
            "the kit again with --force."
        )
    return said
