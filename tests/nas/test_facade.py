"""`nas.search` and the verb on a device profile of this version's schema: what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import subdit
import subdit.space
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import save_profile
from nas import StudyOptions
from nas import load_search
from nas.proxies import PROXIES
from subdit.cli import group
from subdit.cli._search import _print as print_result
from subdit.core.errors import InfeasibleError
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import all_components
from subdit.space import get_space
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
    monkeypatch.setattr(subdit.space, "count_params", analytic.params, raising=False)
    start_manifest(Run(tmp_path / "run"), space="digits")
    return tmp_path / "run"


def ask(run: Path, **options):  # type: ignore[no-untyped-def]
    """A search; what is a setting of the study is given as one."""
    study = StudyOptions(**{key: options.pop(key) for key in ("storage", "worker", "stale_s") if key in options})
    settings = {"device": made_profile(), "trials": 12, "objectives": ("latency_ms", analytic.Loss(SPACE)), **options}
    return subdit.search(run, study=study, **settings)


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


def test_a_search_says_that_an_accelerator_took_a_part(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = dataclasses.replace(made_profile(), delegate="gpu", delegated_share=0.4)
    result = ask(run, device=part)
    said = "gpu took 40.0 % of the operators only: the rest ran on the processor"
    assert result.config["device_facts"]["fallback"] == said
    print_result(result)
    printed = capsys.readouterr().out
    assert f"WARNING: {said}\n" in printed and "latency, ms (NOT ALL ON THE ACCELERATOR)" in printed
    print_result(ask(run, name="whole"))
    assert "WARNING" not in capsys.readouterr().out


def test_a_profile_of_another_space_is_refused(run: Path) -> None:
    with pytest.raises(ProfileError, match="'elsewhere'"):
        ask(run, device=dataclasses.replace(made_profile(), space="elsewhere"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials": 0}, "trials"),
        ({"budget_s": 0.0}, "budget_s"),
        ({"constraints": {"latency_ms": -1.0}}, "limit on latency_ms is -1.0"),
        ({"constraints": {"latency_ms": float("nan")}}, "limit on latency_ms is nan"),
        ({"constraints": {"latency_ms": float("inf")}}, "limit on latency_ms is inf"),
        (
            {"max_latency_ms": 1.0},
            r'no setting .max_latency_ms.; .* a limit is written as constraints={"latency_ms": 20}',
        ),
        ({"budget_s": float("inf")}, "budget_s"),
        ({"constraints": {"file_mb": float("inf")}}, "file_mb"),
        ({"constraints": {"params": float("inf")}}, "limit on params"),
        ({"constraints": {"params": 0}}, "limit on params"),
        ({"stale_s": 0.0}, "stale_s"),
        ({"stale_s": -1.0, "worker": True}, "stale_s"),
        ({"stale_s": float("nan")}, "stale_s"),
        ({"verify": -1}, "cannot verify -1"),
        ({"verify": 2}, "was measured on another processor"),
        ({"seed": -1}, "seed"),
        ({"name": "../elsewhere"}, "cannot be named"),
        ({"resume": True, "force": True}, "--resume"),
    ],
)
def test_senseless_options_are_refused(run: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(SearchError, match=says):
        ask(run, **options)
    assert not (run / "searches").exists()


@pytest.mark.parametrize("option", [{"constraints": {"latency_ms": float("inf")}}, {"budget_s": float("inf")}])
def test_a_number_that_cannot_be_written_replaces_nothing(run: Path, option: dict[str, object]) -> None:
    first = ask(run)
    with pytest.raises(SearchError, match="finite number"):
        ask(run, force=True, **option)
    assert load_search(run) == first


def test_impossible_limits_and_unknown_runs_leave_nothing_behind(run: Path) -> None:
    with pytest.raises(InfeasibleError, match="tightest reachable latency"):
        ask(run, constraints={"latency_ms": 0.001})
    assert not (run / "searches").exists()
    with pytest.raises(RunError, match="no run folder"):
        ask(run.parent / "nowhere")


def test_a_damaged_supernet_replaces_nothing(run: Path) -> None:
    first = ask(run)

    class Damaged(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            return float("inf")

    with pytest.raises(SearchError, match="train it again"):
        ask(run, objectives=("latency_ms", Damaged(SPACE, supernet_digest="ffff")), force=True)
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
    impossible = CliRunner().invoke(group, [*command, "--name", "x", "--limit", "latency_ms=0.001"])
    assert impossible.exit_code == 2 and "tightest reachable latency is" in impossible.stderr
    unknown = CliRunner().invoke(group, ["search", str(run), "--device", "nokia-3310"])
    assert unknown.exit_code == 2 and "nokia-3310" in unknown.stderr
    helped = CliRunner().invoke(group, ["search", "--help"]).stdout
    assert "Examples:" in helped and "--limit NAME=VALUE" in helped and "--max-" not in helped


def test_devices_figures_and_limits_by_name(run: Path) -> None:
    other = dataclasses.replace(made_profile(), device="tablet")
    found = ask(
        run,
        device=[made_profile(), other],
        objectives=["latency_ms", "params", analytic.Loss(SPACE)],
        constraints={"latency_ms": 0.9, "latency_ms@tablet": 0.8, "file_mb": 1.0, "gflops": 1.0},
        pick_at={"file_mb": 0.9},
        trials=20,
    )
    assert found.config["objectives"] == [
        "latency_ms",
        "latency_ms@tablet/onnxruntime/fp32/t1",
        "params",
        "analytic",
    ]
    assert found.config["other_devices"] == ["tablet/onnxruntime/fp32/t1"]
    limits = {"latency_ms": 0.9, "latency_ms@tablet/onnxruntime/fp32/t1": 0.8, "file_mb": 1.0, "gflops": 1.0}
    assert found.config["constraints"] == limits
    for row in found.front:
        assert row.latency_ms == pytest.approx(row.value("latency_ms@tablet/onnxruntime/fp32/t1"))
        assert row.latency_ms <= 0.8
        assert row.value("file_mb") <= 1.0 and row.value("gflops") <= 1.0
    assert (found.folder / "device_2.json").exists()
    assert "file_mb=0.9" in found.picks


def test_a_pick_that_the_front_lacks_is_said_when_all_else_is_written(run: Path) -> None:
    limits = {"gflops": 1.0}
    least = ask(run, constraints=limits, trials=40).config["feasible_region"]["tightest"]["gflops"]["value"]
    with pytest.raises(SearchError, match="No point of the front has gflops.*finished without that pick"):
        ask(run, constraints=limits, trials=40, name="picky", pick_at={"gflops": least})
    found = load_search(run, "picky")
    assert found.config["trials"] == 40 and (found.folder / "device.json").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objectives": ["latency_ms", "beauty"]}, "no objective 'beauty'"),
        ({"objectives": ["latency", "analytic"]}, "'latency' is now called latency_ms"),
        ({"objectives": ["latency_ms", "params"]}, "name no quality"),
        ({"objectives": ["validation_loss"]}, "name no cost"),
        ({"objectives": ["latency_ms", "latency_ms", "validation_loss"]}, "named twice"),
        ({"objectives": ["pipeline_ms", "validation_loss"], "steps": 0}, "0 steps"),
        ({"constraints": {"weight_kg": 1.0}}, "no 'weight_kg' to limit; there is latency_ms,"),
        ({"constraints": {"file_mb": -1.0}}, "limit on file_mb"),
        ({"constraints": {"latency_ms@tablet": 1.0}}, "no 'latency_ms@tablet' in this search; .*: slate/onnxruntime"),
        ({"constraints": {"file_mb@slate": 1.0}}, "no 'file_mb@slate' in this search"),
        ({"sampler": "guess"}, "no sampler 'guess'"),
        ({"sampler": "exhaustive"}, "too many to evaluate each"),
        ({"pick_at": {"weight_kg": 1.0}}, "no figure 'weight_kg' to pick at"),
        ({"storage": "nowhere"}, "is no address"),
        ({"worker": True, "force": True}, "--worker"),
        ({"worker": True, "verify": 2}, "all measure at once"),
        ({"device": []}, "No device"),
    ],
)
def test_what_cannot_be_searched_for_is_one_sentence(run: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(SearchError, match=says) as caught:
        ask(run, **options)
    assert str(caught.value).endswith(".")


def test_the_same_device_twice_is_refused(run: Path) -> None:
    with pytest.raises(SearchError, match="named twice"):
        ask(run, device=[made_profile(), made_profile()])


def test_a_whole_picture_takes_its_steps(run: Path) -> None:
    found = ask(run, objectives=["pipeline_ms", analytic.Loss(SPACE)], steps=3, constraints={"pipeline_ms": 2.5})
    # Without the steps nobody who reads the results can tell what keeps the limit.
    assert found.config["steps"] == 3
    for row in found.front:
        # The digits need neither a text encoder nor a decoder.
        assert row.value("pipeline_ms") == pytest.approx(3 * row.latency_ms) and row.value("pipeline_ms") <= 2.5


def test_the_verb_takes_limits_and_shows_what_they_leave(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROXIES, "validation_loss", lambda path, space: analytic.Loss(SPACE))
    save_profile(made_profile())
    command = [
        "search",
        str(run),
        "--device",
        "slate",
        "--trials",
        "34",
        "--limit",
        "latency_ms=0.8",
        "--limit",
        "file_mb=1",
        "--limit",
        "gflops=0.5",
    ]
    shown = CliRunner().invoke(group, [*command, "--pick-at", "latency_ms=0.7"])
    assert shown.exit_code == 0, shown.output
    for said in (
        "tightest reachable file_mb",
        "tightest reachable gflops",
        "none of them a trial",
        "Kendall tau",
        "latency_ms=0.7: The lowest",
    ):
        assert said in shown.stdout
    plain = CliRunner().invoke(group, [*command, "--name", "plain", "--no-surrogate"])
    assert plain.exit_code == 0 and "surrogate" not in plain.stdout
    # The options of earlier versions ask the same question, and name the new form.
    earlier = ["--max-latency-ms", "0.8", "--max-file-mb", "1", "--max-gflops", "0.5", "--resume"]
    again = CliRunner().invoke(group, [*command[:6], *earlier])
    assert again.exit_code == 0 and "now written as --limit latency_ms=0.8;" in again.stderr
    wrong = CliRunner().invoke(group, [*command, "--pick-at", "latency_ms"])
    assert wrong.exit_code == 2 and "is no NAME=VALUE" in wrong.stderr
