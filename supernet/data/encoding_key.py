"""What an encoding is made with, and the key by which its shards are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from subdit.core.errors import DataError
from subdit.core.files import read_json
from subdit.space import SearchSpace
from supernet.data.data_set import space_key
from supernet.data.encoding_config import STATED
from supernet.data.encoding_config import EncodingConfig
from supernet.data.latents import LatentCodec
from supernet.data.latents import PixelCodec
from supernet.data.manifest import key_difference
from supernet.data.picture import PictureRule
from supernet.data.seen_pictures import SEEN_PICTURES
from supernet.data.seen_pictures import SeenPictures
from supernet.data.seen_pictures import read_seen_pictures
from supernet.data.shards import DTYPES
from supernet.data.source import Source
from supernet.data.splits import SplitRule
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder

MAX_SHARD_BYTES = 1 << 27
MAX_SHARD_EXAMPLES = 1024


def open_codec(space: SearchSpace, source: Source, vae: Path | None, config: EncodingConfig) -> LatentCodec:
    """What makes the space's latents: the VAE in a folder, or pixels; raises `DataError` where it does not fit."""
    if vae is None:
        if config.scaling_factor is not None or config.shift_factor is not None:
            raise DataError("Pixels have no scaling or shift factor; leave both out, or name the VAE with --vae.")
        return PixelCodec(space.latent_channels)
    from supernet.data.vae import load_vae
    from supernet.model.placement import torch_device

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
    """Raise `DataError` where the VAE was trained on pictures of this source that are to judge or validate now.

    That of the same files, at once; of copies of them `open_seen_pictures` tells.
    """
    from supernet.data.vae import VAE_TRAINING
    from supernet.data.vae import vae_folder

    record = vae_folder(vae) / VAE_TRAINING
    if not record.exists():
        return
    trained = read_json(record, "record of the VAE's training")
    try:
        same, trained_split = trained["source"]["fingerprint"] == source.fingerprint(), trained["split"]
    except (KeyError, TypeError) as error:
        raise DataError(f"The record {record} of the VAE's training is damaged ({error}); train it again.") from error
    if same and (difference := key_difference({"split": trained_split}, {"split": asdict(split)})):
        raise DataError(
            f"The VAE at {vae} was trained with another split of these pictures ({difference}), so that it has seen "
            "some that are to judge; give the same options of the split."
        )


def open_seen_pictures(vae: Path | None) -> SeenPictures | None:
    """The pictures that a VAE was trained on, None where nothing says so; raises `DataError`."""
    if vae is None:
        return None
    from supernet.data.vae import vae_folder

    file = vae_folder(vae) / SEEN_PICTURES
    return read_seen_pictures(file) if file.exists() else None


def open_text_encoders(space: SearchSpace, text: Mapping[str, str], config: EncodingConfig) -> tuple[TextEncoder, ...]:
    """The encoders of the space's text inputs, in their order; raises `DataError` where one is missing or unfit."""
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


def encoding_key(
    space: SearchSpace,
    source: Source,
    codec: LatentCodec,
    encoders: Sequence[TextEncoder],
    rule: PictureRule,
    config: EncodingConfig,
) -> dict[str, Any]:
    """All that the shards depend on, as JSON; its names are those of `manifest.LABELS`."""
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
