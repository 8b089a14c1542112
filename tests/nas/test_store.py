"""The quality store: paid once, and whole after a kill at any byte."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nas.proxies import QualityStore
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.space import get_space
from tests.nas import analytic

SPACE = get_space("digits")
SPECS = SPACE.decode(SPACE.sample(np.random.default_rng(0), 3))


def test_never_evaluates_twice_not_even_from_another_object(tmp_path: Path) -> None:
    loss = analytic.Loss(SPACE)
    first = QualityStore(tmp_path, loss)
    values = [first.value(spec) for spec in SPECS + SPECS]
    second = QualityStore(tmp_path, loss)
    assert [second.value(spec) for spec in SPECS] * 2 == values
    assert len(loss.asked) == 3 and (first.evaluations, second.evaluations) == (3, 0)
    lines = [json.loads(line) for line in (tmp_path / "0123abcd.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "spec_hash": SPECS[0].hash,
        "proxy": "analytic",
        "data_hash": "feed",
        "value": values[0],
    }


def test_other_data_and_other_proxies_are_other_evaluations(tmp_path: Path) -> None:
    loss = analytic.Loss(SPACE)
    QualityStore(tmp_path, loss).value(SPECS[0])
    for other in (dataclasses.replace(loss, data_hash="beef"), dataclasses.replace(loss, id="other")):
        store = QualityStore(tmp_path, other)
        assert SPECS[0] not in store
        store.value(SPECS[0])
        assert store.evaluations == 1
    assert SPECS[0] in QualityStore(tmp_path, loss)


def test_a_line_cut_anywhere_costs_one_evaluation_at_most(tmp_path: Path) -> None:
    loss = analytic.Loss(SPACE)
    store = QualityStore(tmp_path / "whole", loss)
    values = [store.value(spec) for spec in SPECS]
    whole = store.path.read_bytes()
    second_end = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for cut in range(second_end, len(whole)):
        path = tmp_path / str(cut) / store.path.name
        path.parent.mkdir()
        path.write_bytes(whole[:cut])
        mended = QualityStore(path.parent, loss)
        assert [mended.value(spec) for spec in SPECS] == values
        assert mended.evaluations == 1
        assert path.read_bytes() == whole


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    store = QualityStore(tmp_path, analytic.Loss(SPACE))
    for spec in SPECS:
        store.value(spec)
    lines = store.path.read_bytes().splitlines(keepends=True)
    store.path.write_bytes(lines[0] + b'{"spec_hash": 1\n' + lines[2])
    with pytest.raises(RunError, match="Line 2 of the quality store"):
        QualityStore(tmp_path, analytic.Loss(SPACE))


def test_a_diverged_supernet_is_refused(tmp_path: Path) -> None:
    class Diverged(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            return float("nan")

    with pytest.raises(SearchError, match="gives nan"):
        QualityStore(tmp_path, Diverged(SPACE)).value(SPECS[0])
