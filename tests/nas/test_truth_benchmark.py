"""The benchmark of truth tables: whether common noise helps, and how many trainings a calibrated proxy takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import truth

from nas.proxy_benchmark._calibrated import calibration_points
from nas.proxy_benchmark._noise_comparison import compare_agreement
from nas.proxy_benchmark._table_scores import flops_of
from subdit.core.errors import SearchError
from tests.nas.made_truth import made_table
from tests.nas.made_truth import quality_of

QUALITY = quality_of(24)
QUIET, LOUD = made_table(QUALITY, 0.005, twice=24), made_table(QUALITY, 0.1, twice=20)


def test_less_noise_is_found_on_the_sub_dits_of_both_tables() -> None:
    found = compare_agreement(QUIET, LOUD)
    assert found.is_ahead and found.low < found.value < found.high
    turned = compare_agreement(LOUD, QUIET)
    assert turned.value == pytest.approx(-found.value)
    same = compare_agreement(QUIET, QUIET)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(SearchError, match="0 sub-DiTs that both trained twice"):
        compare_agreement(QUIET, made_table(QUALITY, 0.1, twice=0))


def test_both_are_told_and_drawn(tmp_path: Path) -> None:
    said = truth.noise_text(QUIET, LOUD)
    assert "common noise: two trainings of 24 sub-DiTs agree" in said and "own noise: two trainings of 20" in said
    latency = flops_of(QUIET)
    points = calibration_points(QUIET, latency, numbers=(8, 12))
    text = truth.calibration_text(QUIET, latency, "FLOPs", points, "loss")
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["8", "12", "FLOPs"]
    assert "standard deviation of 0.00" in text
    truth.draw(QUIET, latency, points, "loss", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
