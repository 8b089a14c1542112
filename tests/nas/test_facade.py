"""`nas.search` and the verb on a device profile of this version's schema: what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import supernet.space
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import save_profile
from nas import load_search
from nas import search
from nas.cli import group
from nas.proxies import PROXIES
from subdit.errors import InfeasibleError
from subdit.errors import ProfileError
from subdit.errors import RunError
from subdit.errors import SearchError
from subdit.run import Run
from subdit.run import start_manifest
from supernet.space import all_components
from supernet.space import get_space
from tests.nas import analytic

SPACE = get_space("digits")


def made_profile(*, noisy: bool = False) -> DeviceProfile:
    """A device on which each component takes 10 us per unit of width and FFN ratio."""
    latency = {
        component.name: 1e-4 * (1 + component.width * max(component.ffn_ratio, 1))
        for component in all_components(SPACE)
    }
    return DeviceProfile(
        device="slate",
        runtime="onnxruntime",
        precision="fp32",
        threads=1,
        delegate=None,
        space="digits",
        kit_hash="0" * 16,
        provenance="measured",
        noisy=noisy,
        components={name: Latency(value, 0.99 * value, 1.01 * value, 30) for name, value in latency.items()},
        conditions=Conditions(
            machine="slate",
            cpu="slate",
            cores=2,
            os="none",
            runtime_version="1",
            python_version="3",
            measured_at="2026-01-01T00:00:00Z",
        ),
        noise=None,
        calibration=None,
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(supernet.space, "count_params", analytic.params, raising=False)
    start_manifest(Run(tmp_path / "run"), space="digits")
    return tmp_path / "run"


def ask(run: Path, **options):  # type: ignore[no-untyped-def]
    return search(run, **{"device": made_profile(), "trials": 12, "proxy": analytic.Loss(SPACE), **options})


def test_importing_nas_loads_nothing_heavy() -> None:
    program = "import nas, sys; print(sorted({'torch', 'optuna', 'numpy', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.strip() == b"[]"


def test_a_profile_answers_by_object_file_and_prefix(run: Path, tmp_path: Path) -> None:
    by_object = ask(run)
    file = save_profile(made_profile(), tmp_path / "slate.json")
    save_profile(made_profile())
    for at, device in enumerate((str(file), "slate")):
        other = ask(run, device=device, name=str(at))
        assert other.front == by_object.front
    assert by_object.config["device"] == "slate/onnxruntime/fp32/t1"
    assert by_object.config["device_facts"] == {"provenance": "measured", "noisy": False}
    assert load_search(run) == by_object


def test_a_noisy_profile_is_refused_unless_allowed(run: Path) -> None:
    noisy = made_profile(noisy=True)
    with pytest.raises(ProfileError, match="too noisy"):
        ask(run, device=noisy)
    assert ask(run, device=noisy, allow_noisy=True).config["device_facts"]["noisy"] is True


def test_a_profile_of_another_space_is_refused(run: Path) -> None:
    with pytest.raises(ProfileError, match="'elsewhere'"):
        ask(run, device=dataclasses.replace(made_profile(), space="elsewhere"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 0}, "trials"),
        ({"budget_s": 0.0}, "budget_s"),
        ({"max_latency_ms": -1.0}, "max_latency_ms"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms"),
        ({"max_params": 0}, "max_params"),
        ({"seed": -1}, "seed"),
        ({"name": "../elsewhere"}, "cannot be named"),
        ({"resume": True, "force": True}, "--resume"),
    ],
)
def test_senseless_options_are_refused(run: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(SearchError, match=says):
        ask(run, **options)
    assert not (run / "searches").exists()


def test_impossible_limits_and_unknown_runs_leave_nothing_behind(run: Path) -> None:
    with pytest.raises(InfeasibleError, match="tightest reachable latency"):
        ask(run, max_latency_ms=0.001)
    assert not (run / "searches").exists()
    with pytest.raises(RunError, match="no run folder"):
        ask(run.parent / "nowhere")


def test_a_damaged_supernet_replaces_nothing(run: Path) -> None:
    first = ask(run)

    class Damaged(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            return float("inf")

    with pytest.raises(SearchError, match="train it again"):
        ask(run, proxy=Damaged(SPACE, supernet_digest="ffff"), force=True)
    assert load_search(run) == first


def test_the_verb_prints_picks_and_refuses_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROXIES, "validation_loss", lambda path, space: analytic.Loss(SPACE))
    save_profile(made_profile())
    command = ["search", str(run), "--device", "slate", "--trials", "20"]
    shown = CliRunner().invoke(group, command)
    assert shown.exit_code == 0, shown.output
    assert "20 of" in shown.stdout and "balanced: The knee" in shown.stdout
    again = CliRunner().invoke(group, command)
    assert again.exit_code == 2
    assert again.stderr.splitlines()[-1].startswith("Error: The search 'default' is finished already")
    read = json.loads(CliRunner().invoke(group, [*command, "--resume", "--json"]).stdout)
    assert set(read["picks"]) == {"fastest", "balanced", "best"}
    impossible = CliRunner().invoke(group, [*command, "--name", "x", "--max-latency-ms", "0.001"])
    assert impossible.exit_code == 2 and "tightest reachable latency is" in impossible.stderr
    unknown = CliRunner().invoke(group, ["search", str(run), "--device", "nokia-3310"])
    assert unknown.exit_code == 2 and "nokia-3310" in unknown.stderr
    assert "Examples:" in CliRunner().invoke(group, ["search", "--help"]).stdout
