"""Whether a .tflite file is whole: tflite-runtime does not look and crashes where its data ends early."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_IDENTIFIER = b"TFL3"
# Fields of the schema by their place in a table: Model.buffers and Buffer.data.
_BUFFERS, _DATA = 4, 0


def problem_of(path: Path) -> str:
    """What is wrong with a file at first sight, or an empty text."""
    if path.stat().st_size < 8:
        return "it is cut short"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[4:8] != _IDENTIFIER:
            return "it is no .tflite file"
        try:
            buffers = _field(data, _follow(data, 0), _BUFFERS)
            at = _follow(data, buffers)
            for place in range(at + 4, at + 4 + 4 * _number(data, at), 4):
                held = _field(data, _follow(data, place), _DATA)
                if held:
                    start = _follow(data, held)
                    if start + 4 + _number(data, start) > len(data):
                        return "it is cut short"
        except struct.error:
            return "it is cut short"
    return ""


def _number(data: mmap.mmap, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _follow(data: mmap.mmap, at: int) -> int:
    """Where the offset that stands at a place points to."""
    return at + _number(data, at)


def _field(data: mmap.mmap, table: int, index: int) -> int:
    """Where a field of a table stands; 0 where the table has none."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, entries)
    place = 4 + 2 * index
    offset = struct.unpack_from("<H", data, entries + place)[0] if place < size else 0
    return table + int(offset) if offset else 0
