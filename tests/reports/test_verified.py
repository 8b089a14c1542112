"""A verification in the reports of both searches: what was measured, and whose latencies a page shows."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import CorrectedLatencies
from device_profiles import LatencyEstimator
from device_profiles import save_profile
from reports import report
from reports._other_devices import other_devices
from reports._results import read_results
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.space import spec_features
from tests.reports.run_folder import DEVICE
from tests.reports.run_folder import PICKS
from tests.reports.run_folder import SPACE
from tests.reports.run_folder import add_search
from tests.reports.run_folder import make_profile
from tests.reports.run_folder import make_run
from tests.reports.run_folder import slow_front
from tests.reports.run_folder import write_search

COLUMNS = spec_features(SPACE, SPACE.enumerate(0, 1)).shape[1]
PLAIN = LatencyEstimator(make_profile(), SPACE)
CORRECTED = CorrectedLatencies(SPACE, PLAIN, 0.3, np.zeros(COLUMNS), np.linspace(0.0, 0.1, COLUMNS), 0.05)


def record(run: Path, **more: Any) -> dict[str, Any]:
    """verify.json of three sub-DiTs that took longer than was predicted."""
    front = read_results(Run(run), "default").front[:3]
    ms = [trial.latency_ms for trial in front]
    return {
        "measured": [
            {
                "spec": str(trial.spec), "spec_hash": trial.spec.hash, "predicted_ms": one, "corrected_ms": 1.36 * one,
                "measured_ms": 1.375 * one, "measured_low_ms": 1.37 * one, "measured_high_ms": 1.38 * one,
                "relative_error": 1 / 1.375 - 1, "violates_limit": at == 2,
            }
            for at, (trial, one) in enumerate(zip(front, ms, strict=True))
        ],
        "mean_relative_error": 0.2727, "worst_relative_error": 0.2828, "measured_over_predicted": 1.35,
        "residual_ci": 0.05, "violation_count": 1, "reference_kernel_ratio": 1.07, "doubted": False, "doubts": [],
        "summary": "", **more,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search that was verified, the search by the corrected table, and one for another device."""
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    folder = make_run(tmp_path / "run", measured=False, limit_ms=1.1)
    add_search(folder, "on-other", device="other-phone/tflite/int8/t4", slower="ffn")
    figures = ["latency_ms", "validation_loss"]
    found = {"hypervolume_regret": 0.0321, "hypervolume_figures": figures, "second_search": "default-verified"}
    said = record(folder, **found)
    (folder / "searches" / "default" / "verify.json").write_text(json.dumps(said))
    trials = read_results(Run(folder), "default").trials
    encoded = SPACE.encode([trial.spec for trial in trials])
    latency = CORRECTED.estimate(encoded).latency_ms
    quality = np.asarray([trial.value("validation_loss") for trial in trials])
    front = slow_front(latency, quality, latency <= 1.1)
    picks = dict(zip(PICKS, (front[0], front[len(front) // 2], front[-1]), strict=True))
    write_search(folder, encoded, latency, quality, latency <= 1.1, front, picks, 1.1, "default-verified")
    home = folder / "searches" / "default-verified"
    config = json.loads((home / "search.json").read_text())
    (home / "search.json").write_text(json.dumps(config | {"latency_hash": "feed"}))
    learned = {"first_search": "default", "latency_hash": "feed", "correction": CORRECTED.to_dict(), "verified": said}
    (home / "correction.json").write_text(json.dumps(learned))
    for name in ("default", "default-verified"):
        save_profile(make_profile(), folder / "searches" / name / "device.json")
    return folder


def pages(run: Path, search: str) -> tuple[str, str]:
    paths = report(run, search=search, force=True)
    page = re.sub(r"<(svg|style).*?</\1>", "", paths.html.read_text(), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", page)), paths.markdown.read_text()


def test_both_pages_show_what_was_measured_against_what_was_predicted(run: Path) -> None:
    said = json.loads((run / "searches" / "default" / "verify.json").read_text())
    for search in ("default", "default-verified"):
        for text in pages(run, search):
            assert "Verified by measurement" in text
            assert "off by 27.3 % in the mean and 28.3 % at worst; 1 of them breaks the latency limit." in text
            assert "the reference kernel took 1.07 of its time in the profile" in text
            assert "the front of “default” lacks 3.21 % of the hypervolume" in text
            for entry in said["measured"]:
                for key in ("predicted_ms", "corrected_ms", "measured_ms"):
                    assert f"{entry[key]:.3f}" in text
            assert "-27.3 %" in text and "not to be believed" not in text
        lines = pages(run, search)[1].splitlines()
        head = next(at for at, line in enumerate(lines) if line.startswith("| architecture | predicted, ms |"))
        assert {line.count("|") for line in lines[head : head + 5]} == {8}
        assert [line.split("|")[7].strip() for line in lines[head + 2 : head + 5]] == ["kept", "kept", "broken"]


def test_a_page_says_whether_its_latencies_are_corrected(run: Path) -> None:
    for text in pages(run, "default"):
        assert "The latencies of this page are not corrected by that. Search “default-verified” is" in text
        assert "corrected by 3 measurements" not in text
    for text in pages(run, "default-verified"):
        assert "latencies measured, corrected by 3 measurements" in text.lower()
        assert "All predicted latencies of this page are of the profile's table as corrected" in text
        assert "then corrected by 3 measurements of whole sub-DiTs of the search “default”" in text
        assert "Before it was corrected by 3 measurements: how far the predicted latency of a whole" in text
        # The profile corrected is what the search went by, and no other.
        assert "is not the one that the search went by" not in text
    with report(run, search="default-verified", force=True).csv.open(newline="") as file:
        assert {row["provenance"] for row in csv.DictReader(file)} == {"measured latency, corrected by 3 measurements"}


def test_other_devices_picks_are_set_against_a_corrected_front_by_the_corrected_table(run: Path) -> None:
    for search, source in (("default", PLAIN), ("default-verified", CORRECTED)):
        (other,) = other_devices(read_results(Run(run), search), make_profile())
        encoded = SPACE.encode([pick.pick.trial.spec for pick in other.picks])
        expected = source.estimate(encoded)
        assert [pick.latency_ms for pick in other.picks] == pytest.approx(expected.latency_ms)
        assert [pick.latency_high_ms for pick in other.picks] == pytest.approx(expected.high_ms)
        assert all("other devices" in text.replace("’", "'") for text in pages(run, search))
    assert "predicted by this device’s profile, corrected by 3 measurements;" in pages(run, "default-verified")[1]


def test_a_corrected_search_of_another_device_is_said_to_be_corrected(run: Path) -> None:
    for name in ("default", "default-verified"):
        file = run / "searches" / name / "search.json"
        file.write_text(file.read_text().replace(DEVICE, "tablet/onnxruntime/fp32/t1"))
    tablet = dataclasses.replace(make_profile(slower="ffn"), device="other-phone")
    found = other_devices(read_results(Run(run), "on-other"), tablet)
    assert {other.search: other.corrected for other in found} == {
        "default": "",
        "default-verified": "corrected by 3 measurements",
    }
    save_profile(tablet, run / "searches" / "on-other" / "device.json")
    assert "(latencies measured, corrected by 3 measurements)" in pages(run, "on-other")[1]


def test_what_is_not_to_be_believed_is_a_warning(run: Path) -> None:
    why = "the reference kernel took 1.82 of its time in the profile"
    (run / "searches" / "default" / "verify.json").write_text(json.dumps(record(run, doubted=True, doubts=[why])))
    for text in pages(run, "default"):
        assert f"not to be believed: {why}. Nothing was corrected." in text
        assert "not corrected" in text and "hypervolume" not in text
    file = run / "searches" / "default-verified" / "correction.json"
    stored = json.loads(file.read_text())
    stored["verified"]["doubts"] = [why]
    file.write_text(json.dumps(stored))
    for text in pages(run, "default-verified"):
        assert f"not to be believed: {why}. Search “default-verified” was corrected by it all the same." in text


EARLIER = {
    "mean_relative_error": "mean_error",
    "worst_relative_error": "worst_error",
    "measured_over_predicted": "common_factor",
    "residual_ci": "left_over",
    "violation_count": "violations",
    "reference_kernel_ratio": "machine_slower",
    "doubted": "noisy",
    "summary": "said",
    "hypervolume_regret": "regret",
    "hypervolume_figures": "regret_in",
    "measured_low_ms": "low_ms",
    "measured_high_ms": "high_ms",
    "relative_error": "error",
    "violates_limit": "violates",
}


def test_a_verification_of_an_earlier_version_is_shown_alike(run: Path) -> None:
    now = {search: pages(run, search)[1] for search in ("default", "default-verified")}
    for name, file in (("default", "verify.json"), ("default-verified", "correction.json")):
        path = run / "searches" / name / file
        text = path.read_text()
        for today, former in EARLIER.items():
            assert f'"{today}":' in text
            text = text.replace(f'"{today}":', f'"{former}":')
        path.write_text(text)
    assert {search: pages(run, search)[1] for search in now} == now


def test_a_correction_that_an_earlier_search_left_behind_is_not_believed(run: Path) -> None:
    file = run / "searches" / "default-verified" / "search.json"
    file.write_text(file.read_text().replace("feed", "f00d"))
    for text in pages(run, "default-verified"):
        assert "Verified by measurement" not in text and "corrected by" not in text
        assert "is not the one that the search went by" in text


@pytest.mark.parametrize(("search", "file"), [("default", "verify.json"), ("default-verified", "correction.json")])
def test_damage_is_named(run: Path, search: str, file: str) -> None:
    (run / "searches" / search / file).write_text(json.dumps({"latency_hash": "feed", "measured": [{}]}))
    with pytest.raises(SearchError, match=f"{file} is damaged .*; verify the search again"):
        report(run, search=search)
