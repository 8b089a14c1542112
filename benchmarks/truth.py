"""What a truth table says of trainings: does common noise help, and how many does a calibrated proxy take?

    python benchmarks/truth.py noise common/table.json own/table.json
    python benchmarks/truth.py calibration table.json --device my-phone

`noise` compares how two trainings of a sub-DiT agree in two tables, of common and of own batches and noise, and how
soon ranks are stable in each. `calibration` prints and plots the regret of a calibrated proxy by the number of sub-DiTs
that it is fitted on, judged on the others, beside that of FLOPs and the deviation between two trainings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.proxy_benchmark._calibrated import calibration_points
from nas.proxy_benchmark._calibration_curve import CalibrationPoint
from nas.proxy_benchmark._ceiling import find_ceiling
from nas.proxy_benchmark._ceiling import training_noise
from nas.proxy_benchmark._judgement import early_ranks
from nas.proxy_benchmark._latencies import table_latencies
from nas.proxy_benchmark._noise_comparison import compare_agreement
from nas.proxy_benchmark._regret import regrets
from nas.proxy_benchmark._table_scores import BASELINE
from nas.proxy_benchmark._table_scores import scores_of
from nas.truth_table import TruthTable
from nas.truth_table import read_truth_table
from subdit.core.files import write_atomic

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.what == "noise":
        tables = [read_truth_table(path) for path in (arguments.common, arguments.own)]
        target, text = RESULTS / f"truth_noise_{tables[0].recipe.space}.txt", noise_text(*tables)
    else:
        table = read_truth_table(arguments.table)
        latency, what = table_latencies(table, arguments.device)
        points = calibration_points(table, latency, quality=arguments.quality)
        target = RESULTS / f"truth_calibration_{table.recipe.space}.txt"
        text = calibration_text(table, latency, what, points, arguments.quality)
        draw(table, latency, points, arguments.quality, target.with_suffix(".png"))
    write_atomic(target, text)
    print(text)
    return 0


def noise_text(common: TruthTable, own: TruthTable) -> str:
    """How two trainings agree in each table, by each quality that both have."""
    lines = []
    for quality in (name for name in common.qualities if name in own.qualities):
        found = compare_agreement(common, own, quality=quality)
        lines.append(f"{quality}:")
        for label, table in (("common noise", common), ("own noise", own)):
            ceiling = find_ceiling(table.losses(quality))
            if ceiling is not None:
                pair = ceiling.pair
                lines.append(
                    f"  {label}: two trainings of {pair.count} sub-DiTs agree with tau {pair.value:.2f} "
                    f"({pair.low:.2f} to {pair.high:.2f})"
                )
        lines.append(f"  common less own, paired: {found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})")
    for label, table in (("common noise", common), ("own noise", own)):
        early = ", ".join(f"{tau:.2f} after {updates}" for updates, tau in early_ranks(table).items())
        lines.append(f"Ranks of the loss agree with those at the end, {label}: tau {early} updates.")
    return "\n".join(lines) + "\n"


def calibration_text(
    table: TruthTable, latency: np.ndarray, what: str, points: Sequence[CalibrationPoint], quality: str
) -> str:
    """Regret by the number of trainings, as a table."""
    truth = np.asarray([each.mean() for each in table.losses(quality)])
    flops = regrets(latency, scores_of(table)[BASELINE][0], truth)
    lines = [
        f"{len(truth)} sub-DiTs of {table.recipe.space}, {table.recipe.updates} updates; bands and fronts by {what}; "
        f"true {quality} lost",
        f"{'trainings':>10}{'tau in bands':>14}" + "".join(f"{name:>11}" for name in flops),
    ]
    for point in points:
        cells = "".join(f"{point.regret[name]:>11.4f}" for name in flops)
        lines.append(f"{point.trainings:>10}{point.within:>14.2f}{cells}")
    lines.append(f"{'FLOPs':>10}{'':14}" + "".join(f"{value:>11.4f}" for value in flops.values()))
    if (noise := training_noise(table.losses(quality))) is not None:
        lines.append(f"two trainings differ with a standard deviation of {noise:.4f}")
    return "\n".join(lines) + "\n"


def draw(
    table: TruthTable, latency: np.ndarray, points: Sequence[CalibrationPoint], quality: str, target: Path
) -> None:
    """Regret over the number of trainings; the dashed line is the deviation between two trainings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(points[0].regret if points else ()):
        line = [point.regret[name] for point in points]
        axes.plot([point.trainings for point in points], line, marker="o", color=f"C{index}", label=name)
    if (noise := training_noise(table.losses(quality))) is not None:
        axes.axhline(noise, color="black", linestyle="--", linewidth=0.9, label="between two trainings")
    axes.set_xlabel("sub-DiTs trained on their own")
    axes.set_ylabel(f"regret: true {quality} lost")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    figure.savefig(target, dpi=110)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="what", required=True)
    noise = verbs.add_parser("noise")
    noise.add_argument("common", type=Path)
    noise.add_argument("own", type=Path)
    calibration = verbs.add_parser("calibration")
    calibration.add_argument("table", type=Path)
    calibration.add_argument("--device", help="Profile whose latencies make bands and fronts; by default FLOPs.")
    calibration.add_argument("--quality", default="loss")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
