"""Encoding as several tests do it: 60 pictures as pixels with CLIP's text, and a process that is killed on the way."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from subdit.core.progress import ProgressCallback
from subdit.space import TextInput
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.manifest import Manifest
from supernet.data.splits import SplitRule
from tests.supernet.data.pictures import small_space

ROOT = Path(__file__).parents[3]
COUNT = 60
PIXELS = small_space(TextInput("clip", 16, 12), channels=3, latent_size=16)
LATENTS = small_space(TextInput("clip", 16, 12), channels=4, latent_size=8)
CONFIG = EncodingConfig(split=SplitRule(0.1, 0.2), shard_examples=13, device="cpu")


def made(models: Path, pictures: Path, out: Path, config: EncodingConfig = CONFIG, **options: object) -> Manifest:
    text = {"clip": str(models / "clip")}
    return encode(pictures, out, space=PIXELS, text=text, config=config, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """All that a data set is, but where it was made."""
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    stored = json.loads(files.pop("manifest.json"))
    files.pop(".lock")
    return files | {"manifest.json": json.dumps({**stored, "places": None}).encode()}


class Stop(BaseException):
    """As a kill: nothing of ours catches it."""


def stopping_after(calls: int) -> ProgressCallback:
    left = [calls]

    def progress(done: float, total: float, note: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    return progress


class KillAtRemoval:
    """Stops at the removal of a file below a folder, the first one or a later one, before it is done."""

    def __init__(self) -> None:
        self.folder, self.left = "", 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.remove" and self.folder and str(arguments[0]).startswith(self.folder):
            self.left -= 1
            if self.left < 0:
                raise Stop

    @contextlib.contextmanager
    def at(self, number: int, folder: Path) -> Iterator[None]:
        self.folder, self.left = str(folder), number
        try:
            yield
        finally:
            self.folder = ""
