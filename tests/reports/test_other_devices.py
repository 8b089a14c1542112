"""What another device's picks cost here, against the definitions, pick by pick."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from device_profiles import LatencyEstimator
from device_profiles import save_profile
from nas._costs import cost_function
from reports import report
from reports._figures import other_device_lines
from reports._other_devices import OtherPick
from reports._other_devices import other_devices
from reports._results import ReportedPick
from reports._results import read_results
from subdit.core.quantities import noun
from subdit.core.run import Run
from subdit.results import Trial
from subdit.space import MEMORY_MODEL
from tests.reports.run_folder import DEVICE
from tests.reports.run_folder import SPACE
from tests.reports.run_folder import add_search
from tests.reports.run_folder import make_profile
from tests.reports.run_folder import make_run
from tests.reports.run_folder import read_rows

OTHER = "other-phone/tflite/int8/t4"
TRIAL = Trial(0, SPACE.named_spec("full"), 1.0, 0.9, 1.1, 1_000_000, {"validation_loss": 0.5}, on_front=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run", measured=False)
    add_search(folder, "on-other", device=OTHER, slower="ffn")
    return folder


def test_every_figure_is_what_its_definition_says(run: Path) -> None:
    profile = make_profile()
    (other,) = other_devices(read_results(Run(run), "default"), profile)
    assert (other.search, other.device, other.provenance) == ("on-other", OTHER, "measured")
    mine = {
        row["spec_hash"]: (float(row["latency_ms"]), float(row["validation_loss"]))
        for row in read_rows(run / "searches" / "default")
        if row["on_front"] == "true"
    }
    theirs = read_results(Run(run), "on-other").front
    latency = LatencyEstimator(profile, SPACE).estimate(SPACE.encode([trial.spec for trial in theirs])).latency_ms
    here = {
        trial.spec.hash: (float(ms), trial.value("validation_loss")) for trial, ms in zip(theirs, latency, strict=True)
    }
    beaten = [
        spec_hash
        for spec_hash, (ms, quality) in here.items()
        if spec_hash not in mine and any(a <= ms and b <= quality and (a, b) != (ms, quality) for a, b in mine.values())
    ]
    assert other.shared == len(mine.keys() & here.keys()) > 0
    assert other.front == len(here)
    assert other.beaten == pytest.approx(len(beaten) / len(here)) and beaten
    for pick in other.picks:
        ms, quality = here[pick.pick.trial.spec.hash]
        assert pick.latency_ms == pytest.approx(ms)
        as_good = min(a for a, b in mine.values() if b <= quality)
        as_fast = [b for a, b in mine.values() if a <= ms * (1 + 1e-6)]
        assert pick.latency_paid == pytest.approx(ms / as_good - 1)
        assert pick.quality_paid == (pytest.approx(quality - min(as_fast)) if as_fast else None)
        assert pick.allowed
    # Every trial was looked at by both, so no pick of the other's can beat this front.
    assert all(pick.latency_paid is not None and pick.latency_paid >= 0 for pick in other.picks)
    assert max(pick.latency_paid or 0 for pick in other.picks) > 0.01


def test_noise_is_looked_for_on_both_sides() -> None:
    def pick(own_ms: float) -> OtherPick:
        trial = dataclasses.replace(TRIAL, latency_ms=own_ms)
        return OtherPick(ReportedPick(("best",), ("",), TRIAL), "validation_loss", 0.70, 0.60, 0.90, 0.02, trial, trial)

    assert not pick(0.6).within_noise and pick(0.69).within_noise and pick(0.715).within_noise
    # Faster than anything on this front by more than noise.
    assert pick(1.0).latency_paid == pytest.approx(-0.3) and not pick(1.0).within_noise


def test_a_pick_over_this_searchs_limit_is_no_bargain(run: Path) -> None:
    (free,) = other_devices(read_results(Run(run), "default"), make_profile())
    limit_ms = sorted(pick.latency_ms for pick in free.picks)[1]
    file = run / "searches" / "default" / "search.json"
    limits = {"latency_ms": limit_ms}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"constraints": limits}))
    (bound,) = other_devices(read_results(Run(run), "default"), make_profile())
    assert [pick.allowed for pick in bound.picks] == [pick.latency_ms <= limit_ms for pick in bound.picks]
    assert sorted(pick.allowed for pick in bound.picks) == [False, True, True]
    assert [line.cells[3] == "over the limit on latency" for line in other_device_lines([bound])] == [
        not pick.allowed for pick in bound.picks
    ]


FURTHER = "tablet/onnxruntime/fp32/t1"


def limit(run: Path, **limits: float) -> list[OtherPick]:
    """The other search's picks where this one has these limits, on pictures of three steps."""
    file = run / "searches" / "default" / "search.json"
    also = {"constraints": limits, "steps": 3, "memory_model": MEMORY_MODEL}
    file.write_text(json.dumps(json.loads(file.read_text()) | also))
    (found,) = other_devices(read_results(Run(run), "default"), make_profile())
    return list(found.picks)


@pytest.mark.parametrize(
    "name", ["file_mb", "memory_mb", "gflops", "pipeline_ms", f"latency_ms@{FURTHER}", f"pipeline_ms@{FURTHER}"]
)
def test_every_limit_is_checked_as_the_search_keeps_it(run: Path, name: str) -> None:
    """Against the search's own columns: a limit in the middle of the picks lets those pass that the search would."""
    tablet = dataclasses.replace(make_profile(slower="assa"), device="tablet")
    save_profile(tablet, run / "searches" / "default" / "device_2.json")
    picks = limit(run)
    encoded = SPACE.encode([pick.pick.trial.spec for pick in picks])
    values = cost_function(name, SPACE, (make_profile(), tablet), steps=3)(encoded).values
    middle = float(np.sort(values)[1])
    bound = limit(run, **{name: middle})
    # Closed forms here and there add up in another order.
    assert [pick.allowed for pick in bound] == (values <= middle * (1 + 1e-9)).tolist()
    assert sum(pick.allowed for pick in bound) == 2
    (over,) = (pick for pick in bound if not pick.allowed)
    assert over.broken == (name,) and not over.unchecked
    (other,) = other_devices(read_results(Run(run), "default"), make_profile())
    assert f"over the limit on {noun(name)}" in [line.cells[3] for line in other_device_lines([other])]


def test_a_limit_on_quality_is_checked_too(run: Path) -> None:
    qualities = [pick.loss for pick in limit(run)]
    middle = sorted(qualities)[1]
    bound = limit(run, validation_loss=middle)
    assert [pick.broken for pick in bound] == [
        () if quality <= middle else ("validation_loss",) for quality in qualities
    ]
    assert not any(pick.unchecked for pick in bound)


def test_a_limit_that_cannot_be_checked_is_said_to_be_unchecked(run: Path) -> None:
    bound = limit(run, **{f"latency_ms@{FURTHER}": 1e-9, "file_mb": 1e9})
    assert all(pick.allowed and pick.unchecked == (f"latency_ms@{FURTHER}",) for pick in bound)
    (other,) = other_devices(read_results(Run(run), "default"), make_profile())
    assert all(
        line.cells[3].endswith(f"; limit on latency on {FURTHER} not checked") for line in other_device_lines([other])
    )


def test_a_limit_on_memory_of_an_earlier_version_is_unchecked(run: Path) -> None:
    limit(run, memory_mb=1e-9)
    file = run / "searches" / "default" / "search.json"
    config = json.loads(file.read_text())
    del config["memory_model"]
    file.write_text(json.dumps(config))
    (found,) = other_devices(read_results(Run(run), "default"), make_profile())
    assert all(pick.allowed and pick.unchecked == ("memory_mb",) for pick in found.picks)


def test_the_page_and_the_table_say_so(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    save_profile(make_profile())
    (other,) = other_devices(read_results(Run(run), "default"), make_profile())
    paths = report(run)
    page = html.unescape(re.sub(r"<[^>]+>", "\n", paths.html.read_text()))
    for text in (page, paths.markdown.read_text()):
        assert "What other devices’ picks cost here".replace("’", "'") in text.replace("’", "'")
        assert OTHER in text and "rounding its weights" in text
        for pick in other.picks:
            assert f"{round(100 * (pick.latency_paid or 0), 1) + 0.0:+.1f} %" in text
            assert f"{pick.loss:.4f}" in text
    # Each row of the Markdown table has as many cells as its head.
    lines = paths.markdown.read_text().splitlines()
    head = next(at for at, line in enumerate(lines) if "paid in latency" in line)
    assert {line.count("|") for line in lines[head : head + 3 + len(other.picks)]} == {9}
    assert OTHER in lines[head + 2] and not lines[head + 3 + len(other.picks)]


def test_what_cannot_be_compared_is_left_out(run: Path) -> None:
    add_search(run, "same-device", device=DEVICE)
    add_search(run, "unfinished", device="phone-c")
    add_search(run, "other-quality", device="phone-d")
    add_search(run, "damaged", device="phone-e")
    for name, change in (
        ("unfinished", {"state": "searching"}),
        ("other-quality", {"proxies": {"validation_loss": {"unit": "another loss"}}}),
    ):
        file = run / "searches" / name / "search.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    (run / "searches" / "damaged" / "trials.csv").write_text("spec_hash,latency_ms\nnot,one\n")
    for name, torn in (("torn", "search.json"), ("torn-picks", "picks.json")):
        add_search(run, name, device="phone-f")
        (run / "searches" / name / torn).write_text('{"spa')
    found = other_devices(read_results(Run(run), "default"), make_profile())
    assert [other.search for other in found] == ["on-other"]
    assert other_devices(read_results(Run(run), "default"), None) == ()
