"""The one schema of results: what is written is read back to the last digit, and runs of format 1 are read too."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas._costs import exact_cost
from nas._loop import run_search
from nas.proxies import Evaluation
from reports import read_results
from reports import report
from reports._verified import read_verified
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import Trial
from subdit.results import load_search
from subdit.results import read_trials
from subdit.results import trials_to_frame
from subdit.results import upgrade_config
from subdit.results import write_trials
from subdit.space import SubDiTSpec
from subdit.space import get_space
from tests.nas import analytic

SPACE = get_space("digits")
OLD = Path(__file__).parents[2] / "golden" / "search_format_1"
"""8 trials of a search by two proxies with limits, as the version before format 2 wrote them."""

finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def trials(draw: st.DrawFn) -> list[Trial]:
    rows = st.integers(0, SPACE.size - 1)
    specs = SPACE.decode(np.concatenate([SPACE.enumerate(row, row + 1) for row in draw(st.sets(rows, min_size=1))]))
    return [
        Trial(
            number=number,
            spec=spec,
            latency_ms=draw(finite),
            latency_low_ms=draw(finite),
            latency_high_ms=draw(finite),
            params=draw(st.integers(0, 10**12)),
            figures={
                "file_mb": draw(finite),
                "latency_ms@tab/litert/fp32/t1": draw(finite),
                "validation_loss": draw(finite),
            },
            feasible=draw(st.booleans()),
            on_front=draw(st.booleans()),
            tie=draw(st.sampled_from(["", "a", "nan", "NA", "zz"])),
        )
        for number, spec in enumerate(specs)
    ]


@given(found=trials())
def test_what_is_written_is_read_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, found: list[Trial]
) -> None:
    path = tmp_path_factory.mktemp("table") / "trials.csv"
    write_trials(path, found)
    assert list(read_trials(path, "digits")) == found
    table = pandas.read_csv(path, float_precision="round_trip", keep_default_na=False)
    pandas.testing.assert_frame_equal(table, trials_to_frame(found), check_exact=True, check_dtype=False)


def test_a_table_is_read_without_anything_else(tmp_path: Path) -> None:
    """Its columns say what they hold, in the names of objectives, constraints and picks."""
    run = Run(tmp_path / "run")
    shutil.copytree(OLD, run.path)
    frame = load_search(run.path).to_frame()
    assert {"latency_ms", "params", "file_mb", "analytic", "two", "feasible", "on_front"} <= set(frame.columns)
    assert "quality" not in frame.columns and frame.feasible.dtype == frame.on_front.dtype == np.bool_
    assert frame.analytic.dtype == np.float64 and frame.params.dtype == np.int64
    assert len(frame) == 8 and (frame[frame.pick != ""].on_front).all()
    assert set(";".join(frame.pick).strip(";").split(";")) >= {"fastest", "balanced", "best", "file_mb=0.9"}


# Format 1 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Run:
    shutil.copytree(OLD, tmp_path / "run")
    return Run(tmp_path / "run")


def same_search(trials: int):  # type: ignore[no-untyped-def]
    """The search that the stored run is of, asked today."""
    table = replace(analytic.tables(), functions={"file_mb": exact_cost("file_mb", SPACE, "fp32")})
    return analytic.problem(
        {"latency_ms": 3.0, "file_mb": 1.2, "analytic": 0.33},
        losses=[analytic.Loss(SPACE), analytic.Loss(SPACE, id="two")],
        table=table,
        costs=("latency_ms", "file_mb"),
        surrogate=False,
        trials=trials,
        pick_at={"file_mb": 0.9},
    )


def test_a_run_of_format_1_is_the_same_search_with_other_names(old: Run, tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "searches")
    new = run_search(Run(tmp_path / "new"), "default", same_search(8))
    found = load_search(old.path)
    assert found.trials == new.trials and found.picks == new.picks
    # It had the space's name alone, and its hash of latencies was of their values.
    assert {*found.config, "space_hash", "latency_model"} == {*new.config}
    # Format 1 said more of these two, and how long a search took is its own.
    for key in ("study", "feasible_region"):
        assert found.config[key].items() >= new.config[key].items()
    assert {key for key, value in found.config.items() if new.config[key] != value} <= {
        "latency_hash", "study", "feasible_region", "seconds"
    }  # fmt: skip


def test_a_run_of_format_1_is_reported_and_resumed(old: Run, tmp_path: Path) -> None:
    page = report(old.path).markdown.read_text()
    assert "at most 3 ms of latency; at most 1.2 MB of file size; at most 0.33 of analytic" in page
    shutil.copytree(OLD, tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "searches")
    at_once = run_search(Run(tmp_path / "new"), "default", same_search(14))
    resumed = run_search(old, "default", same_search(14), resume=True)
    for file in ("trials.csv", "front.csv", "picks.json"):
        assert (resumed.folder / file).read_bytes() == (at_once.folder / file).read_bytes()
    stored = json.loads((resumed.folder / "search.json").read_text())
    assert upgrade_config(stored) == stored and "quality" not in json.dumps(stored)
    with pytest.raises(SearchError, match="cannot be resumed with other settings .seed 0 instead of 1"):
        other = same_search(14)
        run_search(old, "default", replace(other, config=replace(other.config, seed=1)), resume=True)


def test_a_proxy_of_today_may_have_a_name_that_format_1_would_have_given(tmp_path: Path) -> None:
    """There a second proxy was called `quality_ID`; here an id is what its owner chose."""

    class Spread(analytic.Loss):
        def evaluate(self, spec: SubDiTSpec) -> Evaluation:  # type: ignore[override]
            return Evaluation(super().evaluate(spec), error=0.01)

    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    ids = ("quality_of_hands", "quality_two", "quality")
    losses = [Spread(SPACE, id=id) for id in ids]
    found = run_search(run, "default", analytic.problem(losses=losses, surrogate=False, trials=6))
    for row in found.front:
        assert {id: row.noise.get(id) for id in ids} == pytest.approx(dict.fromkeys(ids, 0.0196))
    assert load_search(run.path) == found
    said = {"mean_relative_error": 0, "worst_relative_error": 0, "measured_over_predicted": 1, "measured": []}
    said |= {"reference_kernel_ratio": 1, "doubts": [], "hypervolume_figures": ["latency_ms", "quality_of_hands"]}
    (found.folder / "verify.json").write_text(json.dumps(said))
    verified = read_verified(read_results(run, "default"))
    assert verified is not None and verified.hypervolume_figures == ("latency_ms", "quality_of_hands")


@pytest.mark.parametrize("format", [1, 2])
def test_errors_of_a_surrogate_have_their_names_of_today(format: int) -> None:
    former = {"evaluations": 40, "mean": 0.1, "share": 0.2, "kendall_tau": 0.8}
    today = {"evaluations": 40, "mean_absolute_error": 0.1, "relative_absolute_error": 0.2, "kendall_tau": 0.8}
    config = {"subdit_search": format, "surrogate_error": {"two": former, "three": None}}
    assert upgrade_config(config)["surrogate_error"] == {"two": today, "three": None}
    now = {"subdit_search": 2, "surrogate_error": {"two": today}}
    assert upgrade_config(now) == now


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subdit_search": 3}, "is of a newer subdit"),
        ({"state": "running"}, "is not finished; repeat the command"),
        ({"space": 3}, r"is damaged \(no space\)"),
        ({"subdit_search": 2}, r"is damaged \(no proxies\)"),
        ({"subdit_search": 2, "proxies": {}}, r"is damaged \(no proxies\)"),
        ({"subdit_search": 2, "proxies": {"two": {}}, "constraints": 1}, r"is damaged \(no constraints\)"),
        ({"subdit_search": 2, "proxies": {"three": {}}, "constraints": {}}, "trials.csv in .* has no column .three."),
    ],
)
def test_what_cannot_be_read_is_named(old: Run, change: dict[str, object], says: str) -> None:
    file = old.search("default") / "search.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(SearchError, match=says):
        load_search(old.path)


@pytest.mark.parametrize(
    "stored", [{}, {"subdit_search": 2}, {"subdit_search": 3}, {"proxy": {}, "other_proxies": [1]}]
)
def test_a_search_that_is_none_of_these_is_not_resumed(old: Run, stored: dict[str, object]) -> None:
    file = old.search("default") / "search.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(SearchError, match="cannot be resumed with other settings"):
        run_search(old, "default", same_search(8), resume=True)
    assert json.loads(file.read_text()) == stored


@pytest.mark.parametrize("cut", [1, 2, 20, 400])
def test_a_table_that_was_cut_short_is_damaged(old: Run, cut: int) -> None:
    path = old.search("default") / "trials.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SearchError, match=r"table of trials is damaged \(line \d+ of .*trials.csv"):
        load_search(old.path)
