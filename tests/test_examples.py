"""Each script in examples/ runs as its first lines say, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.name for path in (ROOT / "examples").glob("*.py")}
WITHOUT_TORCH = {"predict_latency.py": [], "read_log.py": [str(ROOT / "tests" / "golden" / "tflite_new.txt")]}
# In this order: each goes on with the run that the one before left.
IN_ONE_RUN = ("train_and_search.py", "own_proxy.py", "distill_and_draw.py")


def run(name: str, *arguments: str, before: str = "") -> str:
    script = ROOT / "examples" / name
    code = f"{before}\nimport runpy, sys\nsys.argv[0] = {str(script)!r}\n"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_five_and_all_are_run_here() -> None:
    assert EXAMPLES == {*WITHOUT_TORCH, *IN_ONE_RUN}
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("name", sorted(WITHOUT_TORCH))
def test_those_that_need_no_torch_run_without_it(name: str) -> None:
    without = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "optuna"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())"""
    said = run(name, *WITHOUT_TORCH[name], before=without)
    assert " ms (95 % interval" in said or " ms in the mean of " in said


@pytest.mark.slow
def test_the_others_take_one_run_from_training_to_pictures(tmp_path: Path) -> None:
    said = {name: run(name, str(tmp_path / "run")) for name in IN_ONE_RUN}
    assert "validation_loss" in said["train_and_search.py"]
    assert "missing_capacity" in said["own_proxy.py"]
    assert "2 pictures of (1, 8, 8)" in said["distill_and_draw.py"]
