"""Numbers as options take them."""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteFloat(click.types.FloatParamType):
    """click's float, without nan and infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), value, param, ctx)


class FiniteRange(click.FloatRange):
    """click's `FloatRange`, which lets nan through, and infinity where it has no upper end, without both."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), value, param, ctx)


def _finite(
    kind: click.ParamType[Any], number: float, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> float:
    if not math.isfinite(number):
        kind.fail(f"{value!r} is not a finite number.", param, ctx)
    return number
