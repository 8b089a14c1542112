"""Which recipe trains the best supernet: short trainings of every setting, two seeds each, on one data set.

    python benchmarks/recipe.py data/emoji --runs runs/recipe

The core-hours of what is not there yet are printed before it starts, from the time of a few steps. Each training is a
run of its own that goes on where it was killed, and each result is kept as soon as it is there. Settings come in the
order of `SETTINGS`; with `--hours` nothing is begun that would not end in time, and the table says what is missing.

Two trainings of one seed have the same initial weights, batches, noise and first sub-network in every step, so that
differences between settings are taken seed by seed. Losses are of inherited, averaged weights on the split validation:
the full network, the smallest named point, and the mean of sub-DiTs that a seed draws. Neither training nor choosing
reads the split judge.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _trainings import is_trained
from _trainings import print_hours
from _trainings import teraflops
from _trainings import train_or_resume
from _trainings import trained_specs
from _trainings import training_s

from profilers import cpu_model
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import register_space
from subdit.space import rename_space
from supernet.data.data_set import DataSet
from supernet.data.data_sets import open_data_set
from supernet.parallel import shard_count
from supernet.training.config import TrainingConfig

RESULTS = Path(__file__).parent / "results"
BASE = "as it is"
SEEDS = (0, 1)
SUB_DITS, SUB_SEED = 8, 7
PICTURES = 512


@dataclass(frozen=True)
class Setting:
    """One way to train.

    Attributes:
        question: what it answers.
        against: the setting that it is compared with, which differs in that alone.
        config: what differs from the default configuration.
        space: what differs from the space.
        length: its steps over those of the others.
    """

    question: str
    config: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    against: str = BASE
    length: float = 1.0


SETTINGS: dict[str, Setting] = {
    BASE: Setting("the default: one sub-network, gradients balanced tensor by tensor"),
    "balance none": Setting("gradients as they are", {"balance": "none"}),
    "balance global": Setting("one factor for all tensors", {"balance": "global"}),
    "L_dist 0": Setting("no distance to the full network", {"distill_weight": 0.0}),
    "L_dist 0.3": Setting("a third of its weight", {"distill_weight": 0.3}),
    "L_dist 3": Setting("three times its weight", {"distill_weight": 3.0}),
    "two uniform": Setting("two sub-networks in a step", {"sub_networks": 2}),
    "as it is, 1.25 long": Setting("the default, at the cost of two sub-networks", against="two uniform", length=1.25),
    "sandwich": Setting(
        "the smallest in every step", {"sub_networks": 2, "sub_sampling": "sandwich"}, against="two uniform"
    ),
    "near in FLOPs": Setting(
        "sub-networks of a step alike in FLOPs", {"sub_networks": 2, "sub_sampling": "near"}, against="two uniform"
    ),
    "full's B and r drawn": Setting("the full network with other strips and radii", {"draw_full_bna": True}),
    "rates / 3": Setting("learning rates of a longer training", {"learning_rate": 1.5e-3, "muon_learning_rate": 4e-3}),
    "AdamW": Setting("AdamW for all at Muon's own rate for the rest", {"optimizer": "adamw"}),
    "AdamW, rate 2e-3": Setting("AdamW for all", {"optimizer": "adamw", "learning_rate": 2e-3}),
    "AdamW, rate 1e-3": Setting("AdamW for all", {"optimizer": "adamw", "learning_rate": 1e-3}),
    "EMA 0.9": Setting("an average over ten steps", {"ema_decay": 0.9}),
    "EMA 0.999": Setting("an average over a thousand steps", {"ema_decay": 0.999}),
    "no skip": Setting("no mix of Down's tokens in Up", space={"down_up_skip": False}),
}


def main() -> int:
    arguments = _parser().parse_args()
    space = get_space(arguments.space)
    data = open_data_set(arguments.data, space=space)
    target = RESULTS / f"recipe_{space.name}.json"
    results = _known(target, data, arguments.steps)
    chosen = arguments.settings or list(SETTINGS)
    missing = [(name, seed) for name in chosen for seed in SEEDS if f"{name}, seed {seed}" not in results["trainings"]]
    seconds = {
        name: training_s(_space(space, name), data, _config(name, steps=arguments.steps))
        for name in dict.fromkeys(name for name, _ in missing)
    }
    if missing:
        print_hours(seconds[name] for name, _ in missing)
    begun = time.monotonic()
    for name, seed in missing:
        if time.monotonic() - begun + seconds[name] > 3600 * arguments.hours:
            print(f"{name}, seed {seed} would not end within {arguments.hours:g} hours; it is left for another time.")
            break
        found = _trained(space, data, name, seed, arguments)
        results["trainings"][f"{name}, seed {seed}"] = found
        write_json(target, results)
        print(f"{name}, seed {seed}: full {found['full']:.4f}, tiny {found['tiny']:.4f}, drawn {found['drawn']:.4f}")
    text = as_text(results, space)
    write_atomic(target.with_suffix(".txt"), text)
    draw(results, target.with_suffix(".png"))
    print(text)
    return 0


def _known(target: Path, data: DataSet, steps: int) -> dict[str, Any]:
    """Results that are there; raises `SubditError` where they are of other data or lengths."""
    own = {"data": data.digest, "steps": steps, "machine": cpu_model(), "threads": shard_count()}
    if not target.exists():
        return {**own, "trainings": {}}
    known: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    if differ := [name for name, value in own.items() if known[name] != value]:
        raise SubditError(f"{target} has other {' and '.join(differ)}; move it away to begin anew.")
    return known


def _config(name: str, *, steps: int, **other: Any) -> TrainingConfig:
    setting = SETTINGS[name]
    return replace(TrainingConfig(log="jsonl"), **setting.config, steps=round(setting.length * steps), **other)


def _space(space: SearchSpace, name: str) -> SearchSpace:
    if not SETTINGS[name].space:
        return space
    return register_space(
        replace(rename_space(space, f"{space.name}-{name.replace(' ', '-')}"), **SETTINGS[name].space)
    )


def _teraflops(space: SearchSpace, name: str, steps: int) -> float:
    """What a training computes, by closed forms, the mean of the seeds'."""
    configs = [_config(name, steps=steps, seed=seed) for seed in SEEDS]
    return float(np.mean([teraflops(space, trained_specs(space, config), config) for config in configs]))


def _trained(space: SearchSpace, data: DataSet, name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, begun or resumed, and its losses."""
    from subdit.core.weights import supernet_digest
    from supernet.checkpoints import load_supernet
    from supernet.evaluation.validation_loss import validation_losses
    from supernet.evaluation.validation_loss import validation_set

    space, label = _space(space, name), f"{name}, seed {seed}"
    run = Run(arguments.runs / re.sub(r"[^A-Za-z0-9.]+", "-", label))
    if not is_trained(run):
        train_or_resume(space, run, arguments.data, _config(name, steps=arguments.steps, seed=seed), label)
    supernet = load_supernet(run.supernet)
    held_out = validation_set(data, most=PICTURES, per_image=4)
    drawn = space.decode(space.sample(np.random.default_rng(SUB_SEED), SUB_DITS))
    specs: Iterable[tuple[str, SubDiTSpec]] = [
        ("full", space.named_spec("full")),
        ("tiny", space.named_spec("tiny")),
        *((spec.hash, spec) for spec in drawn),
    ]
    losses = {label: float(validation_losses(supernet, spec, held_out).mean()) for label, spec in specs}
    return {
        "full": losses["full"],
        "tiny": losses["tiny"],
        "drawn": float(np.mean([losses[spec.hash] for spec in drawn])),
        "losses": losses,
        "validation_set": held_out.hash,
        "weights": supernet_digest(run.supernet),
        "training_s": read_manifest(run)["steps"]["train"]["seconds"],
    }


def as_text(results: Mapping[str, Any], space: SearchSpace) -> str:
    """The table: each setting's losses as differences in percent to what it is compared with, seed by seed."""
    trainings = results["trainings"]
    computed = {name: _teraflops(_space(space, name), name, results["steps"]) for name in SETTINGS}
    lines = [
        f"Validation loss after {results['steps']:,} steps, data {results['data'][:10]}; {results['machine']}, "
        f"{results['threads']} threads",
        f"drawn: mean of {SUB_DITS} sub-DiTs (seed {SUB_SEED}); in percent: change against the setting named, seeds "
        f"{' and '.join(map(str, SEEDS))}",
        f"cost: what the passes of its steps compute, over those of the default ({computed[BASE]:,.0f} TFLOP)",
        "",
        f"{'setting':22}{'against':14}{'full':>9}{'tiny':>9}{'drawn':>9}"
        f"{'full, %':>16}{'tiny, %':>16}{'drawn, %':>16}{'cost':>7}",
    ]
    for name, setting in SETTINGS.items():
        own = [trainings.get(f"{name}, seed {seed}") for seed in SEEDS]
        other = [trainings.get(f"{setting.against}, seed {seed}") for seed in SEEDS]
        there = [found for found in own if found]
        if not there:
            lines.append(f"{name:22}{setting.against if name != BASE else '':14}  not trained yet")
            continue
        row = f"{name:22}{setting.against if name != BASE else '':14}"
        row += "".join(f"{np.mean([found[key] for found in there]):9.4f}" for key in ("full", "tiny", "drawn"))
        for key in ("full", "tiny", "drawn"):
            changes = [100 * (a[key] / b[key] - 1) for a, b in zip(own, other, strict=True) if a and b]
            row += f"{' '.join(f'{change:+.2f}' for change in changes) if name != BASE else '':>16}"
        lines.append(row + f"{computed[name] / computed[BASE]:7.2f}")
    base = [trainings.get(f"{BASE}, seed {seed}") for seed in SEEDS]
    if all(base):
        apart = [100 * (base[1][key] / base[0][key] - 1) for key in ("full", "tiny", "drawn")]
        lines += ["", "Two seeds of the default differ by " + ", ".join(f"{each:+.2f} %" for each in apart) + "."]
    return "\n".join(lines) + "\n"


def draw(results: Mapping[str, Any], target: Path) -> None:
    """Changes of the loss in percent, one point per seed."""
    from matplotlib.figure import Figure

    trainings = results["trainings"]
    names = [
        name
        for name, setting in SETTINGS.items()
        if name != BASE and all(f"{each}, seed {SEEDS[0]}" in trainings for each in (name, setting.against))
    ]
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, (key, colour) in enumerate((("full", "#1b6ca8"), ("tiny", "#c1571a"), ("drawn", "#3b7d3b"))):
        points = [
            (100 * (own[key] / other[key] - 1), row + 0.2 * (offset - 1))
            for row, name in enumerate(names)
            for seed in SEEDS
            if (own := trainings.get(f"{name}, seed {seed}"))
            and (other := trainings.get(f"{SETTINGS[name].against}, seed {seed}"))
        ]
        axes.scatter([x for x, _ in points], [y for _, y in points], color=colour, label=key, s=22)
    axes.axvline(0, color="#666666", linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{name}\n(against {SETTINGS[name].against})" for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"change of validation loss after {results['steps']:,} steps, % (left is better); a point per seed")
    axes.legend(loc="best", fontsize=8)
    figure.savefig(target, dpi=110)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Folder of an encoded data set.")
    parser.add_argument("--space", default="emoji-32")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipe"), help="Where the trainings lie.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hours", type=float, default=24.0, help="Begin nothing that would not end within this time.")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), help="Only these.")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
