"""Packages of emoji as npm packs them, with some sixty pictures drawn for the tests."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from subdit.core.npm import NpmPackage
from supernet.data.emoji.packages import EmojiPackages

DESIGNS = ("noto", "noto v1", "twemoji", "emojione", "fluent")
WITH_CODE_POINTS = ("noto", "twemoji", "fluent")
"""The other two, as the real ones, say names alone."""
SHAPES = {
    "star": '<path d="M16 2l4 10h10l-8 6 3 11-9-7-9 7 3-11-8-6h10z" fill="{}"/>',
    "circle": '<circle cx="16" cy="16" r="12" fill="{}"/>',
    "square": '<path d="M5 5h22v22H5z" fill="{}"/>',
    "triangle": '<path d="M16 4l13 24H3z" fill="{}"/>',
}
COLOURS = {"red": "#d02020", "green": "#20a040", "blue": "#2040d0"}
CONCEPTS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
"""Twelve, each in five designs."""
GROUPS = {
    "groups": {"0": "shapes", "1": "people-body", "9": "flags"},
    "subgroups": {"0": "round", "1": "angular", "2": "person", "3": "country-flag"},
}


def entry(label: str, code: str, group: int, subgroup: int, **more: Any) -> dict[str, Any]:
    return {"label": label, "hexcode": code, "group": group, "subgroup": subgroup} | more


def labels() -> list[dict[str, Any]]:
    """Shapes, a person in two skin tones, a man, a flag, and a letter without a group."""
    shapes = [
        entry(concept, f"{0x1F300 + number:X}", 0, int("circle" not in concept))
        for number, concept in enumerate(CONCEPTS)
    ]
    tones = [
        entry(f"cook: {name} skin tone", f"1F468-1F3FB-{tone}", 1, 2, tone=tone)
        for tone, name in ((1, "light"), (5, "dark"))
    ]
    return [
        *shapes,
        entry("cook", "1F468-FE0F", 1, 2, skins=tones),
        entry("man cook", "1F468-200D", 1, 2),
        entry("flag: Nowhere", "1F1E6", 9, 3),
        {"label": "regional indicator A", "hexcode": "1F1E7"},
    ]


def name_of(label: str) -> str:
    return label.replace(":", "").replace(" ", "-").lower()


def icons(design: str) -> dict[str, Any]:
    """Each concept in its colour, the design's number as an outline; names as the real packages have them."""
    outline = DESIGNS.index(design)
    drawn = {}
    for concept in CONCEPTS:
        colour, shape = concept.split()
        body = SHAPES[shape].format(COLOURS[colour]).replace("/>", f' stroke="#111" stroke-width="{outline}"/>')
        drawn[name_of(concept)] = {"body": body}
    drawn["flag-nowhere"] = {"body": SHAPES["square"].format("#fff")}
    drawn["no-such-emoji"] = {"body": SHAPES["square"].format("#fff")}
    drawn["hidden-red-star"] = {"body": SHAPES["square"].format("#fff"), "hidden": True}
    aliases: dict[str, Any] = {"turned-red-star": {"parent": "red-star", "hFlip": True}}
    if design == "noto":
        for label in ("cook", "cook: light skin tone", "cook: dark skin tone", "man cook"):
            drawn[name_of(label)] = {"body": SHAPES["circle"].format("#ecc")}
    if design == "emojione":
        # A name of its own, which an alias makes known.
        drawn["chef"] = {"body": SHAPES["circle"].format("#ecc"), "width": 64, "height": 64}
        aliases["cook"] = {"parent": "chef"}
    return {"prefix": "test", "icons": drawn, "aliases": aliases, "width": 32, "height": 32}


def design_files(design: str) -> dict[str, Any]:
    names = {each["hexcode"].lower(): name_of(each["label"]) for each in labels()} if design in WITH_CODE_POINTS else {}
    info = {
        "license": {"spdx": "MIT" if design == "fluent" else "Apache-2.0"},
        "author": {"name": f"The makers of {design}", "url": f"https://example.org/{name_of(design)}"},
    }
    return {"icons.json": icons(design), "chars.json": names, "info.json": info}


def pack(package: str, files: dict[str, Any], folder: Path) -> NpmPackage:
    """Write a package as npm packs it, and say what it is known by."""
    unknown = NpmPackage(package, "1.0.0", "sha512-")
    packed = folder / unknown.file_name
    with tarfile.open(packed, "w:gz") as archive:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return NpmPackage(package, "1.0.0", unknown.digest_of(packed))


def write_packages(folder: Path) -> EmojiPackages:
    """All packages in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptions = pack("emojibase-data", {"en/data.json": labels(), "meta/groups.json": GROUPS}, folder)
    designs = {design: pack(f"@test/{name_of(design)}", design_files(design), folder) for design in DESIGNS}
    return EmojiPackages(descriptions, designs)
