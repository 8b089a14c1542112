"""Which source of captioned pictures a path is."""

from __future__ import annotations

from pathlib import Path

from subdit.core.errors import DataError
from supernet.data.source import DEFAULT_CAPTION_COLUMN
from supernet.data.source import Source


def open_source(path: Path, *, caption_column: str = DEFAULT_CAPTION_COLUMN) -> Source:
    """The source at a path: a folder of pictures, WebDataset shards (.tar), or Parquet files.

    Raises:
        DataError: there is nothing at the path, or nothing of these kinds.
        MissingExtraError: pyarrow is not installed, and the files are Parquet.
    """
    if not path.exists():
        raise DataError(f"There are no pictures at {path}; name a folder, a .tar file or a .parquet file.")
    # Sorted, and named by their place below the path, so that order and ids do not depend on where the data lies.
    tars = _files(path, ".tar")
    tables = _files(path, ".parquet")
    if tars and tables:
        raise DataError(f"The folder {path} holds .tar and .parquet files; name a folder with one of them.")
    if tars:
        from supernet.data.webdataset import WebDatasetSource

        return WebDatasetSource(path, tars, caption_column=caption_column)
    if tables:
        from supernet.data.parquet import ParquetSource

        return ParquetSource(path, tables, caption_column=caption_column)
    if not path.is_dir():
        raise DataError(f"The file {path} is no source; name a folder, a plain .tar file or a .parquet file.")
    from supernet.data.folder import FolderSource

    return FolderSource(path, caption_column=caption_column)


def _files(path: Path, suffix: str) -> tuple[Path, ...]:
    if path.is_file():
        return (path,) if path.suffix == suffix else ()
    return tuple(sorted(path.rglob(f"*{suffix}")))
