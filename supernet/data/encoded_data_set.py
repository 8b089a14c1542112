"""A folder that `data encode` made, as the `DataSet` that training reads: mapped from its files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from subdit.core.errors import DataError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from supernet.data.data_set import DataBatch
from supernet.data.data_set import TextBatch
from supernet.data.manifest import NULL_TEXT
from supernet.data.manifest import Manifest
from supernet.data.manifest import read_manifest
from supernet.data.shards import Record
from supernet.data.shards import Shard
from supernet.data.shards import check_records
from supernet.data.shards import check_rows
from supernet.data.shards import file_sha256
from supernet.data.splits import SPLITS

OPEN_SHARDS = 256
"""Shards whose files are mapped at a time."""


class EncodedDataSet:
    """An encoded data set. Copies of it, as in workers, open their own files.

    Raises:
        DataError: the folder has no finished data set, or the manifest was changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.manifest: Manifest = read_manifest(path)
        self.key = self.manifest.key
        self.digest = self.manifest.digest
        self.text_names = tuple(self.key["text"])
        self.places = self.manifest.places
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def count(self, split: str) -> int:
        return len(self._places[split][0])

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        ids = [""] * len(rows)
        gathered: dict[str, torch.Tensor] = {}
        texts = [f"text.{name}" for name in self.text_names]
        masks = [f"{text}.mask" for text in texts]
        # Of no rows the shapes are still those of the first shard.
        for shard, places, inside in self._by_shard(split, rows) or [(self._shard(0), [], [])]:
            check_rows(shard, inside, self.text_names)
            for name in ("latents", *texts, *masks):
                stored = shard[name]
                if name not in gathered:
                    gathered[name] = torch.empty((len(rows), *stored.shape[1:]), dtype=stored.dtype)
                # Pages of the file that hold other rows are not read.
                gathered[name][places] = stored[inside]
            for place, record in zip(places, shard.records(inside), strict=True):
                ids[place] = record.id
        return DataBatch(
            ids=tuple(ids),
            latents=gathered["latents"].float(),
            text=TextBatch(
                tuple(gathered[name] for name in texts), torch.cat([gathered[name] for name in masks], dim=1)
            ),
        )

    def records(self, split: str, rows: Sequence[int]) -> list[Record]:
        found: dict[int, Record] = {}
        for shard, places, inside in self._by_shard(split, rows):
            found.update(zip(places, check_records(shard, inside, self.text_names), strict=True))
        return [found[place] for place in range(len(rows))]

    def null_text(self) -> TextBatch:
        file = self.path / NULL_TEXT
        try:
            if file_sha256(file) != self.manifest.null_sha256:
                raise DataError(f"The null text {file} was changed; encode the data set again.")
            stored = load_file(str(file))
        except (OSError, SafetensorError) as error:
            raise DataError(f"The null text {file} is missing or damaged ({error}); encode again.") from error
        return TextBatch(
            tuple(stored[name] for name in self.text_names),
            torch.cat([stored[f"{name}.mask"] for name in self.text_names], dim=1),
        )

    def verify(self, *, progress: ProgressCallback = no_progress) -> None:
        """Read everything; raises `DataError` where a file was changed, or where text is not that of its picture."""
        for index, entry in enumerate(self.manifest.shards):
            if file_sha256(self.path / entry.file) != entry.sha256:
                raise DataError(f"The shard {self.path / entry.file} was changed; encode the data set again.")
            shard = self._shard(index)
            check_records(shard, range(len(shard)), self.text_names)
            progress(index + 1, len(self.manifest.shards), "")
        self.null_text()

    def __getstate__(self) -> dict[str, Any]:
        # Mapped files stay with the process that opened them.
        return {**self.__dict__, "_open": OrderedDict()}

    @cached_property
    def _places(self) -> dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
        """Per split the shard of each row, and its row inside."""
        shards: dict[str, list[npt.NDArray[np.int32]]] = {split: [] for split in SPLITS}
        inside: dict[str, list[npt.NDArray[np.int32]]] = {split: [] for split in SPLITS}
        for index, entry in enumerate(self.manifest.shards):
            codes = self._shard(index)["split"].numpy()
            if len(codes) != sum(entry.rows.values()):
                raise DataError(f"The shard {self.path / entry.file} has other rows than its manifest; encode again.")
            for code, split in enumerate(SPLITS):
                rows = np.flatnonzero(codes == code).astype(np.int32)
                inside[split].append(rows)
                shards[split].append(np.full(len(rows), index, dtype=np.int32))
        return {split: (np.concatenate(shards[split]), np.concatenate(inside[split])) for split in SPLITS}

    def _shard(self, index: int) -> Shard:
        shard = self._open.pop(index, None) or Shard(self.path / self.manifest.shards[index].file)
        self._open[index] = shard
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return shard

    def _by_shard(self, split: str, rows: Sequence[int]) -> list[tuple[Shard, list[int], list[int]]]:
        """Per shard that holds some of the rows: it, their places among `rows`, and their rows inside."""
        shards, inside = self._places[split]
        index = np.asarray(rows, dtype=np.int64)
        found = []
        for number in np.unique(shards[index]).tolist():
            places = np.flatnonzero(shards[index] == number)
            found.append((self._shard(number), places.tolist(), inside[index[places]].tolist()))
        return found
