"""What a search space costs: the figures and tables behind `subdit spaces show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from subdit.cli._table import echo_table
from subdit.core.progress import ProgressCallback
from subdit.space import PRECISIONS
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import WeightSizes
from subdit.space import component_flops
from subdit.space import component_weights
from subdit.space import components_by_stage
from subdit.space import part_activation_bytes

ACTIVATIONS = ("activation_bytes", "fused_activation_bytes")
MEGABYTE = 1e6
# Activations are shown as of float16.
_ELEMENT_BYTES = 2


def describe_costs(space: SearchSpace, point: str) -> dict[str, Any]:
    """Costs of the named points, and of the stages and components of one of them, all in closed form."""
    stages = components_by_stage(space, space.named_spec(point))
    alive = _alive(space, space.named_spec(point))
    return {
        "named": {
            name: _sizes(space, sum(components_by_stage(space, spec).values(), Counter()))
            | _largest(_alive(space, spec))
            for name, spec in space.named.items()
        },
        "point": point,
        "stages": {
            name: _sizes(space, count) | _largest(alive, [(name, component.kind) for component in count])
            for name, count in stages.items()
        },
        "components": {
            component.name: {"count": times}
            | _sizes(space, Counter({component: times}))
            | _largest(alive, [(stage, component.kind) for stage, count in stages.items() if component in count])
            for component, times in sorted(sum(stages.values(), Counter()).items())
        },
    }


def _sizes(space: SearchSpace, count: Counter[Component]) -> dict[str, Any]:
    weights = WeightSizes(0, 0, 0, 0)
    for component, times in count.items():
        weights = weights + component_weights(space, component) * times
    return {
        "params": weights.params,
        "flops": sum(times * component_flops(space, component) for component, times in count.items()),
        "weight_bytes": {precision: weights.bytes(precision) for precision in PRECISIONS},
    }


def _alive(space: SearchSpace, spec: SubDiTSpec) -> dict[str, dict[tuple[str, str], int]]:
    """Both figures of activation memory of each part."""
    return {
        key: part_activation_bytes(space, spec, element_bytes=_ELEMENT_BYTES, fused=fused)
        for key, fused in zip(ACTIVATIONS, (False, True), strict=True)
    }


def _largest(
    alive: dict[str, dict[tuple[str, str], int]], parts: Iterable[tuple[str, str]] | None = None
) -> dict[str, int]:
    """Of a whole model, or of some of its parts."""
    within = None if parts is None else set(parts)
    return {
        key: max(size for part, size in sizes.items() if within is None or part in within)
        for key, sizes in alive.items()
    }


# With torch ----------------------------------------------------------------------------------------------------------


def measure(space: SearchSpace, described: dict[str, Any], *, progress: ProgressCallback) -> dict[str, Any]:
    """What torch counts on the meta device of the same named points, and of the paper's ablation steps where it is of
    the paper's spaces, for which there is no closed form.

    Returns "measured": figures by named point; "differences": sentences, none where torch counts what `described` says;
    "ablation": by step, or None.
    """
    import torch
    from diffusers.models.modeling_utils import no_init_weights

    from supernet.model.ablation import ABLATION
    from supernet.model.costs import measure_costs
    from supernet.model.dit import SubDiT
    from supernet.model.dit import example_inputs

    steps = ABLATION if _is_the_papers(space) else ()
    total = len(space.named) + len(steps)

    def counted(
        done: int, name: str, build: Callable[[], SubDiT], inputs: Mapping[str, torch.Tensor]
    ) -> dict[str, int]:
        progress(done, total, name)
        with torch.device("meta"), no_init_weights():
            model = build()
        costs = measure_costs(model, inputs, dtype=torch.float16)
        return {
            "params": costs.weights.params,
            "flops": costs.flops,
            **{key: getattr(costs, key) for key in ACTIVATIONS},
        }

    named = {
        name: counted(done, name, partial(SubDiT.from_spec, space, spec), example_inputs(space))
        for done, (name, spec) in enumerate(space.named.items())
    }
    ablation = {
        step.name: {
            "change": step.change,
            **counted(done, f"step {step.name}", step.build, step.example_inputs()),
            "published_params": round(step.published_params_m * 1e6),
            "published_latency_ms": step.published_latency_ms,
            "published_validation_loss": step.published_validation_loss,
        }
        for done, step in enumerate(steps, len(named))
    }
    progress(total, total, "")
    return {
        "measured": named,
        "differences": [
            f"{key} of {name}: torch counts {value:,}, the closed form is {described['named'][name][key]:,}"
            for name, figures in named.items()
            for key, value in figures.items()
            if value != described["named"][name][key]
        ],
        "ablation": ablation or None,
    }


def _is_the_papers(space: SearchSpace) -> bool:
    return space.name == "paper" or space.name.startswith("mobile-1k")


# Tables --------------------------------------------------------------------------------------------------------------


def echo_costs(described: dict[str, Any]) -> None:
    """Print what `describe_costs` says and, where it was asked, `measure`."""
    named, point = described["named"], described["point"]
    giga = max(entry["flops"] for entry in named.values()) >= 1e9
    unit, scale = ("GFLOPs", 1e9) if giga else ("MFLOPs", 1e6)
    columns = (unit, *(f"{precision} MB" for precision in PRECISIONS), "activations MB", "fused MB")

    def cells(entry: dict[str, Any]) -> tuple[str, ...]:
        sizes = [entry["weight_bytes"][precision] for precision in PRECISIONS]
        memory = [entry[key] for key in ACTIVATIONS]
        return (_amount(entry["flops"] / scale), *(_megabytes(size) for size in (*sizes, *memory)))

    click.echo("One step on one image:")
    echo_table(
        ("named point", "parameters", *columns),
        [(name, f"{entry['params']:,}", *cells(entry)) for name, entry in named.items()],
    )
    flops = named[point]["flops"]
    for title, part in (("stage", "stages"), ("component", "components")):
        click.echo(f"\nOf {point}, per {title}:")
        rows = [
            (
                *((name, str(entry["count"])) if part == "components" else (name,)),
                f"{entry['params']:,}",
                f"{100 * entry['flops'] / flops:.1f} %",
                *cells(entry),
            )
            for name, entry in described[part].items()
        ]
        headings = (title, *(("count",) if part == "components" else ()), "parameters", "of FLOPs", *columns)
        echo_table(headings, rows)
    click.echo(
        "\nFLOPs: a multiply-add is two; matrix products, convolutions and attention, exact. MB: 10^6 bytes.\n"
        "Activations: largest live set in fp16 while the part runs, with attention as plain operators; fused: with\n"
        "attention that never writes its scores."
    )
    if "measured" not in described:
        click.echo("All in closed form; --measure counts with torch, too.")
        return
    points = ", ".join(described["measured"])
    for sentence in described["differences"] or [f"torch counts the same of {points}, on the meta device"]:
        click.echo(f"{sentence[0].upper()}{sentence[1:]}.")
    if described["ablation"]:
        _echo_ablation(described["ablation"])


def _echo_ablation(steps: dict[str, Any]) -> None:
    click.echo("\nThe paper's ablation, one step at 1024 pixels (* published, latency on an iPhone 16 Pro Max):")
    echo_table(
        ("step", "M params", "* M", "GFLOPs", "activations MB", "fused MB", "* latency ms", "* val loss", "change"),
        [
            (
                name,
                _amount(step["params"] / 1e6),
                _amount(step["published_params"] / 1e6),
                _amount(step["flops"] / 1e9),
                *(_megabytes(step[key]) for key in ACTIVATIONS),
                f"{step['published_latency_ms']:,}",
                f"{step['published_validation_loss']:.4f}",
                step["change"],
            )
            for name, step in steps.items()
        ],
    )


def _megabytes(size: int) -> str:
    return _amount(size / MEGABYTE)


def _amount(value: float) -> str:
    """Three digits or so, and never an exponent."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.9995 else f"{value:.3f}"
