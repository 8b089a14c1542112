"""onnxruntime-web: an exact version, installed beforehand through npm, and known by the digests in `ort_web.json`."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from subdit.core import npm
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError
from subdit.core.npm import NpmPackage


@dataclass(frozen=True)
class OrtWeb:
    """The version that is used.

    Attributes:
        integrity: of the package, as npm writes it.
        files: name in the package's folder `dist` to SHA-256: those of the plain WASM build, and those with WebGPU.
    """

    package: str
    version: str
    integrity: str
    files: Mapping[str, str]


@cache
def pinned_ort_web() -> OrtWeb:
    """What `ort_web.json` says."""
    return OrtWeb(**json.loads(files("profilers.browser").joinpath("ort_web.json").read_text(encoding="utf-8")))


def cache_folder() -> Path:
    """Where `install_ort_web` puts it."""
    return npm.cache_folder(f"{pinned_ort_web().package}-{pinned_ort_web().version}")


def find_ort_web(folder: Path | None = None) -> dict[str, Path]:
    """The files by name, each checked.

    Args:
        folder: onnxruntime-web as npm unpacks it, or its folder `dist`; by default the cache.

    Raises:
        MissingExtraError: it is not installed.
        ProfileError: it is another version, or has changed.
    """
    version = pinned_ort_web().version
    base = cache_folder() if folder is None else folder
    if (base / "dist").is_dir():
        base = base / "dist"
    if not any((base / name).is_file() for name in pinned_ort_web().files):
        raise MissingExtraError(
            f"onnxruntime-web {version} is not in {base}; run 'make setup-web', or name its folder with --ort-web."
        )
    found = {name: base / name for name in pinned_ort_web().files}
    for name, path in found.items():
        packed = path.with_name(f"{name}.gz")
        try:
            # The packed file is what a phone is sent, so it is checked as well.
            contents = [path.read_bytes(), *([gzip.decompress(packed.read_bytes())] if packed.is_file() else [])]
        except (OSError, EOFError, ValueError):
            contents = [b""]
        if any(hashlib.sha256(content).hexdigest() != pinned_ort_web().files[name] for content in contents):
            raise ProfileError(
                f"{path} is not that of onnxruntime-web {version}, or has changed; delete it and run 'make setup-web'."
            )
    return found


def install_ort_web(*, force: bool = False) -> Path:
    """Fill the cache through the npm client; nothing of the package is run. Returns the cache's folder.

    Raises:
        MissingExtraError: there is no npm.
        DownloadError: npm fails, or gives another package than the one that is known.
    """
    target = cache_folder()
    if not force:
        try:
            find_ort_web()
            return target
        except (MissingExtraError, ProfileError):
            pass
    pinned = pinned_ort_web()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".subdit-web-", dir=target.parent) as made:
        packed = npm.fetch(NpmPackage(pinned.package, pinned.version, pinned.integrity), Path(made))
        folder = Path(made) / "files"
        folder.mkdir()
        for name, content in npm.read_members(packed, tuple(f"dist/{name}" for name in pinned.files)).items():
            file = folder / Path(name).name
            file.write_bytes(content)
            # And packed for the way to the phone.
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
        # One step for readers; an older folder, which is damaged or unwanted, goes first.
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    find_ort_web()
    return target
