"""Sizes of the tensors that a component's operators make and drop, in their order.

The order is that of `supernet`'s modules as they are exported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from subdit.space._components import Component
from subdit.space._search_space import SearchSpace


@dataclass(frozen=True)
class Form:
    """How operators are run, which decides what they write.

    Attributes:
        scores: number of buffers of attention scores that live at once. It is 2 where softmax writes a new one, 1 where
            it overwrites the scores, 0 where a fused kernel never writes them.
        is_graph: whether a runtime sees the whole graph. Then the scale of attention is part of a product, elementwise
            operators overwrite their input, and a tensor is freed after its last reader. Python frees a tensor when no
            name refers to it.
    """

    scores: int
    is_graph: bool = False


PLAIN = Form(scores=2)
FUSED = Form(scores=0)
ONNX_RUNTIME = Form(scores=2, is_graph=True)
XNNPACK = Form(scores=1, is_graph=True)


class Live:
    """Counts the numbers that live now, and their maximum so far."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0

    def make(self, *sizes: int) -> None:
        self.now += sum(sizes)
        self.peak = max(self.peak, self.now)

    def drop(self, *sizes: int) -> None:
        self.now -= sum(sizes)

    def briefly(self, *sizes: int) -> None:
        """Make tensors and drop them again."""
        self.make(*sizes)
        self.drop(*sizes)


class Buffers(Live):
    """Counts also, for each size, the most tensors of that size that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most: Counter[int] = Counter()
        self._alive: Counter[int] = Counter()

    def make(self, *sizes: int) -> None:
        super().make(*sizes)
        for size in sizes:
            self._alive[size] += 1
            self.most[size] = max(self.most[size], self._alive[size])

    def drop(self, *sizes: int) -> None:
        super().drop(*sizes)
        self._alive.subtract(sizes)


def replay(live: Live, space: SearchSpace, component: Component, form: Form) -> None:
    """Make and drop the tensors of a component, without its input."""
    width, tokens = component.width, component.grid**2
    size = tokens * width
    match component.kind:
        case "patch_embed":
            live.make(size)
        case "time_embed":
            _time_embed(live, space, width)
        case "text_projection":
            _text_projection(live, space)
        case "assa":
            _modulated(live, width, tokens, lambda: _assa(live, space, component, form=form), form=form)
        case "self_attention":
            _modulated(live, width, tokens, lambda: _self_attention(live, space, component, form=form), form=form)
        case "cross_attention":
            _cross_attention(live, space, component, form=form)
        case "ffn":
            hidden = component.ffn_ratio * size
            # Norm, table, modulation and gate are as in an attention. The hidden layer and its GELU live together.
            live.make(3 * width)
            _norm_scale_shift(live, width, tokens, form=form)
            live.make(hidden)
            if not form.is_graph:
                live.make(hidden)
                live.drop(hidden)
            live.make(size)
            live.drop(hidden)
            if not form.is_graph:
                live.briefly(size)
        case "downsample":
            live.make(size // 4)
        case "upsample":
            live.make(4 * size)
            if space.down_up_skip:
                live.make(4 * size, 4 * size)
        case "skip_fusion":
            live.make(2 * size, size)
        case "final_layer":
            patches = tokens * space.patch_width
            live.make(2 * width)
            live.make(size)
            live.briefly(2 * tokens)
            live.briefly(width, size)
            live.briefly(size)
            live.briefly(patches)
            live.drop(size)
            live.briefly(patches, patches)


def _time_embed(live: Live, space: SearchSpace, width: int) -> None:
    wide = space.time_width
    # Frequencies, angles, sine, cosine and their concatenation; then two linears with their inputs.
    live.briefly(4 * (wide // 2) + wide)
    live.make(wide)
    live.briefly(2 * wide)
    live.make(wide, 8 * width)


def _text_projection(live: Live, space: SearchSpace) -> None:
    for text in space.text_inputs:
        live.make(text.tokens * text.width)
        live.briefly(2 * text.tokens)
        live.make(text.tokens * space.text_width)
        live.drop(text.tokens * text.width)
    live.make(space.text_tokens * space.text_width)


def _norm_scale_shift(live: Live, width: int, tokens: int, *, form: Form) -> None:
    """Leaves the modulated tokens."""
    live.make(tokens * width)
    live.briefly(2 * tokens)
    if not form.is_graph:
        live.briefly(width, tokens * width)


def _modulated(live: Live, width: int, tokens: int, attend: Callable[[], int], *, form: Form) -> None:
    """An attention between norm and residual; `attend` returns the size of what it leaves."""
    live.make(3 * width)
    _norm_scale_shift(live, width, tokens, form=form)
    attended = attend()
    live.make(tokens * width)
    live.drop(attended)
    if not form.is_graph:
        live.make(tokens * width)


def _project(live: Live, space: SearchSpace, width: int, tokens: int, *, form: Form) -> tuple[int, int]:
    """Leaves q, k and v; returns the sizes of q and of k."""
    heads = space.heads(width)
    q, k = tokens * heads * space.head_dim, tokens * space.kv_heads * space.head_dim
    for size, rows in ((q, tokens * heads), (k, tokens * space.kv_heads)):
        live.make(size)
        live.briefly(size, 2 * rows)
        # The rotary embedding: a product with one of sine and cosine, swapped halves, and the result.
        live.briefly(*((size // 2, size // 2, size) if form.is_graph else (size, size, size)))
    live.make(k)
    live.briefly(k, 2 * tokens * space.kv_heads)
    if _is_moved(space, heads, tokens):
        live.briefly(q)
    return q, k


def _is_moved(space: SearchSpace, heads: int, tokens: int) -> bool:
    """Whether grouping queries copies them, instead of making a view."""
    return space.kv_heads > 1 and heads > space.kv_heads and tokens > 1


def _attention(live: Live, queries: int, scores: int, *, form: Form) -> None:
    """Leaves the result, which has the size of the queries."""
    if form.scores and not form.is_graph:
        live.briefly(queries, scores)
    if form.scores == 2:
        live.briefly(scores, scores)
    if form.scores:
        live.make(scores)
    live.make(queries)
    if form.scores:
        live.drop(scores)


def _ungroup(live: Live, space: SearchSpace, size: int, tokens: int) -> None:
    """Concatenate heads: a copy, except of a single token."""
    if space.kv_heads > 1 and tokens > 1:
        live.briefly(size)


def _self_attention(live: Live, space: SearchSpace, component: Component, *, form: Form) -> int:
    tokens = component.grid**2
    q, k = _project(live, space, component.width, tokens, form=form)
    _attention(live, q, space.heads(component.width) * tokens**2, form=form)
    live.drop(q, k, k)
    _ungroup(live, space, q, tokens)
    return q


def _cross_attention(live: Live, space: SearchSpace, component: Component, *, form: Form) -> None:
    tokens, heads = component.grid**2, space.heads(component.width)
    q, k = tokens * heads * space.head_dim, space.text_tokens * space.kv_heads * space.head_dim
    live.make(q)
    live.briefly(q, 2 * tokens * heads)
    if _is_moved(space, heads, tokens):
        live.briefly(q)
    live.make(k)
    live.briefly(k, 2 * space.text_tokens * space.kv_heads)
    live.make(k)
    _attention(live, q, heads * tokens * space.text_tokens, form=form)
    _ungroup(live, space, q, tokens)
    live.make(*[tokens * component.width] * (1 if form.is_graph else 2))


def _assa(live: Live, space: SearchSpace, component: Component, *, form: Form) -> int:
    """Both branches, strip by strip; the results of one strip live until those of the next replace them."""
    tokens, heads, blocks = component.grid**2, space.heads(component.width), component.bna_blocks
    q, k = _project(live, space, component.width, tokens, form=form)
    gate = tokens * heads
    live.make(gate)
    live.briefly(gate)
    compressed_tokens = tokens // component.kv_compression**2
    compressed = compressed_tokens * space.kv_heads * space.head_dim
    for _ in range(2):
        live.make(compressed)
        if compressed_tokens > 1 and space.head_dim > 1:
            live.briefly(compressed)
    gates = gate * (2 if _is_moved(space, heads, tokens) else 1)
    live.make(gates - gate)
    strip, per_row = q // blocks, heads * (tokens // blocks)
    # Results of the strip before: the local branch, the global branch and, where it was copied, their mixture.
    copied = space.kv_heads > 1 and tokens // blocks > 1
    before = [0, 0, 0]
    for block in range(blocks):
        near = min(blocks, block + component.bna_radius + 1) - max(0, block - component.bna_radius)
        for branch, keys in enumerate((near * (tokens // blocks), compressed_tokens)):
            _attention(live, strip, per_row * keys, form=form)
            live.drop(before[branch])
            before[branch] = strip
        # The difference of the branches, its product with the gate, and the sum.
        if not form.is_graph:
            live.briefly(strip, strip)
            live.briefly(strip, strip)
            live.make(strip)
        live.drop(before[2])
        before[2] = strip if copied and not form.is_graph else 0
        if copied or form.is_graph:
            live.make(strip)
    live.make(q)
    live.drop(q, k, k, gate, gates - gate, compressed, compressed, *before, *[strip] * blocks)
    return q
