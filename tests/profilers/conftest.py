"""Fixtures that several tests of kits share."""

from __future__ import annotations

import pytest

from profilers.kits import export_kit
from subdit.space import get_space
from tests.profilers.small import use_small_space


@pytest.fixture
def only_small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kits of the space of fifteen components, by any name."""
    # Set once by monkeypatch, so that it is undone, and then by the function that killed processes use.
    monkeypatch.setattr(export_kit, "get_space", get_space)
    use_small_space()
