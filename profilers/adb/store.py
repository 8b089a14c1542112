"""Files on the phone: only those that are missing or differ are copied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from profilers.adb.adb import PHONE_FOLDER
from profilers.adb.adb import Phone
from profilers.adb.adb import device_path
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import identify_program
from profilers.adb.benchmark_model import require_abi
from profilers.kits.kit import digest_of
from subdit.core.errors import DeviceError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

# Copied by one call, so that progress shows and a cut costs little.
_BATCH_FILES, _BATCH_BYTES = 32, 64 * 2**20
_HASHED_PER_S = 5e7


def push_missing(
    phone: Phone, folder: str, files: Sequence[Path], *, progress: ProgressCallback = no_progress
) -> tuple[Path, ...]:
    """Copy the files that the phone's folder lacks, or has with another SHA-256; returns them.

    Raises:
        DeviceError: the phone cannot be written to, or was lost.
    """
    for file in files:
        device_path(f"{folder}/{file.name}")
    size = sum(file.stat().st_size for file in files)
    made = phone.shell(["mkdir", "-p", device_path(folder)])
    if made.code != 0:
        raise DeviceError(f"The phone {phone.serial} cannot make {folder} ({made.err.strip()[:160]}); remove it there.")
    said = phone.shell_script(f"cd {folder} && sha256sum * 2>/dev/null", timeout_s=30.0 + size / _HASHED_PER_S)
    there = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64}) [ *](\S+)$", said.out, re.MULTILINE)}
    missing = tuple(file for file in files if there.get(file.name) != digest_of(file))
    for done, batch in _batches(missing):
        progress(done, len(missing), f"copying {batch[0].name}")
        phone.push(batch, f"{folder}/")
    return missing


def install(phone: Phone, file: Path, abis: Sequence[str]) -> BenchmarkModel:
    """Copy benchmark_model, make it executable, and find out which of the two it is.

    Raises:
        DeviceError: it is no program for this phone, or neither of the two.
    """
    require_abi(file, abis)
    digest = digest_of(file)
    folder = f"{PHONE_FOLDER}/bin/{digest[:16]}"
    path = f"{folder}/benchmark_model"
    held = phone.shell(["sha256sum", device_path(path)])
    if not held.out.startswith(digest):
        phone.shell(["mkdir", "-p", folder])
        phone.push([file], path)
    phone.shell(["chmod", "755", path])
    return identify_program(phone.shell([path, "--help"]), path, digest[:16], file)


def _batches(files: Sequence[Path]) -> list[tuple[int, list[Path]]]:
    """Files in batches, each with the number of those before it."""
    batches: list[tuple[int, list[Path]]] = []
    size = 0
    for index, file in enumerate(files):
        if not batches or len(batches[-1][1]) == _BATCH_FILES or size > _BATCH_BYTES:
            batches.append((index, []))
            size = 0
        batches[-1][1].append(file)
        size += file.stat().st_size
    return batches
