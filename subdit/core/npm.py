"""Packages of the npm registry: exact versions, fetched beforehand by the npm client, known by their digests."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from subdit.core.errors import DownloadError
from subdit.core.errors import MissingExtraError


@dataclass(frozen=True)
class NpmPackage:
    """One version of a package.

    Attributes:
        name: as npm calls it.
        version: exactly.
        integrity: of the packed file, as npm writes it: the algorithm, "-", the digest in base64.
    """

    name: str
    version: str
    integrity: str

    @property
    def file_name(self) -> str:
        """What the packed file is called in a cache."""
        return f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"

    def digest_of(self, packed: Path) -> str:
        """The integrity of a packed file."""
        algorithm = self.integrity.partition("-")[0]
        return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, packed.read_bytes()).digest()).decode()}"


def cache_folder(name: str) -> Path:
    """Where something fetched lies: below $SUBDIT_HOME/cache, by default in the user's cache folder."""
    home = os.environ.get("SUBDIT_HOME")
    if home:
        return Path(home) / "cache" / name
    from platformdirs import user_cache_path

    return user_cache_path("subdit", appauthor=False) / name


def fetch(package: NpmPackage, folder: Path) -> Path:
    """Fetch a package through the npm client into a folder that exists; nothing of it is run. Returns the packed file.

    Raises:
        MissingExtraError: there is no npm.
        DownloadError: npm fails, or gives another package than the one that is known.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(f"npm is not installed, which fetches {package.name}; install it (apt install npm).")
    with tempfile.TemporaryDirectory(prefix=".subdit-npm-", dir=folder) as made:
        name = f"{package.name}@{package.version}"
        command = [npm, "pack", name, "--pack-destination", made, "--ignore-scripts", "--silent"]
        ran = subprocess.run(command, cwd=made, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        packed = list(Path(made).glob("*.tgz"))
        if ran.returncode != 0 or len(packed) != 1:
            said = (ran.stderr or ran.stdout).strip().splitlines()
            reason = said[-1] if said else f"exit code {ran.returncode}"
            raise DownloadError(f"npm cannot fetch {name} ({reason}); see that npm reaches its registry.")
        if (digest := package.digest_of(packed[0])) != package.integrity:
            raise DownloadError(
                f"npm gave another {package.name} {package.version} than the known one ({digest}); see which registry "
                "npm uses."
            )
        return packed[0].replace(folder / package.file_name)


def read_members(packed: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files of a packed package by their path in it; raises `DownloadError` where one is missing or damaged."""
    found = dict[str, bytes]()
    try:
        with tarfile.open(packed) as archive:
            for name in names:
                content = archive.extractfile(f"package/{name}")
                if content is not None:
                    found[name] = content.read()
    except (OSError, tarfile.TarError, EOFError, KeyError) as error:
        raise DownloadError(f"{packed} cannot be read ({error}); delete it and fetch it again.") from error
    if missing := [name for name in names if name not in found]:
        raise DownloadError(f"{packed} has no file {missing[0]!r}; update subdit.")
    return found
