"""What ran where is one line, and an accelerator that took less than it was asked for is a warning and a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from profilers.importers import ImportedLog
from profilers.importers import fallback
from profilers.importers import import_logs
from profilers.importers import make_log
from profilers.importers import ran_where
from profilers.importers import read
from profilers.importers import read_log
from subdit.cli import group
from subdit.core.errors import ImportLogError
from subdit.space import all_components
from subdit.space import get_space
from tests.profilers.importers import ddp
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

NAMES = [component.name for component in all_components(get_space("digits"))]
SESSIONS = GOLDEN / "sessions"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


def log(**facts: Any) -> ImportedLog:
    return ImportedLog(facts.pop("format", "litert-result"), "a tool", **facts)


SAID = [
    (log(), "the log does not say what ran the model", None),
    (log(delegate="cpu"), "the processor ran all", None),
    (log(delegate="xnnpack", delegated_share=1.0, graph_operators=70, partitions=1), "the processor ran all", None),
    (
        log(delegate="xnnpack", delegated_share=0.75, graph_operators=8, partitions=5),
        "the processor ran all, 6 of 8 operators (75.0 %) in XNNPACK, in 5 partitions",
        None,
    ),
    (log(delegate="gpu", delegated_share=1.0, graph_operators=70, partitions=1), "gpu ran all 70 operators", None),
    (
        log(delegate="gpu", delegated_share=0.07, graph_operators=400, partitions=3),
        "gpu ran 28 of 400 operators (7.0 %), in 3 partitions; the processor ran the rest",
        "gpu took 28 of 400 operators (7.0 %) only: the rest ran on the processor",
    ),
    (
        log(delegate="npu", partly_delegated=True),
        "npu ran a part of the operators, how many the log does not say",
        "npu took a part of the operators only",
    ),
    (log(delegate="npu"), "npu, which share of the operators the log does not say", None),
    (
        log(delegate="xnnpack", delegated_share=0.5, format="executorch-inspector"),
        "xnnpack ran 50.0 % of the operators; the processor ran the rest",
        "xnnpack took 50.0 % of the operators only: the rest ran on the processor",
    ),
    (
        log(delegate="cpu", declined="gpu"),
        "the processor ran all: gpu was asked for and took nothing",
        "gpu was asked for and took nothing: all ran on the processor",
    ),
]


@pytest.mark.parametrize(("found", "line", "warning"), SAID)
def test_one_line_says_what_ran_where(found: ImportedLog, line: str, warning: str | None) -> None:
    assert (ran_where(found), fallback(found)) == (line, warning)


def show(*arguments: object) -> str:
    result = CliRunner().invoke(group, ["import", *map(str, arguments), "--show"])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_reading_of_a_log_warns_of_an_accelerator_that_took_a_part() -> None:
    told = show(SESSIONS / "session-577dd187")
    assert told.splitlines()[1] == (
        "WARNING            gpu took 28 of 400 operators (7.0 %) only: the rest ran on the processor"
    )
    assert "ran_where          gpu ran 28 of 400 operators (7.0 %), in 3 partitions" in told
    assert "WARNING" not in show(SESSIONS / "session-6fa889ae")
    (value,) = json.loads(show(SESSIONS / "session-577dd187", "--json"))
    assert value["fallback"] == told.splitlines()[1][19:]
    assert "WARNING            nnapi was asked for and took nothing" in show(
        GOLDEN / "cases" / "c10-nothing-delegated.txt"
    )


@pytest.mark.parametrize(
    ("name", "partitions"),
    [("aihub_profile.json", 2), ("executorch_inspector.tsv", 2), ("tflite_issue_42507.txt", None)],
)
def test_partitions_are_counted_where_nodes_are_placed(name: str, partitions: int | None) -> None:
    assert read_log(GOLDEN / name)[0].partitions == partitions


def test_partitions_of_delegate_lines_are_read() -> None:
    case = (GOLDEN / "cases" / "c11-external-delegate.txt").read_text()
    (found,) = read(make_log(case.encode(), "x"))
    assert found.partitions == 2
    text = FILES["tflite_gpu.txt"].decode()
    line = "INFO: Replacing 9 out of 12 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 5 partitions.\n"
    plain = "INFO: Replacing 2 out of 3 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions.\n"
    (found,) = read(make_log((line + plain + text.replace("completely", "partially")).encode(), "x"))
    assert (found.partitions, found.delegated_share) == (5, 0.75)


def test_two_runs_of_a_model_tell_what_an_accelerator_and_what_partitions_cost(tmp_path: Path) -> None:
    told = show(SESSIONS / "session-577dd187", SESSIONS / "session-89abdf35", SESSIONS / "session-6fa889ae")
    # The leaderboard's figures; the other model has one run on each of two devices.
    assert told.rstrip().splitlines()[-1] == (
        "vit_base_patch16_224_fp32.tflite: with gpu it takes 0.93 times as long as on the processor alone "
        "(502.9 against 540.9 ms)"
    )
    assert told.count("times as long") == 1
    row = ddp.rows()[4]
    slower = row | {"partitions": 37, "latency_ms": row["latency_ms"] | {"median": 550.928}, "session": "x"}
    other = ddp.write_job(tmp_path / "other", slower)
    assert "10 partitions more and +0.0 % of the operators on xnnpack take +10 ms, +1 ms for each" in show(
        SESSIONS / "session-89abdf35", other
    )


def sessions(folder: Path, **changes: Any) -> list[Path]:
    row = ddp.rows()[2]
    return [
        ddp.write_job(folder / f"session-{at:04d}", row | {"file": f"{name}.tflite"} | changes).parent
        for at, name in enumerate(NAMES)
    ]


def test_no_profile_is_made_of_a_mixture_unless_it_is_meant(tmp_path: Path) -> None:
    with pytest.raises(
        ImportLogError, match=rf"Of {len(NAMES)} models {len(NAMES)} did not run .*28 of 400 .*--allow-fall"
    ):
        import_logs(sessions(tmp_path / "some"), device="phone")
    made = import_logs(sessions(tmp_path / "more"), device="phone", allow_fallback=True)
    assert (made.id, made.partitions) == ("phone/litert/fp32/t1/gpu-7pct", 3 * len(NAMES))
    nothing = sessions(tmp_path / "nothing", nodes_delegated=0, partitions=1)
    with pytest.raises(ImportLogError, match="gpu was asked for and took nothing"):
        import_logs(nothing, device="tablet")
    plain = import_logs(nothing, device="tablet", allow_fallback=True)
    assert plain.id == "tablet/litert/fp32/t1"
    whole = import_logs(sessions(tmp_path / "whole", nodes_delegated=400, partitions=1), device="watch")
    assert (whole.id, whole.partitions) == ("watch/litert/fp32/t1/gpu", len(NAMES))


def devices(*arguments: str) -> str:
    result = CliRunner().invoke(group, ["devices", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_profiles_say_what_ran_where_and_no_table_hides_the_warning(tmp_path: Path) -> None:
    import_logs(sessions(tmp_path / "some"), device="phone", allow_fallback=True)
    import_logs(sessions(tmp_path / "nothing", nodes_delegated=0, partitions=1), device="tablet", allow_fallback=True)
    import_logs(sessions(tmp_path / "whole", nodes_delegated=400, partitions=1), device="watch")
    table = devices("list")
    assert "gpu, ONLY 7 %" in table and "processor, ACCELERATOR UNUSED" in table
    phone, tablet, watch = (devices("show", name) for name in ("phone", "tablet", "watch"))
    turns = f"in {3 * len(NAMES)} partitions of {len(NAMES)} models"
    assert f"ran where    gpu ran 7.0 % of the operators, {turns}; the processor ran the rest" in phone
    assert "WARNING      gpu took 7.0 % of the operators only: the rest ran on the processor" in phone
    assert "WARNING      gpu was asked for and took nothing: all ran on the processor" in tablet
    assert "ran where    gpu ran all operators\n" in watch and "WARNING" not in watch
    assert "WARNING      gpu took 7.0 % of the operators only" in devices("compare", "watch", "phone")
    listed = {one["id"]: one["fallback"] for one in json.loads(devices("list", "--json"))}
    assert listed["watch/litert/fp32/t1/gpu"] is None
    assert listed["phone/litert/fp32/t1/gpu-7pct"].startswith("gpu took 7.0 %")
