"""`data encode` stopped or killed: gone on with, it ends with the same bytes, and in the same memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from subdit.core.errors import DataError
from subdit.space import space_to_yaml
from supernet.data.manifest import MANIFEST
from tests.supernet.data.encoding_cases import CONFIG
from tests.supernet.data.encoding_cases import PIXELS
from tests.supernet.data.encoding_cases import ROOT
from tests.supernet.data.encoding_cases import KillAtRemoval
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


def test_a_replacement_that_was_stopped_is_gone_on_with(
    kill: KillAtRemoval, models: Path, pictures: Path, tmp_path: Path
) -> None:
    """Whichever file of the replaced one is the last to be removed, and without asking for a replacement again."""
    config = replace(CONFIG, shard_examples=30)
    made(models, pictures, tmp_path / "whole", config)
    made(models, pictures, tmp_path / "replaced", replace(config, dtype="float32", shard_examples=7))
    stops, finished = 0, list[bool]()
    while True:
        shutil.copytree(tmp_path / "replaced", tmp_path / "data")
        try:
            with kill.at(stops, tmp_path / "data"):
                made(models, pictures, tmp_path / "data", config, force=True, progress=stopping_after(0))
        except Stop:
            pass
        finished.append((tmp_path / "data" / MANIFEST).exists())
        made(models, pictures, tmp_path / "data", config)
        assert content(tmp_path / "data") == content(tmp_path / "whole")
        shutil.rmtree(tmp_path / "data")
        if kill.left >= 0:
            break
        stops += 1
    assert stops >= 12
    # Killed after it was said that all is replaced, and before the manifest is removed, the first of its files.
    assert finished == [True, True, *[False] * (stops - 1)]


def test_the_same_command_goes_on_also_where_it_replaces(models: Path, pictures: Path, tmp_path: Path) -> None:
    """Three shards of five, and then the others: pictures of the first ones are not asked for again."""
    made(models, pictures, tmp_path / "data")
    whole = content(tmp_path / "data")
    with pytest.raises(Stop):
        made(models, pictures, tmp_path / "data", force=True, progress=stopping_after(4))
    seen: list[float] = []
    made(models, pictures, tmp_path / "data", force=True, progress=lambda done, total, note: seen.append(done))
    assert seen[0] == 39
    assert content(tmp_path / "data") == whole


FULL = """
import resource, sys
from pathlib import Path
from subdit.cli import group
limit, *arguments = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
group(["data", "encode", *arguments])
"""


def test_a_disk_that_is_full_is_one_sentence_and_loses_nothing(models: Path, pictures: Path, tmp_path: Path) -> None:
    """Half of the shards fit, then none; with room again, encoding goes on."""
    (tmp_path / "space.yaml").write_text(space_to_yaml(PIXELS))
    large = pictures / "00059.txt"
    large.write_text("a square " * 10_000)
    arguments = ["--space", tmp_path / "space.yaml", "--text", f"clip={models / 'clip'}", "--shard-size", 13]
    arguments += ["--validation", 0.1, "--judge", 0.2, "--device", "cpu", "--out", tmp_path / "data"]
    command = [sys.executable, "-c", FULL, "60000", *map(str, [pictures, *arguments])]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    said = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
    assert ran.returncode == 2 and "Traceback" not in ran.stderr, ran.stderr
    assert len(said) == 1 and "cannot be written" in said[0] and "File too large" in said[0]
    names = sorted(file.name for file in (tmp_path / "data" / "shards").iterdir())
    assert names == [f"{index:06d}.{suffix}" for index in range(4) for suffix in ("json", "safetensors")]
    made(models, pictures, tmp_path / "data")
    made(models, pictures, tmp_path / "whole")
    assert content(tmp_path / "data") == content(tmp_path / "whole")


def test_what_is_not_ours_is_seen_before_anything_is_removed(models: Path, pictures: Path, tmp_path: Path) -> None:
    made(models, pictures, tmp_path / "data")
    before = content(tmp_path / "data")
    (tmp_path / "data" / "shards" / "0001.tar").write_text("pictures of somebody")
    with pytest.raises(DataError, match="holds '0001.tar'"):
        made(models, pictures, tmp_path / "data", force=True)
    (tmp_path / "data" / "shards" / "0001.tar").unlink()
    assert content(tmp_path / "data") == before


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
