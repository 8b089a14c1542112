"""The option `--limit NAME=VALUE`, alike in every verb that searches, and what it was called before."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EARLIER = {
    "latency_ms": "--max-latency-ms",
    "pipeline_ms": "--max-pipeline-ms",
    "params": "--max-params",
    "memory_mb": "--max-memory-mb",
    "file_mb": "--max-file-mb",
    "gflops": "--max-gflops",
}


def limit_options(command: _Command) -> _Command:
    """`--limit`, and hidden the options of earlier versions; `constraints` reads them all."""
    for name, option in _EARLIER.items():
        command = click.option(option, f"max_{name}", type=float, multiple=True, hidden=True)(command)
    command = click.option("--max-quality", multiple=True, hidden=True)(command)
    return click.option(
        "--limit", multiple=True, metavar="NAME=VALUE", help="Upper limit, such as latency_ms=20; repeat."
    )(command)


def constraints(options: dict[str, Any]) -> dict[str, float]:
    """Limits by name from the options of `limit_options`, which are taken out of `options`."""
    earlier = [f"{name}={value}" for name in _EARLIER for value in options.pop(f"max_{name}")]
    earlier += options.pop("max_quality")
    for text in earlier:
        click.echo(f"Note: this limit is now written as --limit {text}; the option given goes away.", err=True)
    return values_by_name((*options.pop("limit"), *earlier), "--limit")


def values_by_name(texts: Sequence[str], option: str) -> dict[str, float]:
    """Values of an option that is given as NAME=VALUE, repeatedly; raises `click.BadParameter`."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no NAME=VALUE such as latency_ms=20.", param_hint=option) from None
        if name in found:
            raise click.BadParameter(
                f"{name} is there twice; give it once, or for one device as {name}@DEVICE=VALUE.", param_hint=option
            )
        found[name] = number
    return found
