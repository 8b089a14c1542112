"""Fixtures that several tests of encoding share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supernet.data.encoding_cases import COUNT
from tests.supernet.data.encoding_cases import KillAtRemoval
from tests.supernet.data.pictures import write_folder
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_vae


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_clip(folder / "clip")
    save_vae(folder / "vae", "kl")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", COUNT)


@pytest.fixture(scope="session")
def kill() -> KillAtRemoval:
    # A hook stays until the process ends.
    return KillAtRemoval()
