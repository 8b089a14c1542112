"""`devices check` believes what can be, and says of what cannot be what is wrong, with names and numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import check_plausibility
from device_profiles import compare_profiles
from device_profiles import save_profile
from device_profiles._statistics import spearman_rho
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.space import Component
from subdit.space import get_space
from tests.device_profiles.made_up import COMPONENTS
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile

LIFELIKE = made_up_profile(latency_ms=lifelike_ms())
WIDTHS = sorted({one.width for one in COMPONENTS if one.width})
Damage = Callable[[DeviceProfile], DeviceProfile]


def table(change: Callable[[Component, Latency], Latency | None]) -> Damage:
    """A damage of each component's latency; None drops it."""

    def damage(profile: DeviceProfile) -> DeviceProfile:
        changed = {one.name: change(one, profile.components[one.name]) for one in COMPONENTS}
        return dataclasses.replace(profile, components={key: value for key, value in changed.items() if value})

    return damage


def noise(**values: float) -> Damage:
    return lambda profile: dataclasses.replace(profile, noise=dataclasses.replace(profile.noise, **values))  # type: ignore[type-var]


def calibration(**values: object) -> Damage:
    return lambda profile: dataclasses.replace(
        profile,
        calibration=dataclasses.replace(profile.calibration, **values),  # type: ignore[type-var]
    )


def times(latency: Latency, factor: float) -> Latency:
    return Latency(latency.latency_ms * factor, latency.low_ms * factor, latency.high_ms * factor, latency.rounds)


def no_factor_of_ffn(profile: DeviceProfile) -> DeviceProfile:
    factors = {kind: value for kind, value in profile.calibration.factors.items() if kind != "ffn"}  # type: ignore[union-attr]
    return calibration(factors=factors)(profile)


def one_whole_twice_as_slow(profile: DeviceProfile) -> DeviceProfile:
    first, *rest = profile.calibration.whole  # type: ignore[union-attr]
    return calibration(whole=(dataclasses.replace(first, latency=times(first.latency, 2)), *rest))(profile)


MIDDLE, GRID = sorted({one.grid for one in COMPONENTS if one.kind == "cross_attention"})
LARGEST = Component("ffn", WIDTHS[-1], GRID, ffn_ratio=max(one.ffn_ratio for one in COMPONENTS))

DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "a gap": (
        table(lambda one, old: None if one.kind == "downsample" and one.width == WIDTHS[0] else old),
        "gap",
        "is missing",
    ),
    "a stranger": (
        lambda profile: dataclasses.replace(
            profile, components={**profile.components, "ffn-w1024-g8-f4": Latency(1.0, 0.9, 1.1)}
        ),
        "gap",
        "ffn-w1024-g8-f4 is no component",
    ),
    "outside its interval": (
        table(lambda one, old: dataclasses.replace(old, low_ms=old.high_ms) if one == LARGEST else old),
        "interval",
        f"latency of {LARGEST.name}",
    ),
    "a useless interval": (
        table(lambda one, old: dataclasses.replace(old, high_ms=3 * old.latency_ms) if one == LARGEST else old),
        "noise",
        f"interval of {LARGEST.name}",
    ),
    "wide but fast": (
        table(lambda one, old: times(old, 0.3) if one == LARGEST else old),
        "order",
        f"{LARGEST.name} takes",
    ),
    "falling with FFN ratio": (
        table(lambda one, old: times(old, 0.4**one.ffn_ratio) if one.kind == "ffn" else old),
        "order",
        "FFN ratio is",
    ),
    "falling with radius": (
        table(lambda one, old: times(old, 0.5**one.bna_radius) if one.kind == "assa" else old),
        "order",
        "radius r is",
    ),
    "fewer tokens slower": (
        table(lambda one, old: times(old, 30) if one.kind == "cross_attention" and one.grid == MIDDLE else old),
        "order",
        f"tokens per side is {GRID} against {MIDDLE}",
    ),
    "a flat table": (table(lambda one, old: Latency(0.1, 0.099, 0.101, 40)), "growth", "latency must grow"),
    "noisy by its own word": (lambda profile: dataclasses.replace(profile, noisy=True), "noise", "says of itself"),
    "noise not stated": (lambda profile: dataclasses.replace(profile, noise=None), "noise", "states no noise"),
    "noise above its limit": (noise(split=0.05), "noise", "split is 5.0 %, above its limit 3.0 %"),
    "no limit": (noise(limit=0.5), "noise", "limit on noise is 50.0 %"),
    "better than its intervals": (noise(component_ci=0.001), "noise", "states component_ci as 0.1 %"),
    "a share of no delegate": (
        lambda profile: dataclasses.replace(profile, delegated_share=0.9),
        "identity",
        "90 % of the operators are said to run on a delegate, and none is named",
    ),
    "computed as stored": (
        lambda profile: dataclasses.replace(profile, compute_precision="fp32"),
        "identity",
        "null where the two do not differ",
    ),
    "estimated by nothing": (
        lambda profile: dataclasses.replace(profile, provenance="estimated"),
        "identity",
        "does not say by whom",
    ),
    "a calibration of nothing": (
        lambda profile: dataclasses.replace(profile, components={}),
        "calibration",
        "no table of components",
    ),
    "smaller than any": (
        lambda profile: dataclasses.replace(profile, max_params=1000),
        "gap",
        "is as small as the profile's 1,000",
    ),
    "timed by nobody": (
        table(lambda one, old: dataclasses.replace(old, rounds=0)),
        "identity",
        "of its latencies are of 0 timings",
    ),
    "no factor": (no_factor_of_ffn, "calibration", "no factor for ffn"),
    "an absurd factor": (
        lambda profile: calibration(factors={**profile.calibration.factors, "ffn": 50.0})(profile),  # type: ignore[union-attr]
        "calibration",
        "multiplies ffn with 50",
    ),
    "less than nothing": (calibration(per_run_ms=-1.0), "calibration", "none may be 0 or less"),
    "a whole that does not fit": (one_whole_twice_as_slow, "calibration", "The calibration predicts"),
}


@pytest.mark.parametrize("seed", range(5))
def test_what_can_be_is_believed(seed: int) -> None:
    assert check_plausibility(made_up_profile(seed=seed, latency_ms=lifelike_ms(seed))) == ()


def test_xnnpack_takes_a_share_and_is_no_delegate() -> None:
    assert check_plausibility(dataclasses.replace(LIFELIKE, runtime="litert", delegated_share=0.9)) == ()


def test_what_is_estimated_need_not_state_noise() -> None:
    table = {name: dataclasses.replace(latency, rounds=0) for name, latency in LIFELIKE.components.items()}
    made = dataclasses.replace(
        LIFELIKE, provenance="estimated", noise=None, calibration=None, components=table, source="a roofline"
    )
    assert check_plausibility(made) == ()


def by_another_tool(half: float, *, silent: int = 0, noisy: bool = False) -> list[str]:
    """What is found in a profile that a tool measured, with intervals of +- `half`, the first `silent` of no width."""
    intervals = {
        name: Latency(one.latency_ms, one.latency_ms * (1 - wide), one.latency_ms * (1 + wide), 50)
        for at, (name, one) in enumerate(LIFELIKE.components.items())
        for wide in [0.0 if at < silent else half]
    }
    made = dataclasses.replace(
        LIFELIKE, components=intervals, noise=None, calibration=None, noisy=noisy, source="measured with a tool"
    )
    found = check_plausibility(made)
    assert {finding.rule for finding in found} <= {"noise"}
    return [finding.message for finding in found]


def test_what_another_tool_measured_is_judged_by_its_intervals() -> None:
    assert by_another_tool(0.01) == by_another_tool(0.0299) == []
    (wide,) = by_another_tool(0.05)
    assert "median interval is +-5.0 %, above the usual limit 3.0 %" in wide
    (silent,) = by_another_tool(0.01, silent=2)
    assert f"2 of {len(COMPONENTS)} intervals have no width" in silent
    for half, of_no_width in ((0.05, 0), (0.01, 2)):
        (noisy,) = by_another_tool(half, silent=of_no_width, noisy=True)
        assert "says of itself" in noisy


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named(name: str) -> None:
    damage, rule, said = DAMAGES[name]
    found = check_plausibility(damage(LIFELIKE))
    assert any(finding.rule == rule and said in finding.message for finding in found), found
    assert all(finding.message.endswith(".") and "\n" not in finding.message for finding in found)


def test_a_radius_that_leaves_strips_whole_may_be_quicker_than_a_smaller_one() -> None:
    """Of 4 strips, the two in the middle see all others at radius 2, and all of them at radius 3: fewer cuts."""

    def quicker(blocks: int, radius: int) -> set[str]:
        def change(one: Component, old: Latency) -> Latency:
            it = one.kind == "assa" and (one.bna_blocks, one.bna_radius) == (blocks, radius)
            return times(old, 0.6) if it else old

        return {finding.rule for finding in check_plausibility(table(change)(LIFELIKE))} - {"calibration"}

    few, many = get_space("digits").bna_blocks
    assert (few, many) == (4, 8)
    assert quicker(few, 2) == quicker(few, 3) == set()
    assert quicker(few, 1) == quicker(many, 3) == {"order"}


def test_a_wrong_order_is_told_with_both_names() -> None:
    damage, _, _ = DAMAGES["wide but fast"]
    for finding in check_plausibility(damage(LIFELIKE)):
        if finding.rule == "order":
            assert len(finding.components) == 2 and all(name in finding.message for name in finding.components)


def test_a_table_of_chance_is_not_believed() -> None:
    assert len([finding for finding in check_plausibility(made_up_profile()) if finding.rule == "order"]) > 20


def test_noise_may_turn_near_equals_around() -> None:
    """Latencies drawn within their own intervals fail no more often than one profile in a hundred."""
    flat = lifelike_ms()
    failed = 0
    for seed in range(60):
        drawn = flat * np.random.default_rng(seed).normal(1, 0.01 / 1.96, len(flat))
        profile = made_up_profile(latency_ms=drawn, calibrated=False)
        failed += bool(check_plausibility(profile))
    assert failed <= 2


def test_a_profile_of_an_unknown_space_is_not_judged() -> None:
    (finding,) = check_plausibility(dataclasses.replace(LIFELIKE, space="letters"))
    assert finding.rule == "space"


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(group, ["devices", *map(str, arguments)])
    # Progress is on stderr.
    return result.exit_code, result.stdout + ("" if result.exit_code == 0 else result.stderr)


@pytest.mark.parametrize("name", ["wide but fast", "a gap"])
def test_the_command_line_fails_a_damaged_profile(name: str, tmp_path: Path) -> None:
    damage, rule, said = DAMAGES[name]
    good = save_profile(LIFELIKE, tmp_path / "good.json")
    bad = save_profile(damage(LIFELIKE), tmp_path / "bad.json")
    assert call("check", good) == (0, f"{good}: good\n")
    code, output = call("check", good, bad)
    assert code == 2 and said in output and "1 of 2 profiles fail" in output
    code, output = call("check", "--json", good, bad)
    first, second = json.loads(output[: output.rindex("]") + 1])
    assert code == 2 and first["good"] and not second["good"]
    assert rule in {finding["rule"] for finding in second["findings"]}


def test_a_profile_compared_with_itself_twice_as_slow() -> None:
    slow = dataclasses.replace(
        LIFELIKE, device="snail", components={name: times(one, 2) for name, one in LIFELIKE.components.items()}
    )
    found = compare_profiles(LIFELIKE, slow)
    assert found.ratio == pytest.approx(2)
    assert (found.spearman, found.kendall_tau) == (pytest.approx(1), pytest.approx(1))
    assert all(one.ratio == pytest.approx(2) for one in found.kinds)
    assert sum(one.components for one in found.kinds) == found.components == len(COMPONENTS)
    assert not any(one.significant for one in found.disagreements)


def test_where_two_profiles_disagree_most(tmp_path: Path) -> None:
    damage, _, _ = DAMAGES["wide but fast"]
    found = compare_profiles(LIFELIKE, damage(LIFELIKE))
    assert (found.disagreements[0].component, found.disagreements[0].significant) == (LARGEST.name, True)
    assert found.disagreements[0].unusual == pytest.approx(0.3)
    paths = save_profile(LIFELIKE, tmp_path / "a.json"), save_profile(damage(LIFELIKE), tmp_path / "b.json")
    code, output = call("compare", *paths)
    assert code == 0 and LARGEST.name in output and "Spearman" in output
    assert json.loads(call("compare", "--json", *paths)[1])["disagreements"][0]["component"] == LARGEST.name


def test_profiles_of_two_spaces_are_not_compared() -> None:
    with pytest.raises(ProfileError, match="compare profiles of one space"):
        compare_profiles(LIFELIKE, dataclasses.replace(LIFELIKE, space="mid-256"))


def test_spearman_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 against 2, 1, 3, 4: deviations -1.5, 0, 0, 1.5 and -0.5, -1.5, 0.5, 1.5."""
    first, second = np.asarray([1.0, 5.0, 5.0, 9.0]), np.asarray([2.0, 1.0, 3.0, 4.0])
    assert spearman_rho(first, second) == pytest.approx(3.0 / np.sqrt(4.5 * 5.0))
    assert spearman_rho(first, np.ones(4)) == 0.0
