"""Grouped-query attention, and the self- and cross-attention branches of a DiT block.

Every branch is a module from tokens to tokens that contains its own norm, modulation and residual addition. A sub-DiT
is a sequence of branches. Their latencies therefore add up, and each branch is a component of a kit.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from supernet.model.attention_kernel import MOST_KEYS
from supernet.model.attention_kernel import attention
from supernet.model.linear import Linear
from supernet.model.linear import trains
from supernet.model.rope import RotaryGrid
from supernet.model.rope import rotate


def group_queries(q: Tensor, kv_heads: int) -> Tensor:
    """Query heads (batch, tokens, heads, head_dim) to (batch, kv_heads, tokens * group, head_dim).

    Queries that share a key-value head are laid out as further tokens, token by token. Thus no key or value is
    repeated, consecutive tokens are a plain slice, and no tensor is above rank 4.
    """
    batch, tokens, heads, head_dim = q.shape
    group = heads // kv_heads
    rows = q.reshape(batch, tokens, kv_heads, group * head_dim).transpose(1, 2)
    return rows.reshape(batch, kv_heads, tokens * group, head_dim)


def ungroup_queries(x: Tensor, tokens: int) -> Tensor:
    """The inverse of `group_queries`, with concatenated heads: (batch, tokens, heads * head_dim)."""
    batch, kv_heads, rows, head_dim = x.shape
    return x.reshape(batch, kv_heads, tokens, rows // tokens * head_dim).transpose(1, 2).flatten(2)


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of grouped queries.

    This function alone chooses the kernel: torch takes its fused one on CPU and GPU, few keys go to the project's
    own on a processor, and exporters write a matrix product, a softmax and a matrix product. A FlexAttention kernel
    would belong here; none is written yet.

    Args:
        q: (batch, kv_heads, tokens * group, head_dim), see `group_queries`.
        k: (batch, kv_heads, kv_tokens, head_dim).
        v: as `k`.
        mask: (batch, kv_tokens), True for keys that may be attended to; None for all keys.

    Returns:
        The shape of `q`.
    """
    if not is_exporting() and mask is None and k.shape[2] <= MOST_KEYS and trains(q, k, v):
        return attention(q, k, v)
    seen = None if mask is None else mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


_as_exported: ContextVar[bool] = ContextVar("as_exported", default=False)


@contextmanager
def as_exported() -> Iterator[None]:
    """Run modules in their exported form without exporting; results are the same."""
    token = _as_exported.set(True)
    try:
        yield
    finally:
        _as_exported.reset(token)


def is_exporting() -> bool:
    """Whether modules run in their exported form: plain operators, where attention writes out its scores."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]  # public, though not in its __all__
    return tracing or _as_exported.get()


class Modulated(nn.Module):
    """A residual branch under adaLN-single: shared modulation by time plus a table of the branch's own (PixArt-alpha).

    Norm, table and modulation are the parameters that the paper isolates per width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.scale_shift_table = nn.Parameter(torch.zeros(3, width))

    def modulated(self, x: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (batch, tokens, width), normed, scaled and shifted by modulation (batch, 3, width); and the gate."""
        shift, scale, gate = (self.scale_shift_table + modulation).chunk(3, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale), gate


class SelfAttention(Modulated):
    """Full self-attention over a square grid: GQA, LayerNorm on q, k and v, rotary q and k (paper, Fig. 2)."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        grid: int,
        rope_theta: float,
        rope_stride: int = 1,
    ) -> None:
        super().__init__(width)
        self.heads = heads
        self.kv_heads = kv_heads
        self.to_q = Linear(width, heads * head_dim)
        self.to_k = Linear(width, kv_heads * head_dim)
        self.to_v = Linear(width, kv_heads * head_dim)
        self.q_norm = nn.LayerNorm(head_dim, eps=1e-6)
        self.k_norm = nn.LayerNorm(head_dim, eps=1e-6)
        self.v_norm = nn.LayerNorm(head_dim, eps=1e-6)
        self.to_out = Linear(heads * head_dim, width)
        self.rotary_grid = RotaryGrid(grid, head_dim, rope_theta, rope_stride)
        cos, sin = self.rotary_grid.table()
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        self.rope_cos: Tensor
        self.rope_sin: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SelfAttention:
        """As torch's, which `to` and similar methods call; tables move to the device and stay float32.

        The tables are computed again there, so that they are right after `to_empty` of a model on meta, too.
        """
        before = self.rope_cos
        super()._apply(fn, recurse)
        if self.rope_cos is not before:
            self.rope_cos, self.rope_sin = self.rotary_grid.table(self.rope_cos.device)
        return self

    def project(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (batch, tokens, width) to grouped q, and k and v of shape (batch, kv_heads, tokens, head_dim)."""
        # Norm and rotation come before heads and tokens are transposed: the projections' output is contiguous.
        q = rotate(self.q_norm(self.to_q(h).unflatten(-1, (self.heads, -1))), self.rope_cos, self.rope_sin)
        k = rotate(self.k_norm(self.to_k(h).unflatten(-1, (self.kv_heads, -1))), self.rope_cos, self.rope_sin)
        v = self.v_norm(self.to_v(h).unflatten(-1, (self.kv_heads, -1)))
        return group_queries(q, self.kv_heads), k.transpose(1, 2), v.transpose(1, 2)

    def attend(self, h: Tensor) -> Tensor:
        """Modulated tokens (batch, tokens, width) to concatenated attended heads (batch, tokens, heads * head_dim)."""
        return ungroup_queries(grouped_attention(*self.project(h)), h.shape[1])

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) and modulation (batch, 3, width) to tokens."""
        h, gate = self.modulated(hidden_states, modulation)
        return torch.addcmul(hidden_states, gate, self.to_out(self.attend(h)))


def share_tables(model: nn.Module, owner: nn.Module | None = None) -> None:
    """Share one table among all self-attentions with the same rotary grid: that of `owner`, or the model's first."""
    tables: dict[RotaryGrid, tuple[Tensor, Tensor]] = {}
    for module in (model if owner is None else owner).modules():
        if isinstance(module, SelfAttention):
            tables.setdefault(module.rotary_grid, (module.rope_cos, module.rope_sin))
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.rope_cos, module.rope_sin = tables[module.rotary_grid]


class CrossAttention(nn.Module):
    """Attention of image tokens to text tokens; no norm and no modulation before it (paper, Fig. 2; PixArt-alpha).

    Its key and value projections map the text width to the key-value width, and do not depend on `width`.
    """

    def __init__(self, *, width: int, heads: int, kv_heads: int, head_dim: int, text_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv_heads = kv_heads
        self.to_q = Linear(width, heads * head_dim)
        self.to_k = Linear(text_width, kv_heads * head_dim)
        self.to_v = Linear(text_width, kv_heads * head_dim)
        self.q_norm = nn.LayerNorm(head_dim, eps=1e-6)
        self.k_norm = nn.LayerNorm(head_dim, eps=1e-6)
        self.to_out = Linear(heads * head_dim, width)

    def forward(self, hidden_states: Tensor, text: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Tokens (batch, tokens, width) and projected text (batch, text_tokens, text_width) to tokens.

        `text_mask` (batch, text_tokens) is False for text tokens to leave out.
        """
        q = group_queries(self.q_norm(self.to_q(hidden_states).unflatten(-1, (self.heads, -1))), self.kv_heads)
        k = self.k_norm(self.to_k(text).unflatten(-1, (self.kv_heads, -1))).transpose(1, 2)
        v = self.to_v(text).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        attended = ungroup_queries(grouped_attention(q, k, v, text_mask), hidden_states.shape[1])
        return hidden_states + self.to_out(attended)
