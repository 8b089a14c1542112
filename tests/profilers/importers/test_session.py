"""Folders that `litert benchmark --ddp` leaves: what is read of them, what is refused, several sessions together."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import model_runtime_info_pb2

from device_profiles import check_plausibility
from profilers.importers import import_logs
from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from profilers.importers.repeated_sessions import half_width_ms
from subdit.core.errors import ImportLogError
from subdit.space import all_components
from subdit.space import get_space
from tests.profilers.importers import ddp
from tests.profilers.importers.mutators import GOLDEN

ROWS = ddp.rows()
NAMES = [component.name for component in all_components(get_space("digits"))]
DIGEST = "0" * 64


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


def scaled(row: ddp.Row, factor: float, **changes: Any) -> ddp.Row:
    """The row with other times."""
    times = {name: round(value * factor, 3) for name, value in row["latency_ms"].items()}
    return row | {"latency_ms": times} | changes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_job_says_what_its_row_of_the_leaderboard_says(row: ddp.Row) -> None:
    (log,) = read_log(GOLDEN / "sessions" / row["session"] / row["job"])
    ms = row["latency_ms"]
    assert (log.count, log.model_file, log.device) == (row["runs"], row["file"], row["device_id"])
    assert (log.median_ms, log.min_ms, log.max_ms, log.std_ms) == (ms["median"], ms["min"], ms["max"], ms["stddev"])
    assert log.mean_ms == pytest.approx(ms["avg"], rel=1e-7)
    assert log.percentiles_ms == {"p5": ms["p5"], "p95": ms["p95"]}
    assert log.delegated_share == row["nodes_delegated"] / row["nodes_total"]
    assert (log.graph_operators, log.partitions) == (row["nodes_total"], row["partitions"])
    assert (log.threads, log.delegate) == (1, "gpu" if row["accelerator"] == "gpu" else "xnnpack")
    assert log.partly_delegated == (True if row["accelerator"] == "gpu" else None)
    assert log.label == f"{row['session']}/{row['job']}"


def test_golden_sessions_are_what_the_rows_make(tmp_path: Path) -> None:
    for row in ROWS:
        made = ddp.write_job(tmp_path / row["session"], row)
        for file in made.iterdir():
            assert file.read_bytes() == (GOLDEN / "sessions" / row["session"] / row["job"] / file.name).read_bytes()


def test_a_session_has_a_log_for_each_job() -> None:
    logs = read_log(GOLDEN / "sessions" / "session-6fa889ae")
    assert [log.device for log in logs] == ["caiman-35", "pa3q-35"]


def test_runtime_info_is_read_as_the_message_of_a_wheel_reads_it() -> None:
    for row in ROWS:
        graph = model_runtime_info_pb2.ModelRuntimeDetails.FromString(ddp.runtime_info(row)).subgraphs[0]
        (log,) = read(make_log(ddp.runtime_info(row), "x"))
        replaced = [id_ for node in graph.nodes for id_ in node.delegate_node_details.tflite_node_ids_replaced]
        operators = [node for node in graph.nodes if not node.HasField("delegate_node_details")]
        assert log.graph_operators == len(operators)
        assert log.delegated_share == len(replaced) / len(operators)
    golden = model_runtime_info_pb2.ModelRuntimeDetails.FromString((GOLDEN / "runtime_info.pb").read_bytes())
    assert [node.name for node in golden.subgraphs[0].nodes] == ["PAD", "CONV_2D", "TfLiteXNNPackDelegate"]
    (log,) = read_log(GOLDEN / "runtime_info.pb")
    assert (log.delegate, log.delegated_share, log.graph_operators, log.partitions) == ("xnnpack", 1.0, 2, 1)


def test_two_delegates_share_a_graph_and_the_accelerator_counts(tmp_path: Path) -> None:
    details = model_runtime_info_pb2.ModelRuntimeDetails()
    graph = details.subgraphs.add(subgraph_id=0, subgraph_type=1, execution_plan=[5, 6, 4])
    owners = {0: 5, 1: 5, 2: 6, 3: 6, 4: None}
    for id_, owner in owners.items():
        node = graph.nodes.add(id=id_, name="ADD")
        if owner is not None:
            node.delegated_to_node_id = owner
    for id_, name in ((5, "LITERT_CL"), (6, "TfLiteXNNPackDelegate")):
        node = graph.nodes.add(id=id_, name=name)
        node.delegate_node_details.delegate_name = name
        node.delegate_node_details.tflite_node_ids_replaced.extend(at for at, owner in owners.items() if owner == id_)
    (log,) = read(make_log(details.SerializeToString(), "x"))
    assert (log.delegate, log.delegated_share, log.partitions, log.partly_delegated) == ("gpu", 2 / 5, 2, True)
    graph.nodes[2].delegated_to_node_id = 5
    with pytest.raises(ImportLogError, match="what replaced operator 2: 5 here, 6 there"):
        read(make_log(details.SerializeToString(), "x"))
    graph.nodes[2].delegated_to_node_id = 6
    graph.execution_plan.append(2)
    with pytest.raises(ImportLogError, match="operator 2 is replaced and runs too"):
        read(make_log(details.SerializeToString(), "x"))


def test_caches_are_filled_by_a_dry_run_that_is_no_measurement(tmp_path: Path) -> None:
    plain, *_ = read_log(ddp.write_job(tmp_path / "one", ROWS[0]))
    (cached,) = read_log(ddp.write_job(tmp_path / "two", ROWS[0], digest=DIGEST))
    assert cached.model_sha256 == DIGEST
    assert dataclasses.replace(cached, label=plain.label, model_sha256=None) == plain


def test_an_accelerator_that_was_asked_for_and_took_nothing_is_named(tmp_path: Path) -> None:
    row = ROWS[2] | {"nodes_delegated": 0, "partitions": 1}
    (log,) = read_log(ddp.write_job(tmp_path / "session", row))
    assert (log.declined, log.delegate, log.delegated_share, log.partly_delegated) == ("gpu", "cpu", 0.0, None)


def test_files_of_one_job_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    job = ddp.write_job(tmp_path / "session", ROWS[0])
    other = ddp.write_job(tmp_path / "other", scaled(ROWS[0], 1.1))
    kept = {file.name: file.read_bytes() for file in job.iterdir()}
    for name, said in (
        ("results.pb", r"mean: 10\.97\d+ ms in results\.pb here, 9\.97\d+ ms there"),
        ("logcat.txt", "mean"),
    ):
        shutil.copyfile(other / name, job / name)
        with pytest.raises(ImportLogError, match=f"session/cpu-caiman-35/results.pb: {said}"):
            read_log(job)
        (job / name).write_bytes(kept[name])
    late = ROWS[0] | {"latency_ms": ROWS[0]["latency_ms"] | {"p95": 10.7}}
    (job / "results.pb").write_bytes(ddp.result(late))
    with pytest.raises(ImportLogError, match=r"p95: 10\.7 ms in results\.pb here, 10\.655 ms there"):
        read_log(job)
    (job / "results.pb").write_bytes(kept["results.pb"])
    (job / "runtime_info.pb").write_bytes(ddp.runtime_info(ROWS[0] | {"nodes_delegated": 69, "partitions": 3}))
    with pytest.raises(ImportLogError, match=r"runtime_info\.pb: the delegated share"):
        read_log(job)
    (job / "runtime_info.pb").write_bytes(ddp.runtime_info(ROWS[0] | {"delegate": "LITERT_CL"}))
    with pytest.raises(ImportLogError, match="what ran the model: cpu here, gpu there"):
        read_log(job)


def test_a_job_without_results_is_read_from_its_logcat_or_refused_with_its_reason(tmp_path: Path) -> None:
    job = ddp.write_job(tmp_path / "session", ROWS[0])
    (job / "results.pb").unlink()
    (log,) = read_log(job)
    assert (log.count, log.median_ms, log.device) == (101, 9.847, "caiman-35")
    failed = "09-18 00:10:02.000 31557 31557 I tflite  : STARTING!\n"
    failed += "09-18 00:10:02.000 31557 31557 E litert  : [benchmark_litert_model.cc:305] Failed to load model.\n"
    failed += "09-18 00:10:02.000 31557 31557 E tflite  : Benchmarking failed.\n"
    (job / "logcat.txt").write_text(failed)
    with pytest.raises(ImportLogError, match=r"session/cpu-caiman-35/logcat.txt, line 2: benchmark_model failed"):
        read_log(job)
    (job / "logcat.txt").unlink()
    with pytest.raises(ImportLogError, match="the job left nothing; run it again"):
        read_log(job)


def test_a_logcat_that_ends_within_the_models_name_names_no_model(tmp_path: Path) -> None:
    job = ddp.write_job(tmp_path / "session", ROWS[0])
    text = (job / "logcat.txt").read_text()
    (job / "logcat.txt").write_text(text[: text.index("mobilenet_v2.tflite") + 6])
    (log,) = read_log(job)
    assert (log.model_file, log.median_ms) == (None, 9.847)


def test_cut_files_of_a_job_are_refused_and_never_read_wrong(tmp_path: Path) -> None:
    rng = random.Random(5)
    for row in ROWS:
        job = ddp.write_job(tmp_path / row["session"], row)
        (whole,) = read_log(job)
        for name in ("results.pb", "runtime_info.pb", "logcat.txt"):
            data = (job / name).read_bytes()
            for _ in range(25):
                (job / name).write_bytes(data[: rng.randrange(1, len(data) - 1)])
                try:
                    (found,) = read_log(job)
                except ImportLogError:
                    continue
                # A log that lacks its end leaves the results without a witness, and says so.
                assert name == "logcat.txt"
                facts = ("median_ms", "mean_ms", "count", "delegate", "delegated_share", "partitions")
                assert [getattr(found, fact) for fact in facts] == [getattr(whole, fact) for fact in facts]
                assert found.model_file in (None, whole.model_file)
            (job / name).write_bytes(data)


def write_sessions(folder: Path, factors: tuple[float, ...], *, accelerator: str = "cpu", **changes: Any) -> list[Path]:
    """Sessions of every component of `digits`, one for each factor."""
    made = []
    for at, factor in enumerate(factors):
        for place, name in enumerate(NAMES):
            row = scaled(ROWS[0], factor * (1 + place / 100), file=f"{name}.tflite", accelerator=accelerator, **changes)
            made.append(ddp.write_job(folder / f"session-{at:02d}{place:04d}", row).parent)
    return made


def test_sessions_of_a_component_become_one_latency_with_their_spread(tmp_path: Path) -> None:
    factors = (1.0, 1.03, 0.99)
    made = import_logs(write_sessions(tmp_path / "ddp", factors), device="caiman-35")
    assert made.id == "caiman-35/litert/fp32/t1"
    latency = made.components[NAMES[0]]
    medians = [round(9.847 * factor, 3) for factor in factors]
    assert (latency.latency_ms, latency.rounds) == (medians[0], 3)
    assert latency.high_ms - latency.latency_ms == pytest.approx(half_width_ms(medians))
    assert "in 3 sessions, which differ by 2.1 %" in made.source
    assert made.noisy


def test_quiet_sessions_make_a_profile_that_passes_the_checks_of_noise(tmp_path: Path) -> None:
    made = import_logs(write_sessions(tmp_path / "ddp", (1.0, 1.004, 0.998, 1.002, 0.997)), device="pixel-9-pro")
    assert not made.noisy
    assert "noise" not in {finding.rule for finding in check_plausibility(made)}


def test_sessions_of_several_devices_are_told_apart_by_the_name(tmp_path: Path) -> None:
    sessions = write_sessions(tmp_path / "ddp", (1.0, 1.01))
    for path in sessions:
        ddp.write_job(path, scaled(ROWS[1], 1.0, file=read_log(path)[0].model_file or ""))
    with pytest.raises(ImportLogError, match=r"several devices \(caiman-35, pa3q-35\), and none is 'phone'"):
        import_logs(sessions, device="phone")
    # Sessions of the second are all alike: the same measurement twice.
    with pytest.raises(ImportLogError, match="to the last digit as another session"):
        import_logs(sessions, device="pa3q-35")
    assert import_logs(sessions, device="caiman-35").components[NAMES[0]].rounds == 2


def test_a_model_that_is_not_the_kits_is_refused_by_its_digest(tmp_path: Path) -> None:
    from profilers.importers.profile import _require_models
    from profilers.kits.kit import Kit
    from profilers.kits.kit import KitEntry

    folder = tmp_path / "kit"
    entry = KitEntry.component(folder, NAMES[0], ".tflite")
    entry.model.parent.mkdir(parents=True)
    entry.model.write_bytes(b"a model")
    kit = Kit(folder, "digits", "litert", "fp32", "0" * 16, (entry,), ())
    right = hashlib.sha256(b"a model").hexdigest()
    row = ROWS[0] | {"file": entry.model.name}
    for digest, path in ((right, "right"), (DIGEST, "wrong")):
        (log,) = read_log(ddp.write_job(tmp_path / path, row, digest=digest))
        if digest == right:
            _require_models({NAMES[0]: log}, kit)
            continue
        with pytest.raises(ImportLogError, match="its SHA-256 differs"):
            _require_models({NAMES[0]: log}, kit)
