"""`data encode` stopped or killed: gone on with, it ends with the same bytes, and in the same memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.supernet.data.encoding_cases import ROOT
from tests.supernet.data.encoding_cases import Stop
from tests.supernet.data.encoding_cases import content
from tests.supernet.data.encoding_cases import made
from tests.supernet.data.encoding_cases import stopping_after
from tests.supernet.data.pictures import write_folder


def test_stopped_anywhere_it_ends_the_same(models: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "00006.png").write_bytes(b"no picture")
    made(models, pictures, tmp_path / "whole")
    stops = 0
    for calls in (0, 1, 2, 1, 3, 2, 9):
        try:
            made(models, pictures, tmp_path / "stopped", progress=stopping_after(calls))
        except Stop:
            stops += 1
        else:
            break
        assert not (tmp_path / "stopped" / "manifest.json").exists()
    assert stops >= 4
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.supernet.data.encoding_cases import made
models, pictures, out, calls = sys.argv[1:]
left = [int(calls)]
def progress(done, total, note):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
made(Path(models), Path(pictures), Path(out), progress=progress)
"""


@pytest.mark.parametrize("kills", [(2,), pytest.param((1, 2, 2, 1, 2), marks=pytest.mark.slow)], ids=len)
def test_killed_processes_leave_the_same_data_set(
    kills: Sequence[int], models: Path, pictures: Path, tmp_path: Path
) -> None:
    made(models, pictures, tmp_path / "whole")

    def run(calls: int) -> int:
        command = [sys.executable, "-c", KILLED, *map(str, (models, pictures, tmp_path / "killed", calls))]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path).returncode

    for calls in kills:
        assert run(calls) == -signal.SIGKILL
    assert run(10_000) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_shard_that_was_damaged_meanwhile_is_encoded_again(models: Path, pictures: Path, tmp_path: Path) -> None:
    made(models, pictures, tmp_path / "whole")
    with pytest.raises(Stop):
        made(models, pictures, tmp_path / "data", progress=stopping_after(4))
    shard = tmp_path / "data" / "shards" / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    made(models, pictures, tmp_path / "data")
    assert content(tmp_path / "data") == content(tmp_path / "whole")


PEAK = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from tests.supernet.data.encoding_cases import CONFIG
from subdit.space import TextInput
from supernet.data.encoding import encode
from tests.supernet.data.pictures import small_space
clip, pictures, out = sys.argv[1:]
space = small_space(TextInput("clip", 16, 12), channels=3, latent_size=128)
config = replace(CONFIG, dtype="float32", shard_examples=40)
encode(Path(pictures), Path(out), space=space, text={"clip": clip}, config=config)
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(models: Path, tmp_path: Path) -> None:
    peaks_mb = []
    for count in (80, 720):
        pictures = write_folder(tmp_path / f"pictures-{count}", count, (128, 128))
        command = [sys.executable, "-c", PEAK, *map(str, (models / "clip", pictures, tmp_path / f"data-{count}"))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks_mb.append(float(ran.stdout.split("PEAK")[1]))
    # The larger one has 120 MB more latents.
    assert peaks_mb[1] - peaks_mb[0] < 30
