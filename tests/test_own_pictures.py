"""A user's own pictures, all the way: each command is a process that has never heard of the space.

The space is in no registry. CLIP, T5 and the autoencoder are of their real classes, with few weights.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from subdit.space import SearchSpace
from subdit.space import TextInput
from subdit.space import space_to_yaml
from tests.supernet.data.pictures import small_space
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_t5
from tests.supernet.data.tiny_models import save_vae

ROOT = Path(__file__).parents[1]
TEXTS = (TextInput("clip", 16, 12), TextInput("t5", 24, 9))


class Shell:
    """Runs `subdit` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SUBDIT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "subdit", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def __call__(self, line: str) -> str:
        ended = self.run(*line.split())
        assert ended.returncode == 0, f"{line}\n{ended.stderr}"
        return ended.stdout.strip()

    def refused(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
        return ended.stderr


def elastic_space() -> SearchSpace:
    """A dozen sub-DiTs, in no registry."""
    small = small_space(*TEXTS, name="mine")
    full = replace(small.named["full"], depth=(2, 2, 1), ffn_ratio=(3, 2, 3))
    tiny = small.named["full"]
    ratios = ((2, 3), (2,), (2, 3))
    return replace(small, depths=((1, 2), (2,), (1,)), ffn_ratios=ratios, named={"tiny": tiny, "full": full})


@pytest.mark.slow
def test_pictures_of_ones_own_go_all_the_way(tmp_path: Path) -> None:
    subdit = Shell(tmp_path)
    write_folder(tmp_path / "pictures", 200)
    save_clip(tmp_path / "clip")
    save_t5(tmp_path / "t5")
    save_vae(tmp_path / "vae", "tiny")
    (tmp_path / "my.yaml").write_text(space_to_yaml(elastic_space()))
    models = "--vae vae --text clip=clip --text t5=t5"
    subdit(f"data encode pictures --space my.yaml {models} --statistics-bound 100 --judge 0.3 --out data")
    shown = json.loads(subdit("data show data --json"))
    assert shown["counts"]["examples"] == 200
    assert "name one with --data" in subdit.refused("train", "my.yaml", "--run", "run", "--steps", "2")
    assert "no data set 'nowhere'" in subdit.refused("train", "my.yaml", "--data", "nowhere", "--run", "run")
    assert not (tmp_path / "run" / "supernet").exists()
    subdit("train my.yaml --data data --run run --steps 4 --batch-size 8 --no-ceiling")
    (tmp_path / "my.yaml").unlink()
    record = json.loads((tmp_path / "run" / "supernet" / "data.json").read_text())
    assert record["digest"] == shown["digest"] and record["reference"] == str((tmp_path / "data").resolve())

    judged = json.loads(subdit("evaluate run --samples 12 --steps 2 --json"))
    assert [each["point"] for each in judged["models"]] == ["tiny", "full"]
    assert {each["conditions"]["feature_space"] for each in judged["models"]} == {"latents"}
    subdit("evaluate run --samples 12 --steps 2 --features convolutional --point full")
    subdit("kit run/space.yaml --out kit --whole 4")
    subdit("profile kit --device here --budget-s 2")
    subdit("search run --device here --allow-noisy --trials 4")
    proxies = "--specs 3 --twice 2 --front 0 --updates 2 --per-class 1 --start scratch"
    subdit(f"proxies run {proxies}")
    subdit("distill run --teacher-steps 2 --iterations 4 --no-ceiling")
    student = json.loads(next((tmp_path / "run" / "picks").rglob("distilled/data.json")).read_text())
    assert student == record
    exported = subdit("export run")
    tflite = subdit("export run --format litert")
    subdit("report run")

    prompt = ["--prompt", "a red circle", "--prompt", ""]
    pictures = {}
    for name, model in {"run": "run", "onnx": exported, "tflite": tflite}.items():
        drawn = subdit.run("sample", model, *prompt, "--out", f"{name}.png", "--steps", "4", "--shift", "3")
        assert drawn.returncode == 0, drawn.stderr
        pictures[name] = Image.open(tmp_path / f"{name}.png")
    assert {picture.mode for picture in pictures.values()} == {"RGB"}, "decoded by the autoencoder"
    assert len({picture.size for picture in pictures.values()}) == 1

    # Everything moved: nothing is guessed, and each refusal says what to do.
    for name in ("clip", "t5", "vae", "data"):
        (tmp_path / name).rename(tmp_path / f"{name}-moved")
    assert "clip" in subdit.refused("sample", "run", *prompt, "--out", "moved.png")
    assert "subdit data relocate" in subdit.refused("search", "run", "--device", "here", "--name", "other")
    told = ["--text", "clip=clip-moved", "--text", "t5=t5-moved", "--vae", "vae-moved"]
    again = subdit.run("sample", exported, *prompt, *told, "--out", "again.png", "--steps", "4", "--shift", "3")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "onnx.png").read_bytes()
    swapped = ["--text", "clip=t5-moved"]
    assert "text input" in subdit.refused("sample", "run", *prompt, *swapped, "--out", "swapped.png")
    subdit("data relocate run --data data-moved --vae vae-moved --text clip=clip-moved --text t5=t5-moved")
    subdit("sample run --prompt square --out told.png")
    subdit("search run --device here --name other --allow-noisy --trials 4")

    # Text encoders of other weights are refused, whatever their folder is called.
    save_clip(tmp_path / "clip", positions=13)
    assert "not the one that was trained with" in subdit.refused(
        "sample", "run", *prompt, "--text", "clip=clip", "--out", "foreign.png"
    )
