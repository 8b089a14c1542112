"""A wheel in an empty environment: what needs the core dependencies alone works there, as it does from the source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.reports.run_folder import make_run

ROOT = Path(__file__).parents[1]
SOURCES = ("subdit", "supernet", "device_profiles", "profilers", "nas", "reports")
GOLDEN = ("litert.json", "tflite_new.txt", "perf_test_new.txt", "onnxruntime_profile.json", "aihub_perf.yaml")
ABSENT = ("torch", "optuna", "onnx", "onnxruntime", "sklearn", "diffusers", "aiohttp", "ai_edge_litert")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a virtual environment that has the wheel and the core dependencies alone: their folder."""
    home = tmp_path_factory.mktemp("package")
    for name in SOURCES:
        shutil.copytree(ROOT / name, home / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, home / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    # With PYTHONPATH pip would take the source for what is installed already.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", home, home / "source"], check=True, env=environment)
    (wheel,) = home.glob("subdit-*.whl")
    venv.create(home / "empty", with_pip=False)
    python = home / "empty" / "bin" / "python"
    # The pins are of this Python; another one takes what the ranges allow.
    pins = ["--constraint", ROOT / "constraints.txt"] if sys.version_info[:2] == (3, 11) else []
    subprocess.run([*pip, "--python", python, "install", *pins, wheel], check=True, env=environment)
    return python.parent


def run(programs: Path, *command: str | Path, code: int = 0) -> str:
    """What `subdit` of that environment prints, away from the source."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ran = subprocess.run(
        [programs / "subdit", *command], capture_output=True, text=True, cwd=programs, env=environment, check=False
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout if code == 0 else ran.stderr


def test_nothing_but_the_core_is_there(programs: Path) -> None:
    ask = f"import importlib.util; print([name for name in {ABSENT!r} if importlib.util.find_spec(name)])"
    found = subprocess.run([programs / "python", "-c", ask], capture_output=True, text=True, check=True, cwd=programs)
    assert found.stdout.strip() == "[]"


def test_help_and_shipped_profiles(programs: Path) -> None:
    assert "report" in run(programs, "--help")
    listed = json.loads(run(programs, "devices", "list", "--json"))
    shipped = sorted((ROOT / "device_profiles" / "shipped").glob("*.json"))
    assert len(listed) == len(shipped) > 0
    assert "sub-DiTs" in run(programs, "spaces", "show", "digits")


@pytest.mark.parametrize("name", GOLDEN)
def test_logs_are_read_as_from_the_source(programs: Path, name: str) -> None:
    command = ["import", str(ROOT / "tests" / "golden" / name), "--show", "--json"]
    here = subprocess.run([sys.executable, "-m", "subdit", *command], capture_output=True, text=True, cwd=ROOT)
    assert here.returncode == 0, here.stderr
    assert json.loads(run(programs, *command)) == json.loads(here.stdout)


def test_a_finished_search_is_reported(programs: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", trials=60)
    run(programs, "report", folder)
    made = folder / "reports" / "default"
    assert "<main>" in (made / "report.html").read_text()
    assert (made / "pareto.png").read_bytes().startswith(b"\x89PNG")
    there = {name: (made / name).read_text() for name in ("front.csv", "report.md")}
    subprocess.run([sys.executable, "-m", "subdit", "report", folder, "--force"], check=True, cwd=ROOT)
    assert {name: (made / name).read_text() for name in there} == there


def test_what_needs_more_says_which_extra(programs: Path, tmp_path: Path) -> None:
    said = run(programs, "train", "digits", "--run", tmp_path / "run", code=2)
    assert "subdit[torch]" in said and "Traceback" not in said
