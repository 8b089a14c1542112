"""The reference of a data set: its splits, captions and columns of classes, with its own text embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np

from supernet.evaluation.conditioning import Conditioning
from supernet.evaluation.conditioning import Text
from supernet.evaluation.reference import Images
from supernet.evaluation.reference import Labels
from supernet.evaluation.reference import Prompts
from supernet.evaluation.reference import RealImages
from supernet.evaluation.reference import Reference

MOST_IMAGES = 20_000
"""Images per half; a larger half is thinned out evenly, so that memory does not grow with the data."""
MOST_CLASSES = 200
LEAST_PER_CLASS = 5
"""Images of the train half per value, on average; a column with fewer, such as file names, holds no classes."""


class DataRecord(Protocol):
    """What is known of one image."""

    @property
    def caption(self) -> str: ...

    @property
    def columns(self) -> Mapping[str, str]: ...


class SplitData(Protocol):
    """What the judge reads of a data set: the splits train, validation and judge, by row."""

    @property
    def digest(self) -> str: ...

    def count(self, split: str) -> int:
        """Rows of a split."""
        ...

    def read(self, split: str, rows: Sequence[int]) -> Any:
        """`latents` (count, channels, size, size) and `text`, with `embeddings`, as tensors."""
        ...

    def records(self, split: str, rows: Sequence[int]) -> Sequence[DataRecord]:
        """Captions and further columns."""
        ...

    def null_text(self) -> Any:
        """`embeddings` of the empty prompt, one row."""
        ...


def reference_of_data_set(
    data: SplitData, *, decode: Callable[[Images], Images] | None = None, most: int = MOST_IMAGES
) -> Reference:
    """The reference of a data set.

    Args:
        data: the data set.
        decode: latents to pictures in [-1, 1]; None without a decoder.
        most: largest number of images per half.
    """
    train = [("train", row) for row in range(data.count("train"))]
    train += [("validation", row) for row in range(data.count("validation"))]
    judge = [("judge", row) for row in range(data.count("judge"))]
    train, judge = _spread(train, most), _spread(judge, most)
    records = {name: _records(data, rows) for name, rows in {"train": train, "judge": judge}.items()}
    values = class_values([record.columns for record in records["train"]])
    halves = {
        name: RealImages(
            _latents(data, rows),
            tuple(record.caption for record in records[name]),
            class_labels([record.columns for record in records[name]], values),
            hashlib.sha256(f"{data.digest} {name} {len(rows)}".encode()).hexdigest()[:10],
        )
        for name, rows in {"train": train, "judge": judge}.items()
    }

    def condition(prompts: Prompts) -> Conditioning:
        rows = [judge[row][1] for row in prompts.rows.tolist()]
        return Conditioning(len(rows), lambda part: _text(data.read("judge", rows[part]).text), _text(data.null_text()))

    return Reference(halves["train"], halves["judge"], condition, decode)


def class_values(columns: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """The sorted values of each column that holds classes.

    A column holds classes if it has two to `MOST_CLASSES` values, and on average at least `LEAST_PER_CLASS` rows each.
    """
    found = {}
    for name in sorted({name for row in columns for name in row}):
        known = [row[name] for row in columns if name in row]
        values = sorted(set(known))
        if 2 <= len(values) <= min(MOST_CLASSES, len(known) // LEAST_PER_CLASS):
            found[name] = tuple(values)
    return found


def class_labels(columns: Sequence[Mapping[str, str]], values: Mapping[str, tuple[str, ...]]) -> Labels:
    """Per column of classes, the index of each row's value; -1 if the value is missing or unknown."""
    numbers = {name: {value: number for number, value in enumerate(known)} for name, known in values.items()}
    return {
        name: np.asarray([known[row[name]] if row.get(name) in known else -1 for row in columns], dtype=np.int64)
        for name, known in numbers.items()
    }


def _spread(rows: list[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    return [rows[index] for index in np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int).tolist()]


def _by_split(rows: list[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for split, row in rows:
        found.setdefault(split, []).append(row)
    return found


def _records(data: SplitData, rows: list[tuple[str, int]]) -> list[DataRecord]:
    return [record for split, inside in _by_split(rows).items() for record in data.records(split, inside)]


def _latents(data: SplitData, rows: list[tuple[str, int]]) -> Images:
    parts = [
        data.read(split, inside[start : start + 1024]).latents.numpy()
        for split, inside in _by_split(rows).items()
        for start in range(0, len(inside), 1024)
    ]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 1, 1, 1), np.float32)


def _text(batch: Any) -> Text:
    return Text(tuple(batch.embeddings))
