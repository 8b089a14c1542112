"""A move or a new name changes no figure: those of fixed inputs are what they were when they were frozen."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tests import golden_numbers

FROZEN = json.loads(golden_numbers.FILE.read_text(encoding="utf-8"))


def close(frozen: Any, relative: float) -> Any:
    """The frozen value with every number in it as one that is equal within rounding."""
    if isinstance(frozen, dict):
        return {key: close(value, relative) for key, value in frozen.items()}
    if isinstance(frozen, list):
        return [close(value, relative) for value in frozen]
    return pytest.approx(frozen, rel=relative, abs=relative) if isinstance(frozen, float) else frozen


@pytest.mark.parametrize(
    ("name", "compute", "relative"),
    [
        ("search", golden_numbers.searched, 1e-9),
        ("profile_from_timings", golden_numbers.profiled, 1e-6),
        ("latency_ms", golden_numbers.predicted, 1e-9),
        # Frozen with L-BFGS, which may stop a step apart elsewhere. Adam's figures were within 4.0e-4 of these.
        ("fitted_latency_ms", partial(golden_numbers.predicted, fitted=True), 5e-4),
        ("extracted", golden_numbers.extracted, 0.0),
        # What LiteRT computes in float32 differs in its last digits between processors.
        ("tflite", golden_numbers.written_tflite, 1e-4),
    ],
)
def test_figures_are_those_that_were_frozen(name: str, compute: Any, relative: float) -> None:
    assert compute() == close(FROZEN[name], relative)
