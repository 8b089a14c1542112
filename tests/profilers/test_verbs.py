"""The verbs `kit`, `profile` and `devices`: what they print, and one sentence and exit code 2 where they cannot."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from click.testing import Result

from device_profiles import load_profile
from device_profiles import save_profile
from device_profiles import user_registry
from subdit.cli import group
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def test_devices_lists_shows_and_checks() -> None:
    assert "no device profiles yet" in call("devices", "list", "--space", "mid-256").output
    profile = made_up_profile()
    path = save_profile(profile)
    assert profile.id in call("devices").output
    listed, *others = json.loads(call("devices", "list", "--json").output)
    assert listed["id"] == profile.id and listed["path"] == str(path) and not listed["shipped"]
    assert all(other["shipped"] for other in others)
    assert json.loads(call("devices", "--json").output) == [listed, *others]
    shown = call("devices", "show", "kettle", "--components").output
    assert profile.id in shown and "text_projection" in shown and "mean error" in shown
    assert json.loads(call("devices", "show", "kettle", "--json").output) == profile.to_dict()


def test_what_nobody_measured_is_marked_in_every_table() -> None:
    estimated = load_profile("raspberry-pi-5/roofline")
    save_profile(dataclasses.replace(estimated, device="oven", provenance="measured"))
    lines = {line.split()[0]: line for line in call("devices", "list").stdout.splitlines() if line}
    assert "ESTIMATED, not measured" in lines[estimated.id]
    assert "REPORTED, not measured here" in lines["iphone-16-pro-max/coreml/unstated/t1"]
    assert "ESTIMATED, not measured" in call("devices", "show", estimated.id).output
    assert "roofline" in call("devices", "show", estimated.id).output
    compared = call("devices", "compare", estimated.id, "oven").output
    assert compared.count("ESTIMATED, not measured") == 1
    as_json = json.loads(call("devices", "compare", estimated.id, "oven", "--json").output)
    assert (as_json["first_provenance"], as_json["second_provenance"]) == ("estimated", "measured")
    shown = call("devices", "show", "iphone-16-pro-max/coreml/unstated").output
    assert "predicts nothing" in shown and "280 ms" in shown and "decoder" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--also", "decoder"], "is not PART=FILE"),
        (["--also", "decoder=a", "--also", "decoder=b"], "comes twice"),
    ],
)
def test_parts_of_a_pipeline_are_written_once_each(arguments: list[str], said: str) -> None:
    result = call("profile", "nowhere", *arguments)
    assert result.exit_code == 2 and said in result.output


def test_a_damaged_profile_fails_the_check_and_hides_no_other() -> None:
    path = save_profile(made_up_profile(latency_ms=lifelike_ms()))
    assert "good" in call("devices", "check").output
    broken = user_registry() / "broken.json"
    broken.write_text(path.read_text().replace('"threads": 1', '"threads": "one"'))
    assert "kettle/onnxruntime/fp32/t1" in call("devices").output
    checked = call("devices", "check")
    assert checked.exit_code == 2
    assert "threads: must be of type integer" in checked.output
    assert call("devices", "check", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kit", "letters"], "no search space 'letters'"),
        (["kit", "digits", "--runtime", "abacus"], "no runtime 'abacus'; there is litert, onnxruntime"),
        (["kit", "digits", "--out", "mine"], "holds no kit"),
        (["profile", "nowhere"], "There is no kit at nowhere"),
        (["profile", "mine"], "There is no kit at mine"),
        (["devices", "show", "toaster"], "There is no device 'toaster'"),
        (["devices", "show", "missing.json"], "There is no profile at missing.json"),
        (["devices", "show", "mine/letter.json"], "damaged"),
        (["devices", "check", "mine/letter.json"], "damaged"),
        (["devices", "list", "--space", "letters"], "no search space 'letters'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.json").write_text('{"dear": "reader"}')
    result = call(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in result.output


def test_every_verb_has_an_example() -> None:
    verbs = ("list", "show", "check", "template")
    for arguments in (["kit"], ["profile"], ["devices"], *(["devices", verb] for verb in verbs)):
        output = call(*arguments, "--help").output
        assert f"subdit {' '.join(arguments)}" in output and "Example" in output
