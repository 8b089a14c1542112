"""Which guidance scale and time shift to sample with, chosen on pictures that neither trained nor judge.

    python benchmarks/guidance_scale.py runs/emoji

The split validation takes the part of judge, and train alone fits the classifiers. For each scale and shift: the share
of samples taken for the class of their prompt, and the distances to validation's pictures. Prompts and noise are the
same for all, steps are those of the checkpoint's recipe. Results are kept as soon as they are there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from prompt_accuracy import checkpoints
from prompt_accuracy import columns
from prompt_accuracy import row

from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from subdit.space import run_space
from supernet.checkpoints import load_supernet
from supernet.data.data_set import DataSet
from supernet.data.data_sets import checkpoint_record
from supernet.data.data_sets import open_data_set
from supernet.data.data_sets import open_recorded_data
from supernet.evaluation.data_reference import reference_of_data_set
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.judge import Figures
from supernet.evaluation.judge import Judge
from supernet.evaluation.run_reference import run_reference
from supernet.evaluation.samples import generate
from supernet.recipe import read_recipe

RESULTS = Path(__file__).parent / "results"
SEED = 0
SCALES = (1.0, 1.5, 2.5, 4.0, 6.0)


@dataclass(frozen=True)
class ValidationJudges:
    """A data set without its split judge: validation takes its part."""

    data: DataSet

    @property
    def digest(self) -> str:
        return f"{self.data.digest} validation judges"

    def count(self, split: str) -> int:
        return 0 if split == "validation" else self.data.count(_split(split))

    def read(self, split: str, rows: Sequence[int]) -> Any:
        return self.data.read(_split(split), rows)

    def records(self, split: str, rows: Sequence[int]) -> Any:
        return self.data.records(_split(split), rows)

    def null_text(self) -> Any:
        return self.data.null_text()


def _split(split: str) -> str:
    return "validation" if split == "judge" else split


def main() -> int:
    arguments = _parser().parse_args()
    run = Run(arguments.run).require()
    space = run_space(run)
    record = checkpoint_record(run.supernet, space)
    data = open_data_set(arguments.data, space=space) if arguments.data else open_recorded_data(record, space)
    decode = run_reference(run.supernet, space, data=arguments.data).decode
    reference = reference_of_data_set(ValidationJudges(data), decode=decode)
    judge = Judge(reference, make_feature_space(arguments.features, reference.train))
    prompts = reference.draw_prompts(arguments.samples, seed=SEED)
    condition = reference.condition(prompts)
    target = RESULTS / f"guidance_scale_{space.name}.json"
    own = {
        "weights": supernet_digest(run.supernet),
        "features": judge.space.id,
        "reference": reference.hash,
        "samples": arguments.samples,
    }
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    results = known if all(known.get(name) == value for name, value in own.items()) else {**own, "drawn": {}}
    if "real" not in results:
        results["real"] = judge.real_figures(arguments.samples, seed=SEED)
    folders = dict(checkpoints(run))
    for step in arguments.checkpoints or [max(folders)]:
        recipe, _ = read_recipe(folders[step])
        model = load_supernet(folders[step]).full.eval()
        for shift, scale in product(arguments.shifts or [recipe.shift], arguments.scales):
            label = f"{step:,}; {shift:g}; {scale:g}"
            if label not in results["drawn"]:
                drawn = generate(
                    model,
                    space,
                    condition,
                    steps=recipe.steps,
                    shift=shift,
                    seed=SEED,
                    guidance_scale=scale,
                )
                results["drawn"][label] = judge.figures(drawn, prompts.labels)
                write_json(target, results)
            print(row(label, results["drawn"][label]), flush=True)
    text = as_text(results)
    write_atomic(target.with_suffix(".txt"), text)
    print(text)
    return 0


def as_text(results: Figures) -> str:
    head = (
        f"{results['samples']} samples of prompts of the split validation, which takes the part of judge; features "
        f"{results['features']}; last weights {results['weights'][:10]}"
    )
    rows = [*results["drawn"].items(), ("real", results["real"])]
    return "\n".join([head, columns("steps; shift; scale", results["real"]), *(row(*each) for each in rows)]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="Where the data set lies now.")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--features", default="efficientnet")
    parser.add_argument("--scales", type=float, nargs="*", default=SCALES)
    parser.add_argument("--shifts", type=float, nargs="*", help="Time shifts; by default the checkpoint's.")
    parser.add_argument("--checkpoints", type=int, nargs="*", help="Steps; by default the last weights.")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
