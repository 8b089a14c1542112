"""A search that trains some of its sub-DiTs alone, learns from them what quality is, and searches again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_profiles import save_profile
from nas._config import SearchConfig
from nas._loop import run_search
from nas.calibration._choice import most_telling
from nas.calibration._proxy import CALIBRATED_LOSS
from nas.calibration._report import told_apart
from nas.calibration._search import calibrate_search
from nas.calibration._search import check_calibrates
from subdit.cli import group
from subdit.core.errors import SearchError
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import load_search
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.checkpoints import save_model
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.nas import analytic
from tests.nas.test_facade import made_profile

SPACE = get_space("digits")


class Other(analytic.Loss):
    """A proxy that is blind to the width, which is worth most."""

    def evaluate(self, spec: SubDiTSpec) -> float:
        return super().evaluate(spec) + 0.1 * self.space.values(spec)["width"] / 96


def true_losses(specs: Sequence[SubDiTSpec]) -> np.ndarray:
    loss = analytic.Loss(SPACE)
    return np.asarray([loss.evaluate(spec) for spec in specs])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    start_manifest(made, space="digits")
    return made


def test_a_proxy_that_is_wrong_is_corrected(run: Run) -> None:
    problem = analytic.problem(losses=[Other(SPACE)], trials=60, calibrate_quality=24, calibrate_updates=3)
    first = run_search(run, "default", problem)
    chosen = most_telling(first, SPACE, 24)
    specs = {trial.spec for trial in chosen}
    assert len(specs) == 24 and {pick.spec for pick in first.picks.values()} <= specs
    assert most_telling(first, SPACE, 24) == chosen and len(most_telling(first, SPACE, 999)) == 60
    second = calibrate_search(run, first, problem, progress=no_progress, train=true_losses)
    said = json.loads((second.folder / "calibration.json").read_text())
    assert said == json.loads((first.folder / "calibrate.json").read_text()) == second.config["calibrated"]
    assert second.folder.name == "default-calibrated" and second.quality == CALIBRATED_LOSS
    assert said["learned"] and said["kendall_tau"]["after"] > said["kendall_tau"]["before"]
    assert 0 < said["hypervolume_regret"] < 1 and "trained alone" in said["summary"]
    # What it says of each that was trained, it says without having been told.
    held = [row["predicted_low"] <= row["true"] <= row["predicted_high"] for row in said["trained"]]
    assert np.mean(held) == said["coverage"] >= 0.75
    # The second front is truly better where the first proxy was blind.
    truth = {row.spec: float(true_losses([row.spec])[0]) for row in (*first.front, *second.front)}
    budgets = np.quantile([row.latency_ms for row in first.front], [0.3, 0.6, 0.9])
    best = [
        [
            truth[min((row for row in front if row.latency_ms <= budget), key=lambda row: row.value(quality)).spec]
            for budget in budgets
        ]
        for front, quality in ((first.front, first.quality), (second.front, second.quality))
    ]
    assert np.mean(best[1]) < np.mean(best[0])
    # Fronts have intervals of quality, and ties and picks go by them.
    assert all(row.noise[CALIBRATED_LOSS] > 0 for row in second.front)
    assert load_search(run.path, "default-calibrated").front == second.front
    for name, pick in second.picks.items():
        for other, another in second.picks.items():
            if pick.spec != another.spec:
                alike = not told_apart(pick.trial, another.trial, CALIBRATED_LOSS)
                assert ("not told apart from" in pick.why and other in pick.why.split("apart from")[-1]) == alike, name


def test_what_is_noise_is_called_so(run: Run) -> None:
    problem = analytic.problem(trials=30, calibrate_quality=12, calibrate_updates=3)
    first = run_search(run, "default", problem)
    rng = np.random.default_rng(3)
    second = calibrate_search(
        run, first, problem, progress=no_progress, train=lambda specs: rng.standard_normal(len(specs))
    )
    assert not second.config["calibrated"]["learned"]
    assert "quality cannot be told apart here" in second.config["calibrated"]["summary"]
    assert any("not told apart" in pick.why for pick in second.picks.values())


def test_further_objectives_stay(run: Run) -> None:
    problem = analytic.problem(
        losses=[Other(SPACE), analytic.Loss(SPACE, id="second")],
        costs=("latency_ms", "params"),
        trials=30,
        calibrate_quality=12,
        calibrate_updates=3,
    )
    first = run_search(run, "default", problem)
    second = calibrate_search(run, first, problem, progress=no_progress, train=true_losses)
    assert list(second.config["objectives"]) == ["latency_ms", "params", CALIBRATED_LOSS, "second"]
    assert second.front and second.config["calibrated"]["hypervolume_figures"] == ["latency_ms", CALIBRATED_LOSS]


def test_what_cannot_be_calibrated_is_refused() -> None:
    for settings, says in (
        ({"calibrate_quality": 3}, "at least 8"),
        ({"calibrate_quality": 8, "calibrate_updates": 0}, "0 updates"),
        ({"calibrate_quality": 8, "verify": 2}, "one of --verify and --calibrate-quality"),
    ):
        with pytest.raises(SearchError, match=says):
            SearchConfig(("device",), **settings)
    problem = analytic.problem({"analytic": 0.4}, calibrate_quality=8)
    with pytest.raises(SearchError, match="A limit or a pick at a value of analytic"):
        check_calibrates(problem)
    with pytest.raises(SearchError, match="A limit or a pick at a value of analytic"):
        check_calibrates(analytic.problem(pick_at={"analytic": 0.4}, calibrate_quality=8))


@pytest.mark.slow
def test_the_verb_trains_keeps_and_reports(tmp_path: Path) -> None:
    """The whole way with real, tiny trainings; a second call trains nothing."""
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    model = ElasticDiT(space="digits").eval()
    redraw_(model, seed=3)
    save_model(model, run.supernet)
    profile = save_profile(made_profile(), tmp_path / "slate.json")
    ask = ["search", str(run.path), "--device", str(profile), "--trials", "12", "--objective", "latency_ms"]
    ask += ["--objective", "flop_count", "--calibrate-quality", "8", "--calibrate-updates", "2", "--resume"]
    shown = CliRunner().invoke(group, ask)
    assert shown.exit_code == 0, shown.output
    assert "8 sub-DiTs were trained alone" in shown.stdout and "calibrated_loss" in shown.stdout
    kept = sorted((run.proxies / "calibration-2" / "results").glob("*.json"))
    times = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 8
    again = CliRunner().invoke(group, ask)
    assert again.exit_code == 0 and [path.stat().st_mtime_ns for path in kept] == times
    made = CliRunner().invoke(group, ["report", str(run.path), "--search", "default-calibrated"])
    assert made.exit_code == 0, made.output
    page = (run.report("default-calibrated") / "report.html").read_text()
    assert "Quality calibrated by training alone" in page and "8 sub-DiTs of search “default”" in page
