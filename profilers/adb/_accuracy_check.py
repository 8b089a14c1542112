"""Outputs on the phone against torch's: where benchmark_model can be given inputs and writes outputs."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np

from profilers.adb._adb import Phone
from profilers.adb._benchmark_model import BenchmarkModel
from profilers.adb._benchmark_model import Run
from profilers.adb._benchmark_model import Setting
from profilers.adb._benchmark_model import read_run
from profilers.adb._benchmark_model import words
from profilers.adb._store import push_missing
from profilers.kits.kit import KitEntry
from profilers.measuring.accuracy_check import error_of
from subdit.core.errors import DeviceError


def run_checked(
    phone: Phone,
    program: BenchmarkModel,
    setting: Setting,
    entry: KitEntry,
    model: str,
    *,
    folder: str,
    precision: str,
    limit: float,
    runs: int,
    max_s: float,
) -> Run:
    """Run a model of the kit on its own inputs and compare what it writes.

    Args:
        model: its path on the phone.
        folder: on the phone, for inputs and output.
        precision, limit: of the weights, and the error of an output that they allow (`profilers.measuring.error_of`).

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
        push_missing(phone, folder, files)
        output = f"{folder}/{entry.name}.output.bin"
        phone.shell(["rm", "-f", output])
        extra = {
            "input_layer": ",".join(names),
            "input_layer_shape": ":".join(",".join(map(str, array.shape)) for array in inputs.values()),
            "input_layer_value_files": ",".join(
                f"{name}:{folder}/{file.name}" for name, file in zip(names, files, strict=True)
            ),
            "output_filepath": output,
        }
        command = words(program, model, setting, runs=runs, max_s=max_s, extra=extra)
        ran = phone.shell(command, timeout_s=60.0 + 4 * max_s)
        said = read_run(ran, program, setting, entry.name)
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
    if not error <= limit:
        raise DeviceError(
            f"{program.name} computes wrong values on the phone {phone.serial}: {entry.name} in {precision} differs "
            f"from torch's float32 by {error:.2g}, and {limit:.2g} is allowed; give another build of it, or make the "
            "kit again with --force."
        )
    return said
