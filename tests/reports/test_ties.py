"""What noise does not tell apart is said in the table of the front and of the picks."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import pytest

from reports import report
from tests.reports.run_folder import make_run
from tests.reports.run_folder import read_rows


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    return make_run(tmp_path / "run", measured=False)


def front_of(run: Path) -> list[dict[str, str]]:
    rows = [row for row in read_rows(run / "searches" / "default") if row["on_front"] == "true"]
    return sorted(rows, key=lambda row: float(row["latency_ms"]))


def mark(run: Path, letters: dict[str, str]) -> None:
    """Write the column `tie` into the tables, as a search does."""
    for file in ("trials.csv", "front.csv"):
        path = run / "searches" / "default" / file
        with path.open(newline="") as source:
            rows = [row | {"tie": letters.get(row["spec_hash"], "")} for row in csv.DictReader(source)]
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def pages(run: Path) -> tuple[str, str]:
    paths = report(run, force=True)
    page = re.sub(r"<(svg|style).*?</\1>", "", paths.html.read_text(), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", page)), paths.markdown.read_text()


def test_ties_are_a_column_and_picks_that_share_one_are_named(run: Path) -> None:
    front = front_of(run)
    at = {row["pick"]: place for place, row in enumerate(front) if row["pick"]}
    # All between balanced and best are one tie; fastest shares another with its neighbour.
    tied = {row["spec_hash"]: "b" for row in front[at["balanced"] : at["best"] + 1]}
    tied |= {front[place]["spec_hash"]: "a" for place in (at["fastest"], at["fastest"] + 1)}
    between = at["best"] - at["balanced"] - 1
    assert between > 1 and at["balanced"] > at["fastest"] + 1
    mark(run, tied)
    for text in pages(run):
        assert f"Tie: {len(tied)} of these {len(front)} sub-DiTs share a letter" in text
        assert "Noise does not tell the pick fastest from 1 point of the front (tie a)." in text
        rest = f"{between} other points of the front"
        assert f"Noise does not tell the pick balanced from the pick best and {rest} (tie b)." in text
        assert f"Noise does not tell the pick best from the pick balanced and {rest} (tie b)." in text
    lines = pages(run)[1].splitlines()
    head = next(number for number, line in enumerate(lines) if line.endswith("| parameters | tie | pick |"))
    table = lines[head + 2 : head + 2 + len(front)]
    assert {line.count("|") for line in (*lines[head : head + 2], *table)} == {9}
    assert [line.split("|")[7].strip() for line in table] == [tied.get(row["spec_hash"], "") for row in front]


def test_picks_that_share_no_letter_are_said_to_stand_apart(run: Path) -> None:
    front = front_of(run)
    mark(run, {row["spec_hash"]: "a" for row in [row for row in front if not row["pick"]][:2]})
    for text in pages(run):
        assert "Tie: 2 of these" in text and "Noise tells every pick from all other points of the front." in text


def test_a_search_without_ties_has_no_empty_column(run: Path) -> None:
    for text in pages(run):
        assert "Noise" not in text and not re.search(r"\btie\b", text)
