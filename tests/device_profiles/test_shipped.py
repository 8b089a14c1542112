"""Shipped profiles are whole, believable, and say where they are from."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import unmeasured_profiles
from device_profiles import LatencyEstimator
from device_profiles import check_plausibility
from device_profiles import load_profile
from device_profiles import profile_from_dict
from device_profiles import read_profile
from device_profiles._registry import SHIPPED
from subdit.core.errors import ProfileError
from subdit.space import all_components
from subdit.space import component_flops
from subdit.space import count_flops
from subdit.space import get_space
from subdit.space import space_names
from subdit.space import space_record
from tests.profilers.importers import ddp

PROFILES = sorted(SHIPPED.glob("*.json"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_passes_the_check_that_all_others_pass(path: Path) -> None:
    profile = read_profile(path)
    assert check_plausibility(profile) == ()
    assert path.stem == f"{profile.id.replace('/', '--')}--{profile.space}"
    assert profile.provenance == "measured" or len(profile.source) > 40
    assert profile.noisy is False


def test_the_unmeasured_ones_are_what_their_script_writes(tmp_path: Path) -> None:
    unmeasured_profiles.main(["--out", str(tmp_path)])
    made = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    shipped = {path.name: json.loads(path.read_text()) for path in PROFILES}
    assert made == {name: values for name, values in shipped.items() if values["provenance"] != "measured"}


def test_the_table_lists_every_shipped_profile_with_its_provenance() -> None:
    listed = []
    for line in (SHIPPED / "README.md").read_text().splitlines():
        if re.search(r"\| (measured|reported|estimated) \|", line):
            _, ids, space, provenance, *_ = (cell.strip() for cell in line.split("|"))
            first, *others = re.findall("`([^`]+)`", ids)
            runtime = "/".join(first.split("/")[:2])
            listed += [(name.replace("...", runtime), space.strip("`"), provenance) for name in (first, *others)]
    profiles = [read_profile(path) for path in PROFILES]
    assert sorted(listed) == sorted((profile.id, profile.space, profile.provenance) for profile in profiles)


@pytest.mark.parametrize("row", ddp.rows(), ids=lambda row: f"{row['file']}-{row['device_id']}-{row['accelerator']}")
def test_a_public_row_of_another_model_is_no_component_of_any_space(row: dict[str, Any]) -> None:
    model = row["file"].removesuffix(".tflite")
    latency = unmeasured_profiles.exactly(row["latency_ms"]["median"])
    reported, _ = unmeasured_profiles.reported()
    as_part = dataclasses.replace(reported, components={model: latency})
    for space in map(get_space, space_names()):
        found = check_plausibility(dataclasses.replace(as_part, **space_record(space), whole=()))
        assert f"{model} is no component of the space {space.name!r}." in [finding.message for finding in found]


def test_an_encoder_alone_is_no_profile() -> None:
    reported, _ = unmeasured_profiles.reported()
    alone = dataclasses.replace(reported, whole=(), pipeline={"text_encoder": unmeasured_profiles.exactly(100.0)})
    with pytest.raises(ProfileError, match="no latency at all"):
        profile_from_dict(alone.to_dict(), "gecko.json")


def test_no_component_has_the_tokens_of_a_vit() -> None:
    """Why the nearest public model, 14 x 14 patches and a token for the class, is none of ours."""
    tokens = {component.grid**2 for name in space_names() for component in all_components(get_space(name))}
    assert not tokens & {196, 197}


def test_published_points_predict_nothing_and_are_no_pipeline() -> None:
    tiny = load_profile("iphone-16-pro-max/coreml/unstated")
    space = get_space("paper")
    assert [(entry.spec, entry.latency.latency_ms) for entry in tiny.whole] == [
        (space.named_spec("tiny"), 280.0),
        (space.named_spec("small"), 360.0),
    ]
    assert set(tiny.pipeline) == {"decoder"}
    with pytest.raises(ProfileError, match="predicts nothing"):
        LatencyEstimator(tiny, space)


def test_the_roofline_is_a_lower_bound_of_both_its_sides() -> None:
    space = get_space("mobile-1k")
    profile = load_profile("raspberry-pi-5/roofline", space="mobile-1k")
    encoded = space.encode(space.named.values())
    estimate = LatencyEstimator(profile, space).estimate(encoded)
    # Mobile-1k at 1024 pixels computes far more than it moves, in every component that counts.
    computing_ms = 1e3 * count_flops(space, encoded) / 38.4e9
    assert (estimate.latency_ms >= computing_ms).all()
    np.testing.assert_allclose(estimate.latency_ms, computing_ms, rtol=0.02)
    for name, latency in profile.components.items():
        flops = component_flops(space, unmeasured_profiles.Component.from_name(name))
        assert latency.latency_ms >= 1e3 * flops / 38.4e9 * (1 - 1e-12) and latency.rounds == 0
