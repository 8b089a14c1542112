"""Verify and correct: what is measured changes the table, and the report says how wrong the first one was."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles import CorrectedLatencies
from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import read_profile
from nas._costs import PipelineCost
from nas._feasible_region import find_feasible_region
from nas._loop import run_search
from nas._problem import SearchProblem
from nas.verification._same_machine import check_same_machine
from nas.verification._verify import Measure
from nas.verification._verify import correct
from nas.verification._verify import most_promising
from nas.verification._verify import verify_search
from profilers import Measurement
from profilers import cpu_model
from profilers import device_name
from subdit.core.errors import InfeasibleError
from subdit.core.errors import ProfileError
from subdit.core.errors import SearchError
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import SearchResult
from subdit.results import load_search
from subdit.space import get_space
from tests.nas import analytic
from tests.nas.test_facade import made_profile

SPACE = get_space("digits")


class Truth(analytic.Latency):
    """The device as it is: 20 % slower than its table says, and wide sub-DiTs slower still."""

    def estimate(self, encoded):  # type: ignore[no-untyped-def]
        estimate = super().estimate(encoded)
        width = analytic.columns(self.space, encoded)["width"]
        estimate.latency_ms = estimate.latency_ms * 1.2 * (width / 64) ** 0.3
        return estimate


def measure(specs):  # type: ignore[no-untyped-def]
    found = Truth(SPACE).estimate(SPACE.encode(specs.values())).latency_ms
    return {
        name: Measurement(float(value), 0.99 * float(value), 1.01 * float(value), 30, 0.0, 0.0, 1.0)
        for name, value in zip(specs, found, strict=True)
    }


@pytest.fixture
def asked() -> SearchProblem:
    problem = analytic.problem({"latency_ms": 3.0}, surrogate=False)
    return dataclasses.replace(problem, profiles=(made_profile(),))


def searched(run: Run, problem: SearchProblem, trials: int) -> SearchResult:
    return run_search(run, "default", having(problem, trials=trials))


def having(problem: SearchProblem, **settings: Any) -> SearchProblem:
    """The same search with other settings."""
    return dataclasses.replace(problem, config=dataclasses.replace(problem.config, **settings))


def verified(run: Run, first: SearchResult, problem: SearchProblem, *, count: int, **options: Any) -> SearchResult:
    """Verified, with as many trials as the first search had."""
    settings = {key: options.pop(key) for key in ("pick_at", "allow_noisy") if key in options}
    asked = having(problem, verify=count, trials=first.config["budget"]["trials"], **settings)
    return verify_search(run, first, asked, progress=no_progress, **options)


def test_a_correction_learns_a_factor_and_a_tendency() -> None:
    rng = np.random.default_rng(0)
    encoded, unseen = SPACE.sample(rng, 24), SPACE.sample(rng, 200)
    source, truth = analytic.Latency(SPACE), Truth(SPACE)
    corrected = correct(SPACE, source, encoded, truth.estimate(encoded).latency_ms)
    real = truth.estimate(unseen).latency_ms
    before = np.abs(source.estimate(unseen).latency_ms / real - 1).mean()
    found = corrected.estimate(unseen)
    after = np.abs(found.latency_ms / real - 1).mean()
    assert before > 0.15 and after < 0.02
    assert ((found.low_ms <= real) & (real <= found.high_ms)).mean() > 0.9


def test_one_measurement_is_one_factor_for_all() -> None:
    encoded = SPACE.sample(np.random.default_rng(1), 1)
    source = analytic.Latency(SPACE)
    corrected = correct(SPACE, source, encoded, 1.5 * source.estimate(encoded).latency_ms)
    others = SPACE.sample(np.random.default_rng(2), 50)
    found, plain = corrected.estimate(others), 1.5 * source.estimate(others).latency_ms
    np.testing.assert_allclose(found.latency_ms, plain)
    # Off by the table's own 5 % for what was measured, and once more for what was not.
    np.testing.assert_allclose(found.high_ms - found.latency_ms, np.sqrt(2) * 0.05 * plain)


class Sharp(analytic.Latency):
    """A table that is sure of itself."""

    def estimate(self, encoded):  # type: ignore[no-untyped-def]
        estimate = super().estimate(encoded)
        estimate.low_ms, estimate.high_ms = 0.98 * estimate.latency_ms, 1.02 * estimate.latency_ms
        return estimate


def covered_and_off(count: int, tilt: float, noise: float) -> tuple[float, float]:
    """Over many draws of noisy measurements: how often intervals hold the truth of others, and how far these are off.

    In truth all take 1.2 times as long, and by `tilt` the wider the more so.
    """

    def truth(encoded):  # type: ignore[no-untyped-def]
        width = analytic.columns(SPACE, encoded)["width"]
        return 1.2 * (width / 64) ** tilt * analytic.Latency(SPACE).estimate(encoded).latency_ms

    unseen = SPACE.sample(np.random.default_rng(99), 300)
    real, held, off = truth(unseen), [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        encoded = SPACE.sample(rng, count)
        measured = truth(encoded) * np.exp(rng.normal(0, noise, count))
        found = correct(SPACE, Sharp(SPACE), encoded, measured).estimate(unseen)
        held.append(np.mean((found.low_ms <= real) & (real <= found.high_ms)))
        off.append(np.mean(np.abs(found.latency_ms / real - 1)))
    return float(np.mean(held)), float(np.mean(off))


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_intervals_hold_what_a_few_noisy_measurements_cannot_tell(count: int, tilt: float) -> None:
    held, _ = covered_and_off(count, tilt, 0.05)
    assert held > 0.9


def test_a_tendency_is_believed_as_far_as_measurements_left_out_support_it() -> None:
    # Nothing but noise: near to what the mean of eight leaves, 5 % over the root of 8, where an interpolation has 4 %.
    assert covered_and_off(8, 0.0, 0.05)[1] < 0.025
    # The tendency alone makes one factor wrong by 7 %.
    assert covered_and_off(24, 0.3, 0.02)[1] < 0.025


def test_a_search_is_corrected_and_says_how_wrong_it_was(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    first = searched(run, asked, 60)
    chosen = most_promising(first, 8)
    assert len(chosen) == 8 and {pick.spec for pick in first.picks.values()} <= {row.spec for row in chosen}
    second = verified(run, first, asked, count=8, measure=measure)
    said = json.loads((first.folder / "verify.json").read_text())
    real = measure({row.spec.hash: row.spec for row in chosen})
    errors = [row.latency_ms / real[row.spec.hash].latency_ms - 1 for row in chosen]
    assert said["mean_relative_error"] == pytest.approx(np.abs(errors).mean())
    assert said["violation_count"] == sum(found.latency_ms > 3.0 for found in real.values()) > 0
    assert 0 < said["hypervolume_regret"] < 1
    assert second.folder.name == "default-verified"
    # What the corrected search promises holds on the device.
    kept = measure({row.spec.hash: row.spec for row in second.front})
    assert max(found.latency_ms for found in kept.values()) < 3.0 * 1.06
    assert all(kept[row.spec.hash].latency_ms < row.latency_high_ms for row in second.front)
    assert "break the latency limit" in said["summary"] and said["summary"].count(".") >= 2
    # Asked for again, it is measured and searched again.
    again = verified(run, first, asked, count=8, measure=measure)
    assert again.front == second.front


def test_a_machine_that_is_slower_as_a_whole_is_no_error_of_the_table(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    first = searched(run, asked, 25)
    conditions = dataclasses.replace(made_profile().conditions, reference_ms=2.0)
    known = dataclasses.replace(asked, profiles=(dataclasses.replace(made_profile(), conditions=conditions),))

    def slowed(specs):  # type: ignore[no-untyped-def]
        exact = analytic.Latency(SPACE).estimate(SPACE.encode(specs.values())).latency_ms
        return {
            name: Measurement(1.2 * value, 1.19 * value, 1.21 * value, 30, 0.0, 0.0, 2.4)
            for name, value in zip(specs, exact.tolist(), strict=True)
        }

    second = verified(run, first, known, count=4, measure=slowed)
    said = second.config["verified"]
    assert (
        said["reference_kernel_ratio"] == pytest.approx(1.2)
        and not said["doubted"]
        and said["mean_relative_error"] < 1e-9
        and said["violation_count"] == 0
    )
    assert [(row.spec, row.latency_ms) for row in second.front] == [(row.spec, row.latency_ms) for row in first.front]
    assert "1.20 of its time" in said["summary"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reference_ms": 1.82}, "the reference kernel took 1.82 of its time in the profile"),
        ({"reference_ms": 0.7}, "the reference kernel took 0.70 of its time in the profile"),
        ({"half": 0.05}, "95 % intervals are +-5.0%"),
        ({"split": 0.04}, "the two halves of the measurement differ by +-4.0%"),
    ],
)
def test_a_noisy_machine_corrects_nothing_unless_allowed(
    tmp_path: Path, asked: SearchProblem, change: dict[str, float], said: str
) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    first = searched(run, asked, 25)
    conditions = dataclasses.replace(made_profile().conditions, reference_ms=1.0)
    known = dataclasses.replace(asked, profiles=(dataclasses.replace(made_profile(), conditions=conditions),))
    half, split, reference_ms = (
        change.get(key, usual) for key, usual in (("half", 0.01), ("split", 0.0), ("reference_ms", 1.0))
    )

    def noisy(specs):  # type: ignore[no-untyped-def]
        exact = 1.3 * analytic.Latency(SPACE).estimate(SPACE.encode(specs.values())).latency_ms
        return {
            name: Measurement(value, (1 - half) * value, (1 + half) * value, 30, 0.0, split, reference_ms)
            for name, value in zip(specs, exact.tolist(), strict=True)
        }

    options = {"count": 3, "measure": noisy}
    with pytest.raises(SearchError, match=re.escape(said)) as caught:
        verified(run, first, known, **options)
    assert "--allow-noisy" in str(caught.value) and not run.search("default-verified").exists()
    kept = json.loads((first.folder / "verify.json").read_text())
    assert kept["doubted"] and said in kept["summary"] and len(kept["measured"]) == 3 and "second_search" not in kept
    allowed = verified(run, first, known, allow_noisy=True, **options).config["verified"]
    assert allowed["doubted"] and said in allowed["summary"] and allowed["second_search"] == "default-verified"


def slower_by(factor: float) -> Measure:
    def measured(specs):  # type: ignore[no-untyped-def]
        exact = analytic.Latency(SPACE).estimate(SPACE.encode(specs.values())).latency_ms * factor
        return {
            name: Measurement(value, 0.99 * value, 1.01 * value, 30, 0.0, 0.0, 1.0)
            for name, value in zip(specs, exact.tolist(), strict=True)
        }

    return measured


def test_the_corrected_search_keeps_what_its_latencies_are_from(tmp_path: Path, asked: SearchProblem) -> None:
    """Its profile and its correction, read from files alone, predict what it found."""
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    tablet = dataclasses.replace(made_profile(), device="tablet")
    tables = dataclasses.replace(asked.tables, latencies=LatencyEstimator(made_profile(), SPACE))
    real = dataclasses.replace(asked, tables=tables, profiles=(made_profile(), tablet))
    first = searched(run, real, 40)
    options = {"count": 8}
    second = verified(run, first, real, measure=measure, **options)
    stored = json.loads((second.folder / "correction.json").read_text())
    assert stored["first_search"] == "default" and stored["latency_hash"] == second.config["latency_hash"]
    assert stored["verified"] == json.loads((first.folder / "verify.json").read_text())
    assert read_profile(second.folder / "device_2.json").id == tablet.id
    plain = LatencyEstimator(read_profile(second.folder / "device.json"), SPACE)
    read = CorrectedLatencies.from_dict(SPACE, plain, stored["correction"])
    encoded = SPACE.encode([row.spec for row in second.front])
    found = read.estimate(encoded)
    for name in ("latency_ms", "low_ms", "high_ms"):
        expected = [getattr(row, name if name == "latency_ms" else f"latency_{name}") for row in second.front]
        np.testing.assert_allclose(getattr(found, name), expected)
    assert np.abs(found.latency_ms / plain.estimate(encoded).latency_ms - 1).max() > 0.1
    measured = {entry["spec_hash"]: entry for entry in stored["verified"]["measured"]}
    chosen = most_promising(first, 8)
    after = read.estimate(SPACE.encode([row.spec for row in chosen])).latency_ms
    assert [measured[row.spec.hash]["corrected_ms"] for row in chosen] == pytest.approx(after)
    with pytest.raises(ProfileError, match="damaged"):
        CorrectedLatencies.from_dict(SPACE, plain, {"shift": 0.1})
    with pytest.raises(ProfileError, match="not of space 'digits'"):
        CorrectedLatencies.from_dict(SPACE, plain, {**stored["correction"], "slopes": [0.1]})


def test_a_pick_that_the_corrected_table_puts_out_of_reach_is_left_out(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    pick_at = {"latency_ms": 1.1 * find_feasible_region(asked.tables).fastest.latency_ms}
    first = searched(run, having(asked, pick_at=pick_at), 25)
    (name,) = set(first.picks) - {"fastest", "balanced", "best"}
    options = {"count": 4, "pick_at": pick_at}
    second = verified(run, first, asked, measure=slower_by(1.5), **options)
    assert name not in second.picks and "No sub-DiT within the limits" in second.config["missed_picks"][name]
    assert load_search(run.path, "default-verified").picks == second.picks
    said = json.loads((first.folder / "verify.json").read_text())
    assert len(said["measured"]) == 4 and "hypervolume_regret" in said


def slow_share(fronts: list[list[tuple[float, float]]]) -> float:
    """Share of the area that the first front dominates of what both do, below a tenth of their extent beyond them.

    Counted on a fine grid, and of both fronts' own best points.
    """
    points = np.asarray([point for front in fronts for point in front])
    best = np.asarray([p for p in points if not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any()])
    low, extent = best.min(axis=0), best.max(axis=0) - best.min(axis=0)
    grid = np.stack(np.meshgrid(*[(np.arange(1200) + 0.5) / 1200 * 1.1] * 2), axis=-1).reshape(-1, 2)

    def area(front: object) -> float:
        covered = np.zeros(len(grid), dtype=bool)
        for point in (np.asarray(front) - low) / extent:
            covered |= (grid >= point).all(axis=1)
        return float(covered.mean())

    return area(fronts[0]) / area(points)


def test_regret_is_in_the_objectives_of_the_question(tmp_path: Path, asked: SearchProblem) -> None:
    """By area counted on a grid, of parameters against quality; latency counts only as far as it is limited."""
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    small = dataclasses.replace(asked, objectives=dataclasses.replace(asked.objectives, costs=("params",)))
    first = searched(run, small, 60)
    options = {"count": 6}
    second = verified(run, first, small, measure=slower_by(1.3), **options)
    said = second.config["verified"]
    kept = [row for row in first.front if 1.3 * row.latency_ms <= 3.0]
    assert 0 < len(kept) < len(first.front)
    fronts = [[(float(row.params), row.value("analytic")) for row in rows] for rows in (kept, second.front)]
    assert said["hypervolume_regret"] == pytest.approx(1 - slow_share(fronts), abs=0.004)
    assert said["hypervolume_regret"] > 0.01
    assert said["hypervolume_figures"] == ["params", "analytic"]
    assert "of the hypervolume of both fronts together, in number of parameters and analytic." in said["summary"]
    assert "neither an objective nor limited" not in said["summary"]


def test_a_search_without_latency_says_that_correcting_it_changes_nothing(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    small = dataclasses.replace(
        asked,
        tables=dataclasses.replace(asked.tables, constraints={"params": 90_000}),
        objectives=dataclasses.replace(asked.objectives, costs=("params",)),
    )
    first = searched(run, small, 25)
    options = {"count": 3}
    said = verified(run, first, small, measure=slower_by(1.3), **options).config["verified"]
    assert said["hypervolume_regret"] == 0 and "correcting it changes nothing" in said["summary"]


def test_pictures_are_corrected_too(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    functions = {"pipeline_ms": PipelineCost(asked.profiles[0], SPACE, 4, analytic.Latency(SPACE))}
    pictures = dataclasses.replace(
        asked,
        tables=dataclasses.replace(asked.tables, constraints={"pipeline_ms": 10.0}, functions=functions),
        objectives=dataclasses.replace(asked.objectives, costs=("pipeline_ms",)),
    )
    first = searched(run, pictures, 40)
    options = {"count": 6}
    second = verified(run, first, pictures, measure=slower_by(1.5), **options)
    said = second.config["verified"]
    # A picture of the digits is four steps and nothing else.
    exact = [1.5 * 4 * row.latency_ms for row in most_promising(first, 6)]
    assert said["violation_count"] == sum(value > 10.0 for value in exact) > 0
    assert "break the latency limit" in said["summary"] and said["hypervolume_regret"] > 0
    for row in second.front:
        slow = 1.5 * 4 * float(analytic.Latency(SPACE).estimate(SPACE.encode([row.spec])).latency_ms[0])
        assert row.value("pipeline_ms") == pytest.approx(slow, rel=1e-6) and slow <= 10.0


def test_measurements_are_kept_where_nothing_keeps_the_limits_any_more(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    limits = {"latency_ms": 1.3 * find_feasible_region(asked.tables).fastest.latency_ms}
    tight = dataclasses.replace(asked, tables=dataclasses.replace(asked.tables, constraints=limits))
    first = searched(run, tight, 12)
    with pytest.raises(InfeasibleError, match="as corrected in .*verify.json: No sub-DiT of space"):
        verified(run, first, tight, count=3, measure=slower_by(2.0))
    said = json.loads((first.folder / "verify.json").read_text())
    assert [entry["spec_hash"] for entry in said["measured"]] == [row.spec.hash for row in most_promising(first, 3)]
    assert said["violation_count"] == 3 and not run.search("default-verified").exists()


def here(**changes: str) -> DeviceProfile:
    """A profile that this machine would make, but for some of its device name, host, and processor."""
    plain = {"device": device_name(), "machine": platform.node(), "cpu": cpu_model(), **changes}
    device = plain.pop("device")
    conditions = dataclasses.replace(made_profile().conditions, **plain)
    return dataclasses.replace(made_profile(), device=device, conditions=conditions)


@pytest.mark.parametrize(
    "profile",
    [
        here(),
        here(device="my-laptop"),
        # Shipped with subdit: made elsewhere, under the name that goes with the processor.
        here(machine="another-host"),
        here(device="my-laptop", cpu=""),
    ],
)
def test_a_profile_of_this_machine_can_be_verified_here(profile: DeviceProfile) -> None:
    check_same_machine(profile)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        # Every virtual machine is called alike.
        (here(cpu="Another Processor"), r"another processor \(Another Processor\) than this machine's"),
        (here(cpu="Another Processor", machine="another-host"), "another processor"),
        (here(device="my-laptop", machine="another-host"), "was measured on another-host, not on this one"),
        (here(machine="another-host", cpu=""), "was measured on another-host, not on this one"),
        (here(machine="", cpu=""), "on a machine that it does not name"),
        (dataclasses.replace(here(), runtime="abacus"), "cannot measure from here .There is no runtime 'abacus'"),
        (dataclasses.replace(here(), precision="int4"), "cannot measure from here .ONNX Runtime runs no int4"),
        (dataclasses.replace(here(), delegate="xnnpack"), "cannot measure from here .ONNX Runtime has no delegate"),
    ],
)
def test_another_machine_is_not_verified_here(profile: DeviceProfile, said: str) -> None:
    with pytest.raises(SearchError, match=said) as caught:
        check_same_machine(profile)
    assert str(caught.value).endswith("or leave out --verify.")


def test_another_machine_measures_nothing(tmp_path: Path, asked: SearchProblem) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    first = searched(run, asked, 25)
    with pytest.raises(SearchError, match="another processor"):
        verified(run, first, asked, count=3)
