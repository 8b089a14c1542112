"""`subdit evaluate`: how good sub-DiTs of a run are by their samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from subdit.cli._numbers import FiniteRange
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from subdit.space import SubDiTSpec

_HEADINGS = {
    "frechet_distance": "Frechet",
    "kernel_distance": "kernel",
    "gaussian_kernel_distance": "Gaussian kernel",
    "nn_ratio": "NN ratio",
}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--point", "points", multiple=True, help="A named point of the space; repeat.")
@click.option("--spec", "specs", multiple=True, help="A spec as JSON, or a file that holds one; repeat.")
@click.option("--pick", "picks", multiple=True, help="A pick of the search; repeat.")
@click.option("--distilled", multiple=True, help="A pick as it was distilled; repeat.")
@click.option("--search", "--name", "search", default="default", show_default=True, help="Which of the run's searches.")
@click.option("--steps", type=click.IntRange(min=1), help="Euler steps; default: what each model was made for.")
@click.option("--shift", type=FiniteRange(min=0, min_open=True), help="Time shift; default: the model's.")
@click.option(
    "--guidance-scale",
    "--guidance",
    "guidance_scale",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of classifier-free guidance; 1: without.",
)
@click.option("--samples", type=click.IntRange(min=2), help="Of each; default: as many as judge images, at most 5000.")
@click.option(
    "--seed", "seeds", type=click.IntRange(min=0), multiple=True, default=(0,), show_default=True, help="Repeat."
)
@click.option(
    "--features",
    help="What images are compared by: pixels, latents, convolutional, efficientnet (extra emoji) or a plug-in; "
    "default: the numbers of small images as the DiT draws them, else convolutional.",
)
@click.option("--data", help="A data set whose judge split is compared with; default: what the run was trained on.")
@click.option("--vae", type=click.Path(path_type=Path), help="Where the autoencoder of the latents lies now.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps; auto: what there is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    run: Path,
    points: tuple[str, ...],
    specs: tuple[str, ...],
    picks: tuple[str, ...],
    distilled: tuple[str, ...],
    search: str,
    steps: int | None,
    shift: float | None,
    guidance_scale: float,
    samples: int | None,
    seeds: tuple[int, ...],
    features: str | None,
    data: str | None,
    vae: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Judge sub-DiTs of RUN by their samples, against real images that nothing learned from.

    Points, specs and picks have the weights that they inherit from the supernet; all named points are judged where
    nothing is named. The distances of real images that were trained on stand beside, as the scale. Killed, it goes on
    where it was when it is called again.

    \b
    Examples:
        subdit evaluate runs/demo
        subdit evaluate runs/demo --pick balanced --distilled balanced --seed 0 --seed 1 --seed 2
        subdit evaluate runs/demo --point full --steps 4 --shift 3 --guidance-scale 1.5 --features convolutional
    """
    from supernet.evaluation.evaluate import PLOT
    from supernet.evaluation.evaluate import evaluate
    from supernet.evaluation.plot import conditions_text
    from supernet.evaluation.plot import sampling_text

    with progress_bar("Judging samples") as progress:
        found = evaluate(
            run,
            points=points,
            specs=[_read_spec(spec) for spec in specs],
            picks=picks,
            distilled=distilled,
            search=search,
            steps=steps,
            shift=shift,
            guidance_scale=guidance_scale,
            samples=samples,
            seeds=seeds,
            features=features,
            data=data,
            vae=vae,
            device=device,
            progress=progress,
        )
    if as_json:
        echo_json(found.to_dict())
        return
    names = list(dict.fromkeys(name for each in found for name in each.figures))
    headings = ("point", "steps", "seed", *(_HEADINGS.get(name, name.replace("_", " ")) for name in names))
    rows = [
        (
            each.point,
            sampling_text(each.conditions),
            str(each.conditions.seed),
            *(_cell(each.figures.get(name)) for name in names),
        )
        for each in found
    ]
    echo_table(headings, rows)
    click.echo(f"\n{conditions_text(found)}; distances are to the judge split, lower is better")
    count = found.real[0].conditions.samples
    click.echo(f"real: {count:,} images that were trained on; NN ratio and accuracy are of those that judge")
    click.echo(run / "evaluation" / PLOT)


def _read_spec(given: str) -> SubDiTSpec:
    from subdit.core.errors import SpecError
    from subdit.space import SubDiTSpec

    if given.lstrip().startswith("{"):
        return SubDiTSpec.from_json(given)
    try:
        return SubDiTSpec.from_json(Path(given).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise SpecError(f"There is no spec at {given}; give JSON as in a pick's spec.json, or a file.") from error


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
