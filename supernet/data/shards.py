"""Shards of an encoded data set: safetensors files that hold latents, text and records row by row.

Every tensor's first dimension, or that of its offsets, is the row. Latents and text carry the keys of the record that
they were made of, so that a reader sees a caption that is not its picture's::

    split                           uint8      index into SPLITS
    latents                         dtype      (rows, channels, size, size), normalised
    latents.id                      int64      key of the record's id
    text.NAME                       dtype      (rows, tokens, width)
    text.NAME.mask                  bool       (rows, tokens)
    text.NAME.id, .caption          int64      keys of the record's id and caption
    records, records.offset         uint8      JSON of each row: bytes one after the other, and where each begins
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from subdit.core.errors import DataError
from subdit.core.errors import reason
from subdit.core.files import replacing
from supernet.data.latents import Latents
from supernet.data.splits import SPLITS
from supernet.data.text_encoder import EncodedText

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Record:
    """What is known of one picture beside its latents and text.

    Attributes:
        id: its place in the source.
        caption: one line of text.
        split: of `SPLITS`.
        group: pictures of one group are in one split.
        file_sha256: digest of the picture file.
        width: of the picture in the file, in pixels.
        height: of it, in pixels.
        resized: whether it was.
        cropped: fraction of its area that was cut off.
        note: what of the file was not used.
        columns: further columns of the source.
    """

    id: str
    caption: str
    split: str
    group: str
    file_sha256: str = ""
    width: int = 0
    height: int = 0
    resized: bool = False
    cropped: float = 0.0
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


def row_key(text: str) -> int:
    """A key of 64 bits of an id or a caption."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def row_keys(texts: Iterable[str]) -> Tensor:
    """`row_key` of each, int64 (count,)."""
    return torch.tensor([row_key(text) for text in texts], dtype=torch.int64)


def to_dtype(values: np.ndarray, dtype: str) -> Tensor:  # type: ignore[type-arg]
    """Float values in a dtype of `DTYPES`; raises `DataError` where they are not finite, or do not fit into it."""
    if not np.isfinite(values).all():
        raise DataError("Encoded numbers are not finite; name a VAE and text encoders whose weights are whole.")
    kept = torch.from_numpy(np.ascontiguousarray(values)).to(DTYPES[dtype])
    if not bool(torch.isfinite(kept).all()):
        raise DataError(f"Encoded numbers are too large for {dtype}; encode with --dtype bfloat16.")
    return kept


@dataclass(frozen=True)
class KeyedText:
    """Text of rows, with the ids and captions that it was made for."""

    ids: Sequence[str]
    captions: Sequence[str]
    encoded: EncodedText


def write_shard(
    path: Path,
    records: Sequence[Record],
    latents: Latents,
    text: Mapping[str, KeyedText],
    *,
    latent_ids: Sequence[str],
    dtype: str,
) -> str:
    """Write the rows of a shard and return the SHA-256 of the file; raises `DataError` where numbers do not fit."""
    lines = [json.dumps(asdict(record), ensure_ascii=False).encode("utf-8", "surrogatepass") for record in records]
    tensors = {
        "split": torch.tensor([SPLITS.index(record.split) for record in records], dtype=torch.uint8),
        "latents": to_dtype(latents, dtype),
        "latents.id": row_keys(latent_ids),
        "records": torch.from_numpy(np.frombuffer(b"".join(lines), dtype=np.uint8).copy()),
        "records.offset": torch.tensor(np.cumsum([0, *map(len, lines)]), dtype=torch.int64),
    }
    for name, keyed in text.items():
        tensors[f"text.{name}"] = to_dtype(keyed.encoded.embeddings, dtype)
        tensors[f"text.{name}.mask"] = torch.from_numpy(keyed.encoded.mask)
        tensors[f"text.{name}.id"] = row_keys(keyed.ids)
        tensors[f"text.{name}.caption"] = row_keys(keyed.captions)
    return save_tensors(path, tensors)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file, whole or not at all, and return its SHA-256; raises `DataError`, as of a full disk."""
    with replacing(path) as temporary:
        mode = temporary.stat().st_mode
        try:
            save_file(dict(tensors), str(temporary))
        except SafetensorError as error:
            raise DataError(
                f"{path} cannot be written ({reason(error)}); free space there and run it again."
            ) from error
        # safetensors puts a file of its own there, which only its owner reads.
        temporary.chmod(mode)
        return file_sha256(temporary)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Shard:
    """An open shard. Tensors are mapped from the file: what is not asked for is not read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Not closed: tensors live in the mapped file.
            opened = safe_open(str(path), framework="pt")
            self._tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}
        except FileNotFoundError as error:
            raise DataError(f"The shard {path} is missing; encode the data set again.") from error
        except (OSError, SafetensorError) as error:
            raise DataError(f"The shard {path} is damaged ({error}); encode the data set again.") from error
        if wrong := _misshapen(self._tensors):
            raise DataError(f"The shard {path} is damaged ({wrong}); encode the data set again.")

    def __len__(self) -> int:
        return len(self["split"])

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise DataError(f"The shard {self.path} has no {name!r}; encode the data set again.")
        return self._tensors[name]

    def records(self, rows: Sequence[int]) -> list[Record]:
        """Records of rows, in that order."""
        offsets, data = self["records.offset"], self["records"]
        found = []
        for row in rows:
            line = bytes(data[int(offsets[row]) : int(offsets[row + 1])].numpy().data)
            try:
                found.append(Record(**json.loads(line.decode("utf-8", "surrogatepass"))))
            except (ValueError, TypeError) as error:
                raise DataError(f"Record {row} of {self.path} is damaged ({error}); encode again.") from error
        return found


def _misshapen(tensors: Mapping[str, Tensor]) -> str:
    """What of a shard's tensors cannot be read row by row; empty where all that are there can."""
    if "split" not in tensors:
        return "it has no 'split'"
    split = tensors["split"]
    if split.dtype != torch.uint8 or split.ndim != 1 or bool((split >= len(SPLITS)).any()):
        return "its rows are of no split"
    for name, tensor in tensors.items():
        dtypes, dimensions = _layout(name)
        if dimensions and (tensor.dtype not in dtypes or tensor.ndim != dimensions or len(tensor) != len(split)):
            return f"{name!r} is of shape {tuple(tensor.shape)} and {tensor.dtype}"
    offsets, records = tensors.get("records.offset"), tensors.get("records")
    if offsets is not None and records is not None:
        whole = records.dtype == torch.uint8 and offsets.dtype == torch.int64 and offsets.shape == (len(split) + 1,)
        if not whole or offsets[0] != 0 or offsets[-1] != len(records) or bool((offsets.diff() < 0).any()):
            return "its records are not one after the other"
    return ""


def _layout(name: str) -> tuple[tuple[torch.dtype, ...], int]:
    """What a tensor of rows may be of, and its dimensions; 0 of other tensors."""
    if not name.startswith(("latents", "text.")):
        return (), 0
    if name.endswith((".id", ".caption")):
        return (torch.int64,), 1
    if name.endswith(".mask"):
        return (torch.bool,), 2
    return tuple(DTYPES.values()), 4 if name == "latents" else 3


def check_rows(shard: Shard, rows: Sequence[int] | Tensor, names: Sequence[str]) -> None:
    """Raise `DataError` where the text of a row is not of the picture that its latents are of."""
    ids = shard["latents.id"][rows]
    for name in names:
        if not torch.equal(shard[f"text.{name}.id"][rows], ids):
            raise DataError(
                f"In {shard.path} the text {name!r} of a row is of another picture than its latents; encode again."
            )


def check_records(shard: Shard, rows: Sequence[int], names: Sequence[str]) -> list[Record]:
    """The records of rows; raises `DataError` where latents or text of a row are of another picture or caption."""
    check_rows(shard, rows, names)
    records = shard.records(rows)
    index = list(rows)
    if not torch.equal(shard["latents.id"][index], row_keys(record.id for record in records)):
        raise DataError(f"In {shard.path} the latents of a row are of another picture than its record; encode again.")
    captions = row_keys(record.caption for record in records)
    for name in names:
        if not torch.equal(shard[f"text.{name}.caption"][index], captions):
            raise DataError(f"In {shard.path} the text {name!r} of a row is of another caption than its record's.")
    return records
