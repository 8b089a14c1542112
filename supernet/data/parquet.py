"""Parquet files with a column of pictures and one of captions, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from subdit.core.errors import DataError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import reason
from supernet.data.source import Example
from supernet.data.source import Rejection
from supernet.data.source import file_fingerprint
from supernet.data.source import first_double
from supernet.data.source import one_line
from supernet.data.splits import SplitRule

PICTURE_COLUMN = "image"
ROWS_AT_A_TIME = 32


class ParquetSource:
    """Rows of Parquet files: `image` is binary or a struct with `bytes`; a few rows at a time are in memory."""

    kind = "parquet"
    default_split = SplitRule()
    licence_column: str | None = None

    def __init__(self, path: Path, files: tuple[Path, ...], *, caption_column: str) -> None:
        self.path = path
        self.files = files
        self.caption_column = caption_column
        self._parquet = _pyarrow()

    def count(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(self._open(file).metadata.num_rows for file in self.files)

    def fingerprint(self) -> str:
        return file_fingerprint((self._name(file), file) for file in self.files)

    def examples(self, start: int = 0) -> Iterator[Example]:
        if not self.count():
            raise DataError(f"There are no rows in {self.path}; put pictures and captions into its .parquet files.")
        before = 0
        for file in self.files:
            opened = self._open(file)
            rows = opened.metadata.num_rows
            if before + rows > start:
                yield from self._rows(file, opened, max(start - before, 0))
            before += rows

    def _rows(self, file: Path, opened: Any, start: int) -> Iterator[Example]:
        plain = self._columns(file, opened.schema_arrow)
        number = 0
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if number + count <= start:
                number += count
                continue
            for rows in self._batches(file, opened, group, [PICTURE_COLUMN, self.caption_column, *plain]):
                for row in rows:
                    if number >= start:
                        yield self._example(f"{self._name(file)}/{number}", row)
                    number += 1

    def _batches(self, file: Path, opened: Any, group: int, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        try:
            for batch in opened.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=columns):
                yield batch.to_pylist()
        # pyarrow's own errors are of many kinds, such as one for what is packed in a way that it was built without.
        except Exception as error:
            raise DataError(f"{file} is damaged ({reason(error)}); make it again.") from error

    def _example(self, identity: str, row: dict[str, Any]) -> Example:
        picture = row.pop(PICTURE_COLUMN)
        data = picture.get("bytes") if isinstance(picture, dict) else picture
        caption = row.pop(self.caption_column) or ""
        columns = {key: str(value) for key, value in row.items() if value is not None}
        if not isinstance(data, bytes):
            return Example(identity, bytes, 0, rejection=Rejection("missing file", "the row holds no bytes"))
        return Example(identity, lambda: data, len(data), one_line(caption), columns)

    def _columns(self, file: Path, schema: Any) -> list[str]:
        """Further columns that are text or numbers; raises `DataError` where picture or caption is missing."""
        import pyarrow.types as types

        kinds = dict(zip(schema.names, schema.types, strict=True))
        if (double := first_double(schema.names)) is not None:
            raise DataError(f"{file} has the column {double!r} twice; keep one.")

        def is_text(kind: Any) -> bool:
            # Few different texts are stored as numbers of theirs.
            plain = kind.value_type if types.is_dictionary(kind) else kind
            return bool(types.is_string(plain) or types.is_large_string(plain))

        picture = kinds.get(PICTURE_COLUMN)
        if picture is not None and types.is_struct(picture):
            picture = next((item.type for item in picture if item.name == "bytes"), None)
        if picture is None or not (types.is_binary(picture) or types.is_large_binary(picture)):
            raise DataError(f"{file} has no column {PICTURE_COLUMN!r} with bytes of pictures; write one.")
        if self.caption_column not in kinds or not is_text(kinds[self.caption_column]):
            raise DataError(
                f"{file} has no column {self.caption_column!r} of text; it has {', '.join(schema.names)}; name the "
                "caption's with --caption-column."
            )
        return [
            name
            for name, kind in kinds.items()
            if name not in (PICTURE_COLUMN, self.caption_column)
            and (is_text(kind) or types.is_integer(kind) or types.is_floating(kind))
        ]

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name

    def _open(self, file: Path) -> Any:
        try:
            return self._parquet.ParquetFile(file)
        except Exception as error:
            raise DataError(f"{file} cannot be read as Parquet ({reason(error)}); make it again.") from error


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    # Versions from 20 on fail like this beside numpy 1.
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            f"Parquet needs pyarrow, which does not import here ({reason(error)}); run pip install 'subdit[parquet]', "
            "with 'pyarrow<20' beside numpy 1."
        ) from error
    return pyarrow.parquet
