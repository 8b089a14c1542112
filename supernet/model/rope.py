"""Two-dimensional axial rotary position embedding, aligned between the stages' grids.

Tables are float32, and heads of a narrower type are rotated in float32, as in diffusers (`apply_rotary_emb`, for Flux
and others). A table rounded to bfloat16 would add the same error to every rotation; in float32 only the result is
rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RotaryGrid:
    """What a rotary table depends on: a grid of tokens and the frequencies of its rotations.

    Attributes:
        grid: tokens per side.
        head_dim: numbers per rotated head.
        theta: base of the frequencies.
        stride: tokens of the full grid per side of one token of this grid. That token has the position of their
            centre, so that positions mean the same in every stage.
    """

    grid: int
    head_dim: int
    theta: float
    stride: int = 1

    def table(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of every token's rotation, each of shape (grid * grid, 1, head_dim), float32.

        Half of the frequencies turn with the row, half with the column. `device` is by default torch's default device.
        """
        # Copied, because a tensor that shared the cached arrays' memory could change the tables of all models.
        cos, sin = _angles(self)
        return torch.tensor(cos, device=device), torch.tensor(sin, device=device)


# Every block of every sub-DiT calls this; a space has two grids.
@lru_cache(maxsize=16)
def _angles(of: RotaryGrid) -> tuple[_Array, _Array]:
    grid, head_dim = of.grid, of.head_dim
    positions = np.arange(grid) * of.stride + (of.stride - 1) / 2
    frequencies = of.theta ** (-np.arange(head_dim // 4) / (head_dim // 4))
    turns = positions[:, None] * frequencies
    rows = np.broadcast_to(turns[:, None], (grid, grid, turns.shape[1]))
    columns = np.broadcast_to(turns[None], (grid, grid, turns.shape[1]))
    angles = np.concatenate([rows, columns], axis=-1).reshape(grid * grid, head_dim // 2)
    both = np.concatenate([angles, angles], axis=-1)[:, None]
    # The first half of a rotated head subtracts a multiple of the second, so its sines carry the minus sign.
    sines = np.sin(both) * np.repeat([-1.0, 1.0], head_dim // 2)
    return np.cos(both).astype(np.float32), sines.astype(np.float32)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads of shape (batch, tokens, heads, head_dim) by angles of shape (tokens, 1, head_dim).

    The rotation is computed in the wider of both types, and returned in that of the heads.
    """
    first, second = x.chunk(2, dim=-1)
    turned = torch.addcmul(x * cos, torch.cat([second, first], dim=-1), sin)
    # Checked first: in a traced graph, a conversion to the same type would add a node.
    return turned if turned.dtype == x.dtype else turned.to(x.dtype)
