"""Reads the tables of a .tflite file without LiteRT's schema, which tflite-runtime and phones do not have.

tflite-runtime does not check that a file is complete, and crashes if its data ends early.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from subdit.core.errors import KitError

IDENTIFIER = b"TFL3"
# Indices of fields in the tables of tensorflow/lite/schema/schema.fbs.
MODEL_SUBGRAPHS, MODEL_BUFFERS, SUBGRAPH_OPERATORS, BUFFER_DATA = 2, 4, 3, 0

Data = bytes | bytearray | mmap.mmap


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer; reading beyond the end of the data raises `struct.error`."""

    data: Data
    position: int

    @classmethod
    def root(cls, data: Data) -> Table:
        return cls(data, _follow(data, 0))

    def field(self, index: int) -> int:
        """Position of a field; 0 where the table has none."""
        entries = self.position - struct.unpack_from("<i", self.data, self.position)[0]
        if entries < 0:
            raise struct.error("an offset points before the data")
        (size,) = struct.unpack_from("<H", self.data, entries)
        entry = 4 + 2 * index
        offset = struct.unpack_from("<H", self.data, entries + entry)[0] if entry < size else 0
        return self.position + int(offset) if offset else 0

    def vector(self, index: int) -> range:
        """Positions of a vector's entries of four bytes each; empty if the table has no such field."""
        if not (field := self.field(index)):
            return range(0)
        begin = _follow(self.data, field) + 4
        end = begin + 4 * _number(self.data, begin - 4)
        if end > len(self.data):
            raise struct.error("a vector is longer than the data")
        return range(begin, end, 4)

    def tables(self, index: int) -> list[Table]:
        """The tables of a vector."""
        return [Table(self.data, _follow(self.data, position)) for position in self.vector(index)]


def problem_of(path: Path) -> str:
    """What is wrong with a file by its tables, or an empty string."""
    if path.stat().st_size < 8:
        return "it is cut short"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] != IDENTIFIER:
            return "it is no .tflite file"
        try:
            for buffer in Table.root(data).tables(MODEL_BUFFERS):
                if field := buffer.field(BUFFER_DATA):
                    begin = _follow(data, field)
                    if begin + 4 + _number(data, begin) > len(data):
                        return "it is cut short"
        except struct.error:
            return "it is cut short"
    return ""


def count_operators(path: Path) -> int:
    """The number of operators in all subgraphs; raises `KitError` if the file is no complete .tflite file."""
    try:
        problem = problem_of(path)
        if not problem:
            subgraphs = Table.root(path.read_bytes()).tables(MODEL_SUBGRAPHS)
            return sum(len(subgraph.vector(SUBGRAPH_OPERATORS)) for subgraph in subgraphs)
    except (OSError, struct.error) as error:
        problem = str(error)
    raise KitError(f"{path} is no complete .tflite file ({problem}); export it again.")


def _number(data: Data, position: int) -> int:
    return int(struct.unpack_from("<I", data, position)[0])


def _follow(data: Data, position: int) -> int:
    """The position that an offset points to."""
    return position + _number(data, position)
