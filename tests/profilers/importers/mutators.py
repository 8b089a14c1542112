"""Mutators of logs: of their structure, of single bytes, and harmless ones that a log may go through on its way."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from profilers.importers import ImportedLog
from profilers.importers import ReadOptions
from profilers.importers import read_log

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = {path.name: path.read_bytes() for path in sorted(GOLDEN.iterdir()) if path.is_file() and path.suffix != ".md"}
"""Every golden file by name."""

OPTIONS = {"qnn_profile.csv": ReadOptions(runs=5)}
"""What has to be said of golden files without an end mark."""

Rng = np.random.Generator
Mutator = Callable[[Rng, str, bytes], bytes]
# What tools, and people, put before every line: all formats of logcat, Android Studio's, CI's, terminals' and mail's.
PREFIXES = {
    "brief": "I/tflite  ( 1234): ",
    "process": "I( 1234) ",
    "tag": "I/tflite  : ",
    "thread": "I( 1234: 1240) ",
    "time": "06-01 12:00:00.123 I/tflite  ( 1234): ",
    "threadtime": "06-01 12:00:00.123  1234  1240 I tflite  : ",
    "year and zone": "2025-06-01 12:00:00.123456 +0200  1234  1240 I tflite  : ",
    "uid": "06-01 12:00:00.123 10234  1234  1240 I tflite  : ",
    "named uid": "06-01 12:00:00.123 shell  1234  1240 I tflite  : ",
    "uid, brief": "I/tflite  (shell: 1234): ",
    "epoch": "         1748772000.123  1234  1240 I tflite  : ",
    "old Android Studio": "06-01 12:00:00.123 1234-1240/org.tensorflow.lite.benchmark I/tflite: ",
    "Android Studio": "2025-06-01 12:00:00.123  1234-1240  tflite                  org.tensorflow.lite          I  ",
    "Android Studio, tag once": "2025-06-01 12:00:00.123  1234-1240                          org.tensorflow        I  ",
    "Android Studio, compact": "12:00:00.123  I  ",
    "GitHub": "2025-06-01T12:00:00.1234567Z ",
    "gh run view": "build\tRun benchmark\t2025-06-01T12:00:00.1234567Z ",
    "GitLab": "2025-06-01T12:00:00.123456Z 00O ",
    "Jenkins": "[2025-06-01T12:00:00.123Z] ",
    "clock": "[12:00:00] ",
    "ts": "Jun 01 12:00:00 ",
    "journalctl": "Jun  1 12:00:00 host benchmark[321]: ",
    "compose": "bench-1  | ",
    "indentation": "    ",
    "tab": "\t",
    "quote": "> ",
    "nested quote": "> > ",
    "close quote": ">> ",
    "quoted logcat": "> 06-01 12:00:00.123  1234  1240 I tflite  : ",
    "quoted CI": ">     2025-06-01T12:00:00.1234567Z ",
}
UNITS = ((" ms", " us"), (" us:", " ms:"), ("(MB)", "(KB)"), (" MB", " KB"), (" s\n", " ms\n"), ("(ms)", "(us)"))
UNITS += (
    ("microseconds", "milliseconds"),
    ("milliseconds:", "seconds:"),
    ('_ms"', '_us"'),
    (",ms", ",s"),
    ("[avg ms]", "[avg us]"),
)
UNITS += (("avg_ms", "avg_us"), (" bytes", " kB"), (" sec\n", " msec\n"))
NO_NUMBERS = ("NaN", "null", "-1", "inf", "1e999", "", "0x10", "1,5", "-nan")


def golden(name: str) -> tuple[ImportedLog, ...]:
    """What is understood of a golden file."""
    return read_log(GOLDEN / name, OPTIONS.get(name))


def is_binary(name: str) -> bool:
    return name.endswith(".pb")


def is_output(name: str) -> bool:
    """Whether it is what a tool printed, and may have gone through logcat."""
    return name.startswith(("tflite", "litert_cpp", "perf_test", "ncnn", "mnn", "qnn_viewer")) and name.endswith(".txt")


def _lines(data: bytes) -> list[str]:
    return data.decode().splitlines(keepends=True)


def _at(rng: Rng, size: int) -> int:
    return int(rng.integers(max(1, size)))


def truncate(rng: Rng, name: str, data: bytes) -> bytes:
    return data[: _at(rng, len(data))]


def drop_line(rng: Rng, name: str, data: bytes) -> bytes:
    lines = _lines(data)
    del lines[_at(rng, len(lines))]
    return "".join(lines).encode()


def duplicate_line(rng: Rng, name: str, data: bytes) -> bytes:
    lines = _lines(data)
    at = _at(rng, len(lines))
    return "".join([*lines[: at + 1], *lines[at:]]).encode()


def swap_neighbours(rng: Rng, name: str, data: bytes) -> bytes:
    lines = _lines(data)
    at = _at(rng, len(lines) - 1)
    lines[at : at + 2] = lines[at : at + 2][::-1]
    return "".join(lines).encode()


def move_line(rng: Rng, name: str, data: bytes) -> bytes:
    lines = _lines(data)
    line = lines.pop(_at(rng, len(lines)))
    lines.insert(_at(rng, len(lines)), line)
    return "".join(lines).encode()


def swap_sections(rng: Rng, name: str, data: bytes) -> bytes:
    """Two stretches of whole lines change places; titles and their tables, where they begin at titles."""
    lines = _lines(data)
    marks = [
        at for at, line in enumerate(lines) if re.search(r"Profiling Info|=====|^precisions|^  \w+:$|Running", line)
    ]
    cuts = (
        sorted(rng.choice(marks, 2, replace=False))
        if len(marks) > 1 and rng.random() < 0.7
        else sorted(rng.integers(0, len(lines) + 1, 2))
    )
    first, second = int(cuts[0]), int(cuts[1])
    return "".join([*lines[first:second], *lines[:first], *lines[second:]]).encode()


def permute_columns(rng: Rng, name: str, data: bytes) -> bytes:
    """The columns of a table, with their headings or, once in three, the headings alone."""
    split = ", " if name == "tflite_ops.csv" else "," if name.endswith(".csv") else "\t"
    lines = _lines(data)
    heads = [at for at, line in enumerate(lines) if line.count(split) >= 4]
    if not heads:
        return swap_neighbours(rng, name, data)
    head = next((at for at in heads if "node type" in lines[at] or "event_name" in lines[at]), heads[0])
    count = lines[head].count(split)
    order = np.arange(count + 1)
    start = 1 if split == "\t" and lines[head].startswith("\t") and "[" in lines[head] else 0
    order[start:] = rng.permutation(order[start:])
    alone = rng.random() < 1 / 3
    for at in heads:
        cells = lines[at].rstrip("\n").split(split)
        if len(cells) == count + 1 and (not alone or at == head):
            lines[at] = split.join(cells[place] for place in order) + "\n"
    return "".join(lines).encode()


def join(rng: Rng, name: str, data: bytes) -> bytes:
    return data + list(FILES.values())[_at(rng, len(FILES))]


def change_unit(rng: Rng, name: str, data: bytes) -> bytes:
    text = data.decode()
    found = [(match.start(), old, new) for old, new in UNITS for match in re.finditer(re.escape(old), text)]
    if not found:
        return drop_line(rng, name, data)
    at, old, new = found[_at(rng, len(found))]
    return (text[:at] + new + text[at + len(old) :]).encode()


def remove_key(rng: Rng, name: str, data: bytes) -> bytes:
    """A key of a JSON object, a `key=value`, a `key: value`, or a label."""
    if name.endswith(".json"):
        value = json.loads(data)
        objects = [one for one in _walk(value) if isinstance(one, dict) and one]
        chosen = objects[_at(rng, len(objects))]
        del chosen[list(chosen)[_at(rng, len(chosen))]]
        return json.dumps(value, indent=1).encode()
    text = data.decode()
    found = list(re.finditer(r"[\w.()]+[=:] ?\[?[\w./]+\]?", text))
    if not found:
        return drop_line(rng, name, data)
    match = found[_at(rng, len(found))]
    return (text[: match.start()] + text[match.end() :]).encode()


def no_number(rng: Rng, name: str, data: bytes) -> bytes:
    """NaN, null and the like in place of a number."""
    text = data.decode()
    found = list(re.finditer(r"(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?(?![\w.])", text))
    match = found[_at(rng, len(found))]
    # In JSON and CSV a decimal comma makes two numbers of one, which nothing can tell.
    choices = [one for one in NO_NUMBERS if one != "1,5" or name.endswith(".txt")]
    return (text[: match.start()] + choices[_at(rng, len(choices))] + text[match.end() :]).encode()


def _walk(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for one in inner for found in _walk(one))]


def crlf(rng: Rng, name: str, data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def ansi(rng: Rng, name: str, data: bytes) -> bytes:
    colours = [f"\x1b[{code}m" for code in ("0", "1", "31", "1;32", "38;5;214")]
    coloured = [
        f"{colours[_at(rng, 5)]}{line.rstrip(chr(10))}\x1b[0m\n" if rng.random() < 0.5 else line
        for line in _lines(data)
    ]
    return "".join(coloured).encode()


def prefix(rng: Rng, name: str, data: bytes) -> bytes:
    if not is_output(name):
        return crlf(rng, name, data)
    before = list(PREFIXES.values())[_at(rng, len(PREFIXES))]
    return "".join(before + line for line in _lines(data)).encode()


def counted_prefix(rng: Rng, name: str, data: bytes) -> bytes:
    """One that no list knows, with a number that grows."""
    if not is_output(name):
        return crlf(rng, name, data)
    return "".join(f"#12 {at / 8:.3f} {line}" for at, line in enumerate(_lines(data))).encode()


def keys_pressed(rng: Rng, name: str, data: bytes) -> bytes:
    """Keys that somebody pressed while the tool ran, as a terminal echoes them."""
    if not is_output(name):
        return crlf(rng, name, data)
    lines = _lines(data)
    for _ in range(3):
        at = _at(rng, len(lines))
        lines[at] = ("^[[A", "^[[1;5C", "^[OB", "\x1bOA")[_at(rng, 4)] + lines[at]
    return "".join(lines).encode()


def letter(rng: Rng, name: str, data: bytes) -> bytes:
    """A text that fences it, as in an issue."""
    before = ("It is slow on my phone:\n\n", "| phone | ms |\n|---|---|\n| mine | 12 |\n\n", "")[_at(rng, 3)]
    end = b"" if data.endswith(b"\n") else b"\n"
    return before.encode() + b"```" + (b"json", b"", b"console")[_at(rng, 3)] + b"\n" + data + end + b"```\nThanks!\n"


def terminal(rng: Rng, name: str, data: bytes) -> bytes:
    """Copied from a terminal, from the command to the next prompt."""
    prompt = ("husky:/data/local/tmp $ ", "me@host:~/bench$ ", "PS C:\\bench> ", "1|sagit:/ # ")[_at(rng, 4)].encode()
    return prompt + b"cat " + name.encode() + b"\n" + data + prompt


def page(rng: Rng, name: str, data: bytes) -> bytes:
    """Copied from a page, a chat or a mail, with other blanks or with entities of HTML."""
    text = data.decode()
    kinds = (
        text.replace(" ", "\xa0"),
        text.replace("\n", "\u200b\n"),
        html.escape(text),
        html.escape(text, quote=False),
    )
    return kinds[_at(rng, 4)].encode()


def tabs_to_spaces(rng: Rng, name: str, data: bytes) -> bytes:
    blanks = " " * int(rng.integers(1, 9))
    allowed = is_output(name)
    return data.replace(b"\t", blanks.encode()) if allowed else ansi(rng, name, data)


def tabs_to_spaces_anywhere(rng: Rng, name: str, data: bytes) -> bytes:
    return data.replace(b"\t", b" " * int(rng.integers(1, 9)))


def blank_lines(rng: Rng, name: str, data: bytes) -> bytes:
    return data + (b"\n" if data.endswith(b"\n") else b"\n\n") * int(rng.integers(1, 5))


def byte_order_mark(rng: Rng, name: str, data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data if rng.random() < 0.5 else data.decode().encode("utf-16")


def change_byte(rng: Rng, name: str, data: bytes) -> bytes:
    at = _at(rng, len(data))
    return data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]


HARMLESS: tuple[Mutator, ...] = (crlf, ansi, prefix, counted_prefix, keys_pressed)
HARMLESS += (tabs_to_spaces, blank_lines, byte_order_mark, letter, terminal, page)
STRUCTURE: tuple[Mutator, ...] = (
    truncate,
    drop_line,
    duplicate_line,
    swap_neighbours,
    move_line,
    swap_sections,
    permute_columns,
    join,
    change_unit,
    remove_key,
    no_number,
    tabs_to_spaces_anywhere,
    *HARMLESS,
)
BYTES: tuple[Mutator, ...] = (change_byte,)
# What can be done to bytes that are no text.
BINARY: tuple[Mutator, ...] = (truncate, join)
