"""The reference kernel: a small fixed piece of transformer whose time says how fast the machine is just now."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

TOKENS, WIDTH, HIDDEN, LAYERS = 64, 96, 384, 6

REFERENCE_DESCRIPTION = {"subdit_model": 1, "reference": True}
"""What torch reads instead of a file of weights."""


def reference_weights() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Per layer the matrices `up` and `down` and the norm's `scale`; float32.

    A layer is x + softmax(down(gelu(up(norm(x))))), the norm without a shift, GELU by tanh, softmax over the width.
    """
    rng = np.random.default_rng(0)
    sizes = {"up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH), "scale": (WIDTH,)}
    for _ in range(LAYERS):
        yield {name: (rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32) for name, size in sizes.items()}


def reference_inputs() -> dict[str, npt.NDArray[np.float32]]:
    """What the kernel reads."""
    drawn = np.random.default_rng(1).standard_normal((1, TOKENS, WIDTH))
    return {"input": drawn.astype(np.float32)}
