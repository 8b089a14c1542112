"""Emoji as a source of captioned pictures, drawn from the packages in the cache when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from subdit.core import npm
from subdit.core.errors import DataError
from subdit.core.errors import DownloadError
from subdit.core.errors import MissingExtraError
from supernet.data.emoji.catalogue import Drawing
from supernet.data.emoji.catalogue import drawings
from supernet.data.emoji.catalogue import emoji_by_code_points
from supernet.data.emoji.catalogue import emoji_by_name
from supernet.data.emoji.packages import GROUPS
from supernet.data.emoji.packages import ICONS
from supernet.data.emoji.packages import INFO
from supernet.data.emoji.packages import LABELS
from supernet.data.emoji.packages import NAMES
from supernet.data.emoji.packages import EmojiPackages
from supernet.data.emoji.packages import find_packages
from supernet.data.emoji.packages import packages_folder
from supernet.data.emoji.packages import pinned_packages
from supernet.data.source import Example
from supernet.data.splits import SplitRule

PICTURE_SIZE = 64
"""Side of the pictures in pixels."""
RENDERER = "resvg-py"
SPLIT_COLUMN = "composition"
"""Concept and design: a composition that judges was never seen, though both of its parts were."""


@dataclass(frozen=True)
class _Design:
    icons: dict[str, Any]
    names: dict[str, str]
    licence: str


class EmojiSource:
    """Five designs of some 1,500 concepts; two versions with equal packages give equal pictures."""

    kind = "emoji"
    licence_column: str | None = "licence"
    # About 10,200 pictures train, 860 validate and 3,000 judge.
    default_split = SplitRule(validation=0.06, judge=0.21, group_by=SPLIT_COLUMN)

    def __init__(
        self, path: Path | None = None, *, packages: EmojiPackages | None = None, size: int = PICTURE_SIZE
    ) -> None:
        """Find the packages; nothing is drawn yet.

        Args:
            path: folder of the packed packages, by default the cache.
            packages: which ones, by default the pinned ones.
            size: side of the pictures in pixels.

        Raises:
            MissingExtraError: there is nothing that draws.
            DataError: a package is missing or has changed.
        """
        self.path = packages_folder() if path is None else path
        self.packages = pinned_packages() if packages is None else packages
        self.size = size
        try:
            self._renderer = metadata.version(RENDERER)
        except metadata.PackageNotFoundError as error:
            raise MissingExtraError("Emoji are drawn by resvg-py; install it (pip install 'subdit[emoji]').") from error
        self._packed = find_packages(self.path, self.packages)

    def count(self) -> int:
        return len(self._drawings)

    def fingerprint(self) -> str:
        """Of what the pictures are drawn from, and by; the same on every machine."""
        facts = [[package.name, package.integrity] for package in self.packages.all]
        return hashlib.sha256(json.dumps([facts, self._renderer, self.size]).encode()).hexdigest()[:16]

    def examples(self, start: int = 0) -> Iterator[Example]:
        for drawing in self._drawings[start:]:
            yield self._example(drawing)

    def _example(self, drawing: Drawing) -> Example:
        emoji = drawing.emoji
        columns = {
            "design": drawing.design,
            "group": emoji.group,
            "subgroup": emoji.subgroup,
            "concept": emoji.concept,
            SPLIT_COLUMN: f"{emoji.concept}, {drawing.design}",
            "licence": self._designs[drawing.design].licence,
        }
        if emoji.skin_tone is not None:
            columns["skin_tone"] = str(emoji.skin_tone)
        return Example(
            id=f"{drawing.design}/{drawing.name}",
            read=lambda: draw(drawing.svg, self.size),
            size_bytes=len(drawing.svg.encode()),
            caption=drawing.caption,
            columns=columns,
        )

    @cached_property
    def _designs(self) -> dict[str, _Design]:
        found = {}
        for word, package in self.packages.designs.items():
            icons, names, info = self._read(package.name, ICONS, NAMES, INFO)
            author = info["author"]
            found[word] = _Design(icons, names, f"{info['license']['spdx']}, {author['name']}, {author['url']}")
        return found

    @cached_property
    def _drawings(self) -> list[Drawing]:
        labels, groups = self._read(self.packages.descriptions.name, LABELS, GROUPS)
        emoji = emoji_by_code_points(labels, groups)
        names = emoji_by_name(emoji, [design.names for design in self._designs.values()])
        return [drawing for word, design in self._designs.items() for drawing in drawings(word, design.icons, names)]

    def _read(self, package: str, *names: str) -> list[Any]:
        try:
            found = npm.read_members(self._packed[package], names)
            return [json.loads(found[name]) for name in names]
        except (DownloadError, ValueError) as error:
            raise DataError(f"The emoji package {package} cannot be read ({error}); run 'make setup-emoji'.") from error


def draw(svg: str, size: int) -> bytes:
    """A PNG file of `size` by `size` pixels, transparent where the SVG draws nothing."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
