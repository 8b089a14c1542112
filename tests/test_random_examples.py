"""Every property once more, for more examples than each `make test` has, and for others."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_properties_hold_for_examples_of_another_seed(request: pytest.FixtureRequest) -> None:
    """What fails is found again by the command that it prints, or by `--examples-seed` of `make test-slow`."""
    seed = request.config.getoption("examples_seed")
    options = ["-m", "hypothesis and not slow", "--hypothesis-profile", "random", f"--hypothesis-seed={seed}"]
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, f"{shlex.join(['python', *command])}\n{ran.stdout[-20_000:]}{ran.stderr[-2_000:]}"
