"""Examples of a source as pictures and records, decoded in threads, or why they cannot be used."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections import Counter
from collections import deque
from collections.abc import Generator
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from subdit.core.errors import DataError
from subdit.core.files import replacing
from subdit.core.progress import ProgressCallback
from supernet.data.picture import MAX_FILE_BYTES
from supernet.data.picture import Picture
from supernet.data.picture import PictureRejected
from supernet.data.picture import PictureRule
from supernet.data.picture import Pixels
from supernet.data.picture import load_picture
from supernet.data.seen_pictures import SEEN_PICTURES
from supernet.data.seen_pictures import write_seen_pictures
from supernet.data.shards import Record
from supernet.data.source import MAX_TEXT_BYTES
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import Source
from supernet.data.splits import SplitRule

AHEAD = 64
"""Pictures that are decoded and not yet taken, at most."""
AHEAD_BYTES = 1 << 28
"""Of their files together, at most: those of Parquet wait in memory."""
KEPT = "saved"
"""In the folder of `write_split_pixels`: what stays with the model that is trained on the pixels."""
MOST_THREADS = 8
"""That decode, however many cores there are: each one holds a picture and its file."""


@dataclass(frozen=True)
class Prepared:
    """An example that can be used: its picture, and its record."""

    picture: Picture
    record: Record


def prepare(example: Example, rule: PictureRule, split: SplitRule) -> Prepared | Rejection:
    """Read and decode an example, or say why it cannot be used; raises `DataError` where the source is damaged."""
    if example.rejection is not None:
        return example.rejection
    if not example.caption:
        return Rejection("no caption")
    if len(example.caption) > MAX_TEXT_BYTES:
        return Rejection("caption too long", f"{len(example.caption):,} characters")
    if example.size_bytes > MAX_FILE_BYTES:
        return Rejection("file too large", f"{example.size_bytes:,} bytes")
    if split.group_by is not None and not example.columns.get(split.group_by):
        return Rejection("no group", f"no value in column {split.group_by!r}")
    group = example.columns.get(split.group_by, "") if split.group_by is not None else ""
    # JSON can hold halves of a character, which no tokenizer takes.
    for what, text in (("caption", example.caption), ("group", group)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return Rejection(f"{what} not UTF-8", f"character {error.start}")
    try:
        data = example.read()
        picture = load_picture(data, rule)
    except PictureRejected as error:
        return error.rejection
    except OSError as error:
        return Rejection("unreadable file", error.strerror or str(error))
    digest = hashlib.sha256(data).hexdigest()
    group = digest if split.group_by is None else group
    record = Record(
        id=example.id,
        caption=example.caption,
        split=split.split(group),
        group=group,
        file_sha256=digest,
        width=picture.width,
        height=picture.height,
        resized=picture.resized,
        cropped=picture.cropped,
        note=picture.note,
        columns=dict(example.columns),
    )
    return Prepared(picture, record)


def decoding_threads() -> int:
    """As many as the cores that this process may use, `MOST_THREADS` at most; two also on one, since files are read."""
    # All cores of the machine are not those of a container or of a job.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(cores, MOST_THREADS))


def prepare_all(
    examples: Iterable[Example], rule: PictureRule, split: SplitRule
) -> Generator[tuple[Example, Prepared | Rejection], None, None]:
    """Examples in order, each with what `prepare` makes of it."""
    work = partial(prepare, rule=rule, split=split)
    # Python's filters of warnings are those of all threads, so that they cannot be changed in each.
    with warnings.catch_warnings(), ThreadPoolExecutor(decoding_threads(), thread_name_prefix="picture") as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        waiting: deque[tuple[Example, Future[Prepared | Rejection]]] = deque()
        held_bytes = 0
        try:
            for example in examples:
                while waiting and (len(waiting) >= AHEAD or held_bytes + example.size_bytes > AHEAD_BYTES):
                    first, future = waiting.popleft()
                    held_bytes -= first.size_bytes
                    yield first, future.result()
                waiting.append((example, pool.submit(work, example)))
                held_bytes += example.size_bytes
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


@dataclass(frozen=True)
class SplitPixels:
    """Pixels (count, channels, size, size) of two splits, mapped from files."""

    train: Pixels
    validation: Pixels


def write_split_pixels(
    source: Source, rule: PictureRule, split: SplitRule, folder: Path, *, progress: ProgressCallback
) -> SplitPixels:
    """Decode the pictures of the splits train and validation into files of a folder, unless they lie there.

    Beside them, in the folder `KEPT`, is written which ones are of the split train, see `seen_pictures`.

    Raises `DataError` where there is nothing to train on.
    """
    files = {name: folder / f"{name}.u8" for name in ("train", "validation")}
    seen = folder / KEPT / SEEN_PICTURES
    # What killed processes were writing.
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()
    # Earlier versions left files without pictures behind.
    if not all(file.exists() for file in (*files.values(), seen)) or not files["train"].stat().st_size:
        count = source.count()
        trained_on, rejected = list[str](), Counter[str]()
        with contextlib.ExitStack() as stack:
            # Both appear together, at the end.
            opened = {
                name: stack.enter_context(stack.enter_context(replacing(file)).open("wb"))
                for name, file in files.items()
            }
            prepared = prepare_all(source.examples(), rule, split)
            for done, (_, outcome) in enumerate(stack.enter_context(contextlib.closing(prepared)), start=1):
                if isinstance(outcome, Rejection):
                    rejected[outcome.kind] += 1
                elif outcome.record.split in opened:
                    opened[outcome.record.split].write(outcome.picture.pixels.tobytes())
                    if outcome.record.split == "train":
                        trained_on.append(outcome.record.file_sha256[:16])
                progress(done, count, "decoding pictures")
            if not trained_on:
                raise _none_to_train_on(source, rule, count, rejected)
            for file in opened.values():
                file.flush()
            write_seen_pictures(seen, trained_on)
    shape = (rule.channels, rule.size, rule.size)
    found = {name: _mapped(file, shape) for name, file in files.items()}
    return SplitPixels(found["train"], found["validation"])


def _none_to_train_on(source: Source, rule: PictureRule, count: int, rejected: Counter[str]) -> DataError:
    if count > rejected.total():
        return DataError(
            f"The split train has none of the {count - rejected.total():,} pictures of {source.path} that can be used; "
            "give more pictures, or other fractions or another seed of the split."
        )
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in rejected.most_common())
    advice = "give pictures with captions"
    if rejected["too small"]:
        advice = (
            f"the space's latents times --factor are {rule.size}x{rule.size} pixels: lower --factor, or pass --upscale"
        )
    return DataError(f"None of the {count:,} pictures at {source.path} can be trained on ({kinds}); {advice}.")


def _mapped(file: Path, shape: tuple[int, int, int]) -> Pixels:
    if not file.stat().st_size:
        return np.zeros((0, *shape), dtype=np.uint8)
    return np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, *shape)
