"""A PostgreSQL server of one's own, for as long as a test lasts."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.programs import missing
from tests.programs import require_module
from tests.waiting import DEADLINE_S
from tests.waiting import free_port
from tests.waiting import wait_until


def _program(name: str) -> str | None:
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))), None)
    return found


def require() -> None:
    """Skip where there is no server to start; fail instead on a machine that is to have one."""
    if _program("initdb") is None or _program("postgres") is None:
        missing("PostgreSQL", "apt-get install -y --no-install-recommends postgresql")
    require_module("psycopg", "pip install 'subdit[postgresql]'")


def _who() -> dict[str, Any]:
    """The server refuses to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of an empty database."""
    folder = tempfile.mkdtemp(prefix="subdit-postgres-")
    port = free_port()
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = f"{folder}/data"
    initdb, postgres = _program("initdb"), _program("postgres")
    assert initdb is not None and postgres is not None
    make = [initdb, "-D", data, "-A", "trust", "-U", "subdit", "--no-sync", "--no-instructions", "-E", "UTF8"]
    made = subprocess.run(make, capture_output=True, text=True, cwd=folder, **_who())
    assert made.returncode == 0, made.stderr
    settings = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
    with open(f"{folder}-log", "wb") as log:
        process = subprocess.Popen(
            [postgres, "-D", data, "-p", str(port), *settings], stdout=log, stderr=log, cwd=folder, **_who()
        )
        try:
            _wait(port, process)
            yield f"postgresql://subdit@127.0.0.1:{port}/postgres"
        finally:
            # "Fast": it does not wait until the workers hang up.
            process.send_signal(signal.SIGINT)
            process.wait(timeout=DEADLINE_S)
            shutil.rmtree(folder, ignore_errors=True)
            os.unlink(f"{folder}-log")


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    def answers() -> bool:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user="subdit", dbname="postgres").close()
            return True
        return False

    wait_until(answers, lambda: "the server does not answer", every_s=0.1)
