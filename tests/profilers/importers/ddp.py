"""What `litert benchmark --ddp` leaves of a job, made from rows in the form of litert-samples' leaderboard.

Fields of the messages and the order of lines are those of LiteRT's sources at commit f677904
(`litert/tools/benchmark_litert_model.h`, `tflite/tools/benchmark/benchmark_model.cc`,
`tflite/profiling/model_runtime_info.cc`), the logcat of those that `litert_cli/commands/benchmark/ddp_test.py` has of a
phone, benchmark_run.txt that of `ddp.py` (litert-cli-nightly 0.3.0.dev20261026).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SESSIONS = Path(__file__).parents[2] / "golden" / "sessions"
ROOT = "/data/local/tmp/litert-cli"


def rows() -> list[Row]:
    """The leaderboard's rows that golden sessions are made from."""
    return [json.loads(line) for line in (SESSIONS / "rows.jsonl").read_text().splitlines()]


def varint(value: int) -> bytes:
    made = b""
    while value > 0x7F:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def part(number: int, value: bytes | str | Sequence[int]) -> bytes:
    """A message, a text, or packed whole numbers."""
    if isinstance(value, str):
        value = value.encode()
    data = value if isinstance(value, bytes) else b"".join(map(varint, value))
    return varint(number << 3 | 2) + varint(len(data)) + data


def result(row: Row) -> bytes:
    """A `BenchmarkResult` without a name."""
    names = ("avg", "min", "max", "stddev", "median", "p5", "p95", "init", "first_inference", "warm_up_avg")
    latency = b"".join(real(at, row["latency_ms"][name]) for at, name in enumerate(names, 1))
    memory = b"".join(
        whole(at, round(row["memory_mb"][name] * 1024))
        for at, name in ((1, "init_footprint"), (2, "overall_footprint"))
    )
    misc = real(1, row["model_size_mb"]) + whole(2, row["runs"]) + whole(3, row["warmup_runs"])
    return part(2, latency) + part(3, memory) + part(4, misc + real(4, row["throughput_mb_s"]))


def runtime_info(row: Row) -> bytes:
    """A `ModelRuntimeDetails`: stretches of the delegate and of the rest in turn, as many as the row has partitions."""
    total, taken, count = row["nodes_total"], row["nodes_delegated"], row["partitions"]
    own = [at % 2 == (0 if 2 * taken > total else 1) for at in range(count)] if taken else [False] * count
    sizes = [_share(taken if one else total - taken, own.count(one), own[:at].count(one)) for at, one in enumerate(own)]
    nodes, plan, begin, made = b"", [], 0, total
    delegates = b""
    for one, size in zip(own, sizes, strict=True):
        ids = range(begin, begin + size)
        begin += size
        for id_ in ids:
            node = whole(1, id_) + part(2, "CONV_2D") + part(3, "3") + part(4, [id_]) + part(5, [id_ + 1])
            nodes += part(3, node + (whole(9, made) if one else b""))
        if one:
            name = row["delegate"]
            details = part(1, name) + part(2, list(ids))
            node = whole(1, made) + part(2, name) + part(3, name) + part(4, [ids[0]]) + part(5, [ids[-1] + 1])
            delegates += part(3, node + part(8, details))
            plan.append(made)
            made += 1
        else:
            plan += ids
    edge = whole(1, 0) + part(2, "input") + whole(3, 1) + part(4, [1, 224, 224, 3]) + part(5, "kTfLiteArenaRw")
    graph = whole(1, 0) + part(2, edge + whole(6, 0) + whole(7, 602112))
    return part(2, graph + nodes + delegates + part(4, plan) + whole(5, 1) + part(6, "main"))


def _share(total: int, parts: int, at: int) -> int:
    return total // parts + (at < total % parts)


def run_lines(row: Row, *, dry: bool = False, caches: bool = False) -> list[tuple[str, str]]:
    """Tag and message of what one process logs."""
    ms, path = row["latency_ms"], f"{ROOT}/{row['file']}"
    us = {name: round(value * 1000) for name, value in ms.items()}
    said = [("tflite", "STARTING!"), ("tflite", "Log parameter values verbosely: [0]")]
    said.append(("litert", f"[benchmark_litert_model.cc:305] Loading model from: {path}"))
    said.append(("tflite", "Created TensorFlow Lite XNNPACK delegate for CPU."))
    if row["nodes_delegated"]:
        split = f"{row['nodes_delegated']} out of {row['nodes_total']} node(s) with delegate ({row['delegate']}) node"
        said.append(("tflite", f"Replacing {split}, yielding {row['partitions']} partitions for subgraph 0 (main)."))
    said.append(("tflite", f"The input model file size (MB): {row['model_size_mb']:.6g}"))
    said.append(("tflite", f"Initialized session in {ms['init']:.6g}ms."))
    ends = "seconds but terminate if exceeding 150 seconds."
    warm, runs = (0, 0) if dry else (row["warmup_runs"], row["runs"])
    spread = f"std={us['stddev']} p5={us['p5']} median={us['median']} p95={us['p95']}"
    said.append(
        ("tflite", f"Running benchmark for at least {1 - dry} iterations and at least {-1 if dry else 0.5} {ends}")
    )
    if dry:
        said.append(("tflite", "count=0"))
    else:
        low, high = (f(us["first_inference"], us["warm_up_avg"]) for f in (min, max))
        said.append(
            (
                "tflite",
                f"count={warm} first={us['first_inference']} curr={low} min={low} max={high} "
                f"avg={ms['warm_up_avg'] * 1000:.6g} std={(high - low) // 2} p5={low} median={low} p95={high}",
            )
        )
    said.append(
        (
            "tflite",
            f"Running benchmark for at least {0 if dry else 50} iterations and at least {-1 if dry else 1} {ends}",
        )
    )
    measured = f"count={runs} first={us['median']} curr={us['median']} min={us['min']} max={us['max']} "
    said.append(("tflite", "count=0" if dry else measured + f"avg={ms['avg'] * 1000:.6g} {spread}"))
    block = [
        (89, ""),
        (0, "========== BENCHMARK RESULTS =========="),
        (94, f"Model initialization: {ms['init']:.2f} ms"),
    ]
    block.append((96, f"Warmup (first):       {0 if dry else ms['first_inference']:.2f} ms"))
    block.append((98, f"Warmup (avg):         {0 if dry else ms['warm_up_avg']:.2f} ms ({warm} runs)"))
    block.append((100, f"Inference (avg):      {0 if dry else ms['avg']:.2f} ms ({runs} runs)"))
    if dry:
        block += [(110, "No inference runs were performed."), (117, "No throughput data available (throughput <= 0).")]
    else:
        block += [
            (104, f"Inference (min):      {ms['min']:.2f} ms"),
            (106, f"Inference (max):      {ms['max']:.2f} ms"),
        ]
        block.append((108, f"Inference (std):      {ms['stddev']:.2f}"))
        block.append((115, f"Throughput:           {row['throughput_mb_s']:.2f} MB/s"))
    block += [(122, ""), (0, "Memory Usage:")]
    block.append((123, f"Init footprint:       {row['memory_mb']['init_footprint']:.2f} MB"))
    block.append((125, f"Overall footprint:    {row['memory_mb']['overall_footprint']:.2f} MB"))
    if not caches or dry:
        block.append((135, "Peak memory usage not available. (peak_mem_mb <= 0)"))
    block += [(138, "======================================"), (0, "")]
    block.append((181, f"Saved benchmark result to: {ROOT}/results.pb"))
    said += [("litert", f"[benchmark_litert_model.h:{line}] {text}" if line else text) for line, text in block]
    return said


def logcat(row: Row, *, caches: bool = False, pids: tuple[int, int] = (31550, 31557)) -> str:
    """Of a whole phone: other processes before, between and after; with `caches` a dry run comes first."""
    apps = [
        (1200, "D", "WifiService", "updateRssi -51"),
        (2222, "I", "tflite", "Created TensorFlow Lite delegate for GPU."),
    ]
    apps.append((777, "E", "vendor.audio", "Failed to apply settings, count=1 curr=7"))
    lines = ["--------- beginning of main\n"]
    at = 0
    for dry, pid in ((True, pids[0]), (False, pids[1])) if caches else ((False, pids[1]),):
        for tag, text in run_lines(row, dry=dry, caches=caches):
            other, level, name, message = apps[at % 3]
            lines += [_line(at, other, level, name, message)] if at % 2 else []
            lines.append(_line(at, pid, "I", tag, text))
            at += 1
    return "".join(lines)


def _line(at: int, pid: int, level: str, tag: str, text: str) -> str:
    return f"09-18 00:10:02.{at:03d} {pid:5d} {pid:5d} {level} {tag:<8}: {text}\n"


def record(row: Row, digest: str, *, pids: tuple[int, int] = (31550, 31557)) -> str:
    """benchmark_run.txt of a job with caches."""
    plain = f"--graph={ROOT}/{row['file']} "
    plain += "--use_gpu=true " if row["accelerator"] == "gpu" else ""
    plain += "--num_runs=50 --warmup_runs=1 --min_secs=1.0 --max_secs=150.0 --warmup_min_secs=0.5"
    cache = f"--xnnpack_weight_cache_file_path={ROOT}/benchmark_cache/m.xnnpack_cache"
    files = f"--result_file_path={ROOT}/results.pb --model_runtime_info_output_file={ROOT}/runtime_info.pb"
    return (
        f"f3729eaf38738c864a6c859ab169385df7ef1fba4914847dddd2593ffb9e2e44  ./benchmark_model\n"
        f"{digest}  ./{row['file']}\n"
        f"first process: command ./benchmark_model {plain} {cache} --dry_run=true --result_file_path={ROOT}/w.pb\n"
        f"first process: pid {pids[0]}\nfirst process: exit 0\n"
        f"caches the first process wrote:\n     160 {ROOT}/benchmark_cache/m.xnnpack_cache\n"
        f"measured process: command ./benchmark_model {plain} {files} {cache} --report_peak_memory_footprint=true\n"
        f"measured process: pid {pids[1]}\nmeasured process: exit 0\n"
        f"caches the measured process wrote again:\n"
    )


def write_job(folder: Path, row: Row, *, digest: str | None = None) -> Path:
    """The job's folder in the session's; with a model's digest, as LiteRT-CLI writes it since it fills caches first."""
    job = folder / f"{row['accelerator']}-{row['device_id']}"
    job.mkdir(parents=True)
    (job / "results.pb").write_bytes(result(row))
    (job / "runtime_info.pb").write_bytes(runtime_info(row))
    (job / "logcat.txt").write_text(logcat(row, caches=digest is not None))
    if digest is not None:
        (job / "benchmark_run.txt").write_text(record(row, digest))
    return job
