"""Losses and gradient norms over the steps of trainings, side by side.

    python benchmarks/training_curve.py runs/emoji runs/other --every 400

Each row has the means of so many steps from `training/metrics.jsonl`, and the named points' validation losses where
they were taken in them. A training that was stopped ends where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from subdit.core.files import write_atomic
from subdit.core.run import Run
from subdit.space import run_space
from supernet.training.config_file import read_training_config
from supernet.training.metrics import METRICS
from supernet.training.metrics import read_metrics
from supernet.training.monitor import VALIDATION
from supernet.training.noise import noise_shift

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=400, help="Steps to a row.")
    arguments = parser.parse_args()
    runs = [Run(path).require() for path in arguments.runs]
    text = "\n".join(curve(run, arguments.every) for run in runs)
    write_atomic(RESULTS / f"training_curve_{run_space(runs[0]).name}.txt", text)
    print(text)
    return 0


def curve(run: Run, every: int) -> str:
    space, config = run_space(run), read_training_config(run.config).config
    lines = list(read_metrics(run.training / METRICS))
    losses = pd.DataFrame([line for line in lines if "full" in line])
    table = losses.groupby((losses.step - 1) // every * every + every)[["full", "sub", "full_gradient_norm"]].mean()
    for point in space.named:
        table[f"validation, {point}"] = _validation(lines, point, table.index, every)
    head = (
        f"{config.steps:,} steps asked for, {int(losses.step.max()):,} done; peaks of AdamW {config.adamw_peak:.3g}, "
        f"of Muon {config.muon_peak:.3g}; EMA {config.ema_decay:g}, weight decay {config.weight_decay:g}, shift "
        f"{noise_shift(config, space):g}"
    )
    return f"{head}\n{table.rename_axis('to step').to_string(float_format='{:.3f}'.format, na_rep='')}\n"


def _validation(lines: Sequence[Mapping[str, Any]], point: str, rows: pd.Index, every: int) -> list[float | None]:
    taken = {line["step"]: line[VALIDATION][point] for line in lines if VALIDATION in line}
    return [next((loss for step, loss in taken.items() if row - every < step <= row), None) for row in rows]


if __name__ == "__main__":
    raise SystemExit(main())
