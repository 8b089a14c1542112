"""Benchmarks on emoji: who is compared with whom, what reviewers get, and how their answers count."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import blind_match
import elastic_standalone
import guidance_scale
import numpy as np
import recipe
import torch

from subdit.core.errors import SubditError
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space
from supernet.evaluation.data_reference import reference_of_data_set


@dataclass(frozen=True)
class Row:
    caption: str
    columns: dict[str, str]


class Drawn:
    """Emoji of some concepts; the split judge has one design of each, and train the others."""

    digest = "none"

    def __init__(self, concepts: int, *, rare: int = 0) -> None:
        designs = ["a", "b", "c", "d", "e"]
        self.rows: dict[str, list[Row]] = {"train": [], "validation": [], "judge": []}
        for number in range(concepts):
            own = designs[:4] if number < rare else designs
            for place, design in enumerate(own):
                split = "judge" if place == number % len(own) else "train"
                columns = {"concept": f"concept {number}", "design": design}
                self.rows[split].append(Row(f"{design} emoji, concept {number}", columns))
        toned = {"concept": "concept 0", "design": "a"}
        self.rows["judge"].append(Row("a emoji, concept 0: dark skin tone", toned))

    def count(self, split: str) -> int:
        return len(self.rows[split])

    def records(self, split: str, rows: Sequence[int]) -> list[Row]:
        return [self.rows[split][row] for row in rows]


def test_prompts_and_decoys_are_common_concepts_once_each() -> None:
    data: Any = Drawn(120, rare=20)
    rows, captions, right = blind_match.chosen(data, seed=3)
    assert len(rows) == len(set(right)) == 40 and len(set(captions)) == 80
    assert [captions[number - 1] for number in right] == [data.rows["judge"][row].caption for row in rows]
    concepts = {int(caption.rsplit(" ", 1)[1]) for caption in captions}
    assert len(concepts) == 80 and min(concepts) >= 20
    assert sorted(right) != list(range(1, 41)), "prompts and decoys are shuffled"
    assert blind_match.chosen(data, seed=3) == (rows, captions, right) != blind_match.chosen(data, seed=4)
    with pytest.raises(SubditError, match="has 70 common concepts; 80 are needed"):
        blind_match.chosen(Drawn(90, rare=20), seed=0)  # type: ignore[arg-type]


def test_answers_are_counted_by_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = list(range(2, 82, 2))
    key = {
        "right": right,
        "captions": [f"c{n}" for n in range(1, 81)],
        "split": "judge",
        "seed": 0,
        "guidance_scale": 2.5,
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    all_right = {str(picture): wanted for picture, wanted in enumerate(right, 1)}
    (tmp_path / "one.json").write_text(json.dumps(all_right))
    (tmp_path / "two.json").write_text(json.dumps({**dict.fromkeys(all_right, 1), "3": 6}))
    blind_match.score(tmp_path, [tmp_path / "one.json", tmp_path / "two.json"], None)
    printed = capsys.readouterr().out
    assert "chance: 0.5 of 40" in printed
    assert "one: 40 of 40 matched, 100% (91% to 100%)" in printed and "two: 1 of 40 matched" in printed
    assert "  3 xx c6" in printed and "  4 x. c8" in printed


def test_settings_are_compared_seed_by_seed_with_their_own_counterpart(tmp_path: Path) -> None:
    def losses(full: float) -> dict[str, float]:
        return {"full": full, "tiny": 2 * full, "drawn": 1.5 * full, "training_s": 10.0}

    trainings = {
        "as it is, seed 0": losses(1.0),
        "as it is, seed 1": losses(2.0),
        "balance none, seed 0": losses(1.1),
        "balance none, seed 1": losses(1.8),
        "two uniform, seed 0": losses(0.5),
        "sandwich, seed 0": losses(0.6),
    }
    results = {"steps": 400, "data": "abc", "machine": "this", "threads": 2, "trainings": trainings}
    text = recipe.as_text(results, get_space("emoji-32"))
    lines = {line[:22].strip(): line for line in text.splitlines()}
    assert "+10.00 -10.00" in lines["balance none"]
    assert "+20.00" in lines["sandwich"] and "two uniform" in lines["sandwich"]
    assert "not trained yet" in lines["near in FLOPs"]
    assert "differ by +100.00 %" in text
    # A second sub-network is smaller than the full network.
    assert lines["as it is"].endswith("1.00") and 1.1 < float(lines["two uniform"].split()[-1]) < 1.5
    recipe.draw(results, tmp_path / "plot.png")
    assert all(setting.against in recipe.SETTINGS for setting in recipe.SETTINGS.values())


@pytest.mark.parametrize("point", ["tiny", "small", "full"])
def test_a_point_alone_is_the_same_network(point: str) -> None:
    space = get_space("emoji-32")
    alone = elastic_standalone.point_space(space, point)
    assert alone.size == 1
    one, other = space.encode([space.named_spec(point)]), alone.encode([alone.named_spec("full")])
    assert count_params(space, one) == count_params(alone, other)
    assert count_flops(space, one) == count_flops(alone, other)


class Splits:
    """Three pictures in train, two in validation; whoever asks for the split judge is told off."""

    digest = "none"

    def count(self, split: str) -> int:
        assert split != "judge"
        return {"train": 3, "validation": 2}[split]

    def read(self, split: str, rows: Sequence[int]) -> Any:
        value = {"train": 1.0, "validation": 2.0}[split]
        text = SimpleNamespace(embeddings=(torch.full((len(rows), 1, 1), value),))
        return SimpleNamespace(latents=torch.full((len(rows), 1, 2, 2), value), text=text)

    def records(self, split: str, rows: Sequence[int]) -> list[Row]:
        self.count(split)
        return [Row(f"{split} {row}", {}) for row in rows]

    def null_text(self) -> Any:
        return SimpleNamespace(embeddings=(torch.zeros(1, 1, 1),))


def test_guidance_is_chosen_without_the_split_judge() -> None:
    data: Any = guidance_scale.ValidationJudges(Splits())  # type: ignore[arg-type]
    reference = reference_of_data_set(data)
    assert reference.train.captions == ("train 0", "train 1", "train 2")
    assert reference.judge.captions == ("validation 0", "validation 1")
    assert np.array_equal(reference.judge.latents, np.full((2, 1, 2, 2), 2.0))
    text = reference.condition(reference.draw_prompts(2, seed=0)).read(slice(0, 2))
    assert float(text.embeddings[0].mean()) == 2.0
