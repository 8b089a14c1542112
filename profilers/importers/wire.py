"""The wire format of protocol buffers (protobuf.dev/programming-guides/encoding), read strictly against a schema."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from profilers.importers.log import Log

MAX_PROTO_BYTES = 4 * 2**20
"""An operator has some hundred bytes in the messages of benchmark tools."""

Schema = dict[int, tuple[str, Any]]
"""Field number to name and type: "int", "float", "str", "ints" for repeated whole numbers, a schema for a message.

A repeated message is its schema in a list.
"""


class _WireError(Exception):
    """Bytes that are no message of the schema."""


def begins(data: bytes, schema: Schema, path: tuple[str, ...]) -> bool:
    """Whether the bytes are of this schema as far as they go, and reach the fields of `path`, which only it has."""
    found: set[str] = set()
    # A message begins with one of its fields; all of them are messages or texts at the first level.
    if len(data) > MAX_PROTO_BYTES or not data or data[0] not in {number << 3 | 2 for number in schema}:
        return False
    try:
        _message(data, schema, found)
    except _WireError:
        pass
    return set(path) <= found


def decode(log: Log, schema: Schema) -> dict[str, Any]:
    """The fields by name; raises `ImportLogError` where the bytes are cut or of another schema."""
    try:
        return _message(log.data, schema, set())
    except _WireError as error:
        raise log.refuse(
            None, f"this is not a whole message ({error})", "give the whole file, copied as binary"
        ) from None


def _message(data: bytes, schema: Schema, found: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    offset = 0
    while offset < len(data):
        start = offset
        key, offset = _varint(data, offset)
        if key >> 3 not in schema:
            raise _WireError(f"unknown field {key >> 3} at byte {start}")
        name, kind = schema[key >> 3]
        wires = {"int": (0,), "float": (5,), "ints": (0, 2)}.get(kind, (2,)) if isinstance(kind, str) else (2,)
        if key & 7 not in wires:
            raise _WireError(f"field {name!r} at byte {start} has another type")
        found.add(name)
        value, offset = _value(data, offset, key & 7, name, kind, found)
        if isinstance(kind, list):
            values.setdefault(name, []).append(value)
        elif kind == "ints":
            values.setdefault(name, []).extend(value)
        elif name in values:
            raise _WireError(f"field {name!r} is given twice")
        else:
            values[name] = value
    return values


def _value(data: bytes, offset: int, wire: int, name: str, kind: Any, found: set[str]) -> tuple[Any, int]:
    """One value, and where it ends."""
    if wire == 0:
        value, offset = _varint(data, offset)
        return ([value] if kind == "ints" else value), offset
    if wire == 5:
        if offset + 4 > len(data):
            raise _WireError("it ends within a number")
        # In the shortest digits that make the same float32: 9.847 and not 9.84700012.
        return float(str(np.float32(struct.unpack_from("<f", data, offset)[0]))), offset + 4
    size, offset = _varint(data, offset)
    if size < 0:
        raise _WireError(f"{name!r} has no length")
    part = data[offset : offset + size]
    value = _part(part, kind, found)
    if len(part) < size:
        raise _WireError(f"it ends within {name!r}")
    return value, offset + size


def _part(part: bytes, kind: Any, found: set[str]) -> Any:
    if kind == "str":
        try:
            return part.decode("utf-8")
        except UnicodeDecodeError:
            raise _WireError("a name is no text") from None
    if kind == "ints":
        packed, offset = [], 0
        while offset < len(part):
            value, offset = _varint(part, offset)
            packed.append(value)
        return packed
    return _message(part, kind[0] if isinstance(kind, list) else kind, found)


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if offset >= len(data):
            raise _WireError("it ends within a number")
        value |= (data[offset] & 0x7F) << shift
        offset += 1
        if data[offset - 1] < 0x80:
            return (value - 2**64 if value >= 2**63 else value), offset
    raise _WireError(f"a number at byte {offset} is too long")
