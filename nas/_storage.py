"""Where a study is kept: a journal file by default, or any of Optuna's storages by its address."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalFileOpenLock

from nas._database import open_database
from nas.proxies._store import drop_torn_line
from subdit.errors import MissingExtraError
from subdit.errors import RunError
from subdit.errors import SearchError

_JOURNAL = "journal:///"
_GRPC = "grpc://"


def open_storage(where: Path | str) -> BaseStorage:
    """The storage at a journal file, or at an address.

    An address is `journal:///PATH`, `grpc://HOST:PORT` of Optuna's storage proxy, or what SQLAlchemy reads, such as
    `postgresql://USER@HOST/DATABASE`, `mysql+pymysql://...` and `sqlite:///PATH`. Raises `SearchError` where it is none
    of these, `RunError` where nothing answers there.
    """
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(where))
    if where.startswith(_JOURNAL):
        return open_storage(Path("/" + where.removeprefix(_JOURNAL)))
    if where.startswith(_GRPC):
        match = re.fullmatch(r"([^:/]+):(\d+)", where.removeprefix(_GRPC))
        if match is None:
            raise SearchError(f"The storage {where!r} is no grpc://HOST:PORT; give host and port of the proxy.")
        return _grpc(match[1], int(match[2]))
    if "://" not in where:
        raise SearchError(
            f"The storage {where!r} is no address; give one such as postgresql://USER@HOST/DATABASE, grpc://HOST:PORT "
            "or journal:///PATH."
        )
    with quiet():
        return open_database(where)


def _grpc(host: str, port: int) -> BaseStorage:
    try:
        with quiet():
            storage = optuna.storages.GrpcStorageProxy(host=host, port=port)
    except ImportError as error:
        raise MissingExtraError("This needs grpcio, which is not installed; run pip install 'subdit[grpc]'.") from error
    try:
        storage.wait_server_ready(timeout=10)
    except Exception as error:  # grpc's errors have no base that is there without grpc.
        raise RunError(
            f"No storage proxy answers at {host}:{port}; start it with optuna's run_grpc_proxy_server."
        ) from (error)
    return storage


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log lines and its notes on experimental features."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class _Journal(JournalFileBackend):
    """Optuna's journal file without a wait for the disk at each of the thirty lines of a trial.

    What a killed process wrote is kept all the same. A power failure may cost the last trials, which are then drawn
    again alike, and what was dear in them is in the quality store, which does wait.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), lock_obj=_FileLock(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lock = _FileLock(self._path)
        lock.acquire()
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
        finally:
            lock.release()


class _FileLock(JournalFileOpenLock):
    """A lock that dies with its process, and that mends the journal before anything is appended.

    Optuna's own locks are files that outlive a killed process for 30 seconds; and a line that a kill cut short would
    make the next one unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        drop_torn_line(self._descriptor)
        return True

    def release(self) -> None:
        # Closing the descriptor gives the lock back.
        os.close(self._descriptor)
        self._descriptor = -1
