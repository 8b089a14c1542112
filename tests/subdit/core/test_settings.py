"""Settings say beside their default what they may be, and every value is held against that."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from subdit.core.errors import ConfigError
from subdit.core.settings import check_settings
from subdit.core.settings import setting
from subdit.core.settings import settings_of


@dataclass(frozen=True)
class Config:
    count: int = setting(3, "A count.", minimum=1, maximum=2**20)
    rate: float = setting(0.5, "A rate.", above=0)
    share: float = setting(0.5, "A share.", minimum=0, below=1)
    pause_s: float | None = setting(None, "A pause.", minimum=0)
    fast: bool = setting(False, "Whether it hurries.")
    kind: str = setting("one", "Its kind.", choices=("one", "two"))
    name: str = setting("it", "Its name.")
    folder: Path | None = setting(None, "Its folder.")
    prompts: tuple[str, ...] = setting((), "Its prompts.")
    plain: int = 7

    def __post_init__(self) -> None:
        check_settings(self)


GOOD: dict[str, tuple[Any, ...]] = {
    "count": (1, 2**20),
    "rate": (1, 1e-9, 1e9),
    "share": (0, 0.999),
    "pause_s": (None, 0, 3.5),
    "fast": (True,),
    "kind": ("two",),
    "name": ("", "anything"),
    "folder": (None, Path("there")),
    "prompts": ((), ("a", "")),
}
BAD: dict[str, tuple[tuple[Any, ...], str]] = {
    "count": ((0, 2**20 + 1, 1.0, True, None, "3"), "a whole number from 1 to 1,048,576"),
    "rate": ((0, -1.0, float("nan"), float("inf"), False, None, "0.5"), "a number above 0"),
    "share": ((-0.1, 1, 1.0), "a number from 0 below 1"),
    "pause_s": ((-1, float("nan"), "3 s"), "a number of seconds from 0 on, or null"),
    "fast": ((0, 1, None, "yes"), "true or false"),
    "kind": (("three", "", None, 1), "one of one, two"),
    "name": ((None, 3, b""), "a text"),
    "folder": (("there", 3), "a path, or null"),
    "prompts": (("a", ["a"], (1,), None), "a list of texts"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_value_within_bounds_is_accepted(name: str) -> None:
    for value in GOOD[name]:
        assert getattr(replace(Config(), **{name: value}), name) == value


@pytest.mark.parametrize("name", BAD)
def test_any_other_value_is_refused_in_one_sentence(name: str) -> None:
    values, expected = BAD[name]
    for value in values:
        with pytest.raises(ConfigError) as refused:
            replace(Config(), **{name: value})
        said = str(refused.value)
        assert said.startswith(f"The setting {name} is ") and said.endswith(f"; give {expected}.") and "\n" not in said


def test_what_a_setting_states() -> None:
    stated = settings_of(Config)
    assert list(stated) == list(GOOD), "a plain field is none"
    assert stated["pause_s"].kind is float and stated["pause_s"].optional and stated["pause_s"].default is None
    assert stated["prompts"].kind is tuple and stated["folder"].kind is Path and stated["kind"].help == "Its kind."


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as refused:
        Config(kind="x" * 5000)
    assert len(str(refused.value)) < 120
