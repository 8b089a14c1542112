"""`subdit spaces`: list the search spaces, show one, or begin a file of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import click

from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.cli._table import echo_table

if TYPE_CHECKING:
    from subdit.space import SearchSpace


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the search spaces, show one, or write a file of your own.

    \b
    Examples:
        subdit spaces
        subdit spaces new my-space.yaml --from mid-256
        subdit spaces show digits
        subdit spaces show digits --json
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the search spaces.

    \b
    Example:
        subdit spaces list
    """
    _list(as_json)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "start", default="mid-256", show_default=True, help="Space, or space file, to start from.")
@click.option("--name", help="Name of the space.  [default: the file's]")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
def new(file: Path, start: str, name: str | None, force: bool) -> None:
    """Write a space file that says what each key means, for you to edit.

    What takes the name of a space takes a file that ends in .yaml or .yml too. All that is made of a space keeps its
    content, so the file is not needed again.

    \b
    Examples:
        subdit spaces new my-space.yaml --from mid-256
        subdit spaces show my-space.yaml
        subdit train my-space.yaml --data data/mine --run runs/mine
    """
    from subdit.core.errors import SpaceError
    from subdit.core.files import write_atomic
    from subdit.space import built_in_space
    from subdit.space import get_space
    from subdit.space import rename_space
    from subdit.space import space_to_yaml

    if file.suffix not in (".yaml", ".yml"):
        raise SpaceError(f"A space file ends in .yaml or .yml; {file} does not, so give it another name.")
    if file.exists() and not force:
        raise SpaceError(f"There is a file {file} already; name another one, or pass --force to replace it.")
    origin = get_space(start)
    made = rename_space(origin, name or file.stem)
    if built_in_space(made.name) is not None:
        raise SpaceError(f"There is a built-in space {made.name!r}; give yours another name with --name.")
    header = f"A search space, started from {origin.name}. 'subdit spaces show {file.name}' checks and sizes it."
    try:
        write_atomic(file, space_to_yaml(made, header=header))
    except OSError as error:
        raise SpaceError(f"The file {file} cannot be written ({error.strerror}); name another one.") from error
    click.echo(f"{file}: edit it, then check it with: subdit spaces show {shlex.quote(str(file))}")


@command.command()
@click.argument("space")
@click.option("--point", help="Named point whose stages and components are shown; small where there is one.")
@click.option("--measure", is_flag=True, help="Count the named points with torch, too, and say where it differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(space: str, point: str | None, measure: bool, as_json: bool) -> None:
    """Show a search space: its dimensions, and what its named points cost, per stage and per component.

    SPACE is a name or a file, which is checked first.

    Parameters, FLOPs of one step, size of the weights at each precision, activation memory: all in closed form. Layer
    counts can be part of the name: mobile-1k-6-20-8. With --measure torch counts as well, which takes a minute for
    mobile-1k, and the steps of the paper's ablation stand side by side for the paper's spaces.

    \b
    Examples:
        subdit spaces show digits
        subdit spaces show my-space.yaml
        subdit spaces show mobile-1k --point full
        subdit spaces show mobile-1k-6-20-10 --json
        subdit spaces show paper --measure
    """
    from subdit.cli import _space_costs
    from subdit.space import get_space

    found = get_space(space)
    point = point or ("small" if "small" in found.named else "full")
    costs = _space_costs.describe_costs(found, point)
    if measure:
        with progress_bar("Counting with torch") as progress:
            costs |= _space_costs.measure(found, costs, progress=progress)
    described = _describe(found)
    if as_json:
        for name, entry in costs["named"].items():
            described["named"][name] |= entry
        echo_json({**described, **{key: value for key, value in costs.items() if key != "named"}})
        return
    latent = "x".join(map(str, described["latent"]))
    click.echo(f"{described['name']}: {described['sub_dits']:,} sub-DiTs of {described['components']} components")
    click.echo(f"content {described['hash']}, measured as {described['models_id']}")
    click.echo(f"latent {latent}, patch size {described['patch_size']}, {described['text_tokens']} text tokens\n")
    echo_table(
        ("dimension", "values"),
        [(name, ", ".join(map(str, values))) for name, values in described["dimensions"].items()],
    )
    click.echo()
    echo_table(
        ("named point", "spec hash", "spec"),
        [(name, entry["spec_hash"], entry["summary"]) for name, entry in described["named"].items()],
    )
    click.echo()
    _space_costs.echo_costs(costs)


def _list(as_json: bool) -> None:
    from subdit.space import get_space
    from subdit.space import space_names

    described = [_describe(get_space(name)) for name in space_names()]
    if as_json:
        echo_json(described)
        return
    echo_table(
        ("space", "sub-DiTs", "latent", "widths", "parameters of its points"),
        [
            (
                space["name"],
                f"{space['sub_dits']:,}",
                "x".join(map(str, space["latent"])),
                ", ".join(map(str, space["dimensions"]["width"])),
                _range([point["params"] for point in space["named"].values()]),
            )
            for space in described
        ],
    )


def _range(params: list[int]) -> str:
    return f"{min(params):,} to {max(params):,}"


def _describe(space: SearchSpace) -> dict[str, Any]:
    from subdit.space import all_components
    from subdit.space import count_params
    from subdit.space import models_id
    from subdit.space import space_hash

    named = list(space.named.items())
    params = count_params(space, space.encode([spec for _, spec in named]))
    return {
        "name": space.name,
        "hash": space_hash(space),
        "models_id": models_id(space),
        "sub_dits": space.size,
        "components": len(all_components(space)),
        "latent": [space.latent_channels, space.latent_size, space.latent_size],
        "patch_size": space.patch_size,
        "text_tokens": space.text_tokens,
        "dimensions": {name: list(values) for name, values in space.dimensions.items()},
        "named": {
            name: {"spec": spec.to_dict(), "spec_hash": spec.hash, "summary": str(spec), "params": int(count)}
            for (name, spec), count in zip(named, params, strict=True)
        },
    }
