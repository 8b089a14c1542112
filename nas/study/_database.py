"""Databases that hold studies: retries where two workers collide, and errors translated to sentences."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from nas.study._url import local_file
from nas.study._url import redact
from subdit.core.errors import MissingExtraError
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.errors import SubditError

_T = TypeVar("_T")
_ATTEMPTS = 8
_SAME_INSTANT = frozenset(
    # PostgreSQL: a type or table is there already, serialization failure, deadlock; MySQL: a table or index, deadlock.
    ("42710", "42P07", "40001", "40P01", 1050, 1061, 1213)
)
_NOT_ALLOWED = frozenset(("42501", 1044, 1142))
_LET_NOBODY_IN = frozenset((1040, 1045))
_NO_DATABASE = re.compile(r'database ".*" does not exist|Unknown database')
_LONGEST = 160


def retry_on_conflict(act: Callable[[], _T]) -> _T:
    """Act, and retry where another worker did the same to a database at the same time.

    Workers that start together on an empty database all create its tables, and Optuna lets all but one fail. Any other
    error is raised at once.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return act()
        except Exception as error:
            if not _is_collision(error) or attempt == _ATTEMPTS - 1:
                raise
            # Apart from each other, so that they do not collide again.
            time.sleep(random.uniform(0.1, 0.5) * (attempt + 1))
    raise AssertionError("the last attempt returns or raises")


def open_database(where: str) -> BaseStorage:
    """Optuna's storage in the database at an address; tables that a study needs are made there."""
    file = local_file(where)
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise RunError(
            f"The storage {where} is {'a folder' if file.is_dir() else 'in a folder that is not there'}; give the "
            "path of a file, in a folder that is."
        )
    # Optuna would put its own words in place of what stands in braces.
    plain = where.replace("{", "{{").replace("}", "}}")
    try:
        with translate_errors(where):
            # A connection that a restarted server closed is noticed before it is used.
            return retry_on_conflict(lambda: optuna.storages.RDBStorage(plain, engine_kwargs={"pool_pre_ping": True}))
    except ImportError as error:
        raise MissingExtraError(
            f"The driver of {redact(where)!r} is not installed; run pip install 'subdit[postgresql]', or for another "
            "database install the driver that SQLAlchemy wants."
        ) from error
    except RuntimeError as error:
        # So says Optuna, and nobody else, of tables in another shape than its own.
        raise RunError(
            f"The studies at {redact(where)} were begun with another version of Optuna; run 'optuna storage upgrade' "
            "on them if that was an older one, or give another database."
        ) from error
    except (TypeError, ValueError) as error:
        raise SearchError(
            f"The storage {redact(where)!r} has an option that its driver does not take; mend what follows the "
            "question mark."
        ) from error


@contextlib.contextmanager
def translate_errors(where: Path | str) -> Iterator[None]:
    """Raise errors of a database as errors of subdit's, in one sentence."""
    try:
        yield
    except Exception as error:
        refused = _refused(error)
        if refused is None:
            raise
        raise _translated(where, refused) from error


def _refused(error: BaseException) -> Any:
    """SQLAlchemy's error of a database, also where Optuna wraps it; None for another error."""
    from sqlalchemy.exc import DBAPIError

    raised = error.__cause__ if isinstance(error, StorageInternalError) else error
    return raised if isinstance(raised, DBAPIError) else None


def _numbers(refused: Any) -> set[str | int]:
    """Error numbers of the drivers of PostgreSQL and MySQL."""
    raised = refused.orig
    numbers = (getattr(raised, "sqlstate", None), getattr(raised, "pgcode", None), *getattr(raised, "args", ())[:1])
    return {number for number in numbers if isinstance(number, str | int)}


def _is_collision(error: Exception) -> bool:
    refused = _refused(error)
    if refused is None:
        return False
    # A row that must be there once; SQLite has no number for a table that is there.
    there = type(refused).__name__ == "IntegrityError" or "already exists" in str(refused.orig)
    return there or bool(_SAME_INSTANT & _numbers(refused))


def _translated(where: Path | str, refused: Any) -> SubditError:
    """The error with a remedy, from the most special case to the most general."""
    address, numbers, text = redact(where), _numbers(refused), str(refused.orig)
    reason = _reason(text) or type(refused.orig).__name__
    if _NOT_ALLOWED & numbers or "readonly database" in text:
        return RunError(
            f"The user of {address} may not keep a study there ({reason}); let the database's owner grant what is "
            "missing (in PostgreSQL: GRANT CREATE ON SCHEMA public TO the user), or give a database of the user's own."
        )
    if _NO_DATABASE.search(text):
        return RunError(f"A server answers at {address}, but {reason}; create it there, or mend the address.")
    if "FATAL:" in text or "no password supplied" in text or _LET_NOBODY_IN & numbers:
        return RunError(
            f"The server at {address} lets nobody in ({reason}); mend user and password, or what the server allows."
        )
    if "database is locked" in text:
        return RunError(f"Another program holds {address} ({reason}); end it, then go on with --resume.")
    if "file is not a database" in text or "disk image is malformed" in text:
        return RunError(f"What {address} names is no database of SQLite's, or a damaged one; give another path.")
    if type(refused).__name__ == "OperationalError":
        return RunError(f"No database answers at {address} ({reason}); start it, or mend the address.")
    return RunError(
        f"The database at {address} cannot keep a study ({reason}); mend the address, or give that of an empty "
        "database."
    )


def _reason(text: str) -> str:
    """The end of a driver's text, such as: connection to server at "db" failed: FATAL:  role "me" does not exist."""
    lines = text.split("FATAL:")[-1].strip().splitlines() or [""]
    return lines[0].strip().rstrip(".")[:_LONGEST]
