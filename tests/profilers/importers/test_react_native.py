"""react-native-executorch's summary: the time in the model is the latency, not the pipeline's."""

from __future__ import annotations

import pytest

from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.reading import reason
from tests.profilers.importers.reading import understood

TEXT = FILES["rne_markdown.txt"].decode()
ROW = "| efficientnet-v2-s | coreml | fp16 | 4.34 | 4.53 | 3.50 | 77% | 132 | 41 | 42 |\n"
# Issue 727, an Android phone.
ANDROID = "| efficientnet-v2-s | xnnpack | fp32 | 73.94 | 82.51 | 80.56 | 98% | 316 | 55 | 86 |\n"


def test_the_latency_is_the_time_in_the_model() -> None:
    first, *_ = logs = understood(TEXT)
    assert [log.mean_ms for log in logs] == [3.5, 35.11, 67.89]
    assert (first.median_ms, first.delegate, first.precision) == (None, "coreml", "fp16")
    assert first.warnings == ("the time in the model; its pipeline takes 4.53 ms, median 4.34 ms",)
    head = TEXT[: TEXT.index(ROW)]
    assert understood(head + ANDROID)[0].mean_ms == 80.56
    other = head.replace("classification", "segmentation") + ANDROID.replace("efficientnet-v2-s", "deeplab-v3")
    assert len(understood(f"The iPhone 17 gave:\n\n{TEXT}\n{other}")) == 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("| 3.50 |", "| 3.90 |", "77 % here, 3.9 of 4.53 ms there"),
        ("| 4.53 |", "| 14.53 |", "77 % here"),
        ("| 77% |", "| 87% |", "87 % here"),
        ("| 3.50 |", "| |", "ET ms is ''"),
        ("| 3.50 |", "| - |", "ET ms is '-'; leave rows without times out"),
        ("| 3.50 ", "", "9 cells under 10 headings"),
        ("| mean ms | ET ms |", "| ET ms | mean ms |", "here, 4.53 of 3.5 ms there"),
        ("| 132 | 41 | 42 |\n", "| 132 | 41 |", "cells under 10 headings"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert said in reason(TEXT.replace(old, new, 1))


def test_a_summary_is_of_one_device() -> None:
    assert "a second row of efficientnet-v2-s, coreml, fp16" in reason(TEXT + TEXT)
    # Tables of other tasks have other headings.
    assert understood(TEXT + "\n| model | tokens/s |\n|---|---|\n| smollm | 40 |\n") == understood(TEXT)
