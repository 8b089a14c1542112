"""`data encode` refuses latents that are off mean 0 and deviation 1, and names the constants that are right."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from subdit.core.errors import DataError
from supernet.data.encoding import encode
from supernet.data.manifest import Manifest
from supernet.data.vae import LatentConstants
from supernet.data.vae import load_vae
from tests.supernet.data.encoding_cases import CONFIG
from tests.supernet.data.encoding_cases import LATENTS
from tests.supernet.data.encoding_cases import made
from tests.supernet.data.pictures import write_folder


def test_latents_off_mean_0_and_deviation_1_are_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    """And the constants that the message names are right."""
    text = {"clip": str(models / "clip")}

    def run(**constants: float) -> Manifest:
        config = replace(CONFIG, **constants)  # type: ignore[arg-type]
        options = {"space": LATENTS, "text": text, "vae": models / "vae", "config": config, "force": True}
        return encode(pictures, tmp_path / "data", **options)  # type: ignore[arg-type]

    with pytest.raises(DataError, match="--scaling-factor") as caught:
        run(scaling_factor=20.0)
    said = str(caught.value)
    assert "AutoencoderKL" in said and "deviation 0.05" in said
    assert not (tmp_path / "data" / "manifest.json").exists()
    words = said.split()
    named = {name: float(words[words.index(f"--{name}") + 1]) for name in ("scaling-factor", "shift-factor")}
    right = run(scaling_factor=named["scaling-factor"], shift_factor=named["shift-factor"])
    assert abs(right.statistics.mean) < 0.02 and abs(right.statistics.std - 1) < 0.02
    with pytest.raises(DataError, match="not 0 and 1"):
        run(scaling_factor=named["scaling-factor"], shift_factor=named["shift-factor"] + 1)
    with pytest.raises(DataError, match="not 0 and 1"):
        run(scaling_factor=named["scaling-factor"] / 2.5, shift_factor=named["shift-factor"])


def test_wrong_constants_are_seen_before_all_is_encoded(models: Path, tmp_path: Path) -> None:
    pictures = write_folder(tmp_path / "pictures", 200)
    seen = []
    with pytest.raises(DataError, match="not 0 and 1"):
        encode(
            pictures,
            tmp_path / "data",
            space=LATENTS,
            text={"clip": str(models / "clip")},
            vae=models / "vae",
            config=replace(CONFIG, shard_examples=100, scaling_factor=20.0),
            progress=lambda done, total, note: seen.append(done),
        )
    assert max(seen) == 100


def test_pixels_state_their_statistics_and_are_not_refused(models: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = made(models, pictures, tmp_path / "data")
    assert manifest.statistics.mean > 0.5, "mostly white"


def test_constants_of_a_configuration() -> None:
    assert LatentConstants.of({"scaling_factor": 0.18215}, 2) == LatentConstants((0.0, 0.0), (1 / 0.18215,) * 2)
    assert LatentConstants.of({}, 1) == LatentConstants((0.0,), (1.0,))


@pytest.mark.parametrize(
    "stated",
    [
        {"scaling_factor": 0},
        {"scaling_factor": -0.18},
        {"scaling_factor": math.nan},
        {"scaling_factor": math.inf},
        {"scaling_factor": 1e-320},
        {"scaling_factor": 1e300},
        {"scaling_factor": "large"},
        {"scaling_factor": 10**400},
        {"shift_factor": math.nan},
        {"shift_factor": 1e300},
        {"shift_factor": [0.1, 0.2]},
        {"latents_mean": [0.0, 0.0], "latents_std": [1.0, 0.0]},
        {"latents_mean": [0.0, 0.0], "latents_std": [1.0, -1.0]},
        {"latents_mean": [0.0, math.nan], "latents_std": [1.0, 1.0]},
        {"latents_mean": [0.0, "x"], "latents_std": [1.0, 1.0]},
        {"latents_mean": [0.0, 0.0], "latents_std": [1.0, 1.0], "scaling_factor": 0},
        {"latents_mean": [0.0], "latents_std": [1.0]},
        {"latents_mean": [], "latents_std": []},
    ],
    ids=str,
)
def test_constants_that_nothing_can_be_normalised_by_are_refused(stated: dict[str, object]) -> None:
    with pytest.raises(DataError, match="config.json") as caught:
        LatentConstants.of(stated, 2)
    assert "\n" not in str(caught.value)


def test_constants_that_are_given_go_before_such_ones(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "vae", tmp_path / "vae")
    config = tmp_path / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 0}))
    assert load_vae(tmp_path / "vae", device=torch.device("cpu"), scaling_factor=2.0).constants.std == (0.5,) * 4
    with pytest.raises(DataError, match="mend them"):
        assert load_vae(tmp_path / "vae", device=torch.device("cpu")).key
