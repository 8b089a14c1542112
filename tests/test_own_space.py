"""A space that is built in nowhere, from a file to an export; each command is a process that has never heard of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from device_profiles import read_profile
from subdit.space import SearchSpace
from subdit.space import get_space
from subdit.space import models_id
from subdit.space import rename_space
from subdit.space import space_from_dict
from subdit.space import space_hash
from subdit.space import space_to_dict
from subdit.space import space_to_yaml

ROOT = Path(__file__).parents[1]


def small() -> SearchSpace:
    """Of a shape that no built-in space has: other head counts, and no skip from Down to Up."""
    values = space_to_dict(rename_space(get_space("digits"), "letters"))
    values |= {"widths": [32], "full_heads": 4, "down_up_skip": False, "bna_blocks": [4], "bna_radii": [1]}
    values |= {"depths": {"down": [1], "middle": [2], "up": [1, 2]}, "text_width": 48}
    values |= {"ffn_ratios": {"down": [1, 2], "middle": [1], "up": [1]}}
    full = {**values["named"]["full"], "width": 32, "depth": [1, 2, 2], "ffn_ratio": [2, 1, 1]}
    return space_from_dict({**values, "named": {"full": full}}, "It")


def subdit(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "SUBDIT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "subdit", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_space_of_ones_own_goes_all_the_way(tmp_path: Path) -> None:
    space, file = small(), tmp_path / "letters.yaml"
    file.write_text(space_to_yaml(space))
    subdit(tmp_path, "train", "letters.yaml", "--run", "run", "--steps", "2", "--batch-size", "4", "--no-ceiling")
    subdit(tmp_path, "kit", "letters.yaml", "--whole", "6")
    # What was made of the space has it; the file may go.
    file.unlink()
    config = json.loads((tmp_path / "run" / "supernet" / "config.json").read_text())
    kit = json.loads((tmp_path / "kits" / "letters" / "kit.json").read_text())
    for record in (config, kit):
        assert space_from_dict(record["space_definition"], "It") == space and record["space_hash"] == space_hash(space)
    subdit(tmp_path, "profile", "kits/letters", "--device", "here", "--budget-s", "2")
    (saved,) = (tmp_path / "home" / "devices").iterdir()
    assert saved.name.endswith(f"--{models_id(space)}.json") and read_profile(saved).search_space == space
    listed = json.loads(subdit(tmp_path, "devices", "list", "--space", "run/space.yaml", "--fit", "--json"))
    assert [(entry["space"], entry["space_hash"]) for entry in listed] == [("letters", space_hash(space))]
    subdit(tmp_path, "search", "run", "--device", "here", "--allow-noisy", "--trials", "4")
    searched = json.loads((tmp_path / "run" / "searches" / "default" / "search.json").read_text())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert searched["space_hash"] == manifest["space_hash"] == space_hash(space)
    assert space_from_dict(yaml.safe_load((tmp_path / "run" / "space.yaml").read_text()), "It") == space
    exported = subdit(tmp_path, "export", "run").strip()
    subdit(tmp_path, "report", "run")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    subdit(tmp_path, "sample", exported.replace("run/", "elsewhere/", 1), "--prompt", "a seven", "--out", "seven.png")
    assert (tmp_path / "seven.png").is_file()
