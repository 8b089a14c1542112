"""`Log`: a file as lines of text, freed from what Windows and others put around them (`prefixes`)."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilers.importers.prefixes import without_escapes
from profilers.importers.prefixes import without_prefixes
from profilers.importers.prompts import ends_in_prompt
from subdit.core.errors import ImportLogError

MAX_BYTES = 64 * 2**20
"""A larger file is refused before it is read."""

MAX_LINES = 1_000_000
"""One of more lines is refused, too."""

_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffd]")
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PACKED |= {b"7z\xbc\xaf": "7z"}
# Blanks that do not break, and those without width; GitHub puts a byte order mark before the lines of a step, too.
_BLANKS = {0xA0: " ", 0x2007: " ", 0x202F: " ", 0x200B: None, 0x200C: None, 0x200D: None, 0x2060: None, 0xFEFF: None}
_ENTITY = re.compile(r"&(?:quot|apos|lt|gt|amp|nbsp|#39|#x27|#34);")
# What no terminal may be given, or no encoding has: control characters, changes of direction, lone surrogates.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NUMBER = re.compile(r"[0-9]{1,25}(?:\.[0-9]{1,25})?(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Log:
    """A file to import.

    Attributes:
        name: of the file, for messages.
        data: its bytes.
        lines: cleaned, without blank ones at the end; empty where it is binary.
        ended: whether the last line has its line end.
        bad_line: the line, counted from 1, that is no text; None where all is.
        offset: lines of the file before the first of `lines`.
    """

    name: str
    data: bytes
    lines: tuple[str, ...]
    ended: bool
    bad_line: int | None = None
    offset: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def last(self) -> int:
        """Number of the last line."""
        return max(1, len(self.lines))

    def refuse(self, line: int | None, what: str, remedy: str) -> ImportLogError:
        """The error to raise; `line` counts from 1."""
        where = self.name if line is None else f"{self.name}, line {line + self.offset}"
        # A message may quote what it refuses.
        return ImportLogError(_NO_TEXT.sub(lambda found: ascii(found[0])[1:-1], f"{where}: {what}; {remedy}."))

    def cut(self, what: str, remedy: str = "run the tool to its end and give the whole log") -> ImportLogError:
        """The error for a log that ends too early."""
        return self.refuse(self.last, f"the log ends here without {what}, as if it had been interrupted", remedy)

    def number(self, line: int | None, text: str, what: str) -> float:
        """A plain number, finite and not below zero; raises `ImportLogError` otherwise."""
        text = text.strip()
        if not _NUMBER.fullmatch(text):
            comma = ", with a point for its decimals" if re.fullmatch(r"[0-9]{1,25},[0-9]{1,25}", text) else ""
            raise self.refuse(line, f"{what} is {text[:40]!r}, not a number", f"give the log as written{comma}")
        value = float(text)
        if not math.isfinite(value):
            raise self.refuse(
                line, f"{what} is {text[:40]!r}, which is not finite", "give the log as the tool wrote it"
            )
        return value

    def whole(self, line: int | None, text: str, what: str) -> int:
        """A whole number of at most 18 digits; raises `ImportLogError` otherwise."""
        text = text.strip()
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise self.refuse(line, f"{what} is {text[:40]!r}, not a whole number", "give the log as the tool wrote it")
        return int(text)


def open_log(path: Path) -> Log:
    """Read a file; raises `ImportLogError` where it is missing, empty, packed or larger than `MAX_BYTES`."""
    return make_log(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """What is in a file; raises `ImportLogError` where it is missing or larger than `MAX_BYTES`."""
    if path.is_dir():
        raise ImportLogError(f"{path} is a folder; name the log files that are in it.")
    if not path.is_file():
        raise ImportLogError(f"There is no log at {path}; give the file that the tool wrote.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ImportLogError(f"{path} has {size:,} bytes, above the limit of {MAX_BYTES:,}; give the log of one model.")
    return path.read_bytes()


def make_log(data: bytes, name: str) -> Log:
    """Bytes as a `Log`; raises `ImportLogError` where there are none."""
    if not data.strip():
        raise ImportLogError(f"{name} is empty; give the file that the tool wrote.")
    if packed := next((kind for head, kind in _PACKED.items() if data.startswith(head)), None):
        raise ImportLogError(f"{name} is packed ({packed}); unpack it and give the log that is in it.")
    if data.count(b"\n") + data.count(b"\r") > 2 * MAX_LINES:
        raise ImportLogError(f"{name} has more than {MAX_LINES:,} lines; give the log of one model.")
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    # Windows PowerShell writes what it redirects as UTF-16.
    text = data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    text = without_escapes(_as_typed(text.replace("\r\n", "\n").replace("\r", "\n")))
    written = text.split("\n")
    ended = text.endswith("\n") or ends_in_prompt(written[-1])
    lines = without_prefixes(written)
    if _BAD_CHARACTER.search(text):
        # Of a phone's other processes, whose lines are gone by now, some log what is no text.
        bad = [at for at, line in enumerate(written, 1) if lines[at - 1] and _BAD_CHARACTER.search(line)]
        if bad or not any(line.strip() for line in lines):
            return Log(name, data, (), True, bad[0] if bad else 1)
    while lines and not lines[-1].strip():
        lines.pop()
    return Log(name, data, tuple(lines), ended)


def _as_typed(text: str) -> str:
    """A text with plain blanks and characters in place of what pages, chats and mails make of them."""
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text if text.isascii() else text.translate(_BLANKS)


def is_text(value: str) -> bool:
    """Whether a value may be printed, and stand in a file, as it is."""
    return _NO_TEXT.search(value) is None


def parse_json(log: Log) -> Any:
    """The log's JSON; raises `ImportLogError` on NaN, keys given twice, and anything cut short."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise log.refuse(None, f"the key {twice[:40]!r} is given twice", "give the file as the tool wrote it")
        return found

    def constant(text: str) -> Any:
        raise log.refuse(None, f"it holds {text}, which is not a number", "repeat the measurement")

    try:
        return json.loads(log.text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and log.text[error.pos :].lstrip()[:1] in ("{", "["):
            raise log.refuse(error.lineno, "a second JSON text begins here", "give one log per file") from None
        raise log.refuse(
            error.lineno,
            f"this is not whole JSON ({error.msg})",
            "give the whole file; a tool that was killed leaves it without its end",
        ) from None
    except (RecursionError, ValueError):
        raise log.refuse(
            None, "its JSON is nested too deeply or has too long a number", "give the file as written"
        ) from None


def json_number(log: Log, values: Mapping[str, Any], key: str, *, optional: bool = False) -> float | None:
    """values[key] as a finite number not below zero; None only where `optional` and it is missing or null."""
    value = values.get(key)
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise log.refuse(None, f"{key} is {str(value)[:40]!r}, not a number", "give the file as the tool wrote it")
    if not (0 <= value <= 1e18):
        raise log.refuse(None, f"{key} is {value!s:.40}, out of range", "give the file as the tool wrote it")
    return float(value)


def required(log: Log, value: float | None, key: str) -> float:
    """`value`, or the refusal that it is missing."""
    if value is None:
        raise log.refuse(None, f"{key} is missing", "give the file as the tool wrote it")
    return value
