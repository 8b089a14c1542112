"""Whatever goes wrong on the command line is one sentence and exit code 2."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from click.testing import Result

from subdit.cli import group
from subdit.cli._group import LazyGroup
from subdit.cli._progress import Clock
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_table
from subdit.core.errors import ProfileError
from subdit.space import get_space


def run_verb_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Call a verb, known to the group alone, whose body raises `error`."""

    @click.command()
    def command() -> None:
        raise error

    module = ModuleType("subdit.cli._falter")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return CliRunner().invoke(LazyGroup("subdit", verbs={"falter": "Go wrong."}), ["falter"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProfileError("There is no device 'toaster'; there is 'kettle'."), "no device 'toaster'; there is 'kettle'."),
        (ModuleNotFoundError("no", name="torch.nn"), "torch, which is not installed; run pip install 'subdit[torch]'."),
        (PermissionError(13, "Permission denied", "/etc/out"), "Cannot use /etc/out: Permission denied."),
        (IsADirectoryError(21, "Is a directory", ".a.tmp", None, "a"), "Cannot use a: Is a directory."),
        (OSError(5, "Input/output error"), "(Input/output error); see to the disk and the memory, then run it again."),
        (MemoryError(), "enough memory for this (MemoryError); ask for less at once, or for smaller sizes."),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1]\nDefaultCPUAllocator: can't allocate memory: 4 bytes."),
            "can't allocate memory: 4 bytes); ask for less at once, or for smaller sizes.",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_verb_that_raises(error, monkeypatch)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(f"{said}\n")


@pytest.mark.parametrize(
    "error", [KeyError("x"), ModuleNotFoundError("no", name="nas._typo"), RuntimeError("x"), OSError("x")]
)
def test_a_mistake_of_ours_stays_visible(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_verb_that_raises(error, monkeypatch).exception is error


def test_interrupted_work_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_verb_that_raises(KeyboardInterrupt(), monkeypatch)
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert CliRunner().invoke(group, ["nonsense"]).exit_code == 2


def test_spaces_lists_every_space() -> None:
    result = CliRunner().invoke(group, ["spaces", "--json"])
    listed = {space["name"]: space for space in json.loads(result.stdout)}
    assert listed["digits"]["sub_dits"] == get_space("digits").size
    assert "digits" in CliRunner().invoke(group, ["spaces"]).stdout


def test_spaces_shows_dimensions_and_named_points() -> None:
    space = get_space("digits")
    shown = json.loads(CliRunner().invoke(group, ["spaces", "show", "digits", "--json"]).stdout)
    assert {name: tuple(values) for name, values in shown["dimensions"].items()} == space.dimensions
    assert {name: point["spec_hash"] for name, point in shown["named"].items()} == {
        name: spec.hash for name, spec in space.named.items()
    }
    text = CliRunner().invoke(group, ["spaces", "show", "digits"]).stdout
    for point in shown["named"].values():
        assert f"{point['params']:,}" in text


def test_an_unknown_space_is_named() -> None:
    result = CliRunner().invoke(group, ["spaces", "show", "atlantis"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: There is no search space 'atlantis'; there is digits, ")


def test_a_missing_run_is_named(tmp_path: object) -> None:
    result = CliRunner().invoke(group, ["report", f"{tmp_path}/nowhere"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: There is no run folder at {tmp_path}/nowhere")


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(("name", "size"), [("a", "1,000"), ("long name", "7")])
    assert capsys.readouterr().out.splitlines() == ["name        size", "a          1,000", "long name      7"]


def test_progress_without_a_terminal_is_a_line_at_each_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Counting") as progress:
        for done in range(1000):
            progress(done + 1, 1000, "sheep")
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[-1][:18]) == ("Counting ...", "Counting: done in ")


def test_time_left_goes_by_the_pace_since_the_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock()
    assert clock.left() == ""
    clock.report(50, 100)
    now = 110.0
    clock.report(60, 100)
    # Ten done in ten seconds, the fifty before that by an earlier attempt: forty seconds for the forty left.
    assert clock.left() == "0:40 left"
    assert clock.elapsed_s == 10.0
