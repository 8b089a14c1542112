"""The digest of a supernet's weights, which every artefact made from them carries."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from subdit.core.errors import CheckpointError
from subdit.core.files import write_json

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
DIGEST_FILE = ".digest.json"
"""Beside large weights: their digest, and by what their files are known again without being read."""

KEPT_FROM_BYTES = 64_000_000
"""Smaller weights are read each time, which takes less than a tenth of a second."""
_SETTLED_NS = 2_000_000_000
"""Files changed later than this before their digest was begun may change again without another time of change."""


def weight_files(path: Path) -> list[Path]:
    """The files that hold a saved model's weights: one, or an index and its shards; raises `CheckpointError`."""
    if not (path / INDEX).exists():
        return [path / WEIGHTS]
    try:
        shards = set(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The weights at {path} are damaged ({INDEX}: {error}); make them again.") from error
    return [path / INDEX, *(path / shard for shard in sorted(shards))]


def supernet_digest(path: Path) -> str:
    """Ten hexadecimal digits of the weights saved in a folder; raises `CheckpointError` where there are none.

    Of weights too large to be read by every verb the digest is kept beside them, and holds as long as size and times of
    change of their files do.
    """
    files = weight_files(path)
    began_ns = time.time_ns()
    before = _stamps(path, files)
    large = sum(size for _, size, _, _ in before) >= KEPT_FROM_BYTES
    if large and (known := _kept(path, before)) is not None:
        return known
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                while block := opened.read(1 << 24):
                    digest.update(block)
        except OSError as error:
            raise _missing(path, file, error) from error
    found = digest.hexdigest()[:10]
    settled = all(max(changed) < began_ns - _SETTLED_NS for _, _, *changed in before)
    if large and settled and _stamps(path, files) == before:
        # A folder that one may only read costs the time to read it.
        with contextlib.suppress(OSError):
            write_json(path / DIGEST_FILE, {"digest": found, "files": before})
    return found


Stamp = tuple[str, int, int, int]
"""Name, size, and the times in nanoseconds at which content and file were changed."""


def _stamps(path: Path, files: list[Path]) -> list[Stamp]:
    stamps = []
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise _missing(path, file, error) from error
        # The second time cannot be set by a program that copies a file with its times.
        stamps.append((file.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return stamps


def _kept(path: Path, stamps: list[Stamp]) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads((path / DIGEST_FILE).read_text(encoding="utf-8"))
        if kept["files"] == [list(stamp) for stamp in stamps]:
            return str(kept["digest"])
    return None


def _missing(path: Path, file: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"There are no weights at {path} ({file.name}: {error.strerror}); train a supernet.")
