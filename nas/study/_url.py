"""URLs of storages: checked before anything connects, and printed without passwords."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote_plus

from subdit.core.errors import SearchError

JOURNAL = "journal://"
GRPC = "grpc://"
HIDDEN = "***"
_SECRET_OPTION = re.compile("password|passwd|pwd|secret|token", re.IGNORECASE)


def redact(where: Path | str) -> str:
    """The URL with *** for each password; after the scheme nothing else where SQLAlchemy cannot read it."""
    text = str(where)
    if "://" not in text or text.startswith(JOURNAL):
        return text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    # A password whose own @ is not written as %40 ends at the last one.
    user, separator, host = text.rpartition("@")
    try:
        url = make_url(user.replace("@", "%40") + separator + host)
    except (ArgumentError, ValueError):
        return f"{text.partition('://')[0]}://{HIDDEN}"
    url = url.update_query_dict({name: HIDDEN for name in url.query if _SECRET_OPTION.search(name)})
    return url.render_as_string(hide_password=True).replace(quote_plus(HIDDEN), HIDDEN)


def checked_url(where: str) -> str:
    """Return the URL; raises `SearchError` where it is not valid, without connecting.

    A URL is `journal:///PATH`, `grpc://HOST:PORT` of Optuna's storage proxy, or what SQLAlchemy reads, such as
    `postgresql://USER@HOST/DATABASE`, `mysql+pymysql://...` and `sqlite:///PATH`.
    """
    if "://" not in where:
        raise SearchError(
            f"The storage {where!r} is no address; give one such as postgresql://USER@HOST/DATABASE, grpc://HOST:PORT "
            "or journal:///PATH."
        )
    if where.startswith(JOURNAL):
        path = where.removeprefix(JOURNAL)
        if not path.startswith("/") or path.endswith("/"):
            raise SearchError(
                f"The storage {where!r} names no file by its whole path; give three slashes, as in "
                f"journal:///{path.strip('/') or 'PATH'}, if that path begins at the root."
            )
    elif where.startswith(GRPC):
        proxy_at(where)
    else:
        _check_database(where)
    return where


def proxy_at(where: str) -> tuple[str, int]:
    """Host and port of a storage proxy's address."""
    match = re.fullmatch(r"([^:/]+):(\d+)", where.removeprefix(GRPC))
    if match is None:
        raise SearchError(f"The storage {redact(where)!r} is no grpc://HOST:PORT; give host and port of the proxy.")
    return match[1], int(match[2])


def local_file(where: str) -> Path | None:
    """The file of this machine that a URL names, by its whole path; None where it names a server."""
    if where.startswith(JOURNAL):
        return Path(where.removeprefix(JOURNAL)).resolve()
    if where.startswith("sqlite"):
        from sqlalchemy.engine import make_url

        database = make_url(where).database or ""
        return None if database.startswith("file:") else Path(database).resolve()
    return None


def canonical_url(where: str) -> str:
    """The URL for search.json: without its password, and a file by its whole path."""
    file = local_file(checked_url(where))
    if file is None:
        return redact(where)
    options = where.partition("?")[1:] if where.startswith("sqlite") else ()
    return f"{where.partition('://')[0]}://{'/' if where.startswith('sqlite') else ''}{file}{''.join(options)}"


def _check_database(where: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError
    from sqlalchemy.exc import NoSuchModuleError

    try:
        url = make_url(where)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise SearchError(
            f"The storage {redact(where)!r} is no address that SQLAlchemy reads; give one such as "
            "postgresql://USER@HOST/DATABASE."
        ) from error
    except ImportError:
        # The driver is missing; opening the database says so.
        return
    except ValueError as error:
        raise SearchError(
            f"The storage {redact(where)!r} has a port that is no number; give HOST:PORT, or leave the port out."
        ) from error
    if url.port is not None and not 0 < url.port < 65536:
        raise SearchError(f"The storage {redact(where)!r} has the port {url.port}, and there are 1 to 65535; mend it.")
    if url.password is not None and "@" in f"{url.host}{url.database}":
        raise SearchError(f"The storage {redact(where)!r} has a password with an @ in it; write that as %40.")
    if url.get_backend_name() == "sqlite" and (url.database in (None, "", ":memory:") or "mode" in url.query):
        raise SearchError(
            f"The storage {where!r} is a database in memory, which ends with this process; give sqlite:///PATH."
        )
