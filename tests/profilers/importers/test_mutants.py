"""Mutated logs are refused or say what the golden file says; changed bytes are refused or give possible values.

A mutant may leave out a fact, which is then None; no fact may be another.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from profilers.importers import ImportedLog
from profilers.importers import OperatorRow
from profilers.importers import make_log
from profilers.importers import read
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators

GOLDEN = {name: mutators.golden(name) for name in mutators.FILES}
# A number may stand in a name as well.
TEXTS = ("model_file", "runtime_version", "label")
FACTS = [field.name for field in dataclasses.fields(ImportedLog) if field.name not in ("warnings", "confirmed", "tool")]


def understood(name: str, data: bytes) -> tuple[ImportedLog, ...] | None:
    """What is read, None where it is refused; any other error fails the test."""
    try:
        return read(make_log(data, name), mutators.OPTIONS.get(name))
    except ImportLogError as error:
        message = str(error)
        assert message.startswith(name) and message.endswith(".") and len(message) < 1500
        return None


def differences(found: ImportedLog, golden: ImportedLog, *, texts: bool = True) -> list[str]:
    """Facts of `found` that are there and other than those of `golden`; `texts`: names and versions, too."""
    facts = [name for name in FACTS if texts or name not in TEXTS]
    return [name for name in facts if not same(getattr(found, name), getattr(golden, name), texts=texts)]


def same(found: object, golden: object, *, texts: bool) -> bool:
    if isinstance(found, tuple) and isinstance(golden, tuple):
        if not all(isinstance(one, OperatorRow) for one in (*found, *golden)):
            return not found or found == golden
        rows, others = (sorted(one, key=by_name) for one in (found, golden))
        return not rows or (
            len(rows) == len(others) and all(same_row(*pair, texts=texts) for pair in zip(rows, others, strict=True))
        )
    if isinstance(found, dict) and isinstance(golden, dict):
        return all(golden.get(key) == value for key, value in found.items())
    return found is None or found == golden


def by_name(row: OperatorRow) -> tuple[str, str, int]:
    return row.name, row.type, -1 if row.node is None else row.node


def same_row(found: OperatorRow, golden: OperatorRow, *, texts: bool) -> bool:
    names = [field.name for field in dataclasses.fields(OperatorRow) if texts or field.name not in ("name", "type")]
    pairs = [(getattr(found, name), getattr(golden, name)) for name in names]
    return all(one is None or one == other for one, other in pairs)


def possible(log: ImportedLog) -> bool:
    """Whether every number is finite and not below zero, and the order of the statistics holds."""
    numbers = [log.mean_ms, log.median_ms, log.min_ms, log.max_ms, log.std_ms, log.count, log.peak_memory_bytes]
    numbers += [log.estimated_ms, log.threads, *log.percentiles_ms.values()]
    numbers += [value for row in log.operators for value in (row.mean_ms, row.share, row.times_called, row.node)]
    finite = all(math.isfinite(value) and value >= 0 for value in numbers if value is not None)
    ends = [value for value in (log.min_ms, log.max_ms) if value is not None]
    middle = [value for value in (log.mean_ms, log.median_ms) if value is not None]
    step = 0.0102 if log.format.startswith("litert") else 2e-4 * max(ends, default=0.0)
    ordered = len(ends) < 2 or all(ends[0] - step <= value <= ends[1] + step for value in middle)
    return finite and ordered


def mutants(
    kinds: Sequence[mutators.Mutator], count: int, seed: int
) -> list[tuple[str, str, bytes, tuple[ImportedLog, ...] | None]]:
    """Name, mutator, mutant and what is understood of it, `count` times."""
    rng = np.random.default_rng(seed)
    made = []
    names = list(mutators.FILES)
    for at in range(count):
        name = names[at % len(names)]
        data = mutators.FILES[name]
        fitting = [
            kind for kind in kinds if not mutators.is_binary(name) or kind in (*mutators.BINARY, *mutators.BYTES)
        ]
        if not fitting:
            continue
        kind = fitting[int(rng.integers(len(fitting)))]
        mutant = kind(rng, name, data)
        made.append((name, kind.__name__, mutant, understood(name, mutant)))
    return made


def report(title: str, made: Sequence[tuple[str, str, bytes, tuple[ImportedLog, ...] | None]]) -> None:
    """Print the share accepted, of each mutator too."""
    every, taken = Counter(kind for _, kind, _, _ in made), Counter(kind for _, kind, _, found in made if found)
    print(f"\n{title}: {len(made):,} mutants, {sum(taken.values()) / len(made):.1%} accepted")
    for kind, count in sorted(every.items()):
        print(f"  {kind:<26} {taken[kind]:>6,} of {count:>6,}")


def check_structure(count: int, seed: int) -> None:
    made = mutants(mutators.STRUCTURE, count, seed)
    report("structure", made)
    for name, kind, mutant, found in made:
        sources = [log for logs in GOLDEN.values() for log in logs] if kind == "join" else GOLDEN[name]
        for log in found or ():
            gaps = [differences(log, golden, texts=kind != "no_number") for golden in sources]
            assert any(not gap for gap in gaps), (name, kind, min(gaps, key=len), mutant[-400:])
            assert possible(log)


def check_bytes(count: int, seed: int) -> None:
    made = mutants(mutators.BYTES, count, seed)
    report("bytes", made)
    for name, kind, mutant, found in made:
        assert all(possible(log) for log in found or ()), (name, kind, mutant)


def check_harmless(count: int, seed: int) -> None:
    made = mutants(mutators.HARMLESS, count, seed)
    report("harmless", made)
    assert sum(found is not None for *_, found in made) >= 0.95 * len(made), [
        (name, kind) for name, kind, _, found in made if found is None
    ]
    for name, kind, _, found in made:
        assert found is None or found == GOLDEN[name], (name, kind)


def test_structure_mutants() -> None:
    check_structure(600, seed=1)


def test_byte_mutants() -> None:
    check_bytes(600, seed=2)


def test_harmless_mutants() -> None:
    check_harmless(200, seed=3)


@pytest.mark.slow
def test_ten_thousand_structure_mutants() -> None:
    check_structure(10_000, seed=11)


@pytest.mark.slow
def test_ten_thousand_byte_mutants() -> None:
    check_bytes(10_000, seed=12)


@pytest.mark.slow
def test_harmless_mutants_of_every_golden_file() -> None:
    check_harmless(2_000, seed=13)
