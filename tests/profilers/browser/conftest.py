"""A kit of the small space, its form for browsers, and programs that a test may need."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilers import Kit
from profilers import kit
from profilers import open_kit
from profilers.browser import find_ort_web
from profilers.browser.phones import Order
from profilers.browser.phones import Phones
from profilers.browser.web_kit import WebKit
from profilers.browser.web_kit import web_kit
from profilers.kits import export_kit
from subdit.core.errors import MissingExtraError
from tests.profilers.browser.speaking import Client
from tests.profilers.browser.speaking import serving
from tests.profilers.small import small_space
from tests.programs import missing
from tests.programs import require_program


def program(name: str) -> str:
    package = "nodejs" if name == "node" else name
    return require_program(name, f"apt-get install -y --no-install-recommends {package}")


def patch_space(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(export_kit, "get_space", lambda name: small_space())


@pytest.fixture(autouse=True)
def _small_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    patch_space(monkeypatch)
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def made_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch_space(patch)
        return kit("digits", tmp_path_factory.mktemp("browser") / "kit", whole=2)


@pytest.fixture
def small_kit(made_kit: Path) -> Iterator[Kit]:
    yield open_kit(made_kit)
    shutil.rmtree(made_kit / "timings", ignore_errors=True)


@pytest.fixture(scope="session")
def small_web(made_kit: Path) -> WebKit:
    with pytest.MonkeyPatch.context() as patch:
        patch_space(patch)
        return web_kit(open_kit(made_kit))


@pytest.fixture(scope="session")
def ort_web() -> Path:
    """Folder of onnxruntime-web: the user's cache, found before a test has a home of its own."""
    try:
        return next(iter(find_ort_web().values())).parent
    except MissingExtraError:
        missing("onnxruntime-web", "make setup-web")


@pytest.fixture
def order(small_kit: Kit, small_web: WebKit, tmp_path: Path) -> Order:
    out = tmp_path / "profile.json"
    return Order(small_kit, small_web, "1.30.0", out=out, budget_s=4.0, min_rounds=4, threads=2, webgpu=True)


@pytest.fixture
def phones(order: Order) -> Iterator[Phones]:
    made = Phones(order, lambda line: None)
    yield made
    made.close()


@pytest.fixture
def client(phones: Phones, tmp_path: Path) -> Iterator[Client]:
    wasm = tmp_path / "ort.wasm"
    wasm.write_bytes(b"\0asm" + bytes(10_000))
    wasm.with_name("ort.wasm.gz").write_bytes(gzip.compress(wasm.read_bytes(), mtime=0))
    with serving(phones, {"ort.wasm": wasm}) as client:
        yield client
