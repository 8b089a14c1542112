"""Spaces as files: nothing of them is lost, what is damaged is refused in one sentence, and names are not enough."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from subdit.cli import group
from subdit.core.errors import RunError
from subdit.core.errors import SpaceError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.core.strict_yaml import parse_yaml
from subdit.core.strict_yaml import refuse_double_keys
from subdit.space import SearchSpace
from subdit.space import get_space
from subdit.space import models_id
from subdit.space import read_space
from subdit.space import recorded_space
from subdit.space import rename_space
from subdit.space import run_space
from subdit.space import space_from_dict
from subdit.space import space_hash
from subdit.space import space_names
from subdit.space import space_record
from subdit.space import space_to_dict
from subdit.space import space_to_yaml
from subdit.space import start_run
from tests.subdit.space.any_space import spaces

DIGITS = get_space("digits")
FAMILIES = (*space_names()[:8], "mobile-1k-3-4-5")
HASHES = {
    "digits": "d6f71b394b",
    "emoji-32": "9fcbfd2cbc",
    "emoji-64": "59993cbdf4",
    "mid-256": "fc4b190d9a",
    "mobile-1k": "1f3bd9ca86",
    "mobile-1k-6-20-8": "dc91637d27",
    "mobile-1k-6-20-10": "1a562187d3",
    "paper": "235eec6b9b",
    "mobile-1k-3-4-5": "a29884611c",
}
"""What artefacts hold: another content of a built-in space would part them from their space."""


@given(spaces())
def test_a_space_comes_back_from_its_file(space: SearchSpace) -> None:
    text = space_to_yaml(space, header="one\n\ntwo")
    read = space_from_dict(yaml.safe_load(text), "It")
    assert read == space and space_hash(read) == space_hash(space) and list(read.named) == list(space.named)
    assert space_to_yaml(read, header="one\n\ntwo") == text
    assert recorded_space(json.loads(json.dumps(space_record(space), sort_keys=True)), "It") == space


@pytest.mark.parametrize("name", FAMILIES)
def test_built_in_spaces_are_what_they_were(name: str) -> None:
    assert space_hash(get_space(name)) == HASHES[name]


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value in nested lists and mappings."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, entry in entries for found in [(*place, key), *places(entry, (*place, key))]]


WHOLE = space_to_dict(DIGITS)
DAMAGES = (None, -1, 2.5, "three", "", [], {}, [[]], float("nan"), float("inf"), 10**400, "\x1b[2J", {"a": 1}, [None])


@given(st.sampled_from(places(WHOLE)), st.sampled_from(DAMAGES))
def test_a_damaged_value_is_refused_in_one_sentence(place: tuple[Any, ...], damage: Any) -> None:
    values = deepcopy(WHOLE)
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = damage
    if place == ("example_prompt",) and isinstance(damage, str) and damage.isprintable():
        return
    if (place[0], damage) in (("named", {}), ("pipeline", []), ("extra", {})) and len(place) == 1:
        return
    if place == ("rope_theta",) and damage == 2.5:
        return
    if place == ("text_inputs", 0, "name") and damage == "three":
        return
    with pytest.raises(SpaceError) as refused:
        space_from_dict(values, "The file")
    assert "\n" not in str(refused.value) and str(refused.value).isprintable()


@given(st.text(max_size=200))
def test_any_text_is_a_space_or_is_refused(text: str) -> None:
    with pytest.raises(SpaceError):
        space_from_dict(parse_yaml(text, "The file", example="another", error=SpaceError), "The file")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: mine", "name: !!python/name:os.system mine", "YAML tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("name: mine", "name: !!str mine", "YAML tag"),
        ("name: mine", "name: mine\nname: yours", "key 'name' twice"),
        ("name: mine", "<<: {name: yours}\nname: mine", "merge key '<<'"),
        ("name: mine", "name: mine\nwidth: 3", "unknown key 'width'; the keys are name, latent_size"),
        ("name: mine", "", "has no 'name'; add it"),
        ("name: mine", "name: ../mine", "cannot be named '../mine'"),
        ("name: mine", "name: [", "not YAML .line"),
        ("patch_size: 2", "patch_size: 3", "latent of 8 that patches of 3 do not tile"),
        ("kv_heads: 2", "kv_heads: 4", "width 48 with 6 query heads, which 4 key-value heads do not divide"),
        ("middle: [2, 4]", "middle: [2, 3]", "middle depth of 3; U-ViT skips pair blocks"),
        ("bna_blocks: [4, 8]", "bna_blocks: [4, 5]", "4x4 tokens into 5 strips, which do not come out even"),
        ("widths: [48, 64, 80, 96]", "widths: &w [48, 64, 80, 96]", "anchor or alias in line"),
        ("down_up_skip: true", "down_up_skip: 1", "down_up_skip 1; it must be true or false"),
        ("full_heads: 12", "full_heads: 1e9", "full_heads '1e9'"),
    ],
)
def test_what_a_file_may_not_say_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = space_to_yaml(rename_space(DIGITS, "mine"))
    assert text.count(f"{old}\n") == 1
    (tmp_path / "mine.yaml").write_text(text.replace(f"{old}\n", f"{new}\n"))
    with pytest.raises(SpaceError, match=said) as refused:
        read_space(tmp_path / "mine.yaml")
    assert "\n" not in str(refused.value) and "mine.yaml" in str(refused.value)


class CountedKey(str):
    """A key that counts how often it is compared with another one."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedKey.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_looking_for_double_keys_compares_few_of_them() -> None:
    """A file of a megabyte has room for 200,000 keys, of which no two may be compared with each other."""
    count = 2000
    keys = [CountedKey(f"key{number}") for number in range(count)]
    CountedKey.comparisons = 0
    entries = [(yaml.ScalarNode("tag:yaml.org,2002:str", key), yaml.ScalarNode("", "1")) for key in keys]
    refuse_double_keys(yaml.MappingNode("tag:yaml.org,2002:map", entries), "The file", error=SpaceError)
    assert CountedKey.comparisons < 10 * count
    with pytest.raises(SpaceError, match="'key7' twice"):
        twice = yaml.MappingNode("tag:yaml.org,2002:map", [*entries, entries[7]])
        refuse_double_keys(twice, "The file", error=SpaceError)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    for content, said in (
        (b"\xff\xfe", "not text in UTF-8"),
        (b"", "no mapping"),
        (b"- 1", "no mapping"),
        (b"[" * 5000, "not YAML"),
        (b"#" * (1 << 20) + b"#", "more than 1,048,576 bytes"),
    ):
        file.write_bytes(content)
        with pytest.raises(SpaceError, match=said):
            get_space(file)
    with pytest.raises(SpaceError, match="no space file"):
        get_space(str(tmp_path / "other.yaml"))
    with pytest.raises(SpaceError, match="cannot be read"):
        get_space(tmp_path)


def test_two_spaces_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one = rename_space(DIGITS, "told-apart")
    other = replace(one, rope_theta=50.0)
    assert get_space(one) is get_space("told-apart")
    with pytest.raises(SpaceError, match=f"another search space named 'told-apart'.*{space_hash(one)}"):
        get_space(other)
    with pytest.raises(SpaceError, match="another search space named 'digits' built in"):
        get_space(replace(DIGITS, rope_theta=50.0))
    assert models_id(one) != models_id(other) and models_id(DIGITS) == "digits"
    points = {name: spec for name, spec in one.named.items() if name != "tiny"}
    assert models_id(one) == models_id(replace(one, named=points, example_prompt="a digit"))
    run = Run(tmp_path / "run")
    assert start_run(run, one)["space_hash"] == space_hash(one)
    assert start_run(run, one) and run_space(run) == one
    with pytest.raises(RunError, match=f"another space named 'told-apart' .{space_hash(one)}, not {space_hash(other)}"):
        start_run(run, other)
    run.space.write_text(space_to_yaml(other))
    with pytest.raises(RunError, match="was changed after the run began"):
        run_space(run)


def test_a_run_of_an_earlier_version_has_the_name_alone(tmp_path: Path) -> None:
    start_manifest(Run(tmp_path), space="digits")
    assert run_space(Run(tmp_path)) == DIGITS
    assert start_run(Run(tmp_path), DIGITS)["space"] == "digits"


def test_a_name_in_an_artefact_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(space_to_yaml(rename_space(DIGITS, "mine")))
    with pytest.raises(SpaceError, match="no search space"):
        recorded_space({"space": str(tmp_path / "mine.yaml")}, "The kit")


def test_a_record_of_another_content_is_refused() -> None:
    record = space_record(DIGITS)
    for damaged in ({**record, "space": "mars"}, {**record, "space_hash": "0" * 10}):
        with pytest.raises(SpaceError, match="names one space and holds another"):
            recorded_space(damaged, "The kit")


# The command line -----------------------------------------------------------------------------------------------------


def test_a_new_file_is_checked_and_sized_without_torch(tmp_path: Path) -> None:
    file = tmp_path / "my-space.yaml"
    made = CliRunner().invoke(group, ["spaces", "new", str(file), "--from", "mid-256"])
    assert made.exit_code == 0, made.output
    assert read_space(file) == rename_space(get_space("mid-256"), "my-space")
    program = "import sys; sys.modules['torch'] = sys.modules['scipy'] = None; from subdit.cli import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, "spaces", "show", str(file), "--json"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    described = json.loads(shown.stdout)
    assert (described["name"], described["hash"]) == ("my-space", space_hash(read_space(file)))
    assert described["sub_dits"] == get_space("mid-256").size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("there.yaml",), "There is a file there.yaml already; name another one, or pass --force"),
        (("mine.txt",), "ends in .yaml or .yml"),
        (("digits.yaml",), "There is a built-in space 'digits'"),
        (("mine.yaml", "--from", "mars"), "no search space 'mars'"),
        (("my space.yaml",), "cannot be named 'my space'"),
        (("folder.yaml", "--force"), "cannot be written"),
    ],
)
def test_what_cannot_be_begun_is_said(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.yaml").write_text("mine")
    Path("folder.yaml").mkdir()
    result = CliRunner().invoke(group, ["spaces", "new", *arguments])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert Path("there.yaml").read_text() == "mine"
    assert CliRunner().invoke(group, ["spaces", "new", "there.yaml", "--force"]).exit_code == 0
