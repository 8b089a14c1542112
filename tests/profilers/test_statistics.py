"""Known latencies come back from timings with drift, interruptions and noise; the log survives a torn line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from profilers.measuring.rounds import measure_rounds
from profilers.measuring.statistics import QUANTILE
from profilers.measuring.statistics import corrected_ms
from profilers.measuring.statistics import is_noisy
from profilers.measuring.statistics import latencies
from profilers.measuring.statistics import latency_of
from profilers.measuring.statistics import noise_of
from profilers.measuring.statistics import within
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.measuring.timings import is_finished
from profilers.measuring.timings import pooled
from profilers.runtimes import Timing
from tests.profilers.small import Doubling

TRUE_MS = {"quick": 0.02, "slow": 3.0, "middle": 0.4}


def timings_of(
    *, rounds: int = 60, drift: float = 0.0, interrupted: float = 0.0, noise: float = 0.0, seed: int = 0
) -> Timings:
    """Timings on a machine whose speed swings by `drift`, with a share of timings that lose the processor."""
    rng = np.random.default_rng(seed)
    timings = Timings(rounds=rounds)
    for at in range(rounds):
        speed = 1 + drift * np.sin(2 * np.pi * at / 100)
        for name in [REFERENCE, "quick", REFERENCE, "slow", REFERENCE, "middle"]:
            cpu = {REFERENCE: 0.3, **TRUE_MS}[name] * speed * (1 + noise * rng.standard_normal())
            lost = rng.exponential(4.0) if rng.random() < interrupted else 0.0
            timings.add(name, Timing(wall_ms=cpu + lost, cpu_ms=cpu))
    return timings


def test_without_disturbance_latencies_are_exact() -> None:
    found = latencies(timings_of())
    assert {name: found[name].latency_ms for name in TRUE_MS} == pytest.approx(TRUE_MS)


def test_drift_and_interruptions_do_not_move_latencies() -> None:
    """Over whole periods of the drift its typical speed is 1; without correction the lower quartile is far off."""
    timings = timings_of(drift=0.4, interrupted=0.4, rounds=200)
    found = latencies(timings)
    for name, true_ms in TRUE_MS.items():
        assert found[name].latency_ms == pytest.approx(true_ms, rel=0.05)
    ratios = [found[name].latency_ms / true_ms for name, true_ms in TRUE_MS.items()]
    assert max(ratios) / min(ratios) < 1.01
    plain = np.quantile([w for n, w in zip(*_columns(timings), strict=True) if n == "slow"], QUANTILE)
    assert abs(plain / TRUE_MS["slow"] - 1) > 0.1


def _columns(timings: Timings) -> tuple[list[str], list[float]]:
    return timings.names, timings.wall_ms


def test_a_model_that_is_always_interrupted_keeps_its_timings() -> None:
    timings = timings_of(rounds=30)
    timings.wall_ms = [w + 5.0 if n == "slow" else w for n, w in zip(*_columns(timings), strict=True)]
    assert len(corrected_ms(timings)["slow"]) == 30


def _memory_bound(seed: int, rounds: int = 20) -> tuple[Timings, dict[str, float]]:
    """Long models on a machine whose memory, but not its cores, is up to 8 % slower or quicker for seconds."""
    rng = np.random.default_rng(seed)
    true_ms = {f"long-{at}": float(ms) for at, ms in enumerate(np.geomspace(150, 900, 12))}
    timings, clock, level, told = Timings(rounds=rounds), 0.0, 0.0, 0.0
    for _ in range(rounds):
        for name in rng.permutation(list(true_ms)).tolist():
            timings.add(REFERENCE, Timing(wall_ms=0.3, cpu_ms=0.3))
            # A level of some seconds' memory (Ornstein and Uhlenbeck).
            kept = np.exp(-(clock - told) / 5000)
            level, told = kept * level + 0.05 * np.sqrt(1 - kept**2) * rng.standard_normal(), clock
            wall_ms = true_ms[name] * np.exp(level)
            timings.add(name, Timing(wall_ms=wall_ms, cpu_ms=wall_ms))
            clock += wall_ms
    return timings, true_ms


def test_long_models_are_corrected_by_each_other_for_what_the_reference_kernel_does_not_feel() -> None:
    errors, plain, widths = [], [], []
    for seed in range(20):
        timings, true_ms = _memory_bound(seed)
        found = latencies(timings)
        walls = {
            name: np.asarray([w for n, w in zip(*_columns(timings), strict=True) if n == name]) for name in true_ms
        }
        ratios = np.asarray([[found[n].latency_ms, np.quantile(walls[n], QUANTILE)] for n in true_ms])
        # What all have in common is the machine's typical speed; what differs between models is error.
        spread = np.log(ratios / np.asarray(list(true_ms.values()))[:, None]).std(axis=0)
        errors.append(spread[0])
        plain.append(spread[1])
        widths += [found[name].relative_ci / latency_of(walls[name]).relative_ci for name in true_ms]
    assert np.mean(errors) < 0.7 * np.mean(plain)
    assert np.median(widths) < 0.7


@pytest.mark.parametrize(
    ("throttled", "skewed"), [(1.0, 0.0), (1.4, 0.0), (2.0, 0.0), (1.0, 0.02), (1.0, 0.05), (1.4, 0.02)]
)
def test_correcting_long_models_by_each_other_keeps_them_true_next_to_short_ones(
    throttled: float, skewed: float
) -> None:
    """On a machine that is slower for its last part, and with noise of each timing's own that only ever adds time."""
    rng = np.random.default_rng(7)
    true_ms = {f"long-{at}": float(ms) for at, ms in enumerate(np.geomspace(150, 1200, 8))}
    true_ms |= {f"short-{at}": 50.0 for at in range(4)}
    timings = Timings(rounds=30)
    for at in range(30):
        for name in rng.permutation(list(true_ms)).tolist():
            for each in (REFERENCE, name):
                own = {REFERENCE: 0.3, **true_ms}[each] * (throttled if at >= 12 else 1.0)
                wall_ms = own * (1 + (rng.exponential(skewed) if skewed and each != REFERENCE else 0.0))
                timings.add(each, Timing(wall_ms=wall_ms, cpu_ms=wall_ms))
    found = latencies(timings)
    ratio = {name: found[name].latency_ms / true_ms[name] for name in true_ms}
    long, short = (np.mean([ratio[name] for name in ratio if kind in name]) for kind in ("long", "short"))
    assert long / short == pytest.approx(1.0, abs=0.005 + 0.25 * skewed)


def test_a_few_long_models_among_short_ones_keep_the_reference_kernels_correction() -> None:
    timings, _ = _memory_bound(0)
    few = Timings(rounds=timings.rounds)
    for name, wall_ms, cpu_ms in zip(timings.names, timings.wall_ms, timings.cpu_ms, strict=True):
        if name in (REFERENCE, "long-0", "long-1"):
            few.add(name, Timing(wall_ms, cpu_ms))
    found = corrected_ms(few)
    assert found["long-0"].tolist() == [w for n, w in zip(*_columns(few), strict=True) if n == "long-0"]


def test_attempts_together_have_narrower_intervals_than_each_alone() -> None:
    attempts = [timings_of(noise=0.1, rounds=30, seed=seed) for seed in range(3)]
    together = pooled(attempts)
    assert together.rounds == 90 and len(together.names) == sum(len(one.names) for one in attempts)
    names = list(TRUE_MS)
    alone = [noise_of(one, names, names, attempts=1).component_ci for one in attempts]
    assert noise_of(together, names, names, attempts=3).component_ci < 0.75 * min(alone)


def test_the_interval_holds_the_quartile_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    true_quartile = 2.0 + 0.1 * -0.6744898
    drawn = 2.0 + 0.1 * rng.standard_normal((600, 50))
    intervals = [latency_of(row) for row in drawn]
    covered = np.mean([one.low_ms <= true_quartile <= one.high_ms for one in intervals])
    assert 0.93 <= covered <= 0.99
    narrow = [latency_of(2.0 + 0.1 * rng.standard_normal(800)).relative_ci for _ in range(20)]
    assert np.mean(narrow) < 0.4 * np.mean([one.relative_ci for one in intervals])


def test_a_quiet_machine_is_told_from_a_noisy_one() -> None:
    names = list(TRUE_MS)
    assert not is_noisy(noise_of(timings_of(noise=0.01), names, names[1:], attempts=1))
    assert is_noisy(noise_of(timings_of(noise=0.3), names, names[1:], attempts=1))
    shifted = timings_of(noise=0.005)
    # Slow alone takes half as long again from the middle on, which no reference kernel explains.
    for at in range(len(shifted.names) // 2, len(shifted.names)):
        if shifted.names[at] == "slow":
            shifted.wall_ms[at] *= 1.5
            shifted.cpu_ms[at] *= 1.5
    slow, total = 1.5 / (3.0 + 4.5), 1.5 / (3.42 + 4.92)
    expected = ((slow**2 + 0 + total**2) / 3) ** 0.5
    assert noise_of(shifted, names, names[1:], attempts=1).split == pytest.approx(expected, abs=0.005)
    assert is_noisy(noise_of(shifted, names, names[1:], attempts=1))


def test_measuring_stops_when_intervals_are_narrow_and_no_sooner() -> None:
    assert within(list(TRUE_MS), 0.02)(timings_of(noise=0.02, rounds=60))
    assert not within(list(TRUE_MS), 0.002)(timings_of(noise=0.02, rounds=60))


def test_every_round_times_everything_in_its_own_order() -> None:
    sessions = {name: Doubling() for name in "abcdef"}
    timings = measure_rounds(sessions, Doubling(), is_enough=lambda _: False, budget_s=0.0, min_rounds=8)
    models = [name for name in timings.names if name != REFERENCE]
    orders = [tuple(models[at : at + 6]) for at in range(0, len(models), 6)]
    assert timings.rounds == len(orders) == 8
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert len(set(orders)) > 4
    assert timings.names.count(REFERENCE) >= 16
    assert all(session.runs > 8 for session in sessions.values())


def test_an_attempt_that_was_enough_before_the_kill_is_not_measured_further() -> None:
    done = Timings(names=["a"] * 20, wall_ms=[0.1] * 20, cpu_ms=[0.1] * 20, rounds=20, seconds=1.0)
    again = measure_rounds(
        {"a": Doubling()}, Doubling(), is_enough=lambda _: True, budget_s=60.0, min_rounds=20, timings=done
    )
    assert again.rounds == 20 == again.names.count("a")


def test_the_log_goes_on_after_a_torn_line_and_begins_anew_for_another_measurement(tmp_path: Path) -> None:
    path, header = tmp_path / "log.jsonl", {"kit": "a"}
    log = TimingLog(path, header)
    first = log.attempt(0)
    for at_round in (1, 2, 3):
        first.rounds, first.seconds = at_round, at_round * 0.5
        log.write(0, first, "a", Timing(0.1 * at_round, 0.1))
    log.close()
    path.write_text(path.read_text()[:-7])
    again = TimingLog(path, header)
    assert again.attempt(0).wall_ms == [0.1, 0.2]
    assert (again.attempt(0).rounds, again.attempt(0).seconds) == (2, 1.0)
    again.finish()
    assert is_finished(path, header)
    assert [json.loads(line) for line in path.read_text().splitlines()][-1] == "finished"
    other = TimingLog(path, {"kit": "b"})
    assert other.attempts == [] and not is_finished(path, {"kit": "b"})
    other.finish()
    # A finished measurement is not gone on with: the next one begins.
    assert TimingLog(path, {"kit": "b"}).attempts == [] and not is_finished(path, {"kit": "b"})


def test_a_log_is_not_written_again_but_for_a_torn_line_and_then_in_one_step(tmp_path: Path) -> None:
    path, header = tmp_path / "log.jsonl", {"kit": "a"}
    log = TimingLog(path, header)
    log.attempt(0).rounds = 1
    log.write(0, log.attempt(0), "a", Timing(0.1, 0.1))
    log.close()
    whole, before = path.read_bytes(), path.stat()
    TimingLog(path, header).close()
    assert path.read_bytes() == whole
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(whole + b"[0, 1, 0.")
    with path.open("rb") as held:
        TimingLog(path, header).close()
        # Another file took its place: whenever a kill comes, one of the two is there, and each has the first line.
        assert held.read() == whole + b"[0, 1, 0."
    assert path.read_bytes() == whole


def test_a_log_is_finished_after_it_was_closed(tmp_path: Path) -> None:
    path, header = tmp_path / "log.jsonl", {"kit": "a"}
    assert not is_finished(path, header) and not path.exists()
    log = TimingLog(path, header)
    log.close()
    assert not is_finished(path, header)
    log.finish()
    assert is_finished(path, header) and not is_finished(path, {"kit": "b"})
