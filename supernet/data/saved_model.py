"""Folders of models that others saved: refused before anything is allocated where they ask for what their weights lack.

A configuration of a few bytes can ask for terabytes, or for years of making layers.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import safe_open
from torch import nn

from subdit.core.errors import DataError

MOST_BYTES = 1 << 24
"""Of a config.json."""
MOST_LAYERS = 1000
"""Unless there are as many tensors in the weights."""
MOST_NUMBER = 10**12
"""Of an integer, or of the base of a rotary position embedding; where it is a size, the weights bound it further."""
SPARE = 10_000_000
"""Numbers that a model may hold beside twice those in its weights: tables, and layers that are not used."""

_REPEATED = re.compile(
    r"(^|_)(n|num)_.*(layers?|blocks?|experts|groups)$|^n_layers?$|_layers$|^layers_|_layers_per_block$"
)


def refuse_numbers(config: Any, folder: Path, *, tensors: int) -> None:
    """Raise `DataError` where a configuration, nested or not, has a number that no model has.

    Args:
        config: as JSON.
        folder: of the model.
        tensors: in its weights.
    """
    for name, value in _numbers(config):
        most = MOST_NUMBER
        if _REPEATED.search(name):
            most = max(MOST_LAYERS, tensors)
        elif isinstance(value, float) and "theta" not in name:
            continue
        if not -most < value < most or ("theta" in name and not value > 0):
            shown = f"{value:,}" if isinstance(value, float) or abs(value) < 10**18 else "a number without end"
            raise DataError(f"The config.json at {folder} states {name} as {shown}, which no model has; mend it.")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def refuse_size(make: Callable[[], nn.Module], folder: Path, *, elements: int) -> None:
    """Raise `DataError` where a model holds far more numbers than its weights.

    Args:
        make: makes the model; called where nothing is allocated.
        folder: of the model.
        elements: numbers in its weights; 0 where they are missing or damaged, which loading them tells.
    """
    if not elements:
        return
    with torch.device("meta"):
        model = make()
    asked = sum(tensor.numel() for tensor in chain(model.parameters(), model.buffers()))
    if asked > 2 * elements + SPARE:
        raise DataError(
            f"The config.json at {folder} asks for {asked:,} numbers, but the weights there hold {elements:,}; name a "
            "folder whose files belong together."
        )


def weight_sizes(folder: Path) -> tuple[int, int]:
    """Number of tensors in the safetensors files of a folder, and of numbers in them; from their headers alone.

    What is damaged holds nothing.
    """
    tensors = elements = 0
    for file in sorted(folder.glob("*.safetensors")):
        with contextlib.suppress(OSError, SafetensorError), safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():
                tensors += 1
                elements += math.prod(opened.get_slice(name).get_shape())
    return tensors, elements


def refuse_config_file(folder: Path) -> None:
    """Raise `DataError` where the config.json of a folder is larger than any."""
    file = folder / "config.json"
    if file.is_file() and file.stat().st_size > MOST_BYTES:
        raise DataError(f"The file {file} has more than {MOST_BYTES:,} bytes; name a folder with a model's.")
