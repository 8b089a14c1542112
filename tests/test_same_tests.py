"""The tests themselves depend on no moment: the same names in the same order, and the same examples."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.conftest import FIRST
from tests.conftest import place

ROOT = Path(__file__).parents[1]


def collected(**environment: str) -> list[str]:
    """Node ids of all tests, in their order."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
    ids = [line for line in ran.stdout.splitlines() if "::" in line]
    assert len(ids) > 1000
    return ids


@pytest.mark.slow
def test_the_same_tests_are_collected_at_any_moment_and_in_any_place() -> None:
    """Workers of pytest-xdist that find other tests than each other run none."""
    first = collected(PYTHONHASHSEED="1", TZ="XXX-13", LC_ALL="C.UTF-8")
    # Collecting takes seconds, so this is another moment.
    other = collected(PYTHONHASHSEED="2", TZ="XXX+11", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert first == other
    places = [place(ROOT / node.partition("::")[0]) for node in first]
    assert places == sorted(places) and places[0] == 0 and places[-1] == len(FIRST)


def test_what_is_to_come_first_is_there() -> None:
    """A file that was renamed would lose its place, and two workers would make what its tests share."""
    found = [sorted((ROOT / first).rglob("test_*.py")) or [ROOT / first] for first in FIRST]
    assert all(path.is_file() and place(path) == at for at, paths in enumerate(found) for path in paths)


def drawn() -> list[object]:
    values: list[object] = []

    @given(st.lists(st.integers() | st.floats() | st.text(), min_size=20))
    @settings(max_examples=30)
    def draw(value: list[object]) -> None:
        values.append(value)

    draw()
    return values


def test_examples_depend_on_no_chance_and_not_on_what_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repr(drawn())
    assert repr(drawn()) == before
    # A module of ours that another test loads, with constants that Hypothesis would look for.
    path = tmp_path / "constants.py"
    lines = (f"c{number} = ({number}77, '{number} pieces', {number}.125)" for number in range(1, 200))
    path.write_text("\n".join(lines))
    spec = importlib.util.spec_from_file_location("constants_of_ours", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "constants_of_ours", module)
    spec.loader.exec_module(module)
    assert repr(drawn()) == before


def test_what_tests_start_has_two_threads_on_any_machine() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"], capture_output=True, text=True
    )
    assert ran.stdout == "2\n", ran.stderr


DRAWING = """
import sys
from pathlib import Path
import numpy as np
import pytest

@pytest.fixture(scope="module")
def made_once():
    return np.random.rand()

def test_other(made_once):
    np.random.rand(5)

def test_it(made_once):
    Path(__file__).with_name("drawn").write_text(f"{made_once} {np.random.rand()}")
"""


def test_what_is_drawn_without_a_seed_depends_on_no_other_test(tmp_path: Path) -> None:
    (tmp_path / "test_drawing.py").write_text(DRAWING)
    found = []
    for chosen in ("", "::test_it"):
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rootdir", str(tmp_path)]
        where = f"{tmp_path}/test_drawing.py{chosen}"
        ran = subprocess.run([sys.executable, *command, where], capture_output=True, text=True, cwd=ROOT)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found.append((tmp_path / "drawn").read_text())
    assert found[0] == found[1] and len(set(found[0].split())) == 2


REGISTERING = """
from dataclasses import replace
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import space_names

def test_it():
    assert "like-digits" not in space_names()
    named = {point: replace(spec, space="like-digits") for point, spec in get_space("digits").named.items()}
    register_space(replace(get_space("digits"), name="like-digits", named=named))
"""


def test_spaces_that_one_file_registers_are_not_met_in_the_next(tmp_path: Path) -> None:
    for name in ("test_one.py", "test_other.py"):
        (tmp_path / name).write_text(REGISTERING)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--import-mode=importlib"]
    ran = subprocess.run(
        [sys.executable, *command, "--rootdir", str(tmp_path), str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0 and "2 passed" in ran.stdout, ran.stdout + ran.stderr
