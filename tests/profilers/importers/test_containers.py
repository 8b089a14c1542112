"""Packed logs, archives and folders: each log in them is read as if it lay alone, and what is damaged is said to be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from profilers.importers import read_log
from profilers.importers import read_logs
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES

NAMES = ("tflite_new.txt", "litert.json", "tflite_ops.pb")


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def refusal(path: Path) -> str:
    with pytest.raises(ImportLogError) as caught:
        list(read_logs(path))
    return str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", NAMES)
def test_a_packed_log_is_read(name: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(pack(FILES[name]))
    assert list(read_logs(path)) == [(tmp_path / name, log) for log in mutators.golden(name)]
    path.write_bytes(pack(FILES[name])[:-9])
    assert "cannot be unpacked" in refusal(path)


@pytest.mark.parametrize("pack", [zipped, tarred, lambda files: gzip.compress(tarred(files))])
def test_every_log_of_an_archive_is_read(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    added = {"__MACOSX/._a.txt": b"\0", "logs/.DS_Store": b"\0"}
    path.write_bytes(pack({f"logs/{name}": FILES[name] for name in NAMES} | added))
    found = list(read_logs(path))
    assert found == [(path / name, log) for name in NAMES for log in mutators.golden(name)]
    path.write_bytes(pack({"logs/notes.md": b"# slow phone\n"}))
    assert "logs.zip/notes.md, line 1: this is no log of a known format" in refusal(path)
    path.write_bytes(pack({f"session-1/cpu-x/{name}": FILES["tflite_result.pb"] for name in ("results.pb", "a.pb")}))
    assert "holds the session of a rented phone; unpack it" in refusal(path)
    path.write_bytes(pack(added))
    assert "is an archive without logs" in refusal(path)


def test_every_log_of_a_folder_is_read(tmp_path: Path) -> None:
    assert "is a folder without logs" in refusal(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / ".git").mkdir()
    for name in NAMES[:2]:
        (tmp_path / name).write_bytes(FILES[name])
    (tmp_path / "deeper" / "c.pb.gz").write_bytes(gzip.compress(FILES[NAMES[2]]))
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "round").symlink_to(tmp_path)
    found = dict(read_logs(tmp_path))
    assert set(found) == {tmp_path / "litert.json", tmp_path / "tflite_new.txt", tmp_path / "deeper" / "c.pb"}
    (tmp_path / "b.txt").write_bytes(b"hello\n")
    assert "b.txt, line 1: this is no log of a known format" in refusal(tmp_path)


def test_what_grows_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilers.importers.containers.MAX_BYTES", 10_000)
    for name, data in (("a.gz", gzip.compress(b"x" * 20_000)), ("a.zip", zipped({"a": b"x" * 20_000}))):
        (tmp_path / name).write_bytes(data)
        assert "holds more than 10,000 bytes unpacked" in refusal(tmp_path / name)
    monkeypatch.setattr("profilers.importers.containers.MAX_LOGS", 2)
    (tmp_path / "b.zip").write_bytes(zipped(dict.fromkeys("abc", b"x")))
    assert "holds more than 2 files" in refusal(tmp_path / "b.zip")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = bytearray(zipped({"a.txt": FILES["tflite_new.txt"]}))
    whole[200:220] = b"\0" * 20
    (tmp_path / "a.zip").write_bytes(bytes(whole))
    assert "cannot be unpacked" in refusal(tmp_path / "a.zip")
    # Its list of files stands at its end.
    (tmp_path / "b.zip").write_bytes(zipped({"a.txt": FILES["tflite_new.txt"]})[:-30])
    assert "packed (zip)" in refusal(tmp_path / "b.zip")
    (tmp_path / "c.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 40)
    assert "packed (zstd); unpack it" in refusal(tmp_path / "c.zst")


def test_a_packed_log_of_a_component_is_named_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "ffn-w64-g16-f3.txt.gz"
    path.write_bytes(gzip.compress(FILES["litert_cpp.txt"]))
    ((source, log),) = read_logs(path)
    assert source.name == "ffn-w64-g16-f3.txt" and (log,) == read_log(path)
