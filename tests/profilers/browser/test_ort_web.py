"""onnxruntime-web: one exact version, by digest; anything else is refused in one sentence."""

from __future__ import annotations

import gzip
import shutil
import stat
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from profilers.browser import find_ort_web
from profilers.browser import install_ort_web
from profilers.browser.ort_web import cache_folder
from profilers.browser.ort_web import pinned_ort_web
from subdit.core.errors import DownloadError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError


@pytest.fixture
def copy(ort_web: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ort_web, tmp_path / "copy"))


def test_the_right_files_are_taken(copy: Path, tmp_path: Path) -> None:
    assert {path.name for path in find_ort_web(copy).values()} == set(pinned_ort_web().files)
    # As npm unpacks it.
    (tmp_path / "package").mkdir()
    copy.rename(tmp_path / "package" / "dist")
    assert len(find_ort_web(tmp_path / "package")) == len(pinned_ort_web().files)


@pytest.mark.parametrize("name", pinned_ort_web().files)
def test_a_changed_or_missing_file_is_refused(copy: Path, name: str) -> None:
    path = copy / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ProfileError, match=f"{name} is not that of onnxruntime-web 1.30.0, or has changed"):
        find_ort_web(copy)
    path.unlink()
    with pytest.raises(ProfileError, match="run 'make setup-web'"):
        find_ort_web(copy)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"something else", mtime=0)], ids=["empty", "not packed", "another"]
)
def test_what_is_sent_packed_is_checked_too(copy: Path, content: bytes) -> None:
    (copy / "ort.wasm.min.mjs.gz").write_bytes(content)
    with pytest.raises(ProfileError, match="or has changed"):
        find_ort_web(copy)


def test_where_there_is_none_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="run 'make setup-web', or name its folder with --ort-web"):
        find_ort_web()
    with pytest.raises(MissingExtraError, match="nowhere"):
        find_ort_web(tmp_path / "nowhere")


def npm_that(body: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Another npm, first on the path."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!{sys.executable}\nimport pathlib, sys, tarfile\n{body}\n")
    (folder / "npm").chmod((folder / "npm").stat().st_mode | stat.S_IXUSR)
    patch.setenv("PATH", str(folder))


def test_another_package_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = """
folder = pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
(folder / "ort.wasm.min.mjs").write_text("something else")
with tarfile.open(folder / "package.tgz", "w:gz") as archive:
    archive.add(folder / "ort.wasm.min.mjs", "package/dist/ort.wasm.min.mjs")
"""
    npm_that(body, tmp_path / "bin", monkeypatch)
    with pytest.raises(DownloadError, match="npm gave another onnxruntime-web 1.30.0 than the known one"):
        install_ort_web()
    assert not cache_folder().exists()
    assert list(cache_folder().parent.iterdir()) == []


def test_npm_that_fails_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm_that("sys.exit('npm error network')", tmp_path / "bin", monkeypatch)
    with pytest.raises(DownloadError, match="npm cannot fetch onnxruntime-web@1.30.0 .npm error network."):
        install_ort_web()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="apt install npm"):
        install_ort_web()


def test_what_is_there_is_not_fetched_again(ort_web: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(ort_web, cache_folder())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_ort_web() == cache_folder()


def test_no_address_of_a_registry_is_stated() -> None:
    stated = files("profilers.browser").joinpath("ort_web.json").read_text(encoding="utf-8")
    assert "//" not in stated.replace(pinned_ort_web().integrity, "")
