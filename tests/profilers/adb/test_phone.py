"""What is asked of a phone, which cores are chosen, and when it is left to cool."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilers.adb.adb import Phone
from profilers.adb.adb import choose_phones
from profilers.adb.adb import find_adb
from profilers.adb.guard import Guard
from profilers.adb.guard import slowdown
from profilers.adb.phone import choose_mask
from profilers.adb.phone import fastest_cores
from profilers.adb.phone import fixed_performance
from profilers.adb.phone import read_facts
from profilers.adb.phone import read_state
from profilers.measuring.timings import REFERENCE
from profilers.measuring.timings import Timings
from profilers.runtimes import Timing
from subdit.core.errors import DeviceError
from tests.profilers.adb.phones import Bench
from tests.profilers.adb.phones import make_phone
from tests.profilers.adb.phones import set_states


def only_phone() -> Phone:
    (phone,) = choose_phones(find_adb(threading.Event()), ())
    return phone


@given(st.dictionaries(st.integers(0, 15), st.integers(1, 4).map(lambda step: step * 600_000), min_size=1), st.data())
def test_the_fastest_cores_are_enough_and_no_slower_core_is_among_them(
    clocks: dict[int, int], data: st.DataObject
) -> None:
    threads = data.draw(st.integers(1, len(clocks)))
    mask = fastest_cores(clocks, threads)
    chosen = {core for core in clocks if mask >> core & 1}
    assert mask == sum(1 << core for core in chosen) and len(chosen) >= threads
    slowest = min(clocks[core] for core in chosen)
    assert all(clocks[core] < slowest for core in clocks.keys() - chosen)
    # Without its slowest kind, it would be too few.
    assert sum(clocks[core] > slowest for core in chosen) < threads


def test_facts_and_masks(desk: Bench, tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone", ro__product__manufacturer="acme", ro__product__model="Acme Pot; $(x)"))
    phone = only_phone()
    facts = read_facts(phone)
    assert (facts.model, facts.device, facts.abis) == ("Acme Pot; $(x)", "acme-pot-x", ("arm64-v8a", "armeabi-v7a"))
    assert [choose_mask(phone, facts, "auto", threads) for threads in (1, 2, 4, 8)] == ["80", "f0", "f0", "ff"]
    assert choose_mask(phone, facts, "0xF", 1) == "f"
    for mask in ("", "0", "f0; reboot", "xyz", "-1"):
        with pytest.raises(DeviceError, match="is no mask of cores"):
            choose_mask(phone, facts, mask, 1)
    with pytest.raises(DeviceError, match="has fewer cores than 2 threads"):
        choose_mask(phone, facts, "80", 2)


def test_a_phone_that_pins_nothing_is_measured_unpinned(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    (folder / "system/bin/taskset").write_text(
        "#!/bin/sh\necho 'sched_setaffinity: Operation not permitted' >&2; exit 1\n"
    )
    desk.plug_in(folder)
    phone = only_phone()
    facts = read_facts(phone)
    assert choose_mask(phone, facts, "auto", 1) == ""
    with pytest.raises(DeviceError, match="cannot be pinned to the cores f0"):
        choose_mask(phone, facts, "f0", 1)


def test_the_skin_or_the_battery_is_the_temperature_and_not_the_processor(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    desk.plug_in(folder)
    set_states(folder, (64, 355, 1))
    state = read_state(only_phone())
    assert (state.temperature_c, state.battery_percent, state.throttling) == (35.5, 64.0, 1)


def test_clocks_are_held_only_where_the_phone_can_hold_them(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    desk.plug_in(folder)
    phone = only_phone()
    with pytest.raises(ZeroDivisionError), fixed_performance(phone) as held:
        assert held
        raise ZeroDivisionError
    assert (folder / "power.log").read_text().split() == ["true", "false"]
    (folder / "no-fixed-performance").touch()
    with fixed_performance(phone) as held:
        assert not held
    assert (folder / "power.log").read_text().split() == ["true", "false"]


def test_a_phone_that_does_not_cool_or_is_nearly_empty_ends_it(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    desk.plug_in(folder)
    phone = only_phone()
    for state, said in (((19, 290, 0), "at 19 %, below 20 %"), ((80, 451, 0), "has 45.1 C, above 45 C; let it cool")):
        set_states(folder, state)
        with pytest.raises(DeviceError, match=said):
            Guard(phone, 0.0).look()
    set_states(folder, (80, 420, 0))
    guard = Guard(phone, 0.0)
    with pytest.raises(DeviceError, match="does not cool .it has 42.0 C after 20 pauses"):
        guard.cool(guard.look())
    assert guard.hottest_c == 42.0 and guard.pauses == 20


def test_a_slow_reference_kernel_asks_for_pauses_but_not_for_ever(desk: Bench, tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    guard = Guard(only_phone(), 0.0)
    timings = Timings()

    def take(*taken_ms: float) -> list[bool]:
        asked = []
        for ms in taken_ms:
            timings.add(REFERENCE, Timing(ms, ms))
            timings.add("other", Timing(100.0, 100.0))
            asked.append(guard.is_slow(timings))
        return asked

    assert not any(take(*[1.0, 1.02] * 10)) and slowdown(timings) < 1.03
    # One slow timing is an interruption; two of three are heat.
    assert take(1.5) == [False]
    assert take(1.5, 1.5, 1.5, 1.5, 1.5) == [True, True, True, False, False]
    assert take(1.0, 1.0) == [False, False]
    assert take(1.5, 1.5) == [False, True]
