"""`data encode`: captioned pictures to shards of latents and text embeddings, the same ones however often it is killed.

A shard holds the examples of a fixed range of the source, so that it depends on no other shard. It counts as done where
its JSON lies beside it, which is written after it; a process that goes on begins at the first range that is not done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SearchSpace
from subdit.space import SpaceLike
from subdit.space import get_space
from supernet.data.encoding_config import EncodingConfig
from supernet.data.encoding_key import encoding_key
from supernet.data.encoding_key import open_codec
from supernet.data.encoding_key import open_seen_pictures
from supernet.data.encoding_key import open_text_encoders
from supernet.data.latents import LatentCodec
from supernet.data.latents import LatentStatistics
from supernet.data.latents import PixelCodec
from supernet.data.latents import listed
from supernet.data.manifest import MANIFEST
from supernet.data.manifest import NULL_TEXT
from supernet.data.manifest import REJECTED
from supernet.data.manifest import SHARDS
from supernet.data.manifest import Manifest
from supernet.data.manifest import ShardEntry
from supernet.data.manifest import key_difference
from supernet.data.picture import PictureRule
from supernet.data.shard_encoder import ShardEncoder
from supernet.data.shard_encoder import entry_file
from supernet.data.shards import file_sha256
from supernet.data.shards import save_tensors
from supernet.data.shards import to_dtype
from supernet.data.source import Source
from supernet.data.source import require_outside
from supernet.data.sources import open_source
from supernet.data.splits import SPLITS
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import absolute_reference
from supernet.data.text_encoder import null_text

ENCODING = "encoding.json"
"""In the data set's folder, while it is encoded: what the shards depend on."""

REPLACING = {"replacing": True}
"""Stands in `ENCODING` while another data set is removed, which a process that comes later goes on with."""

CHECKED_FROM = 64
"""Pictures of the split train from which on the latents' mean and deviation are believed before the end."""


def encode(
    source: Path | Source,
    out: Path,
    *,
    space: SpaceLike,
    text: Mapping[str, str],
    vae: Path | None = None,
    config: EncodingConfig | None = None,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Encode the pictures of a source for a space, going on where an earlier process was stopped.

    Args:
        source: a folder, .tar shards or Parquet files, see `open_source`, or such a source that is open.
        out: folder of the data set.
        space: whose latents and text inputs are made: a search space, the name of one, or a space file.
        text: by text input of the space the encoder, see `load_text_encoder`.
        vae: folder of a diffusers autoencoder, None where latents are pixels.
        config: how; by default with the source's own split.
        force: replace what the folder holds.
        progress: counts examples of the source.

    Raises:
        DataError: the source, the VAE or a text encoder cannot be used; the folder holds a finished data set, or one
            begun with other settings; the latents are off mean 0 or deviation 1; a split is left without pictures;
            the VAE was trained on pictures of another split than train.
        RunError: another process encodes into the folder.
        SpaceError: there is no such space.
    """
    space = space if isinstance(space, SearchSpace) else get_space(space)
    if isinstance(source, Path):
        source = open_source(source, caption_column=(config or EncodingConfig()).caption_column)
    if config is None:
        config = EncodingConfig(split=source.default_split, licence_column=source.licence_column)
    require_outside(out, source)
    codec = open_codec(space, source, vae, config)
    encoders = open_text_encoders(space, text, config)
    rule = PictureRule(
        size=space.latent_size * codec.factor,
        channels=codec.picture_channels,
        background=config.background,
        upscale=config.upscale,
        max_pixels=int(config.max_megapixels * 1e6),
    )
    count = source.count()
    if not count:
        raise DataError(f"There are no pictures in {source.path}; put pictures there, with captions.")
    key = encoding_key(space, source, codec, encoders, rule, config)
    with Run(out).lock():
        _begin(out, key, force=force)
        nulls = _write_null_text(out, encoders, config.dtype)
        encoder = ShardEncoder(codec, encoders, rule, config, out, seen=open_seen_pictures(vae))
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
            raise DataError(f"The source {source.path} changed while it was encoded; pass --force to start again.")
        places = {"space": space.name, "source": str(source.path.resolve())}
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


# Beginning, going on and ending ---------------------------------------------------------------------------------------


def _begin(out: Path, key: Mapping[str, Any], *, force: bool) -> None:
    """Leave in the folder what an encoding of this key began, or nothing; raises `DataError` on anything else."""
    shards = out / SHARDS
    # What a killed process was writing.
    for file in shards.glob(".*.tmp"):
        file.unlink()
    begun = _begun(out, force=force)
    # What was said to be replaced is, whether the one who goes on says so again or not.
    force = force or begun == REPLACING
    if (out / MANIFEST).exists() and not force:
        raise DataError(f"The folder {out} holds a finished data set; name another, or pass --force to replace it.")
    if found := sorted(file.name for file in shards.glob("*") if force or begun is None):
        _refuse_files_of_others(shards, found, force=force)
    if force and ((out / MANIFEST).exists() or begun is None or key_difference(begun, key)):
        write_json(out / ENCODING, REPLACING)
        _remove(out)
    elif begun and (difference := key_difference(begun, key)):
        raise DataError(
            f"The encoding begun in {out} is another one: {difference}; ask for the same, or pass --force to start "
            "again."
        )
    write_json(out / ENCODING, key)


def _begun(out: Path, *, force: bool) -> Any:
    """What `ENCODING` holds; None where it is not there, or is damaged and `force` replaces it."""
    if not (out / ENCODING).exists():
        return None
    try:
        begun = read_json(out / ENCODING, "begun encoding")
        if not isinstance(begun, dict):
            raise RunError(f"The begun encoding at {out / ENCODING} is damaged; pass --force to start again.")
    except RunError:
        if force:
            return None
        raise
    return begun


def _refuse_files_of_others(shards: Path, names: Sequence[str], *, force: bool) -> None:
    strange = [name for name in names if not (force and re.fullmatch(r"\d{6}\.(safetensors|json)", name))]
    if strange:
        raise DataError(
            f"The folder {shards} holds {strange[0]!r}, which no encoding under way left; name another folder, or pass "
            "--force to delete the shards of a data set there."
        )


def _remove(out: Path) -> None:
    # The manifest first: without it there is no data set.
    for name in (MANIFEST, NULL_TEXT, REJECTED):
        (out / name).unlink(missing_ok=True)
    for file in sorted((out / SHARDS).glob("*")):
        file.unlink()


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
    while (file := entry_file(out, len(entries))).exists():
        entry = ShardEntry.from_dict(read_json(file, "record of a shard")["entry"])
        shard = out / entry.file
        if not shard.exists() or file_sha256(shard) != entry.sha256:
            break
        entries.append(entry)
    return entries


def _write_rejected(out: Path, shards: int) -> None:
    lines = []
    for index in range(shards):
        rejected = read_json(entry_file(out, index), "record of a shard")["rejected"]
        lines += [json.dumps(line) + "\n" for line in rejected]
    write_atomic(out / REJECTED, "".join(lines))


def _check_rows(manifest: Manifest, config: EncodingConfig, out: Path) -> None:
    fractions = {"train": 1.0, "validation": config.split.validation, "judge": config.split.judge}
    rejected = ", ".join(f"{count:,} {kind}" for kind, count in manifest.total("rejected").items())
    usable = sum(manifest.count(split) for split in SPLITS)
    if not usable:
        read = sum(shard.examples for shard in manifest.shards)
        raise DataError(
            f"None of the {read:,} pictures can be used ({rejected}; see {out / REJECTED}); give captioned pictures of "
            f"at least {manifest.key['picture']['size']} pixels per side, or pass --upscale."
        )
    for split in SPLITS:
        if fractions[split] and not manifest.count(split):
            because = f" ({rejected}; see {out / REJECTED})" if rejected else ""
            raise DataError(
                f"The split {split} has none of the {usable:,} pictures that can be used{because}; give more pictures, "
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
        f"Latents of the VAE {key['class']}, whose constants are mean {listed(key['mean'])} and deviation "
        f"{listed(key['std'])}, have mean {found.mean:.3g} and deviation {found.std:.3g}, not 0 and 1 within "
        f"{config.statistics_bound:g}; correct the constants in its config.json, or pass --scaling-factor "
        f"{1 / max(found.std * scale, 1e-9):.5g} --shift-factor {found.mean * scale + offset:.5g} with --force."
    )
