"""The reference of a data set: halves, classes, and text that is that of the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from subdit import evaluate
from subdit.cli import group
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import get_space
from supernet.checkpoints import save_model
from supernet.data.digits import digits
from supernet.evaluation.conditioning import Conditioning
from supernet.evaluation.conditioning import Text
from supernet.evaluation.data_reference import class_labels
from supernet.evaluation.data_reference import class_values
from supernet.evaluation.data_reference import reference_of_data_set
from supernet.evaluation.samples import generate
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.sampling import sample_euler
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_reference
from tests.supernet.digit_data import word_tensors

DATA = digits()
SPACE = get_space("digits")
TINY = SPACE.named_spec("tiny")


@dataclass
class DigitRows:
    """The digits row by row, with text of their captions, whose last word is padding in odd rows."""

    digest: str = "digits"
    asked: list[tuple[str, int]] = field(default_factory=list)

    def count(self, split: str) -> int:
        return len(getattr(DATA, split))

    def read(self, split: str, rows: Sequence[int]) -> Any:
        self.asked.append((split, len(rows)))
        part = getattr(DATA, split).take(rows)
        text = word_tensors(part.captions)
        return SimpleNamespace(latents=torch.from_numpy(part.latents), text=self._text(text, rows))

    def records(self, split: str, rows: Sequence[int]) -> list[Any]:
        part = getattr(DATA, split).take(rows)
        return [
            SimpleNamespace(caption=caption, columns={"label": str(label), "file": f"{split}/{row}"})
            for row, caption, label in zip(rows, part.captions, part.labels.tolist(), strict=True)
        ]

    def null_text(self) -> Any:
        return self._text(word_tensors(("",)), [0])

    def _text(self, embeddings: tuple[torch.Tensor, ...], rows: Sequence[int]) -> Any:
        padding = torch.tensor([row % 2 == 1 for row in rows])
        embeddings[0][padding, -1] = 0
        return SimpleNamespace(embeddings=embeddings)


@pytest.fixture
def model() -> SubDiT:
    made = SubDiT.from_spec(SPACE, TINY).eval()
    redraw_(made, seed=1)
    return made


def test_it_is_the_reference_of_the_same_images_read_at_once() -> None:
    found, known = reference_of_data_set(DigitRows()), digit_reference()
    for half in ("train", "judge"):
        one, other = getattr(found, half), getattr(known, half)
        assert np.array_equal(one.latents, other.latents) and one.captions == other.captions
        assert list(one.labels) == ["label"], "a column of names is none of classes"
        assert np.array_equal(one.labels["label"], other.labels["label"])
    assert found.decode is None and known.decode is not None
    assert found.hash == reference_of_data_set(DigitRows()).hash != reference_of_data_set(DigitRows("else")).hash


def test_of_large_data_some_are_taken_from_everywhere() -> None:
    found = reference_of_data_set(DigitRows(), most=90)
    assert len(found.train) == len(found.judge) == 90
    assert np.array_equal(found.judge.latents[[0, -1]], DATA.judge.latents[[0, -1]])
    assert np.array_equal(found.train.latents[[0, -1]], DATA.seen.latents[[0, -1]])
    assert found.hash != reference_of_data_set(DigitRows()).hash
    prompts = found.draw_prompts(20, seed=0)
    text, known = found.condition(prompts).read(slice(0, 20)), word_tensors(prompts.captions)
    assert torch.equal(text.embeddings[0][:, :-1], known[0][:, :-1]), "text is that of the captions"


def test_text_is_read_as_it_is_needed(model: SubDiT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.evaluation.samples.TOKENS_AT_ONCE", 3 * SPACE.tokens)
    data = DigitRows()
    reference = reference_of_data_set(data)
    data.asked.clear()
    prompts = reference.draw_prompts(7, seed=0)
    found = generate(model, "digits", reference.condition(prompts), steps=2, seed=5, guidance_scale=2.0)
    assert data.asked == [("judge", 3), ("judge", 3), ("judge", 1)]
    noise = np.random.default_rng([5, 7]).standard_normal((7, 1, 8, 8)).astype(np.float32)
    null = data.null_text()
    for sample, row, start in zip(found, prompts.rows.tolist(), noise, strict=True):
        text = data.read("judge", [row]).text

        @torch.no_grad()
        def velocity(x: np.ndarray, timestep: np.ndarray, text: Any = text) -> np.ndarray:
            both = [model(torch.from_numpy(x), torch.from_numpy(timestep), *one.embeddings) for one in (text, null)]
            return (both[1] + 2 * (both[0] - both[1])).numpy()

        expected = sample_euler(velocity, start[None], steps=2)[0]
        np.testing.assert_allclose(sample, expected, rtol=1e-3, atol=1e-4)
    other = generate(model, "digits", condition_on(prompts.captions), steps=2, seed=5, guidance_scale=2.0)
    changed = np.abs(other - found).reshape(7, -1).max(axis=1) > 1e-3
    assert changed.any(), "padding is what the data set says"


def test_the_last_part_of_a_conditioning_is_its_own() -> None:
    text = Text((torch.arange(6.0).reshape(3, 2, 1),))
    conditioning = Conditioning(3, lambda rows: text[rows], text[0:1].expand(1))
    part = conditioning.read(slice(1, 3))
    assert part.embeddings[0].flatten().tolist() == [2, 3, 4, 5]
    assert conditioning.null.expand(4).embeddings[0].shape == (4, 2, 1)


def test_a_run_is_evaluated_against_data_of_ones_own(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    supernet = ElasticDiT(space="digits").eval()
    redraw_(supernet, seed=3)
    save_model(supernet, run.supernet)
    reference = reference_of_data_set(DigitRows(), most=200)
    found = evaluate(run.path, points=["tiny"], steps=1, samples=20, reference=reference)
    assert found.models[0].conditions.reference_hash == reference.hash
    assert found.models[0].conditions.feature_space == "latents", "no decoder is at hand"


def test_a_data_set_is_named_or_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    supernet = ElasticDiT(space="digits").eval()
    redraw_(supernet, seed=3)
    save_model(supernet, run.supernet)
    own, named = (evaluate(run.path, points=["tiny"], steps=2, samples=30, data=data) for data in (None, "digits"))
    assert named.models[0].conditions.feature_space == "pixels"
    assert named.models[0].conditions.reference_hash == own.models[0].conditions.reference_hash
    assert named.models[0].figures == own.models[0].figures and named.real[0].figures == own.real[0].figures
    shown = CliRunner().invoke(group, ["evaluate", str(run.path), "--data", str(tmp_path / "nowhere")])
    assert shown.exit_code == 2 and "There is no data set" in shown.stderr


# Columns of classes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["a", "b"] * 5, ("a", "b")),
        (["b", "a"] * 5, ("a", "b")),
        (["a"] * 10, None),
        ([str(row) for row in range(10)], None),
        (["a", "b", "c"] * 3, None),
        (["a", None] * 10, None),
        (["a", "b", None] * 5, ("a", "b")),
    ],
)
def test_a_column_holds_classes_where_values_come_again(
    values: list[str | None], found: tuple[str, ...] | None
) -> None:
    columns: list[Mapping[str, str]] = [{} if value is None else {"kind": value} for value in values]
    assert class_values(columns).get("kind") == found


def test_too_many_values_are_no_classes() -> None:
    for count, found in ((200, True), (201, False)):
        assert ("kind" in class_values([{"kind": str(row % count)} for row in range(count * 5)])) is found


def test_values_that_were_not_seen_have_no_class() -> None:
    labels = class_labels([{"kind": "b"}, {"kind": "z"}, {}, {"kind": "a"}], {"kind": ("a", "b")})
    assert labels["kind"].tolist() == [1, -1, -1, 0]
