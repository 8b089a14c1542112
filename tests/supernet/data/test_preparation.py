"""Pictures decoded ahead in threads: as many as the process may use, and no more in memory than is said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from PIL import Image

from supernet.data.picture import PictureRule
from supernet.data.preparation import AHEAD
from supernet.data.preparation import AHEAD_BYTES
from supernet.data.preparation import MOST_THREADS
from supernet.data.preparation import Prepared
from supernet.data.preparation import decoding_threads
from supernet.data.preparation import prepare_all
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.splits import SplitRule
from tests.supernet.data.encoding_cases import ROOT
from tests.supernet.data.pictures import draw
from tests.supernet.data.pictures import encode_file
from tests.supernet.data.pictures import png_bomb

RULE = PictureRule(size=16, channels=3)


@pytest.mark.parametrize(("cores", "threads"), [(1, 2), (5, 5), (64, MOST_THREADS)])
def test_threads_are_those_that_the_process_may_use(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that was given few cores of many still counts them all."""
    monkeypatch.setattr(os, "cpu_count", lambda: 96)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert decoding_threads() == threads


def test_threads_where_nothing_says_what_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert decoding_threads() == 4
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert decoding_threads() == 2


@pytest.mark.parametrize(("size_bytes", "most"), [(0, AHEAD), (AHEAD_BYTES // 4, 4), (2 * AHEAD_BYTES, 1)])
def test_files_that_wait_are_few_where_they_are_large(size_bytes: int, most: int) -> None:
    taken = 0

    def examples() -> Iterator[Example]:
        nonlocal taken
        for number in range(2 * AHEAD):
            taken += 1
            data = encode_file(draw(number)[0])
            yield Example(f"{number}", lambda data=data: data, size_bytes, "a picture")  # type: ignore[misc]

    given = 0
    for example, outcome in prepare_all(examples(), RULE, SplitRule()):
        given += 1
        assert example.id == f"{given - 1}"
        assert isinstance(outcome, Prepared) == (size_bytes < AHEAD_BYTES)
        # The one that is given, those that wait, and the next one, whose size is only known when it was taken.
        assert taken - given <= most + 1
    assert given == taken == 2 * AHEAD


@pytest.mark.filterwarnings("error")
def test_what_pillow_warns_of_is_told_by_its_kind() -> None:
    damaged = io.BytesIO()
    exif = b"Exif\0\0II*\0" + b"\xff" * 200
    Image.fromarray(draw(0)[0]).save(damaged, format="JPEG", exif=exif)
    files = [damaged.getvalue(), png_bomb(10_000, 10_000)] * 8
    examples = [Example(str(place), lambda data=data: data, 0, "a picture") for place, data in enumerate(files)]  # type: ignore[misc]
    outcomes = [outcome for _, outcome in prepare_all(examples, RULE, SplitRule())]
    assert all(isinstance(outcome, Prepared) for outcome in outcomes[::2])
    assert {outcome.kind for outcome in outcomes[1::2] if isinstance(outcome, Rejection)} == {"too many pixels"}


PEAK = """
import io, os, resource
import numpy as np
from PIL import Image
os.sched_getaffinity = lambda _: set(range(6))
from supernet.data.picture import PictureRule
from supernet.data.preparation import prepare_all
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.splits import SplitRule

file = io.BytesIO()
Image.new("RGB", (6000, 5000), (9, 99, 200)).save(file, format="PNG")
data = file.getvalue()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
examples = [Example(f"{number}", lambda: data, len(data), "a picture") for number in range(6)]
outcomes = [outcome for _, outcome in prepare_all(examples, PictureRule(16, 3), SplitRule())]
assert all(outcome.picture.width == 6000 for outcome in outcomes)
print("GROWN", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_of_large_pictures_one_is_decoded_at_a_time() -> None:
    """Six threads with a picture of 30 megapixels each, which Pillow holds in 120 MB."""
    ran = subprocess.run(
        [sys.executable, "-c", PEAK], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split("GROWN")[1]) < 300
