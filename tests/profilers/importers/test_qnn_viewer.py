"""qnn-profile-viewer's text: the section of execution alone is a latency, and its times contain each other."""

from __future__ import annotations

import pytest

from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.reading import reason
from tests.profilers.importers.reading import understood

TEXT = FILES["qnn_viewer.txt"].decode()
AVERAGE = TEXT[TEXT.index("Execute Stats (Average)") : TEXT.index("Execute Stats (Overall)")]


def newer(**factors: float) -> str:
    """As newer versions print it: the slowest and the quickest run too, and whole rules."""
    added = ""
    for name, factor in factors.items():
        section = AVERAGE.replace("Average", name)
        for value in ("2952", "2920", "2600", "2492", "2949"):
            section = section.replace(f" {value} us", f" {round(int(value) * factor)} us")
        added += section
    text = TEXT.replace(AVERAGE, AVERAGE + added).replace("--- ", "---------------\n")
    return text.replace("NetRun IPS:  214.8888", "NetRun IPS (includes IO and misc. time):  214.8888")


def test_the_latency_is_that_of_execution() -> None:
    (log,) = understood(TEXT)
    assert (log.mean_ms, log.min_ms, log.delegate, log.label) == (2.952, None, "htp", None)
    assert "the accelerator itself took 2.492 ms of it" in log.warnings


def test_newer_versions_add_the_quickest_and_the_slowest_run() -> None:
    (log,) = understood(newer(Min=0.9, Max=1.5))
    assert (log.min_ms, log.mean_ms, log.max_ms) == (2.657, 2.952, 4.428)
    assert "min (3.247 ms) is above" in reason(newer(Min=1.1, Max=1.5))
    lines = newer(Min=0.9).splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if "Stats (Min)" in line) + 8
    assert "Average and Min do not hold the same lines" in reason("".join(lines[:at] + lines[at + 1 :]))


def test_a_model_of_two_graphs_has_two_latencies() -> None:
    graph = AVERAGE[AVERAGE.index("--- Graph 0") :]
    logs = understood(TEXT.replace(graph, graph + graph.replace("Graph 0 (model)", "Graph 1 (decode)")))
    assert [log.label for log in logs] == ["model", "decode"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("NetRun:  2952 us", "NetRun:  2942 us", "2942 us here, 2949 us there"),
        ("NetRun:  2952 us", "NetRun:  2952 cycles", "NetRun is 2952 cycles"),
        ("NetRun:  2952 us", "NetRun:  2952 ms", "'NetRun:  2952 ms' is cut or changed"),
        ("    NetRun:  2952 us\n", "", "this graph has no line 'NetRun'"),
        ("214.8888", "414.8888", "414.889 inf/sec here, 2952 us there"),
        ("    NetRun IPS:  214.8888 inf/sec\n", "", "without the line 'NetRun IPS'"),
        ("--- Graph 0 (model):\n    NetRun:  2952", "    NetRun:  2952", "a time of no graph"),
        ("Execute Stats (Average)", "Execute Stats (Medium)", "without the section 'Execute Stats (Average):'"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert said in reason(TEXT.replace(old, new))


def test_two_logs_in_one_file_are_refused() -> None:
    assert "a second 'Execute Stats (Average):'" in reason(TEXT + TEXT)
    for end in range(TEXT.index("Graph 0", TEXT.index("Execute")), len(TEXT) - len(" inf/sec\n") - 8):
        reason(TEXT[:end])
