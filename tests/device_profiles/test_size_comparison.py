"""Which devices are slower than one, by how much, at what size."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_profiles import DeviceProfile
from device_profiles import LatencyEstimator
from device_profiles import compare_by_size
from device_profiles import save_profile
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.space import count_params
from tests.device_profiles.made_up import SPACE
from tests.device_profiles.made_up import lifelike_ms
from tests.device_profiles.made_up import made_up_profile

OWN = made_up_profile(device="kettle", latency_ms=lifelike_ms())


def other(name: str, factor: float, *, starts_ms: float = 0.0) -> DeviceProfile:
    """The same device, so many times slower, and slower to start each part."""
    return made_up_profile(device=name, latency_ms=factor * lifelike_ms() + starts_ms)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))


def test_a_device_twice_as_slow_is_so_at_every_size() -> None:
    found = compare_by_size(OWN, other("snail", 2.0), sizes=5)
    params = [size.params for size in found]
    assert len(found) == 5 and params == sorted(params)
    every = count_params(SPACE, SPACE.enumerate())
    assert (params[0], params[-1]) == (every.min(), every.max())
    for size in found:
        # A sub-DiT costs 0.05 ms on both.
        assert 1.5 < size.ratio < 2.02 and size.low < size.ratio < size.high
        assert size.verdict == "slower"
        encoded = SPACE.encode([size.spec])
        assert LatencyEstimator(OWN, SPACE).estimate(encoded).latency_ms[0] == pytest.approx(size.first_ms)
    back = compare_by_size(other("snail", 2.0), OWN, sizes=5)
    assert [size.ratio for size in back] == pytest.approx([1 / size.ratio for size in found])
    assert {size.verdict for size in back} == {"faster"}


def test_a_difference_within_the_intervals_is_none() -> None:
    twin = compare_by_size(OWN, made_up_profile(device="twin", latency_ms=1.001 * lifelike_ms()))
    assert {size.verdict for size in twin} == {"neither"}


def test_a_device_that_is_slow_to_start_is_slower_where_sub_dits_are_small() -> None:
    found = compare_by_size(OWN, other("starter", 0.4, starts_ms=0.02))
    ratios = [size.ratio for size in found]
    assert ratios[0] > ratios[-1] and (found[0].verdict, found[-1].verdict) == ("slower", "faster")


def test_only_sizes_that_both_cover_are_compared() -> None:
    limit = int(np.quantile(count_params(SPACE, SPACE.enumerate()), 0.3))
    small = dataclasses.replace(other("small", 2.0), max_params=limit)
    assert compare_by_size(OWN, small)[-1].params > limit / 2
    with pytest.raises(ProfileError, match="compare two of one space"):
        compare_by_size(OWN, dataclasses.replace(OWN, space="mid-256"))


def compare(*arguments: object) -> str:
    result = CliRunner().invoke(group, ["devices", "compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_one_profile_against_all_others_names_the_slower_first() -> None:
    for profile in (
        OWN,
        other("snail", 3.0),
        other("slug", 2.0),
        other("hare", 0.5),
        other("starter", 0.4, starts_ms=0.02),
    ):
        save_profile(profile)
    # Points that somebody published predict nothing.
    reported = {"provenance": "reported", "source": "a page", "components": {}, "calibration": None, "noise": None}
    save_profile(dataclasses.replace(OWN, device="rumour", whole=OWN.calibration.whole[:1], **reported))  # type: ignore[union-attr, arg-type]
    rows = json.loads(compare("kettle", "--space", "digits", "--json"))
    own = [row for row in rows if not row["id"].startswith("linux")]
    assert [(row["id"].split("/")[0], row["verdict"]) for row in own] == [
        ("snail", "slower"),
        ("slug", "slower"),
        ("starter", "depends on the size"),
        ("hare", "faster"),
        ("rumour", "cannot be compared"),
    ]
    assert [size["params"] for size in own[0]["sizes"]] == sorted(size["params"] for size in own[0]["sizes"])
    table = compare("kettle", "--space", "digits")
    snail = next(line for line in table.splitlines() if line.startswith("snail/"))
    assert "slower" in snail and " at 0.183 M" in snail and " at 1.24 M" in snail
    assert table.startswith("against      kettle/")
    two = compare("kettle", "snail", "--space", "digits")
    assert "size" in two and "times as long" in two and "second is" in two
    assert len(json.loads(compare("kettle", "snail", "--space", "digits", "--json"))["sizes"]) == 5
