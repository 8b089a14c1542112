"""The client: which phones it takes, what it says where it cannot, and that no word it is given becomes a command."""

from __future__ import annotations

import http.server
import threading
import urllib.request
from pathlib import Path

import pytest

from profilers.adb.adb import PHONE_FOLDER
from profilers.adb.adb import Adb
from profilers.adb.adb import DeviceLostError
from profilers.adb.adb import Phone
from profilers.adb.adb import StoppedError
from profilers.adb.adb import choose_phones
from profilers.adb.adb import device_path
from profilers.adb.adb import find_adb
from profilers.adb.store import push_missing
from subdit.core.errors import DeviceError
from subdit.core.errors import MissingExtraError
from tests.profilers.adb.phones import Bench
from tests.profilers.adb.phones import make_phone
from tests.waiting import DEADLINE_S
from tests.waiting import free_port
from tests.waiting import wait_until

NASTY = (
    "a b",
    "it's",
    'a "b"',
    "`touch pwned`",
    "$(touch pwned)",
    "; touch pwned",
    "&& touch pwned",
    "*",
    "$HOME",
    "-s",
)


def here(stop: threading.Event | None = None) -> Adb:
    return find_adb(stop or threading.Event())


def only_phone() -> Phone:
    (phone,) = choose_phones(here(), ())
    return phone


def test_without_adb_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match="apt-get install adb"):
        here()


def test_phones_are_chosen_only_where_it_is_clear_which(desk: Bench, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="adb sees no phone; switch on USB debugging"):
        choose_phones(here(), ())
    first = desk.plug_in(make_phone(tmp_path / "first"))
    assert only_phone().serial == first
    second = desk.plug_in(make_phone(tmp_path / "second"))
    with pytest.raises(DeviceError, match=f"several phones .*{second}.*--adb SERIAL"):
        choose_phones(here(), ())
    assert [phone.serial for phone in choose_phones(here(), [second, first, second])] == [second, first]
    for serial in ("emulator-5554", *NASTY, "", f"{first} ", first[:-1]):
        with pytest.raises(DeviceError, match="adb sees no phone"):
            choose_phones(here(), [serial])
    desk.unplug(second)
    with pytest.raises(DeviceError, match=f"offline.*adb connect {second}|adb sees no phone"):
        choose_phones(here(), [second])


def test_a_phone_that_has_not_allowed_it_is_told_apart(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    (folder / "unauthorized").touch()
    desk.plug_in(folder)
    with pytest.raises(DeviceError, match="is (un)?authoriz.*; unlock it, allow USB debugging"):
        choose_phones(here(), ())


def test_words_arrive_as_they_are(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    desk.plug_in(folder)
    phone = only_phone()
    ran = phone.shell(["printf", "%s|", *NASTY])
    assert ran.out.split("|")[:-1] == list(NASTY) and ran.code == 0
    assert not (folder / "pwned").exists()
    failed = phone.shell(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (failed.code, failed.out, failed.err) == (7, "out\n", "err\n")
    # What a program prints cannot pass for the end of the session.
    assert phone.shell(["printf", "subdit-exit=0\\n"]).out == "subdit-exit=0\n"


def test_files_go_there_and_back_and_only_where_they_are_missing(desk: Bench, tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    phone = only_phone()
    folder = tmp_path / "kit `touch pwned` $(touch pwned); 'x' \"y\" é"
    folder.mkdir()
    files = [folder / f"{name}.tflite" for name in "abc"]
    for file in files:
        file.write_bytes(file.name.encode() * 100_000)
    there = f"{PHONE_FOLDER}/kits/1"
    assert push_missing(phone, there, files) == tuple(files)
    assert push_missing(phone, there, files) == ()
    # As long as before, and another.
    files[1].write_bytes(b"x" * files[1].stat().st_size)
    # Cut in the middle of a copy.
    phone.shell(["truncate", "-s", "5", f"{there}/c.tflite"])
    assert push_missing(phone, there, files) == (files[1], files[2])
    for file in files:
        phone.pull(f"{there}/{file.name}", tmp_path / "back", size=1)
        assert (tmp_path / "back").read_bytes() == file.read_bytes()
    with pytest.raises(DeviceError, match="nothing.bin cannot be copied from it"):
        phone.pull(f"{there}/nothing.bin", tmp_path / "back", size=1)


@pytest.mark.parametrize("name", [*NASTY, "a;b", "../../../../system/bin/sh", "a\nb", "é"])
def test_names_on_the_phone_are_of_a_safe_alphabet(name: str) -> None:
    if name == "-s":
        assert device_path(f"{PHONE_FOLDER}/{name}")
        return
    with pytest.raises(DeviceError, match="is no place on a phone"):
        device_path(f"{PHONE_FOLDER}/{name}")


def test_a_place_outside_is_refused() -> None:
    for path in ("/system/bin/sh", "/data/local/tmp/subdit-other", "subdit"):
        with pytest.raises(DeviceError, match="is no place on a phone"):
            device_path(path)


def test_a_phone_that_goes_in_the_middle_is_told_from_a_program_that_fails(desk: Bench, tmp_path: Path) -> None:
    folder = make_phone(tmp_path / "phone")
    serial = desk.plug_in(folder)
    phone = only_phone()

    def unplug() -> None:
        wait_until((folder / "begun").exists)
        desk.unplug(serial)

    killer = threading.Thread(target=unplug)
    killer.start()
    with pytest.raises(DeviceLostError, match=f"{serial} was lost in the middle .*adb connect {serial}"):
        phone.shell(["sh", "-c", 'touch "$PHONE/begun"; exec sleep 20'])
    killer.join()


def test_the_fake_phone_reaches_the_host_through_reverse(desk: Bench, tmp_path: Path) -> None:
    serial = desk.plug_in(make_phone(tmp_path / "phone"))
    content = bytes(range(256)) * 4000

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None: ...

    port = free_port()
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        assert desk.adb("-s", serial, "reverse", f"tcp:{port}", f"tcp:{host.server_port}").returncode == 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_S) as answer:
            assert answer.read() == content
        host.shutdown()


def test_a_call_ends_when_it_takes_too_long_or_when_it_is_stopped(desk: Bench, tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    phone = only_phone()
    with pytest.raises(DeviceError, match="did not answer"):
        phone.shell(["sleep", "20"], timeout_s=0.2)
    stop = threading.Event()
    stop.set()
    stopped = Phone(here(stop), phone.serial)
    with pytest.raises(StoppedError):
        stopped.shell(["sleep", "20"])
    # What has to be put back is put back all the same.
    assert stopped.shell(["echo", "back"], stoppable=False).out == "back\n"
