"""The real `litert-benchmark`, which the wheel of ai-edge-litert carries: what it writes is what is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from profilers.importers import read_log
from tests.profilers.litert import require_litert
from tests.programs import require_program


@pytest.fixture
def program() -> str:
    require_litert()
    beside = Path(sys.executable).with_name("litert-benchmark")
    return str(beside) if beside.exists() else require_program("litert-benchmark", "pip install 'subdit[litert]'")


def test_what_the_real_tool_prints_and_its_json_are_read_as_the_same(program: str, tmp_path: Path) -> None:
    from tests.profilers.adb.models import write_chain

    model = tmp_path / "block-a.tflite"
    # Large enough that a figure of two decimals says something of it.
    write_chain(model, tokens=64, width=256, layers=4, seed=0)
    command = [program, "--model", str(model), "--num_threads", "1", "--num_runs", "12", "--warmup_runs", "2"]
    command += ["--result_json", str(tmp_path / "made.json")]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    (tmp_path / "printed.txt").write_text(ran.stdout)
    (stated,), (printed,) = read_log(tmp_path / "made.json"), read_log(tmp_path / "printed.txt")
    for name in ("model_file", "count", "threads", "mean_ms", "median_ms", "min_ms", "max_ms", "std_ms", "delegate"):
        assert getattr(stated, name) == getattr(printed, name), name
    told = json.loads((tmp_path / "made.json").read_text())["latency"]
    assert (stated.model_file, stated.count, stated.threads) == ("block-a.tflite", 12, 1)
    assert stated.median_ms == told["median_ms"] > 0 and stated.delegate == "cpu"
    # What it rounds to is what nobody can know the latency better than.
    assert stated.step_ms == 0.01 and all(round(ms, 2) == ms for ms in told.values())
