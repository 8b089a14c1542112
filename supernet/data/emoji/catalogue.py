"""Which emoji there are, and what each is called: pure functions of the packages' files.

Pictures of a design have names and no code points in two of the packages, so names are the key. The other packages say
which code points a name has, and an emoji's label, made a name, is one as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIATION_SELECTOR = "FE0F"
"""Asks for a coloured picture, and stands in some code points and not in others."""

LEFT_OUT = "flags"
"""The group that only one design has whole."""

_TONE = re.compile(r"[:,]? [a-z-]+ skin tone")
_PERSON = re.compile(r"\b(man|woman|person|men|women|people|facing right)\b")


@dataclass(frozen=True)
class Emoji:
    """One emoji, whatever its design.

    Attributes:
        code_points: hexadecimal, joined by "-", without variation selectors.
        label: what it shows, such as "woman farmer: dark skin tone".
        group: of ten, such as "food-drink".
        subgroup: of about a hundred, such as "food-fruit".
        skin_tone: 1 (light) to 5 (dark), None where it has none or several.
    """

    code_points: str
    label: str
    group: str
    subgroup: str
    skin_tone: int | None

    @property
    def concept(self) -> str:
        """The label without skin tones, man, woman and person, and mirror images: near-twins have one concept."""
        words = _PERSON.sub(" ", _TONE.sub(" ", self.label))
        return " ".join(words.replace(":", " ").replace(",", " ").split()) or self.label


@dataclass(frozen=True)
class Drawing:
    """The picture of an emoji in a design.

    Attributes:
        design: the design's word in captions.
        name: of the picture in its package.
        emoji: what it shows.
        svg: the whole picture.
    """

    design: str
    name: str
    emoji: Emoji
    svg: str

    @property
    def caption(self) -> str:
        """The design, then what it shows."""
        return f"{self.design} emoji, {self.emoji.label}"


def bare_code_points(written: str) -> str:
    """Code points in the one form in which packages can be compared."""
    parts = (part.upper().lstrip("0") for part in written.split("-"))
    return "-".join(part for part in parts if part != VARIATION_SELECTOR)


def emoji_by_code_points(entries: Iterable[Mapping[str, Any]], groups: Mapping[str, Any]) -> dict[str, Emoji]:
    """Emoji of emojibase's `data.json` and `groups.json`, those of each skin tone too; flags are left out."""
    found = {}
    for entry in entries:
        for each in (entry, *entry.get("skins", ())):
            # Letters that flags are made of have no group.
            if "group" not in each or groups["groups"][str(each["group"])] == LEFT_OUT:
                continue
            code_points = bare_code_points(each["hexcode"])
            tone = each.get("tone")
            found[code_points] = Emoji(
                code_points,
                each["label"],
                groups["groups"][str(each["group"])],
                groups["subgroups"][str(each["subgroup"])],
                tone if isinstance(tone, int) else None,
            )
    return found


def emoji_by_name(emoji: Mapping[str, Emoji], names: Iterable[Mapping[str, str]]) -> dict[str, Emoji]:
    """What the packages' names mean.

    Args:
        emoji: by code points.
        names: of each design, by code points; empty where a package has none.
    """
    found = {_as_name(each.label): each for each in emoji.values()}
    for of_design in names:
        for code_points, name in of_design.items():
            each = emoji.get(bare_code_points(code_points))
            if each is not None:
                found[name] = each
    return found


def drawings(design: str, icons: Mapping[str, Any], names: Mapping[str, Emoji]) -> Iterator[Drawing]:
    """Pictures of a design whose names mean an emoji, one for each emoji, in the order of their names.

    Args:
        design: the design's word in captions.
        icons: what iconify's `icons.json` holds.
        names: what names mean.
    """
    aliases: dict[str, list[str]] = {}
    for alias, stated in icons.get("aliases", {}).items():
        # One with more than a parent is another picture, such as its mirror image.
        if stated.keys() == {"parent"}:
            aliases.setdefault(stated["parent"], []).append(alias)
    drawn = set[str]()
    for name, icon in sorted(icons["icons"].items()):
        if icon.get("hidden"):
            continue
        emoji = next((names[known] for known in (name, *sorted(aliases.get(name, ()))) if known in names), None)
        if emoji is None or emoji.code_points in drawn:
            continue
        drawn.add(emoji.code_points)
        yield Drawing(design, name, emoji, _svg(icons, icon))


def _as_name(label: str) -> str:
    """A label in the form in which iconify writes names."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub("['\u2019]", "", label.lower())).strip("-")


def _svg(icons: Mapping[str, Any], icon: Mapping[str, Any]) -> str:
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    view = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{icon["body"]}</svg>'
