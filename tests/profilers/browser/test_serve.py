"""The verb: what it refuses before it serves, the certificate, and the code for the camera."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
from pathlib import Path

import pytest
import segno
from click.testing import CliRunner

from profilers import Kit
from profilers.browser import serve
from profilers.browser.address import PORT
from profilers.browser.address import lan_address
from profilers.browser.address import listen
from profilers.browser.address import qr_code
from profilers.browser.address import self_made_certificate
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--https"], "--https is about phones' browsers; pass --serve with it"),
        (["--ort-web", "x"], "--ort-web is about phones' browsers"),
        (["--phones", "2"], "--phones is about phones' browsers"),
        (["--serve"], "run 'make setup-web'"),
        (["--serve", "--device", "My Phone"], "cannot name a device"),
        (["--serve", "--device", "kettle", "--phones", "2"], "are of one phone"),
        (["--serve", "--pin", "0"], "leave --pin out"),
        (["--serve", "--runtime", "torch"], "leave --runtime out"),
        (["--serve", "--out", "a.json", "--webgpu"], "profiles of their own"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(arguments: list[str], said: str, small_kit: Kit) -> None:
    result = CliRunner().invoke(group, ["profile", str(small_kit.folder), *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in result.output


def test_addresses_and_files_that_are_taken(small_kit: Kit, ort_web: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot listen at 198.51.100.7, port 8123 .*; name another with --host"):
        serve(small_kit.folder, ort_web=ort_web, host="198.51.100.7")
    (tmp_path / "there.json").write_text("{}")
    with pytest.raises(RunError, match="There is a profile at .*there.json already"):
        serve(small_kit.folder, ort_web=ort_web, out=tmp_path / "there.json")


class StopError(Exception):
    """Ends serving as soon as it waits."""


@pytest.mark.parametrize(("host", "found"), [("localhost", "127.0.0.1"), ("0.0.0.0", ""), ("127.0.0.1", "127.0.0.1")])
@pytest.mark.parametrize("https", [False, True])
def test_what_is_shown_is_an_address_that_a_phone_can_open(
    small_kit: Kit, ort_web: Path, host: str, found: str, https: bool
) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("Waiting"):
            raise StopError

    with pytest.raises(StopError):
        serve(small_kit.folder, ort_web=ort_web, host=host, https=https, say=say)
    scheme = "https" if https else "http"
    assert re.search(rf" open {scheme}://{re.escape(found or lan_address())}:\d+/", "\n".join(said))


def test_a_host_that_is_none_is_one_sentence() -> None:
    for host in ("no such host", "é" * 70, "::1"):
        with pytest.raises(ProfileError, match="cannot listen at"):
            listen(host)


def test_a_port_that_is_taken_is_left_to_its_owner() -> None:
    with listen("127.0.0.1") as first, listen("127.0.0.1") as second:
        ports = [one.getsockname()[1] for one in (first, second)]
        assert ports[0] != ports[1]
        with pytest.raises(ProfileError, match=f"port {ports[0]}"):
            listen("127.0.0.1", ports[0])
    assert PORT == 8123


def test_the_certificate_is_of_the_address_and_of_no_other() -> None:
    context, fingerprint = self_made_certificate("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                try:
                    context.wrap_socket(server.accept()[0], server_side=True).close()
                except (ssl.SSLError, OSError):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        asked = ssl.create_default_context()
        asked.check_hostname, asked.verify_mode = False, ssl.CERT_NONE
        with asked.wrap_socket(socket.create_connection(server.getsockname())) as connection:
            certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        pem = ssl.DER_cert_to_PEM_cert(certificate)
        trusting = ssl.create_default_context(cadata=pem)
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            trusting.wrap_socket(socket.create_connection(server.getsockname()), server_hostname="127.0.0.2")
        thread.join()
    assert fingerprint.replace(":", "") == hashlib.sha256(certificate).hexdigest().upper()


def test_the_code_is_read_as_the_address() -> None:
    """Each module of segno's matrix is half a character; a code of 22 token characters fits into a terminal."""
    url = "http://192.168.178.123:8123/abcdefghijklmnopqrstuv/"
    rows = qr_code(url).rstrip("\n").splitlines()
    matrix = [list(row) for row in segno.make(url, error="m").matrix]
    assert len(rows) <= 24 and max(map(len, rows)) <= 80
    # Dark is what is not drawn; the border is light.
    upper = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    drawn = [[upper[character][half] for character in row] for row in rows for half in (0, 1)]
    inside = [row[2:-2] for row in drawn[2 : 2 + len(matrix)]]
    assert inside == [[int(bool(module)) for module in row] for row in matrix]
