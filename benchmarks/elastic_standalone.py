"""Elastic against standalone (the paper's Table 1): sizes of one supernet, and the same sizes trained on their own.

    python benchmarks/elastic_standalone.py runs/emoji --runs runs/standalone

Each named point is trained alone for as many steps as the supernet had, with the same settings and seed, as the only
point of a space of its own and without sub-networks: that is the same program, so it is resumed where it was killed.
Printed are validation loss, Frechet and kernel distance and what both ways compute, in operations of forward and
backward passes by closed forms. Core-hours are printed before anything is trained.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from _trainings import is_trained
from _trainings import print_hours
from _trainings import teraflops
from _trainings import train_or_resume
from _trainings import trained_specs
from _trainings import training_s

from profilers import cpu_model
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from subdit.space import SearchSpace
from subdit.space import register_space
from subdit.space import rename_space
from subdit.space import run_space
from supernet.data.data_set import DataSet
from supernet.data.data_sets import checkpoint_record
from supernet.data.data_sets import open_recorded_data
from supernet.training.config import TrainingConfig
from supernet.training.config_file import read_training_config

RESULTS = Path(__file__).parent / "results"
FIGURES = ("validation_loss", "frechet_distance", "kernel_distance")


def main() -> int:
    arguments = _parser().parse_args()
    run = Run(arguments.run).require()
    space, config = run_space(run), read_training_config(run.config).config
    config = replace(config, validate_every=0, keep_checkpoints=0, sample_every=0)
    record = checkpoint_record(run.supernet, space)
    data = open_recorded_data(record, space)
    folders = {point: arguments.runs / point for point in space.named}
    missing = [point for point, folder in folders.items() if not is_trained(Run(folder))]
    alone = replace(config, sub_networks=0, sub_sampling="uniform")
    if missing:
        print_hours(training_s(point_space(space, point), data, alone) for point in missing)
    for point in missing:
        train_or_resume(point_space(space, point), Run(folders[point]), record.reference, alone, point)
    results = _judged(run, space, data, config, folders, arguments)
    target = RESULTS / f"elastic_standalone_{space.name}.json"
    write_json(target, results)
    text = as_text(results)
    write_atomic(target.with_suffix(".txt"), text)
    print(text)
    return 0


def point_space(space: SearchSpace, point: str) -> SearchSpace:
    """The space whose only sub-DiT is a named point of another."""
    spec, name = space.named_spec(point), f"{space.name}-{point}-alone"
    return register_space(
        replace(
            rename_space(space, name),
            widths=(spec.width,),
            full_heads=space.full_heads * spec.width // space.widths[-1],
            depths=tuple((depth,) for depth in spec.depth),
            ffn_ratios=tuple((ratio,) for ratio in spec.ffn_ratio),
            bna_blocks=tuple(sorted(set(spec.bna_blocks))),
            bna_radii=tuple(sorted(set(spec.bna_radius))),
            kv_compressions=(spec.kv_compression,),
            named={"full": replace(spec, space=name)},
        )
    )


def _judged(
    run: Run,
    space: SearchSpace,
    data: DataSet,
    config: TrainingConfig,
    folders: dict[str, Path],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    from supernet.checkpoints import load_supernet
    from supernet.evaluation.feature_spaces import make_feature_space
    from supernet.evaluation.judge import Judge
    from supernet.evaluation.run_reference import run_reference
    from supernet.evaluation.samples import generate
    from supernet.evaluation.validation_loss import validation_loss
    from supernet.evaluation.validation_loss import validation_set
    from supernet.recipe import read_recipe

    reference = run_reference(run.supernet, space)
    judge = Judge(reference, make_feature_space(arguments.features, reference.train))
    prompts = reference.draw_prompts(arguments.samples, seed=0)
    held_out = validation_set(data, most=512, per_image=4)
    recipe, _ = read_recipe(run.supernet)

    def figures(model: Any, name: str) -> dict[str, Any]:
        drawn = generate(
            model.eval(), name, reference.condition(prompts), steps=recipe.steps, shift=recipe.shift, seed=0,
            guidance_scale=arguments.guidance_scale,
        )  # fmt: skip
        found = judge.figures(drawn, prompts.labels)
        return {"validation_loss": validation_loss(model, held_out)} | {key: found[key] for key in FIGURES[1:]}

    supernet, points = load_supernet(run.supernet), {}
    for point, spec in space.named.items():
        alone = load_supernet(Run(folders[point]).supernet).full
        points[point] = {
            "elastic": figures(supernet.extract(spec), space.name),
            "standalone": figures(alone, space.name),
            "weights": supernet_digest(Run(folders[point]).supernet),
            "teraflops": teraflops(space, [spec] * config.steps, config),
        }
        print(f"  {point} judged", flush=True)
    return {
        "machine": cpu_model(),
        "steps": config.steps,
        "weights": supernet_digest(run.supernet),
        "data": data.digest,
        "samples": arguments.samples,
        "guidance_scale": arguments.guidance_scale,
        "features": judge.space.id,
        "supernet_teraflops": teraflops(space, trained_specs(space, config), config),
        "points": points,
    }


def as_text(results: dict[str, Any]) -> str:
    lines = [
        f"{results['steps']:,} steps each; {results['samples']} samples, guidance {results['guidance_scale']:g}, "
        f"features {results['features']}; data {results['data'][:10]}, supernet {results['weights'][:10]}",
        "",
        f"{'point':8}{'trained':>12}{'loss':>9}{'gap':>8}{'FD':>9}{'KD':>9}{'TFLOP':>12}",
    ]
    for point, found in results["points"].items():
        gap = found["elastic"]["validation_loss"] / found["standalone"]["validation_loss"] - 1
        for way in ("elastic", "standalone"):
            own = found[way]
            cost = f"{found['teraflops']:12,.0f}" if way == "standalone" else f"{'':12}"
            lines.append(
                f"{point if way == 'elastic' else '':8}{way:>12}{own['validation_loss']:9.4f}"
                f"{f'{gap:+.1%}' if way == 'elastic' else '':>8}"
                f"{own['frechet_distance']:9.4g}{own['kernel_distance']:9.4g}{cost}"
            )
    alone = sum(found["teraflops"] for found in results["points"].values())
    share = results["supernet_teraflops"] / alone
    lines += ["", f"supernet: {results['supernet_teraflops']:,.0f} TFLOP, {share:.2f} of the three alone"]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A trained supernet's run.")
    parser.add_argument("--runs", type=Path, default=Path("runs/standalone"), help="Where the trainings alone lie.")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--features", default="efficientnet")
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
