"""What a check of a profile finds, and how its sentences write figures."""

from __future__ import annotations

from dataclasses import dataclass

from device_profiles._profile import Latency


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be true.

    Attributes:
        rule: "schema", "space", "identity", "gap", "interval", "pipeline", "order", "growth", "noise", "calibration" or
            "whole".
        message: one sentence, with names, numbers and what was allowed.
        components: the components it is about, by name.
    """

    rule: str
    message: str
    components: tuple[str, ...] = ()


def ms(value: float) -> str:
    return f"{value:.4g} ms"


def span(latency: Latency) -> str:
    return f"{latency.low_ms:.4g} to {latency.high_ms:.4g} ms"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
