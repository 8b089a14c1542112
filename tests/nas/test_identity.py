"""What makes two searches one: latencies count by what a profile holds, not by what a processor computes from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import LatencyEstimate
from device_profiles import LatencyEstimator
from nas._costs import LatencyCost
from nas._costs import LatencySource
from nas._costs import PipelineCost
from nas._loop import run_search
from nas._problem import SearchProblem
from nas.study._identity import identify
from nas.study._location import StudyLocation
from nas.study._location import StudyOptions
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import EncodedSpecs
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import made_up_profile
from tests.device_profiles.made_up import whole_profile
from tests.nas import analytic

PROFILES = {
    "fitted": whole_profile(),
    "fitted without parts": whole_profile(parts=False),
    "calibrated": made_up_profile(),
    "sums": made_up_profile(calibrated=False),
}


class OneUlpSlower(LatencyEstimator):
    """The estimator of another processor: its numbers are a last bit larger, on the other side of the ninth decimal."""

    def estimate(self, encoded: EncodedSpecs) -> LatencyEstimate:
        found = super().estimate(encoded)
        halfway = np.round(found.latency_ms, 6) + 0.5e-9
        return dataclasses.replace(found, latency_ms=np.nextafter(halfway, self.towards))

    towards = np.inf


class OneUlpFaster(OneUlpSlower):
    towards = -np.inf


def problem(profile: DeviceProfile, latencies: LatencySource, **settings: int) -> SearchProblem:
    """A search by these latencies on the first device, on a second one, and of whole pictures."""
    functions = {"latency_ms@other": LatencyCost(latencies), "pipeline_ms": PipelineCost(profile, SPACE, 4, latencies)}
    table = dataclasses.replace(analytic.tables(), latencies=latencies, functions=functions)
    return dataclasses.replace(analytic.problem(table=table, surrogate=False, **settings), profiles=(profile,))


@pytest.mark.parametrize("kind", PROFILES)
def test_a_last_bit_of_another_processor_asks_the_same_question(kind: str) -> None:
    profile = PROFILES[kind]
    slower, faster = OneUlpSlower(profile, SPACE), OneUlpFaster(profile, SPACE)
    encoded = SPACE.enumerate(0, 50)
    slow_ms, fast_ms = (each.estimate(encoded).latency_ms for each in (slower, faster))
    assert (np.round(slow_ms, 9) != np.round(fast_ms, 9)).any() and np.allclose(slow_ms, fast_ms, rtol=1e-14, atol=0)
    asked = identify(problem(profile, slower))
    assert asked.settings == identify(problem(profile, faster)).settings
    assert not asked.difference(identify(problem(profile, faster)).settings)


def test_workers_on_unlike_processors_share_a_study(tmp_path: Path) -> None:
    run, profile = Run(tmp_path / "run"), PROFILES["fitted"]
    start_manifest(run, space="digits")
    location = StudyLocation.of(run, "default", StudyOptions(worker=True))
    for trials, kind in ((4, OneUlpSlower), (8, OneUlpFaster)):
        asked = problem(profile, kind(profile, SPACE), trials=trials)
        result = run_search(run, "default", asked, location=location)
    assert len(result.trials) == 8


def edited(profile: DeviceProfile, change: str) -> DeviceProfile:
    """The profile with one number changed by a thousandth."""
    slower = lambda latency: dataclasses.replace(latency, latency_ms=1.001 * latency.latency_ms)  # noqa: E731
    first = next(iter(profile.components), "")
    if change == "component":
        return dataclasses.replace(profile, components={**profile.components, first: slower(profile.components[first])})
    if change == "interval":
        wider = dataclasses.replace(profile.components[first], high_ms=1.001 * profile.components[first].high_ms)
        return dataclasses.replace(profile, components={**profile.components, first: wider})
    if change == "whole":
        last = dataclasses.replace(profile.whole[-1], latency=slower(profile.whole[-1].latency))
        return dataclasses.replace(profile, whole=(*profile.whole[:-1], last))
    if change == "order":
        return dataclasses.replace(profile, whole=profile.whole[::-1])
    if change == "calibration":
        assert profile.calibration is not None
        return dataclasses.replace(profile, calibration=dataclasses.replace(profile.calibration, fixed_ms=0.051))
    assert change == "noise" and profile.noise is not None
    return dataclasses.replace(profile, noise=dataclasses.replace(profile.noise, split=0.011))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("fitted", "component"),
        ("fitted", "whole"),
        ("fitted", "order"),
        ("fitted", "noise"),
        ("fitted without parts", "whole"),
        ("calibrated", "calibration"),
        ("calibrated", "component"),
        ("sums", "component"),
        ("sums", "interval"),
    ],
)
def test_another_measurement_asks_another_question(kind: str, change: str) -> None:
    before, after = (LatencyEstimator(profile, SPACE) for profile in (PROFILES[kind], edited(PROFILES[kind], change)))
    assert before.fingerprint != after.fingerprint
    asked = identify(problem(PROFILES[kind], before))
    assert asked.difference(identify(problem(PROFILES[kind], after)).settings).startswith("latency_hash ")


def test_what_latencies_do_not_depend_on_asks_nothing_else() -> None:
    """A profile may be renamed, moved and measured in another room: its numbers are what a search is about."""
    profile = PROFILES["fitted"]
    before = LatencyEstimator(profile, SPACE).fingerprint
    conditions = dataclasses.replace(profile.conditions, machine="another", temperature_c=40.0)
    components = dict(reversed(profile.components.items()))
    other = dataclasses.replace(profile, device="pot", conditions=conditions, components=components, source="a log")
    assert LatencyEstimator(other, SPACE).fingerprint == before


def test_the_other_parts_of_a_picture_are_of_the_question() -> None:
    space = dataclasses.replace(SPACE, pipeline=("decoder",))
    step = analytic.Latency(SPACE)

    def fingerprint(decoder_ms: float) -> str:
        profile = dataclasses.replace(PROFILES["sums"], pipeline={"decoder": Latency(decoder_ms, 8.0, 10.0)})
        return PipelineCost(profile, space, 4, step).fingerprint

    assert fingerprint(9.0) == fingerprint(9.0) != fingerprint(9.001)


# Searches of earlier versions -----------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> tuple[Run, SearchProblem]:
    """A search as earlier versions wrote it: its hashes are of predicted latencies."""
    run, profile = Run(tmp_path / "run"), PROFILES["sums"]
    start_manifest(run, space="digits")
    asked = problem(profile, LatencyEstimator(profile, SPACE), trials=4)
    result = run_search(run, "default", asked)
    identity = identify(asked)
    before = identity.settings | identity.earlier
    del before["latency_model"]
    file = result.folder / "search.json"
    file.write_text(json.dumps({**result.config, **before}))
    journal = result.folder / "study.journal"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if "question" in line.get("user_attr", {}):
            line["user_attr"]["question"] = {key: value for key, value in before.items() if key != "subdit_version"}
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    config = json.loads(file.read_text())
    del config["latency_model"]
    file.write_text(json.dumps(config))
    return run, asked


def test_a_search_of_an_earlier_version_is_resumed(earlier: tuple[Run, SearchProblem]) -> None:
    run, asked = earlier
    assert "latency_model" not in (run.search("default") / "study.journal").read_text()
    further = dataclasses.replace(asked, config=dataclasses.replace(asked.config, trials=6))
    assert len(run_search(run, "default", further, resume=True).trials) == 6
    # What was written again compares as every search of this version does.
    assert len(run_search(run, "default", further, resume=True).trials) == 6


@pytest.mark.parametrize("key", ["latency_hash", "cost_hashes"])
def test_a_search_of_an_earlier_version_on_other_latencies_is_refused(
    earlier: tuple[Run, SearchProblem], key: str
) -> None:
    run, asked = earlier
    profile = edited(PROFILES["sums"], "component")
    other = LatencyEstimator(profile, SPACE)
    tables = dataclasses.replace(asked.tables, latencies=other)
    if key == "cost_hashes":
        functions = {**asked.tables.functions, "latency_ms@other": LatencyCost(other)}
        tables = dataclasses.replace(asked.tables, functions=functions)
    with pytest.raises(SearchError, match=f"cannot be resumed with other settings .{key} "):
        run_search(run, "default", dataclasses.replace(asked, tables=tables), resume=True)


def test_a_search_by_another_model_of_latency_is_refused_by_name(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    asked = problem(PROFILES["sums"], LatencyEstimator(PROFILES["sums"], SPACE), trials=4)
    file = run_search(run, "default", asked).folder / "search.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"latency_model": "0: guessed"}))
    with pytest.raises(SearchError, match="latency_model '0: guessed' instead of '.*--name or --force"):
        run_search(run, "default", asked, resume=True)
