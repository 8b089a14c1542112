"""Which source of captioned pictures a path or a name is."""

from __future__ import annotations

from pathlib import Path

from subdit.core.errors import DataError
from supernet.data.source import DEFAULT_CAPTION_COLUMN
from supernet.data.source import PICTURE_SUFFIXES
from supernet.data.source import Source
from supernet.data.source import visible_files

PACKED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


EMOJI = "emoji"
"""Name of the source that comes from packages; a file or folder that is called so goes before."""


def open_source(path: Path, *, caption_column: str = DEFAULT_CAPTION_COLUMN) -> Source:
    """The source at a path: a folder of pictures, WebDataset shards (.tar), or Parquet files; or the source `EMOJI`.

    Raises:
        DataError: there is nothing at the path, nothing of these kinds, or a folder with files of several kinds.
        MissingExtraError: pyarrow is not installed, and the files are Parquet.
    """
    if not path.exists():
        if str(path) == EMOJI:
            from supernet.data.emoji.source import EmojiSource

            return EmojiSource()
        raise DataError(f"There are no pictures at {path}; name a folder, a .tar file or a .parquet file.")
    # Sorted, and named by their place below the path, so that order and ids do not depend on where the data lies.
    names = visible_files(path) if path.is_dir() else [path.name]
    folder = path if path.is_dir() else path.parent
    files = [name for name in names if (folder / name).is_file()]
    tars = [name for name in files if Path(name).suffix.lower() == ".tar"]
    tables = [name for name in files if Path(name).suffix.lower() == ".parquet"]
    if path.is_dir():
        _refuse_mixture(path, names, tars, tables)
    if tars:
        from supernet.data.webdataset import WebDatasetSource

        return WebDatasetSource(path, tuple(folder / name for name in tars), caption_column=caption_column)
    if tables:
        from supernet.data.parquet import ParquetSource

        return ParquetSource(path, tuple(folder / name for name in tables), caption_column=caption_column)
    if not path.is_dir():
        raise DataError(f"The file {path} is no source; name a folder, a plain .tar file or a .parquet file.")
    from supernet.data.folder import FolderSource

    return FolderSource(path, names, caption_column=caption_column)


def _refuse_mixture(path: Path, names: list[str], tars: list[str], tables: list[str]) -> None:
    """Raise `DataError` where a choice of one kind of files would drop others without a word."""
    pictures = [name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    if len(kinds := [kind[0] for kind in (pictures, tars, tables) if kind]) > 1:
        raise DataError(
            f"The folder {path} holds {' and '.join(map(repr, kinds))}; pictures, .tar files and .parquet files are "
            "sources of their own: name a folder with one of them."
        )
    for name in names if tars or tables else ():
        if name.lower().endswith(PACKED_SUFFIXES):
            raise DataError(f"The folder {path} holds {name!r}, which is not read; unpack it to a plain .tar file.")
        if (path / name).is_dir():
            raise DataError(f"The folder {path} holds the linked folder {name!r}, which is not followed; move it in.")
