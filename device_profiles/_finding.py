"""What a check of a profile finds."""

from __future__ import annotations

from dataclasses import dataclass


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
