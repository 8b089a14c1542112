"""Programs and libraries that a machine may be without: tests that need one skip there, and fail where CI=true."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str, install: str) -> NoReturn:
    """Skip the test or module, saying what installs the missing thing; on the machine that judges, fail."""
    text = f"{what} is missing: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text, allow_module_level=True)


def require_program(name: str, install: str) -> str:
    """Path of a program."""
    found = shutil.which(name)
    if found is None:
        missing(name, install)
    return found


def require_module(name: str, install: str) -> None:
    """See to it that a module can be imported."""
    if importlib.util.find_spec(name) is None:
        missing(name, install)
