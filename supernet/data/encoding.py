"""`data encode`: captioned pictures to shards of latents and text embeddings, the same ones however often it is killed.

A shard holds the examples of a fixed range of the source, so that it depends on no other shard. It counts as done where
its JSON lies beside it, which is written after it; a process that goes on begins at the first range that is not done.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from subdit.core.errors import DataError
from subdit.core.files import read_json
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SearchSpace
from supernet.data.data_set import space_key
from supernet.data.latents import LatentCodec
from supernet.data.latents import LatentStatistics
from supernet.data.latents import PixelCodec
from supernet.data.manifest import MANIFEST
from supernet.data.manifest import NULL_TEXT
from supernet.data.manifest import REJECTED
from supernet.data.manifest import SHARDS
from supernet.data.manifest import Manifest
from supernet.data.manifest import ShardEntry
from supernet.data.manifest import key_difference
from supernet.data.picture import PictureRule
from supernet.data.preparation import Prepared
from supernet.data.preparation import prepare_all
from supernet.data.shards import DTYPES
from supernet.data.shards import KeyedText
from supernet.data.shards import Record
from supernet.data.shards import file_sha256
from supernet.data.shards import save_tensors
from supernet.data.shards import to_dtype
from supernet.data.shards import write_shard
from supernet.data.source import DEFAULT_CAPTION_COLUMN
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import Source
from supernet.data.source import require_outside
from supernet.data.sources import open_source
from supernet.data.splits import SPLITS
from supernet.data.splits import SplitRule
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import absolute_reference
from supernet.data.text_encoder import load_text_encoder
from supernet.data.text_encoder import null_text

ENCODING = "encoding.json"
"""In the data set's folder, while it is encoded: what the shards depend on, and where it came from."""

MAX_SHARD_BYTES = 1 << 27
MAX_SHARD_EXAMPLES = 1024

CHECKED_FROM = 64
"""Pictures of the split train from which on the latents' mean and deviation are believed before the end."""

STATED = "not stated"


@dataclass(frozen=True)
class EncodingConfig:
    """How pictures and captions are encoded.

    Attributes:
        caption_column: of metadata, WebDataset's JSON, or Parquet.
        split: how pictures are divided.
        background: red, green and blue, 0 to 255, where a picture is transparent.
        upscale: whether pictures smaller than the space's are enlarged; otherwise they are rejected.
        max_megapixels: of a picture that is decoded.
        templates: by text input what a caption is put into, at its `{}`.
        text_precision: of the text encoders' own numbers, "float32" or "bfloat16".
        dtype: of latents and text in the shards, of `DTYPES`.
        licence: of all pictures, None where nobody says, or
        licence_column: the column that says it of each.
        scaling_factor: in place of all constants of the VAE's configuration, with
        shift_factor: likewise.
        statistics_bound: how far the mean of a VAE's latents may be from 0, and their deviation from 1.
        shard_examples: examples of the source per shard; None for as many as are 128 MiB, 1,024 at most.
        batch_size: pictures that are encoded at once.
        device: as torch names it, or "auto".

    Raises:
        DataError: there is no such dtype, or a number is out of its range.
    """

    caption_column: str = DEFAULT_CAPTION_COLUMN
    split: SplitRule = field(default_factory=SplitRule)
    background: tuple[int, int, int] = (255, 255, 255)
    upscale: bool = False
    max_megapixels: float = 64.0
    templates: Mapping[str, str] = field(default_factory=dict)
    text_precision: str = PRECISION
    dtype: str = "float16"
    licence: str | None = None
    licence_column: str | None = None
    scaling_factor: float | None = None
    shift_factor: float | None = None
    statistics_bound: float = 0.5
    shard_examples: int | None = None
    batch_size: int = 32
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DataError(f"Latents cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}.")
        for name in ("max_megapixels", "statistics_bound", "batch_size", "shard_examples"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DataError(f"{name} is {value}; it must be positive.")


def encode(
    source_path: Path,
    out: Path,
    *,
    space: SearchSpace,
    text: Mapping[str, str],
    vae: Path | None = None,
    config: EncodingConfig | None = None,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Encode the pictures of a source for a space, going on where an earlier process was stopped.

    Args:
        source_path: a folder, .tar shards or Parquet files, see `open_source`.
        out: folder of the data set.
        space: whose latents and text inputs are made.
        text: by text input of the space the encoder, see `load_text_encoder`.
        vae: folder of a diffusers autoencoder, None where latents are pixels.
        config: how.
        force: encode anew over what the folder holds.
        progress: counts examples of the source.

    Raises:
        DataError: the source, the VAE or a text encoder cannot be used; the folder holds a finished data set, or one
            begun otherwise; the latents are off mean 0 or deviation 1; a split is left without pictures.
        RunError: another process encodes into the folder.
    """
    config = EncodingConfig() if config is None else config
    source = open_source(source_path, caption_column=config.caption_column)
    require_outside(out, source)
    codec = _codec(space, source, vae, config)
    encoders = _text_encoders(space, text, config)
    rule = PictureRule(
        size=space.latent_size * codec.factor,
        channels=codec.picture_channels,
        background=config.background,
        upscale=config.upscale,
        max_pixels=int(config.max_megapixels * 1e6),
    )
    count = source.count()
    key = _key(space, source, codec, encoders, rule, config)
    with Run(out).lock():
        _begin(out, key, force=force)
        nulls = _write_null_text(out, encoders, config.dtype)
        encoder = _Encoder(codec, encoders, rule, config, out)
        entries = _finished_shards(out)
        done = sum(entry.examples for entry in entries)
        progress(done, count, "")
        # One pass over the source: to find a place in a .tar file its headers are read up to there.
        examples = source.examples(done)
        while done < count:
            entry = encoder.write(len(entries), examples, key["shard_examples"], done, count, progress)
            if not entry.examples:
                break
            entries.append(entry)
            done += entry.examples
            _check_statistics(entries, codec, config, final=False)
        if done != count or source.fingerprint() != key["source"]["fingerprint"]:
            raise DataError(f"The source {source_path} changed while it was encoded; pass --force to encode it anew.")
        places = {"space": space.name, "source": str(source_path.resolve())}
        places |= {f"text.{name}": absolute_reference(reference) for name, reference in text.items()}
        places |= {} if vae is None else {"vae": str(vae.resolve())}
        manifest = Manifest(key, tuple(entries), nulls, places)
        _write_rejected(out, len(entries))
        _check_rows(manifest, config, out)
        _check_statistics(entries, codec, config, final=True)
        manifest.write(out)
        for file in (out / ENCODING, *(out / SHARDS).glob("*.json")):
            file.unlink()
    return manifest


# What a data set depends on -------------------------------------------------------------------------------------------


def _codec(space: SearchSpace, source: Source, vae: Path | None, config: EncodingConfig) -> LatentCodec:
    if vae is None:
        if config.scaling_factor is not None or config.shift_factor is not None:
            raise DataError("Pixels have no scaling or shift factor; leave both out, or name the VAE with --vae.")
        return PixelCodec(space.latent_channels)
    from supernet.data.vae import load_vae
    from supernet.data.vae import torch_device

    _check_vae_split(vae, source, config.split)
    codec = load_vae(
        vae,
        device=torch_device(config.device),
        scaling_factor=config.scaling_factor,
        shift_factor=config.shift_factor,
    )
    if codec.latent_channels != space.latent_channels:
        raise DataError(
            f"The VAE at {vae} makes latents of {codec.latent_channels} channels, but space {space.name!r} takes "
            f"{space.latent_channels}; name another VAE or change the space."
        )
    return codec


def _check_vae_split(vae: Path, source: Source, split: SplitRule) -> None:
    """Raise `DataError` where the VAE was trained on pictures of this source that are to judge or validate now."""
    from supernet.data.vae import VAE_TRAINING

    if not (vae / VAE_TRAINING).exists():
        return
    trained = read_json(vae / VAE_TRAINING, "record of the VAE's training")
    same = trained["source"]["fingerprint"] == source.fingerprint()
    if same and (difference := key_difference({"split": trained["split"]}, {"split": asdict(split)})):
        raise DataError(
            f"The VAE at {vae} was trained with another split of these pictures ({difference}), so that it has seen "
            "some that are to judge; give the same options of the split."
        )


def _text_encoders(space: SearchSpace, text: Mapping[str, str], config: EncodingConfig) -> tuple[TextEncoder, ...]:
    inputs = [text_input.name for text_input in space.text_inputs]
    for label, named in (("text encoder", text), ("template", config.templates)):
        if strange := sorted(set(named) - set(inputs)):
            raise DataError(
                f"Space {space.name!r} has no text input {strange[0]!r} for a {label}; it has {', '.join(inputs)}."
            )
    if missing := [name for name in inputs if name not in text]:
        raise DataError(
            f"Space {space.name!r} has the text input {missing[0]!r}; name its encoder with --text {missing[0]}=PATH."
        )
    return tuple(
        load_text_encoder(
            text_input,
            text[text_input.name],
            template=config.templates.get(text_input.name, PLAIN_TEMPLATE),
            device=config.device,
            precision=config.text_precision,
        )
        for text_input in space.text_inputs
    )


def _key(
    space: SearchSpace,
    source: Source,
    codec: LatentCodec,
    encoders: Sequence[TextEncoder],
    rule: PictureRule,
    config: EncodingConfig,
) -> dict[str, Any]:
    numbers = space.latent_channels * space.latent_size**2 + sum(text.tokens * text.width for text in space.text_inputs)
    fits = MAX_SHARD_BYTES // (numbers * DTYPES[config.dtype].itemsize)
    key = {
        "space": space_key(space),
        "picture": asdict(rule) | {"resize": "shorter side, Lanczos", "crop": "centre"},
        "latents": codec.key,
        "text": {encoder.name: encoder.key for encoder in encoders},
        "source": {
            "kind": source.kind,
            "fingerprint": source.fingerprint(),
            "caption_column": config.caption_column,
            "licence": config.licence or STATED,
            "licence_column": config.licence_column,
        },
        "split": asdict(config.split),
        "dtype": config.dtype,
        "shard_examples": config.shard_examples or max(1, min(MAX_SHARD_EXAMPLES, fits)),
    }
    # As JSON gives it back: a tuple is a list there.
    return dict(json.loads(json.dumps(key)))


# Beginning, going on and ending ---------------------------------------------------------------------------------------


def _begin(out: Path, key: Mapping[str, Any], *, force: bool) -> None:
    shards = out / SHARDS
    # What a killed process was writing.
    for file in shards.glob(".*.tmp"):
        file.unlink()
    if force:
        for name in (MANIFEST, ENCODING, NULL_TEXT, REJECTED):
            (out / name).unlink(missing_ok=True)
        # Nothing but shards: the folder may be another's.
        for file in shards.glob("*"):
            if re.fullmatch(r"\d{6}\.(safetensors|json)", file.name):
                file.unlink()
    if (out / MANIFEST).exists():
        raise DataError(f"The folder {out} holds a finished data set; pass --force to encode it anew, or name another.")
    if (out / ENCODING).exists():
        begun = read_json(out / ENCODING, "begun encoding")
        if difference := key_difference(begun, key):
            raise DataError(
                f"The encoding begun in {out} is another one: {difference}; ask for the same, or pass --force to "
                "encode anew."
            )
    elif found := sorted(file.name for file in shards.glob("*")):
        raise DataError(
            f"The folder {shards} holds {found[0]!r}, which no encoding under way left; name another folder, or pass "
            "--force to delete the shards of a data set there."
        )
    write_json(out / ENCODING, key)


def _write_null_text(out: Path, encoders: Sequence[TextEncoder], dtype: str) -> str:
    tensors = {}
    for encoder in encoders:
        null = null_text(encoder)
        tensors[encoder.name] = to_dtype(null.embeddings, dtype)
        tensors[f"{encoder.name}.mask"] = torch.from_numpy(null.mask)
    return save_tensors(out / NULL_TEXT, tensors)


def _finished_shards(out: Path) -> list[ShardEntry]:
    """Shards that are whole, up to the first that is not; what comes after that one is encoded again."""
    entries: list[ShardEntry] = []
    while (file := _entry_file(out, len(entries))).exists():
        entry = ShardEntry.from_dict(read_json(file, "record of a shard")["entry"])
        shard = out / entry.file
        if not shard.exists() or file_sha256(shard) != entry.sha256:
            break
        entries.append(entry)
    return entries


def _entry_file(out: Path, index: int) -> Path:
    return out / SHARDS / f"{index:06d}.json"


def _write_rejected(out: Path, shards: int) -> None:
    lines = []
    for index in range(shards):
        rejected = read_json(_entry_file(out, index), "record of a shard")["rejected"]
        lines += [json.dumps(line) + "\n" for line in rejected]
    write_atomic(out / REJECTED, "".join(lines))


def _check_rows(manifest: Manifest, config: EncodingConfig, out: Path) -> None:
    fractions = {"train": 1.0, "validation": config.split.validation, "judge": config.split.judge}
    rejected = ", ".join(f"{count:,} {kind}" for kind, count in manifest.total("rejected").items())
    usable = sum(manifest.count(split) for split in SPLITS)
    for split in SPLITS:
        if fractions[split] and not manifest.count(split):
            because = f" ({rejected}; see {out / REJECTED})" if rejected else ""
            raise DataError(
                f"Of {usable:,} pictures that can be used none is in the split {split}{because}; give more pictures, "
                "or other fractions or another seed of the split."
            )


def _check_statistics(
    entries: Sequence[ShardEntry], codec: LatentCodec, config: EncodingConfig, *, final: bool
) -> None:
    """Raise `DataError` where a VAE's latents are off; pixels state what their mean and deviation are, no more."""
    if isinstance(codec, PixelCodec) or not (final or sum(entry.rows["train"] for entry in entries) >= CHECKED_FROM):
        return
    found = sum((entry.statistics for entry in entries), LatentStatistics())
    if abs(found.mean) <= config.statistics_bound and abs(found.std - 1) <= config.statistics_bound:
        return
    key = codec.key
    # As if one scale and shift were right for all channels.
    scale, offset = float(np.mean(key["std"])), float(np.mean(key["mean"]))
    raise DataError(
        f"Latents of the VAE {key['class']}, whose constants are mean {_listed(key['mean'])} and deviation "
        f"{_listed(key['std'])}, have mean {found.mean:.3g} and deviation {found.std:.3g}, not 0 and 1 within "
        f"{config.statistics_bound:g}; correct the constants in its config.json, or pass --scaling-factor "
        f"{1 / max(found.std * scale, 1e-9):.5g} --shift-factor {found.mean * scale + offset:.5g} with --force."
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.5g}" for value in dict.fromkeys(values))


# Shards ---------------------------------------------------------------------------------------------------------------


class _Encoder:
    """Encodes one shard after the other; pictures are decoded in threads while others are encoded."""

    def __init__(
        self,
        codec: LatentCodec,
        encoders: Sequence[TextEncoder],
        rule: PictureRule,
        config: EncodingConfig,
        out: Path,
    ) -> None:
        self.codec = codec
        self.encoders = encoders
        self.rule = rule
        self.config = config
        self.out = out

    def write(
        self, index: int, examples: Iterator[Example], most: int, done: int, count: int, progress: ProgressCallback
    ) -> ShardEntry:
        """Encode up to `most` examples as shard number `index`; `done` and `count` are for the progress alone."""
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
        write_json(_entry_file(self.out, index), {"entry": asdict(entry), "rejected": rejected})
        return entry

    def _encode_text(self, encoder: TextEncoder, records: Sequence[Record]) -> KeyedText:
        """Each distinct caption is encoded once."""
        distinct = sorted({record.caption for record in records})
        row_of = {caption: row for row, caption in enumerate(distinct)}
        encoded = encoder.encode(distinct).take([row_of[record.caption] for record in records])
        return KeyedText([record.id for record in records], [record.caption for record in records], encoded)

    def _licence(self, record: Record) -> str:
        column = self.config.licence_column
        return (record.columns.get(column, "") if column else "") or self.config.licence or STATED
