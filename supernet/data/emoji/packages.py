"""The npm packages of emoji: exact versions, fetched beforehand, known by the digests in `packages.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from subdit.core import npm
from subdit.core.errors import DataError
from subdit.core.npm import NpmPackage

ICONS, NAMES, INFO = "icons.json", "chars.json", "info.json"
"""Of a design: SVG bodies by name, names by code point, licence and author."""
LABELS, GROUPS = "en/data.json", "meta/groups.json"
"""Of the descriptions: one entry per emoji, names of groups."""


@dataclass(frozen=True)
class EmojiPackages:
    """The packages that are used.

    Attributes:
        descriptions: labels, groups and skin tones.
        designs: the word in captions to the package of its pictures.
    """

    descriptions: NpmPackage
    designs: Mapping[str, NpmPackage]

    @property
    def all(self) -> tuple[NpmPackage, ...]:
        """Every package."""
        return (self.descriptions, *self.designs.values())


@cache
def pinned_packages() -> EmojiPackages:
    """What `packages.json` says."""
    stated = json.loads(files("supernet.data.emoji").joinpath("packages.json").read_text(encoding="utf-8"))
    designs = {word: NpmPackage(**package) for word, package in stated["designs"].items()}
    return EmojiPackages(NpmPackage(**stated["descriptions"]), designs)


def packages_folder() -> Path:
    """Where `install_packages` puts the packed packages."""
    return npm.cache_folder("emoji")


def install_packages() -> Path:
    """Fetch what is not there or has changed; returns the folder. Raises `MissingExtraError` and `DownloadError`."""
    folder = packages_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for package in pinned_packages().all:
        packed = folder / package.file_name
        if not packed.is_file() or package.digest_of(packed) != package.integrity:
            npm.fetch(package, folder)
    return folder


def find_packages(folder: Path, packages: EmojiPackages) -> dict[str, Path]:
    """The packed files by package name, each checked; raises `DataError` where one is missing or has changed."""
    found = {package.name: folder / package.file_name for package in packages.all}
    for package in packages.all:
        packed = found[package.name]
        if not packed.is_file():
            raise DataError(f"The emoji package {package.name} is not in {folder}; run 'make setup-emoji'.")
        if package.digest_of(packed) != package.integrity:
            raise DataError(
                f"{packed} is not {package.name} {package.version}, or has changed; delete it and run "
                "'make setup-emoji'."
            )
    return found
