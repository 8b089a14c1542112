"""One shard of an encoding: a range of the source's examples to a file, and the record that it is whole."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from subdit.core.errors import DataError
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from supernet.data.encoding_config import STATED
from supernet.data.encoding_config import EncodingConfig
from supernet.data.latents import LatentCodec
from supernet.data.latents import LatentStatistics
from supernet.data.manifest import SHARDS
from supernet.data.manifest import ShardEntry
from supernet.data.picture import PictureRule
from supernet.data.preparation import Prepared
from supernet.data.preparation import prepare_all
from supernet.data.seen_pictures import SeenPictures
from supernet.data.shards import KeyedText
from supernet.data.shards import Record
from supernet.data.shards import write_shard
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.splits import SPLITS
from supernet.data.text_encoder import TextEncoder


def entry_file(out: Path, index: int) -> Path:
    """Where the record of a finished shard lies; written after the shard, it says that it is whole."""
    return out / SHARDS / f"{index:06d}.json"


class ShardEncoder:
    """Encodes one shard after the other; pictures are decoded in threads while others are encoded."""

    def __init__(
        self,
        codec: LatentCodec,
        encoders: Sequence[TextEncoder],
        rule: PictureRule,
        config: EncodingConfig,
        out: Path,
        *,
        seen: SeenPictures | None = None,
    ) -> None:
        self.codec = codec
        self.encoders = encoders
        self.rule = rule
        self.config = config
        self.out = out
        self.seen = seen

    def write(
        self, index: int, examples: Iterator[Example], most: int, done: int, count: int, progress: ProgressCallback
    ) -> ShardEntry:
        """Encode up to `most` examples as shard number `index`; `done` and `count` are for the progress alone.

        Raises `DataError` where the autoencoder was trained on what is not of the split train here.
        """
        rejected: list[dict[str, str]] = []
        records: list[Record] = []
        batch: list[Prepared] = []
        latents, latent_ids = [], list[str]()
        consumed = 0

        def flush() -> None:
            if batch:
                latents.append(self.codec.encode(np.stack([item.picture.pixels for item in batch])))
                latent_ids.extend(item.record.id for item in batch)
                records.extend(item.record for item in batch)
                batch.clear()
                progress(done + consumed, count, f"shard {index + 1}")

        prepared = prepare_all(islice(examples, most), self.rule, self.config.split)
        with contextlib.closing(prepared):
            for example, outcome in prepared:
                consumed += 1
                if isinstance(outcome, Rejection):
                    rejected.append({"id": example.id, "kind": outcome.kind, "detail": outcome.detail})
                    continue
                self._refuse_seen(outcome.record)
                batch.append(outcome)
                if len(batch) == self.config.batch_size:
                    flush()
        flush()
        shape = (0, self.codec.latent_channels, *(2 * [self.rule.size // self.codec.factor]))
        joined = np.concatenate(latents) if latents else np.zeros(shape, dtype=np.float32)
        text = {encoder.name: self._encode_text(encoder, records) for encoder in self.encoders}
        file = self.out / SHARDS / f"{index:06d}.safetensors"
        sha256 = write_shard(file, records, joined, text, latent_ids=latent_ids, dtype=self.config.dtype)
        train = [row for row, record in enumerate(records) if record.split == "train"]
        captions = [record.caption for record in records]
        truncated = {encoder.name: int(encoder.truncated(captions).sum()) for encoder in self.encoders}
        entry = ShardEntry(
            file=file.relative_to(self.out).as_posix(),
            sha256=sha256,
            examples=consumed,
            rows={split: sum(record.split == split for record in records) for split in SPLITS},
            rejected=dict(Counter(line["kind"] for line in rejected)),
            resized=sum(record.resized for record in records),
            cropped=sum(record.cropped > 0 for record in records),
            cropped_area=sum(record.cropped for record in records),
            notes=dict(Counter(record.note for record in records if record.note)),
            truncated=truncated,
            licences=dict(Counter(map(self._licence, records))),
            longest_caption=max((len(record.caption) for record in records), default=0),
            statistics=LatentStatistics.of(joined[train]) if train else LatentStatistics(),
        )
        write_json(entry_file(self.out, index), {"entry": asdict(entry), "rejected": rejected})
        return entry

    def _refuse_seen(self, record: Record) -> None:
        if record.split != "train" and self.seen is not None and record.file_sha256 in self.seen:
            raise DataError(
                f"The picture {record.id!r} is of the split {record.split} here, but the VAE was trained on it or "
                "a copy; give the options of the split that it was trained with, or encode with another VAE."
            )

    def _encode_text(self, encoder: TextEncoder, records: Sequence[Record]) -> KeyedText:
        """Each distinct caption is encoded once."""
        distinct = sorted({record.caption for record in records})
        row_of = {caption: row for row, caption in enumerate(distinct)}
        encoded = encoder.encode(distinct).take([row_of[record.caption] for record in records])
        return KeyedText([record.id for record in records], [record.caption for record in records], encoded)

    def _licence(self, record: Record) -> str:
        column = self.config.licence_column
        return (record.columns.get(column, "") if column else "") or self.config.licence or STATED
