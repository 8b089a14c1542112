"""How well samples of a supernet's checkpoints show what they were asked for, over the length of its training.

    python benchmarks/prompt_accuracy.py runs/emoji

For each checkpoint that the training kept (`--validate-every`, `--keep-checkpoints`) and for its last weights: the
share of samples that classifiers, fitted on real pictures of train, take for the class of the prompt, beside the share
of real judge pictures that they recognise. Prompts are of the split judge, drawn by a seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.weights import supernet_digest
from subdit.space import run_space
from supernet.checkpoints import load_supernet
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.judge import ACCURACY
from supernet.evaluation.judge import Figures
from supernet.evaluation.judge import Judge
from supernet.evaluation.run_reference import run_reference
from supernet.evaluation.samples import generate
from supernet.recipe import read_recipe
from supernet.training.monitor import BEST
from supernet.training.monitor import CHECKPOINTS

RESULTS = Path(__file__).parent / "results"
SEED = 0


def main() -> int:
    arguments = _parser().parse_args()
    run = Run(arguments.run).require()
    space = run_space(run)
    target = RESULTS / f"prompt_accuracy_{space.name}.json"
    reference = run_reference(run.supernet, space, data=arguments.data, vae=None)
    judge = Judge(reference, make_feature_space(arguments.features, reference.train))
    prompts = reference.draw_prompts(arguments.samples, seed=SEED)
    condition = reference.condition(prompts)
    own = {
        "weights": supernet_digest(run.supernet),
        "features": judge.space.id,
        "reference": reference.hash,
        "samples": arguments.samples,
        "guidance_scale": arguments.guidance_scale,
    }
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    results = known if all(known.get(name) == value for name, value in own.items()) else {**own, "steps": {}}
    if "real" not in results:
        results["real"] = judge.real_figures(arguments.samples, seed=SEED)
    for step, folder in checkpoints(run):
        if str(step) not in results["steps"]:
            recipe, _ = read_recipe(folder)
            drawn = generate(
                load_supernet(folder).full.eval(),
                space,
                condition,
                steps=recipe.steps,
                shift=recipe.shift,
                seed=SEED,
                guidance_scale=arguments.guidance_scale,
            )
            results["steps"][str(step)] = judge.figures(drawn, prompts.labels)
            write_json(target, results)
        print(row(f"{step:,}", results["steps"][str(step)]), flush=True)
    text = as_text(results)
    write_atomic(target.with_suffix(".txt"), text)
    draw(results, target.with_suffix(".png"))
    print(text)
    return 0


def checkpoints(run: Run) -> Iterator[tuple[int, Path]]:
    """Steps and folders, the last weights at the end."""
    folders = (run.training / CHECKPOINTS).glob("*")
    steps = {int("".join(filter(str.isdigit, folder.name))): folder for folder in folders if folder.name != BEST}
    yield from sorted(steps.items())
    last = read_manifest(run)["steps"]["train"]["steps"]
    if last not in steps:
        yield last, run.supernet


DISTANCES = ("frechet_distance", "kernel_distance", "nn_ratio")


def row(label: str, figures: Figures) -> str:
    """Accuracies and distances, a dash for what has no value."""
    names = [name for name in figures if name.startswith(ACCURACY)]
    cells = [f"{figures[name]:10.1%}" if figures[name] is not None else f"{'-':>10}" for name in names]
    cells += [f"{figures[name]:10.4g}" if figures[name] is not None else f"{'-':>10}" for name in DISTANCES]
    return f"{label:22}" + "".join(cells)


def columns(label: str, figures: Figures) -> str:
    """What stands above such rows."""
    names = [name.removeprefix(ACCURACY) for name in figures if name.startswith(ACCURACY)]
    return f"{label:22}" + "".join(f"{name[:9]:>10}" for name in [*names, "FD", "KD", "NN ratio"])


def as_text(results: Figures) -> str:
    lines = [
        f"{results['samples']} samples of prompts of the split judge, guidance {results['guidance_scale']:g}; features "
        f"{results['features']}; last weights {results['weights'][:10]}",
        columns("steps", results["real"]),
        *(row(f"{int(step):,}", figures) for step, figures in results["steps"].items()),
        row("real", results["real"]),
    ]
    return "\n".join(lines) + "\n"


def draw(results: Figures, target: Path) -> None:
    """Accuracies over steps; a dashed line is real pictures'."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = [int(step) for step in results["steps"]]
    names = [name for name in results["real"] if name.startswith(ACCURACY) and results["real"][name] is not None]
    for index, name in enumerate(names):
        line = [100 * found[name] for found in results["steps"].values()]
        axes.plot(steps, line, marker="o", color=f"C{index}", label=name.removeprefix(ACCURACY))
        axes.axhline(100 * results["real"][name], color=f"C{index}", linestyle="--", linewidth=0.9)
    axes.set_xlabel("training steps")
    axes.set_ylabel("samples recognised as asked for, %")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8)
    figure.savefig(target, dpi=110)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="Where the data set lies now.")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--features", default="efficientnet")
    parser.add_argument("--guidance-scale", type=float, default=2.5)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
