"""One adb server for the tests of a module, and a home of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.profilers.adb.phones import Bench
from tests.profilers.adb.phones import bench


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("adb-home")) as made:
        yield made


@pytest.fixture
def desk(server: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The server, with this process speaking to it and to no other; phones are taken away after each test."""
    for name in ("ANDROID_ADB_SERVER_PORT", "HOME", "ADB_MDNS"):
        monkeypatch.setenv(name, server.environment[name])
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "subdit-home"))
    yield server
    for serial in list(server.running):
        server.unplug(serial)
    server.adb("disconnect")
