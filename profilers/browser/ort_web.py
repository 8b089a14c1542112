"""onnxruntime-web: an exact version, installed beforehand through npm, and known by the digests in `ort_web.json`."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError


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
    """Where `install_ort_web` puts it: below $SUBDIT_HOME/cache, by default in the user's cache folder."""
    name = f"{pinned_ort_web().package}-{pinned_ort_web().version}"
    home = os.environ.get("SUBDIT_HOME")
    if home:
        return Path(home) / "cache" / name
    from platformdirs import user_cache_path

    return user_cache_path("subdit", appauthor=False) / name


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
        ProfileError: npm fails, or gives another package than the one that is known.
    """
    target = cache_folder()
    if not force:
        try:
            find_ort_web()
            return target
        except (MissingExtraError, ProfileError):
            pass
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError("npm is not installed, which fetches onnxruntime-web; install it (apt install npm).")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".subdit-web-", dir=target.parent) as made:
        name = f"{pinned_ort_web().package}@{pinned_ort_web().version}"
        command = [npm, "pack", name, "--pack-destination", made, "--ignore-scripts", "--silent"]
        ran = subprocess.run(command, cwd=made, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        packages = list(Path(made).glob("*.tgz"))
        if ran.returncode != 0 or len(packages) != 1:
            reason = (ran.stderr or ran.stdout).strip().splitlines()
            said = reason[-1] if reason else f"exit code {ran.returncode}"
            raise ProfileError(f"npm cannot fetch {name} ({said}); see that npm reaches its registry.")
        folder = Path(made) / "files"
        _unpack(packages[0], folder)
        # One step for readers; an older folder, which is damaged or unwanted, goes first.
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    find_ort_web()
    return target


def _unpack(package: Path, folder: Path) -> None:
    """Take the wanted files out of a package whose digest is right, and pack each for the way to the phone."""
    algorithm, _, expected = pinned_ort_web().integrity.partition("-")
    digest = base64.b64encode(hashlib.new(algorithm, package.read_bytes()).digest()).decode()
    if digest != expected:
        pinned = pinned_ort_web()
        raise ProfileError(
            f"npm gave another {pinned.package} {pinned.version} than the known one ({algorithm}-{digest}); see which "
            "registry npm uses."
        )
    folder.mkdir()
    with tarfile.open(package) as archive:
        for name in pinned_ort_web().files:
            content = archive.extractfile(f"package/dist/{name}")
            if content is None:
                raise ProfileError(
                    f"The package {pinned_ort_web().package} {pinned_ort_web().version} has no {name}; update subdit."
                )
            raw = content.read()
            (folder / name).write_bytes(raw)
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw, compresslevel=9, mtime=0))
