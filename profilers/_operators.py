"""How many operators a .tflite file has: read from its FlatBuffer, without TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path

from subdit.core.errors import KitError

# Positions of fields in the tables of tensorflow/lite/schema/schema.fbs.
_MODEL_SUBGRAPHS, _SUBGRAPH_OPERATORS = 2, 3


def count_operators(path: Path) -> int:
    """Operators of all subgraphs; raises `KitError` where it is no .tflite file."""
    try:
        data = path.read_bytes()
        if data[4:8] != b"TFL3":
            raise ValueError("it has no TFL3")
        subgraphs, count = _vector(data, _offset(data, 0), _MODEL_SUBGRAPHS)
        return sum(_vector(data, _offset(data, subgraphs + 4 * at), _SUBGRAPH_OPERATORS)[1] for at in range(count))
    except (OSError, struct.error, ValueError) as error:
        raise KitError(f"{path} is no whole .tflite file ({error}); export it again.") from error


def _offset(data: bytes, at: int) -> int:
    """Where the unsigned offset at a place points to."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _vector(data: bytes, table: int, field: int) -> tuple[int, int]:
    """First entry and number of entries of a table's vector; no entries where the field is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    entry = 4 + 2 * field
    place = struct.unpack_from("<H", data, vtable + entry)[0] if entry < size else 0
    if not place:
        return 0, 0
    vector = _offset(data, table + place)
    return vector + 4, struct.unpack_from("<I", data, vector)[0]
