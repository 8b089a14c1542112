"""The table that ExecuTorch's Inspector prints says what its TSV says; cycles are no milliseconds."""

from __future__ import annotations

import dataclasses

import pytest

from profilers.importers import ImportedLog
from profilers.importers import make_log
from profilers.importers import read
from tests.profilers.importers import mutators
from tests.profilers.importers import reading
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.reading import reason

GRID, MARKDOWN = FILES["executorch_table.txt"].decode(), FILES["executorch_markdown.txt"].decode()


def understood(text: str) -> ImportedLog:
    (log,) = reading.understood(text)
    return log


def test_a_table_says_what_the_file_says() -> None:
    (saved,) = mutators.golden("executorch_inspector.tsv")
    printed = understood(GRID)
    # Six digits, and no times of single runs.
    assert printed.mean_ms == pytest.approx(saved.mean_ms, rel=1e-6)
    assert printed.median_ms == saved.median_ms and printed.count is None
    same = ("delegate", "delegated_share", "graph_operators", "partly_delegated", "min_ms", "max_ms")
    assert all(getattr(printed, name) == getattr(saved, name) for name in same)
    assert [row.name for row in printed.operators] == [row.name for row in saved.operators]
    assert understood(MARKDOWN) == printed


def test_a_table_in_a_letter() -> None:
    letter = f"I ran this on my phone:\n\n{MARKDOWN}\nand it is slow.\n"
    assert understood(letter) == understood(MARKDOWN)
    # As GitHub makes it of a copied page: no bars at the sides.
    bare = "\n".join(line.strip("| ") if "---" not in line else "-- | " * 11 + "--" for line in MARKDOWN.splitlines())
    assert understood(bare + "\n") == understood(MARKDOWN)
    assert understood("".join(f"> {line}\n" for line in GRID.splitlines())) == understood(GRID)


@pytest.mark.parametrize("text", [GRID, MARKDOWN])
def test_a_table_that_is_cut_is_refused(text: str) -> None:
    lines = text.splitlines(keepends=True)
    last = next(at for at, line in enumerate(lines) if "Method::execute" in line)
    for end in range(2, last + (2 if text == GRID else 1)):
        if end != len(lines):
            reason("".join(lines[:end]))
    assert "the row's index is 3, not 2" in reason("".join(line for line in lines if "Fully Connected" not in line))
    assert "a second table" in reason(text + text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.893 ", "0.993 ", "p50 and p90: 0.993 ms here, 0.8994 ms there"),
        ("   0.253  ", "   0.753  ", "avg and max"),
        ("avg (ms)", "avg (us)", "'avg (us)' is not in milliseconds"),
        ("avg (ms)", "max (ms)", "a heading stands twice"),
        ("event_name ", "event_mane ", "no log of a known format"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in GRID
    assert said in reason(GRID.replace(old, new))


def test_cycles_under_a_heading_of_milliseconds_are_named() -> None:
    def scaled(factor: float) -> str:
        rows = GRID.splitlines(keepends=True)
        return "".join(_scaled(line, factor) if "│ True " in line else line for line in rows)

    # As in pull request 2227 of executorch: Qualcomm's delegate counts the cycles of its operators.
    assert "they are in cycles; " in reason(scaled(1e6).replace("XnnpackBackend", "QnnBackend    "))
    assert "they are in another unit, such as cycles; " in reason(scaled(33_000))
    assert "they are in nanoseconds; " in reason(scaled(1e6))
    assert "they are in microseconds; " in reason(scaled(1e3))


def _scaled(line: str, factor: float) -> str:
    cells = line.split("│")
    return "│".join([*cells[:4], *(f" {float(cell) * factor:g} " for cell in cells[4:10]), *cells[10:]])


def test_the_smallest_table() -> None:
    (log,) = read(make_log((mutators.GOLDEN / "cases" / "c15-executorch-printed-table.txt").read_bytes(), "x"))
    assert (log.mean_ms, log.delegate, log.delegated_share) == (1.731, "xnnpack", 1.0)
    assert dataclasses.asdict(log.operators[0])["name"] == "DELEGATE_CALL"
