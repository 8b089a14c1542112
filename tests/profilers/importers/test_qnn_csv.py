"""ONNX Runtime's QNN profile: which of its times is the latency, what adds up, and where a cut would not show."""

from __future__ import annotations

import pytest

from profilers.importers import ImportedLog
from profilers.importers import ReadOptions
from profilers.importers import make_log
from profilers.importers import read
from subdit.core.errors import ImportLogError
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

TEXT = FILES["qnn_profile.csv"].decode()
RUN = "0,BACKEND,4,COUNT,BACKEND,ROOT,Number of HVX threads used\n"
CASE = (GOLDEN / "cases" / "c20-qnn-profile.csv").read_text()


def understood(text: str, runs: int | None = 5, warmup_runs: int = 1) -> ImportedLog:
    (log,) = read(make_log(text.encode(), "x"), ReadOptions(warmup_runs=warmup_runs, runs=runs))
    return log


def reason(text: str, runs: int | None = 5) -> str:
    with pytest.raises(ImportLogError) as caught:
        understood(text, runs)
    return str(caught.value)


def test_the_latency_is_what_the_processor_waits_for() -> None:
    log = understood(TEXT)
    assert (log.count, log.median_ms, log.min_ms, log.max_ms) == (4, 5.6465, 5.592, 5.717)
    assert any("the accelerator itself took 0.9595 ms" in note for note in log.warnings)
    assert understood(TEXT, warmup_runs=0).max_ms == 9.308
    shares = {row.name: row.share for row in log.operators}
    assert len(log.operators) == 79 and sum(share or 0 for share in shares.values()) == pytest.approx(1)
    # Cycles are no time.
    assert all(row.mean_ms is None for row in log.operators)


def test_a_file_without_an_end_asks_for_its_number_of_runs() -> None:
    assert "it holds 5 runs and has no end mark" in reason(TEXT, None)
    cut = TEXT[: TEXT.rindex(RUN)]
    assert "number of runs: 4 here, 5 there" in reason(cut)
    assert understood(cut, 4).count == 3


def test_every_cut_within_a_run_is_refused() -> None:
    last = TEXT.rindex(RUN)
    for line in range(TEXT.count("\n", last)):
        reason(TEXT[:last] + "".join(TEXT[last:].splitlines(keepends=True)[:line]))


def test_the_smallest_file() -> None:
    log = understood(CASE, 1)
    assert (log.count, log.mean_ms, log.delegate) == (1, 1.8, "qnn")
    assert [(row.name, row.node, row.share) for row in log.operators] == [("conv", 1, 1.0)]


def test_newer_files_have_a_column_more() -> None:
    head, *rows = TEXT.splitlines()
    newer = "\n".join([f"{head},ONNX Source Ops", *(f"{row}," for row in rows)]) + "\n"
    assert understood(newer) == understood(TEXT)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0,EXECUTE,5717,US", "0,EXECUTE,5717,CYCLES", "is in 'CYCLES', not in US"),
        ("0,EXECUTE,5717,US", "0,EXECUTE,5417,US", "which contains RPC (execute) time: 5417 us here, 5567 us there"),
        ("0,NODE,12330,CYCLES", "0,NODE,12331,CYCLES", "3422548 here, 3422549 there"),
        ("0,NODE,12330,CYCLES", "0,NODE,12330,US", "is no operator's cycles"),
        ("0,BACKEND,5567,US,BACKEND,ROOT,RPC (execute) time\n", "", "lines of this run are missing, or moved"),
        ("0,NODE,12330,CYCLES,BACKEND,SUB-EVENT,Input OpId_2 (cycles)\n", "", "3422548 here, 3410218 there"),
        ("0,EXECUTE,5717,US", "0,EXECUTE,-5717,US", "not a whole number"),
        ("Time,Unit of Measurement", "Unit of Measurement,Time", "no log of a known format"),
        ("Event Level,Event Identifier", "Event Identifier,Event Level", "the headings are not those of a QNN profile"),
        ("Msg Timestamp,Message", "Msg Timestamp, Message", "this is qnn-profile-viewer's CSV"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert said in reason(TEXT.replace(old, new))


def test_a_file_is_of_one_session_and_one_graph() -> None:
    rows = TEXT[TEXT.index("\n") + 1 :]
    assert "a second graph, or a second session" in reason(TEXT + rows, 10)
    # As a model in two parts writes it, from a context that was made before.
    runs = [RUN + run for run in TEXT.split(RUN)[1:]]
    others = [run.replace(":OpId_", "_of_b:OpId_").replace(" OpId_", "_of_b OpId_") for run in runs]
    turns = "".join(run + other for run, other in zip(runs, others, strict=True))
    assert "a second graph: the model was cut into several" in reason(TEXT[: TEXT.index("\n") + 1] + turns, 10)


def test_a_long_cell_is_refused_in_a_sentence() -> None:
    assert "no line of a CSV" in reason(TEXT + '0,"' + "a" * 200_000 + '",1,US,BACKEND,ROOT,x\n')
