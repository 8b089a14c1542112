"""Whatever a file holds, reading and checking it ends in a profile with findings or in one sentence, and never else."""

from __future__ import annotations

import copy
import json
import os
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from device_profiles import DeviceProfile
from device_profiles import check_plausibility
from device_profiles import read_profile
from device_profiles import user_registry
from device_profiles._registry import _MAX_BYTES
from device_profiles._registry import SHIPPED
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.core.errors import SubditError
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile
from tests.device_profiles.made_up import whole_profile


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


STRANGE = [
    *(10**400, -(10**400), 10**30, -(10**30), 2**63, 2**53, -1, 0, 1, 2),
    *(1e308, -1e308, 5e-324, 1e-9, 1e9, -0.0, 0.5, float("nan"), float("inf")),
    *("", "NaN", "Infinity", "1", "\ud800", "\x1b[31m", "digits\n", "\x00", "x" * 5000, "../../etc/passwd"),
    *([], {}, [[]], {"": {}}, {"\n": 1}, [1] * 3, None, True, False),
    *(nested(40), nested(400), {"a": nested(900)}),
]


def places(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value lies, of every value but the root; of a table's entries, the first three."""
    if isinstance(values, dict):
        inside = list(values.items())
        inside = inside[:3] if at in {("components",), ("calibration", "factors")} else inside
    else:
        inside = list(enumerate(values))[:3] if isinstance(values, list) else []
    return [place for key, value in inside for place in ((*at, key), *places(value, (*at, key)))]


def put(values: Any, at: tuple[Any, ...], value: Any) -> None:
    for key in at[:-1]:
        values = values[key]
    values[at[-1]] = copy.copy(value)


def ends_in_a_sentence(path: Path) -> bool:
    """Whether the file is no profile, and if so, that it is said in one sentence."""
    try:
        found = check_plausibility(read_profile(path))
    except SubditError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
        return True
    assert all(finding.message.endswith(".") and finding.message.isprintable() for finding in found)
    return False


@pytest.mark.parametrize(
    ("profile", "times", "together"),
    # Each that is judged by its whole sub-DiTs is a fit.
    [(made_up_profile(latency_ms=lifelike_ms()), 3, 150), (whole_profile(12), 1, 20)],
    ids=["table", "whole"],
)
def test_a_profile_with_strange_values_is_judged_or_refused(
    profile: DeviceProfile, times: int, together: int, tmp_path: Path
) -> None:
    drawn = random.Random(7)
    whole = profile.to_dict()
    file = tmp_path / "strange.json"
    refused = judged = 0
    cases = [[(place, drawn.choice(STRANGE))] for place in places(whole) for _ in range(times)]
    # A few at once get past the first rule that would have refused them alone.
    mild = [1e-9, 1e9, 0, 1, 2**53 - 1, -1e9, 0.5, -1, {}, []]
    cases += [[(place, drawn.choice(mild)) for place in drawn.sample(places(whole), 2)] for _ in range(together)]
    with warnings.catch_warnings():
        # numpy warns of overflow where it should never come to one.
        warnings.simplefilter("error")
        for case in cases:
            values = copy.deepcopy(whole)
            for place, value in case:
                try:
                    put(values, place, value)
                except (TypeError, KeyError, IndexError):
                    continue
            file.write_text(json.dumps(values))
            try:
                was_refused = ends_in_a_sentence(file)
            except BaseException as error:
                raise AssertionError([(place, repr(value)[:60]) for place, value in case]) from error
            refused, judged = refused + was_refused, judged + (not was_refused)
    assert refused > 60 and judged > 10


def test_an_integer_of_400_digits_is_nowhere_a_traceback(tmp_path: Path) -> None:
    whole = made_up_profile().to_dict()
    for place in places(whole):
        values = copy.deepcopy(whole)
        put(values, place, 10**400)
        (tmp_path / "huge.json").write_text(json.dumps(values))
        with pytest.raises(ProfileError):
            read_profile(tmp_path / "huge.json")


@pytest.mark.parametrize("profile", [made_up_profile(), whole_profile(12)], ids=["table", "whole"])
def test_latencies_of_all_magnitudes_are_judged(profile: DeviceProfile, tmp_path: Path) -> None:
    """Which the schema allows one by one, and no fit can be made of together."""
    drawn = random.Random(3)
    for _ in range(8):
        values = profile.to_dict()
        whole = [entry["latency"] for entry in (values["calibration"] or values)["whole"]]
        for latency in (*values["components"].values(), *whole):
            latency_ms = 10 ** drawn.uniform(-9, 9)
            latency.update(latency_ms=latency_ms, low_ms=0.0, high_ms=drawn.choice([latency_ms, 1e9]))
        (tmp_path / "wide.json").write_text(json.dumps(values))
        assert not ends_in_a_sentence(tmp_path / "wide.json")
        assert check_plausibility(read_profile(tmp_path / "wide.json"))


TEXTS = {
    "brackets": "[" * 200_000,
    "braces": '{"a":' * 100_000,
    "digits": '{"subdit_profile": 1, "threads": ' + "9" * 5000 + "}",
    "latin-1": '{"device": "\xe9"}',
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("verb", ["check", "show"])
def test_a_file_that_is_hardly_json_is_told_in_a_sentence(name: str, verb: str, tmp_path: Path) -> None:
    file = tmp_path / "strange.json"
    file.write_text(TEXTS[name], encoding="latin-1")
    result = CliRunner().invoke(group, ["devices", verb, str(file)])
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2
    assert "is damaged" in result.output


@pytest.mark.parametrize("verb", ["check", "show"])
def test_what_is_no_file_is_named_as_such_and_not_waited_for(verb: str, tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder.json", tmp_path / "pipe.json"
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe):
        result = CliRunner().invoke(group, ["devices", verb, str(path)])
        assert isinstance(result.exception, SystemExit) and result.exit_code == 2
        assert f"{path} is no file; name the file of a profile." in result.output


def test_no_profile_is_as_large_as_that(tmp_path: Path) -> None:
    """A good one, and blanks after it."""
    text = json.dumps(made_up_profile().to_dict())
    file = tmp_path / "large.json"
    file.write_text(text + " " * (_MAX_BYTES - len(text)))
    assert read_profile(file) == made_up_profile()
    file.write_text(text + " " * (_MAX_BYTES - len(text) + 1))
    with pytest.raises(ProfileError, match=r"large.json is larger than 8 MB, which no profile is"):
        read_profile(file)
    assert max(path.stat().st_size for path in SHIPPED.glob("*.json")) < _MAX_BYTES / 100


def test_a_name_that_is_too_long_for_a_file_is_no_device() -> None:
    result = CliRunner().invoke(group, ["devices", "show", "a" * 5000])
    assert isinstance(result.exception, SystemExit) and result.exit_code == 2


def test_strange_files_among_the_users_own_hide_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))
    user_registry().mkdir()
    for name, text in TEXTS.items():
        (user_registry() / f"{name}.json").write_text(text, encoding="latin-1")
    result = CliRunner().invoke(group, ["devices", "list"])
    assert result.exit_code == 0 and "linux-amd-epyc" in result.output and "brackets.json" in result.output
