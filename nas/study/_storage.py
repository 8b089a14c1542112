"""The storage of a study: a journal file by default, or any of Optuna's storages by its URL."""

from __future__ import annotations

import contextlib
import fcntl
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.study._database import open_database
from nas.study._url import GRPC
from nas.study._url import JOURNAL
from nas.study._url import checked_url
from nas.study._url import proxy_at
from subdit.core.errors import MissingExtraError
from subdit.core.errors import RunError
from subdit.core.files import drop_torn_line


def open_storage(where: Path | str) -> BaseStorage:
    """The storage in a journal file, or at a URL as `checked_url` takes it.

    Raises `SearchError` where the URL is not valid, `RunError` where no storage answers there.
    """
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(str(where)))
    checked_url(where)
    if where.startswith(JOURNAL):
        return _shared_journal(where)
    if where.startswith(GRPC):
        return _grpc(*proxy_at(where))
    with silence_optuna():
        return open_database(where)


def _shared_journal(where: str) -> BaseStorage:
    try:
        return open_storage(Path(where.removeprefix(JOURNAL)))
    except OSError as error:
        raise RunError(
            f"No journal can be kept at {where} ({error.strerror}); give the path of a file that may be written."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"What {where} names is no journal of Optuna's, or a damaged one ({error}); give another path."
        ) from error


def _grpc(host: str, port: int) -> BaseStorage:
    try:
        with silence_optuna():
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
def silence_optuna() -> Iterator[None]:
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
    """Optuna's journal file, with a lock that ends with its process, and without a wait for the disk at each line.

    Optuna's own locks are files that outlive a killed process for 30 seconds, and a line that a kill cut short would
    make the next one unreadable. A trial writes thirty lines. What a killed process wrote is in the file; a power
    failure may lose the last trials, whose sub-DiTs are drawn again, with qualities from the quality
    store, which waits for the disk.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with open(self._file_path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            drop_torn_line(file.fileno())
            file.write(b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
