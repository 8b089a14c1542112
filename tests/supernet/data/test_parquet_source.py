"""Parquet files: plain columns, and files without pictures or captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from subdit.core.errors import DataError
from supernet.data.sources import open_source
from tests.supernet.data.source_cases import picture


def test_parquet_keeps_plain_columns_and_tells_rows_without_a_picture(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"image": [picture(0), None], "title": ["x", "y"], "likes": [3, None], "tags": [["a"], []]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", caption_column="title")
    first, second = source.examples()
    assert (first.caption, first.columns, first.read()) == ("x", {"likes": "3"}, picture(0))
    assert second.rejection is not None and second.rejection.kind == "missing file"


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"text": ["x"]}, "no column 'image'"), ({"image": [b"x"], "text": [["x"]]}, "no column 'text' of text")],
)
def test_parquet_without_pictures_or_captions_is_refused(
    columns: dict[str, list[object]], said: str, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=said):
        list(open_source(tmp_path / "a.parquet").examples())


def test_parquet_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_arrays([[picture(0)], ["x"], ["y"]], names=["image", "text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'text' twice"):
        list(open_source(tmp_path / "a.parquet").examples())


def test_parquet_with_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    latin = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"image": [picture(0)], "text": latin}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="is damaged"):
        list(open_source(tmp_path / "a.parquet").examples())


@pytest.mark.parametrize("data", [b"", b"PAR1 and no more", b"PAR1" + bytes(100) + b"PAR1"], ids=len)
def test_what_is_no_parquet_is_refused(data: bytes, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
        open_source(tmp_path / "a.parquet").count()
    assert "\n" not in str(caught.value)


def test_parquet_with_texts_by_number_is_read(tmp_path: Path) -> None:
    """As pandas writes categories."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    text = pyarrow.array(["a cat", "a dog", "a cat"]).dictionary_encode()
    columns = {"image": [picture(number) for number in range(3)], "text": text, "artist": text}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = list(open_source(tmp_path / "a.parquet").examples())
    assert [example.caption for example in found] == ["a cat", "a dog", "a cat"]
    assert found[1].columns == {"artist": "a dog"}
