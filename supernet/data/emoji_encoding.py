"""Emoji as an encoded data set: their own split, licences, and a sentence encoder that comes as a package."""

from __future__ import annotations

from pathlib import Path

from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import SpaceLike
from subdit.space import get_space
from supernet.data.emoji.source import EmojiSource
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.manifest import Manifest

TEXT_ENCODER = "minilm"


def encode_emoji(
    out: Path,
    *,
    space: SpaceLike,
    vae: Path | None = None,
    device: str = "auto",
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Encode emoji into a folder for a space, whose text inputs all get `TEXT_ENCODER`; see `encode` for the rest.

    Raises:
        DataError: a package of emoji is missing or has changed, or what `encode` raises.
        MissingExtraError: what draws them, or the sentence encoder, is not installed.
        RunError: another process encodes into the folder.
        SpaceError: there is no such space.
    """
    source, space = EmojiSource(), get_space(space)
    config = EncodingConfig(split=source.default_split, licence_column=source.licence_column, device=device)
    text = {text_input.name: TEXT_ENCODER for text_input in space.text_inputs}
    return encode(source, out, space=space, text=text, vae=vae, config=config, force=force, progress=progress)
