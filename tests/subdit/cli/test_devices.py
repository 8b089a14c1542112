"""`subdit devices`: looking at profiles fits none of them, and says so; `--fit` says how far the fit is off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_profiles import LatencyEstimator
from device_profiles import load_profile
from subdit.cli import group
from subdit.space import get_space

FITTED = "linux-amd-epyc/onnxruntime/fp32/t1"
CALIBRATED = "linux-amd-epyc/litert/fp32/t1"


@pytest.fixture(autouse=True)
def shipped_profiles_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(group, ["devices", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_list_fits_nothing_and_says_so() -> None:
    lines = {line.split()[0]: line for line in shown("list", "--space", "digits").splitlines() if line}
    assert "not fitted" in lines[FITTED] and "not fitted" not in lines[CALIBRATED]
    assert "devices list --fit" in lines["not"]
    listed = {entry["id"]: entry for entry in json.loads(shown("list", "--space", "digits", "--json"))}
    assert (listed[FITTED]["not_fitted"], listed[FITTED]["mean_error"]) == (True, None)
    assert listed[CALIBRATED]["not_fitted"] is False and listed[CALIBRATED]["mean_error"] > 0


def test_a_fit_is_shown_where_it_is_asked_for() -> None:
    error = LatencyEstimator(load_profile(FITTED, space="digits"), get_space("digits")).error
    assert error is not None
    assert "--fit makes it" in shown("show", FITTED, "--space", "digits")
    assert f"mean error {100 * error.mean:.1f} %" in shown("show", FITTED, "--space", "digits", "--fit")
    fitted = shown("list", "--space", "digits", "--fit")
    assert "not fitted" not in fitted
    (line,) = (line for line in fitted.splitlines() if line.startswith(FITTED))
    assert f" {100 * error.mean:.1f} % " in line


def test_two_profiles_are_compared_by_size_without_a_fit_where_none_is_needed() -> None:
    unfitted = shown("compare", FITTED, CALIBRATED, "--space", "digits")
    assert "by size      not fitted; --fit fits it" in unfitted and "second is" not in unfitted
    fitted = shown("compare", FITTED, CALIBRATED, "--space", "digits", "--fit")
    assert "second is" in fitted and "not fitted" not in fitted
    assert "second is" in shown("compare", CALIBRATED, "linux-amd-epyc/litert/int8/t1", "--space", "digits")
