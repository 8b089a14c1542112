"""`subdit spaces`: list the search spaces, or show one."""

from __future__ import annotations

from typing import Any

import click

from nas.cli._table import echo_json
from nas.cli._table import echo_table
from supernet.space import SearchSpace
from supernet.space import all_components
from supernet.space import count_params
from supernet.space import get_space
from supernet.space import space_names


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the search spaces, or show one.

    \b
    Examples:
        subdit spaces
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
@click.argument("space")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(space: str, as_json: bool) -> None:
    """Show a search space: its size, its dimensions, its named points.

    \b
    Example:
        subdit spaces show digits
    """
    described = _describe(get_space(space))
    if as_json:
        echo_json(described)
        return
    latent = "x".join(map(str, described["latent"]))
    click.echo(f"{described['name']}: {described['sub_dits']:,} sub-DiTs of {described['components']} components")
    click.echo(f"latent {latent}, patch size {described['patch_size']}, {described['text_tokens']} text tokens\n")
    echo_table(
        ("dimension", "values"),
        [(name, ", ".join(map(str, values))) for name, values in described["dimensions"].items()],
    )
    click.echo()
    echo_table(
        ("named point", "parameters", "spec hash", "spec"),
        [
            (name, f"{point['params']:,}", point["spec_hash"], point["summary"])
            for name, point in described["named"].items()
        ],
    )


def _list(as_json: bool) -> None:
    described = [_describe(get_space(name)) for name in space_names()]
    if as_json:
        echo_json(described)
        return
    echo_table(
        ("space", "sub-DiTs", "latent", "widths", "parameters, tiny to full"),
        [
            (
                space["name"],
                f"{space['sub_dits']:,}",
                "x".join(map(str, space["latent"])),
                ", ".join(map(str, space["dimensions"]["width"])),
                f"{space['named']['tiny']['params']:,} to {space['named']['full']['params']:,}",
            )
            for space in described
        ],
    )


def _describe(space: SearchSpace) -> dict[str, Any]:
    named = list(space.named.items())
    params = count_params(space, space.encode([spec for _, spec in named]))
    return {
        "name": space.name,
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
