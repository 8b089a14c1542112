"""Time of an elastic training step of digits, before and after Muon's change, on this processor and with it capped.

    python benchmarks/step_time.py

"before" is torch's own Muon, which iterates in bfloat16, one matrix at a time, in two halves side by side; "after" is
`supernet.training.muon` in float32, matrices of one shape in one product. Both train in one process, in rounds that
alternate, on as many cores as threads. "capped" is the same processor, told by environment variables to use nothing
beyond AVX2: no other machine, but what its library does there for bfloat16 is what it does on a processor that has no
more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
CAP = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


def measure(threads: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per round of what is compared, wall clock and processor time; the first round is dropped."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch

    from subdit.space import get_space
    from supernet.data.digits import DigitsDataSet
    from supernet.parallel import run_shards
    from supernet.training.config import TrainingConfig
    from supernet.training.trainer import Trainer

    torch.set_num_threads(threads)
    config, space = TrainingConfig(), get_space("digits")
    before, after = (Trainer(space, DigitsDataSet(space), config) for _ in range(2))
    muons = [optimizer for optimizer in after.optimizers if isinstance(optimizer, torch.optim.Muon)]
    owned = [parameter for muon in muons for group in muon.param_groups for parameter in group["params"]]
    mine = {id(parameter) for parameter in owned}
    inside = [name for name, parameter in after.supernet.named_parameters() if id(parameter) in mine]
    theirs = dict(before.supernet.named_parameters())
    rate, decay = config.muon_peak, config.weight_decay
    halves = [
        torch.optim.Muon(
            [theirs[name] for name in inside[half::2]], lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
        )
        for half in range(2)
    ]
    before.optimizers, before.peaks = [*halves, before.optimizers[-1]], [rate, rate, before.peaks[-1]]
    before.shards = after.shards = threads

    def all_steps(optimizers: list[torch.optim.Muon]) -> None:
        if threads > 1:
            run_shards(lambda optimizer: optimizer.step(), optimizers)
        else:
            for optimizer in optimizers:
                optimizer.step()

    work: dict[str, Callable[[], object]] = {
        "step, before": lambda: before.train_step(0.5),
        "step, after": lambda: after.train_step(0.5),
        "Muon, before": lambda: all_steps(halves),
        "Muon, after": lambda: all_steps(muons),
    }
    found: dict[str, list[float]] = {f"{name}, {clock}": [] for name in work for clock in ("wall", "processor")}
    for number in range(rounds + 1):
        # Both draw the same batch and sub-network.
        before.step = after.step = number
        for name in list(work)[:: 1 if number % 2 else -1]:
            started = time.perf_counter(), time.process_time()
            work[name]()
            ended = time.perf_counter(), time.process_time()
            if number:
                found[f"{name}, wall"].append(1000 * (ended[0] - started[0]))
                found[f"{name}, processor"].append(1000 * (ended[1] - started[1]))
    return found


def table(found: dict[str, list[float]], label: str) -> list[str]:
    """Rows: median milliseconds before and after, and the quartiles of the ratio within a round."""
    rows = []
    for what in ("step", "Muon"):
        for clock in ("wall", "processor"):
            before, after = (np.asarray(found[f"{what}, {when}, {clock}"]) for when in ("before", "after"))
            low, middle, high = np.percentile(before / after, [25, 50, 75])
            rows.append(
                f"{label:<27}{what:<6}{clock:<11}{np.median(before):>9.1f}{np.median(after):>9.1f}"
                f"{middle:>8.2f} ({low:.2f} to {high:.2f})"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--child", type=int, metavar="THREADS", help="measure in this process and print JSON")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.rounds)))
        return
    from profilers import cpu_model
    from subdit.core.files import write_atomic
    from subdit.core.files import write_json

    has = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split())
    lines = [
        f"Elastic step of digits, batch 64, median ms of {options.rounds} rounds; ratio before / after, quartiles",
        f"machine: {cpu_model()}, {os.cpu_count()} cores; {', '.join(flag for flag in FLAGS if flag in has)}",
        f"load average before: {os.getloadavg()[0]:.1f}",
        f"capped: {' '.join(f'{name}={value}' for name, value in CAP.items())}",
        "",
        f"{'':<27}{'what':<6}{'clock':<11}{'before':>9}{'after':>9}{'ratio':>8}",
    ]
    everything = {}
    for threads in (1, 2):
        for label, environment in (("as it is", {}), ("capped to AVX2", CAP)):
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(threads), "--rounds", str(options.rounds)],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            name = f"{threads} thread{'s' if threads > 1 else ''}, {label}"
            everything[name] = json.loads(done.stdout)
            lines += table(everything[name], name)
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    facts = {"machine": cpu_model(), "flags": sorted(has & set(FLAGS))}
    # One result per kind of processor: what a processor emulates decides the ratio.
    words = re.findall(r"[a-z]{2,}", re.sub(r"\(r\)|processor|cpu", "", cpu_model().lower()))
    name = "_".join(["step_time", *words[:2]])
    write_atomic(RESULTS / f"{name}.txt", "\n".join(lines) + "\n")
    write_json(RESULTS / f"{name}.json", facts | {"ms": everything})


if __name__ == "__main__":
    main()
