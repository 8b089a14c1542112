"""Where a phone finds this machine: its address in the local network, a certificate for it, and the QR code."""

from __future__ import annotations

import contextlib
import datetime
import io
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError

PORT = 8123
"""The same every time, so that a browser knows the page again; another where it is taken."""

_CERTIFICATE_DAYS = 7


def lan_address() -> str:
    """This machine's address in the network that leads outside; the loopback address where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # A datagram socket sends nothing here; it only chooses the way. The address is one for documentation.
            probe.connect(("198.51.100.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            pass
    with contextlib.suppress(OSError):
        return socket.gethostbyname(socket.gethostname())
    return "127.0.0.1"


def listen(host: str, port: int | None = None) -> socket.socket:
    """A socket at an address of this machine; raises `ProfileError` where there is none such."""
    last: Exception | None = None
    for wanted in (PORT, 0) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, wanted))
            # Only a socket that listens keeps others from the port.
            listening.listen()
            return listening
        except (OSError, TypeError) as error:
            # A name that cannot be written as one of the network is a TypeError.
            listening.close()
            last = error
    raise ProfileError(f"This machine cannot listen at {host}, port {port or PORT} ({last}); name another with --host.")


def address_of(listening: socket.socket) -> str:
    """Where others find a socket, in digits; for one that listens at all addresses, that in the local network."""
    address = str(listening.getsockname()[0])
    return lan_address() if ipaddress.ip_address(address).is_unspecified else address


def self_made_certificate(host: str) -> tuple[ssl.SSLContext, str]:
    """A TLS context with a new certificate for `host`, an address in digits, and its SHA-256 as browsers show it."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise MissingExtraError("cryptography is not installed; install it with pip install 'subdit[serve]'.") from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "subdit")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The context reads files only; the folder is this user's alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="subdit-tls-") as folder:
        pem = Path(folder) / "server.pem"
        pem.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context.load_cert_chain(pem)
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    return context, ":".join(digest[first : first + 2] for first in range(0, len(digest), 2))


def qr_code(url: str) -> str:
    """The address as a QR code of block characters, for a terminal."""
    import segno

    drawn = io.StringIO()
    segno.make(url, error="m").terminal(drawn, border=2, compact=True)
    return drawn.getvalue()
