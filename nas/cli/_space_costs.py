"""What a search space costs: the figures and tables behind `subdit spaces show`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import click

from nas.cli._table import echo_table
from subdit.progress import ProgressCallback
from supernet.space import PRECISIONS
from supernet.space import Component
from supernet.space import SearchSpace
from supernet.space import SubDiTSpec
from supernet.space import WeightSizes
from supernet.space import component_flops
from supernet.space import component_weights
from supernet.space import components_by_stage

ACTIVATIONS = ("activation_bytes", "fused_activation_bytes")
MEGABYTE = 1e6


def describe_costs(
    space: SearchSpace, named: dict[str, SubDiTSpec], point: str, *, ablation: bool, progress: ProgressCallback
) -> dict[str, Any]:
    """Costs of the named points, of the stages and components of one of them, and of the paper's ablation steps.

    Activation memory is null where torch is not installed; all else is closed form.
    """
    measured = _measure(space, named, ablation=ablation, progress=progress)
    stages = components_by_stage(space, named[point])
    costs = measured.get(point)
    return {
        "named": {
            name: _sizes(space, sum(components_by_stage(space, spec).values(), Counter()))
            | _activations(measured.get(name))
            for name, spec in named.items()
        },
        "point": point,
        "stages": {name: _sizes(space, count) | _activations(costs, [(name, None)]) for name, count in stages.items()},
        "components": {
            component.name: {"count": times}
            | _sizes(space, Counter({component: times}))
            | _activations(costs, [(stage, component.kind) for stage, count in stages.items() if component in count])
            for component, times in sorted(sum(stages.values(), Counter()).items())
        },
        "ablation": _ablation(measured) if ablation and measured else None,
    }


def _measure(
    space: SearchSpace, named: dict[str, SubDiTSpec], *, ablation: bool, progress: ProgressCallback
) -> dict[str, Any]:
    """`Costs` in float16 of the named points and, as 'step A' and so on, of the ablation; nothing without torch."""
    try:
        import torch
        from diffusers.models.modeling_utils import no_init_weights
    except ModuleNotFoundError:
        return {}
    from supernet.costs import measure_costs
    from supernet.dit import SubDiT
    from supernet.dit import example_inputs

    steps = _ablation_steps() if ablation else ()
    measured: dict[str, Any] = {}
    total = len(named) + len(steps)
    for name, spec in named.items():
        progress(len(measured), total, name)
        with torch.device("meta"), no_init_weights():
            model = SubDiT.from_spec(space, spec)
        measured[name] = measure_costs(model, example_inputs(space), dtype=torch.float16)
    for step in steps:
        progress(len(measured), total, f"step {step.name}")
        with torch.device("meta"), no_init_weights():
            model = step.build()
        measured[f"step {step.name}"] = measure_costs(model, step.example_inputs(), dtype=torch.float16)
    progress(total, total, "")
    return measured


def _ablation_steps() -> Any:
    from supernet.ablation import ABLATION

    return ABLATION


def _ablation(measured: dict[str, Any]) -> dict[str, Any]:
    return {
        step.name: {
            "change": step.change,
            "params": measured[f"step {step.name}"].weights.params,
            "flops": measured[f"step {step.name}"].flops,
            **_activations(measured[f"step {step.name}"]),
            "published_params": round(step.published_params_m * 1e6),
            "published_latency_ms": step.published_latency_ms,
            "published_validation_loss": step.published_validation_loss,
        }
        for step in _ablation_steps()
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


def _activations(costs: Any, parts: Iterable[tuple[str, str | None]] | None = None) -> dict[str, int | None]:
    """Both figures of activation memory of a whole model, or the larger ones of some of its parts."""
    if costs is None:
        return dict.fromkeys(ACTIVATIONS)
    if parts is None:
        return {key: getattr(costs, key) for key in ACTIVATIONS}
    from supernet.costs import part_costs

    found = [part_costs(costs, stage, kind) for stage, kind in parts]
    return {key: max(getattr(part, key) for part in found) for key in ACTIVATIONS}


# Tables --------------------------------------------------------------------------------------------------------------


def echo_costs(described: dict[str, Any]) -> None:
    """Print what `describe_costs` says."""
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
    if named[point][ACTIVATIONS[0]] is None:
        click.echo("Activation memory is measured with torch: pip install 'subdit[torch]'.")
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


def _megabytes(size: int | None) -> str:
    return "-" if size is None else _amount(size / MEGABYTE)


def _amount(value: float) -> str:
    """Three digits or so, and never an exponent."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.9995 else f"{value:.3f}"
