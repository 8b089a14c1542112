"""Peak memory in closed form: weights, and the largest set of tensors that live at one moment of a forward.

A component's own largest live set follows from its dimensions (`_Live` counts it through); a sub-DiT's is the largest
of those on top of what lives around it: the inputs, the modulation, the projected text, the tokens that left Down,
which Up gets again, and in Middle the long skips not yet used up. So it is a maximum over components, never a sum.

The order of operators is that of `supernet`'s modules in the form that they are exported in; tests hold the result
equal to `supernet.model.costs.measure_costs`, which watches them run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from subdit.space._components import Component
from subdit.space._components import all_components
from subdit.space._components import component_columns
from subdit.space._components import component_terms
from subdit.space._components import sum_components
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._sizes import component_weights
from subdit.space._sizes import stored_bytes
from subdit.space._spec import SubDiTSpec

Bytes = npt.NDArray[np.int64]
Part = tuple[str, str]

ACTIVATION_BYTES = {"fp32": 4, "fp16": 2, "int8": 4, "palette4": 2}
"""Bytes of a number between operators, by the precision of the weights: weights of 8 bits are used in float32 products,
those of a palette in float16."""


def peak_memory_bytes(space: SearchSpace, encoded: EncodedSpecs, precision: str, *, fused: bool = False) -> Bytes:
    """Weights as stored, and the largest live set, of one step on one image; shape (n,).

    Args:
        encoded: specs of shape (n, dimensions).
        precision: of the weights, one of `PRECISIONS`; of activations see `ACTIVATION_BYTES`.
        fused: whether attention never writes its scores, as fused kernels do.

    Raises:
        ValueError: no such precision.
    """
    weights = weight_bytes(space, encoded, precision)
    return weights + activation_bytes(space, encoded, element_bytes=ACTIVATION_BYTES[precision], fused=fused)


def weight_bytes(space: SearchSpace, encoded: EncodedSpecs, precision: str) -> Bytes:
    """Bytes of the weights as stored in one of `PRECISIONS`, shape (n,); raises `ValueError` on another."""
    sizes = [component_weights(space, component) for component in all_components(space)]
    each = np.asarray([(one.matrix_params, one.vector_params, one.matrices, one.output_channels) for one in sizes])
    totals = np.rint(sum_components(component_terms(space, encoded), each.astype(np.float64))).astype(np.int64)
    return np.asarray(stored_bytes(precision, *totals.T))


def activation_bytes(space: SearchSpace, encoded: EncodedSpecs, *, element_bytes: int, fused: bool = False) -> Bytes:
    """The largest live set of tensors, inputs in and weights out, shape (n,)."""
    largest: Bytes = np.maximum.reduce(list(_moments(space, encoded, fused=fused).values()))
    return element_bytes * largest


def part_activation_bytes(
    space: SearchSpace, spec: SubDiTSpec, *, element_bytes: int, fused: bool = False
) -> dict[Part, int]:
    """The largest live set of the whole sub-DiT while each of its parts runs; raises `SpecError` on a foreign spec.

    A part is a stage of `components_by_stage` and a kind of component in it, such as ("down", "ffn").
    """
    moments = _moments(space, space.encode([spec]), fused=fused)
    return {part: element_bytes * int(numbers[0]) for part, numbers in moments.items()}


def _moments(space: SearchSpace, encoded: EncodedSpecs, *, fused: bool) -> dict[Part, Bytes]:
    """Most numbers that live at once while each part runs, shape (n,) each."""
    own = np.asarray([_own_peak(space, one, fused=fused) for one in all_components(space)], dtype=np.int64)
    peak = {place: own[columns] for place, columns in component_columns(space, encoded).items()}
    labels = list(space.dimensions)
    width = np.asarray(space.widths)[encoded[:, labels.index("width")]]
    long_skips = np.asarray(space.depths[1])[encoded[:, labels.index("depth_middle")]] // 2
    tokens, half = space.tokens * width, space.middle_grid**2 * width
    inputs = space.latent_size**2 * space.latent_channels + 1
    inputs += sum(text.tokens * text.width for text in space.text_inputs)
    # The modulation of all blocks and the final layer, then the text too.
    modulated = inputs + 8 * width
    ready = modulated + space.text_tokens * space.text_width

    def blocks(
        stage: str, attention: str, around: Bytes, size: Bytes, *, fused_skip: bool = False
    ) -> dict[Part, Bytes]:
        # What goes in lives until the block ends; behind its first branch, what comes out of the one before, too.
        return {
            (stage, attention): around + peak[f"{attention}_{stage}"] + size * fused_skip,
            (stage, "cross_attention"): around + size + peak[f"cross_attention_{stage}"],
            (stage, "ffn"): around + size + peak[f"ffn_{stage}"],
        }

    # Deepest in Middle, as many outputs wait as there are blocks in its second half; the block that takes the first of
    # them has it as its input, too. The tokens that left Down live until Up ends.
    inside = ready + tokens + long_skips * half
    return {
        ("time", "time_embed"): inputs + peak["time_embed"],
        ("text", "text_projection"): modulated + peak["text_projection"],
        ("patch", "patch_embed"): ready + peak["patch_embed"],
        **blocks("down", "assa", ready + tokens, tokens),
        ("downsample", "downsample"): ready + tokens + peak["downsample"],
        ("middle", "skip_fusion"): inside + peak["skip_fusion_middle"],
        **blocks("middle", "self_attention", inside, half, fused_skip=True),
        ("upsample", "upsample"): ready + tokens + half + peak["upsample"],
        **blocks("up", "assa", ready + 2 * tokens, tokens),
        ("final", "final_layer"): modulated + tokens + peak["final_layer"],
    }


class _Live:
    """Counts numbers that live, and the most there were."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0

    def make(self, *sizes: int) -> None:
        self.now += sum(sizes)
        self.peak = max(self.peak, self.now)

    def drop(self, *sizes: int) -> None:
        self.now -= sum(sizes)

    def briefly(self, *sizes: int) -> None:
        """Made and dropped again."""
        self.make(*sizes)
        self.drop(*sizes)


def _own_peak(space: SearchSpace, component: Component, *, fused: bool) -> int:
    """Largest number of numbers that live above those that lived when the component began, its input among them."""
    live = _Live()
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
            _modulated(live, width, tokens, lambda: _assa(live, space, component, fused=fused))
        case "self_attention":
            _modulated(live, width, tokens, lambda: _self_attention(live, space, component, fused=fused))
        case "cross_attention":
            _cross_attention(live, space, component, fused=fused)
        case "ffn":
            hidden = component.ffn_ratio * size
            # Norm, table and modulation, gate: as of an attention. The hidden layer and its GELU live together.
            live.make(3 * width)
            _norm_scale_shift(live, width, tokens)
            live.make(hidden)
            live.make(hidden)
            live.drop(hidden)
            live.make(size)
            live.drop(hidden)
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
    return live.peak


def _time_embed(live: _Live, space: SearchSpace, width: int) -> None:
    wide = space.time_width
    # Frequencies, angles, their sine and cosine, and both together; then two linears with what they read.
    live.briefly(4 * (wide // 2) + wide)
    live.make(wide)
    live.briefly(2 * wide)
    live.make(wide, 8 * width)


def _text_projection(live: _Live, space: SearchSpace) -> None:
    for text in space.text_inputs:
        live.make(text.tokens * text.width)
        live.briefly(2 * text.tokens)
        live.make(text.tokens * space.text_width)
        live.drop(text.tokens * text.width)
    live.make(space.text_tokens * space.text_width)


def _norm_scale_shift(live: _Live, width: int, tokens: int) -> None:
    """Leaves modulated tokens."""
    live.make(tokens * width)
    live.briefly(2 * tokens)
    live.briefly(width, tokens * width)


def _modulated(live: _Live, width: int, tokens: int, attend: Callable[[], int]) -> None:
    """An attention between norm and residual; `attend` leaves what it returns."""
    live.make(3 * width)
    _norm_scale_shift(live, width, tokens)
    attended = attend()
    live.make(tokens * width)
    live.drop(attended)
    live.make(tokens * width)


def _project(live: _Live, space: SearchSpace, width: int, tokens: int) -> tuple[int, int]:
    """Leaves q, k and v; sizes of q and of k."""
    heads = space.heads(width)
    q, k = tokens * heads * space.head_dim, tokens * space.kv_heads * space.head_dim
    for size, rows in ((q, tokens * heads), (k, tokens * space.kv_heads)):
        live.make(size)
        live.briefly(size, 2 * rows)
        # Turned by sine and cosine: the product with one, the halves swapped, and the result.
        live.briefly(3 * size)
    live.make(k)
    live.briefly(k, 2 * tokens * space.kv_heads)
    if _is_moved(space, heads, tokens):
        live.briefly(q)
    return q, k


def _is_moved(space: SearchSpace, heads: int, tokens: int) -> bool:
    """Whether grouping queries copies them, instead of looking at them in another way."""
    return space.kv_heads > 1 and heads > space.kv_heads and tokens > 1


def _attention(live: _Live, queries: int, scores: int, *, fused: bool) -> None:
    """Leaves the result, which is as large as the queries."""
    if not fused:
        live.briefly(queries, scores)
        live.briefly(scores, scores)
        live.make(scores)
    live.make(queries)
    if not fused:
        live.drop(scores)


def _ungroup(live: _Live, space: SearchSpace, size: int, tokens: int) -> None:
    """Heads end to end: a copy, but of a single token."""
    if space.kv_heads > 1 and tokens > 1:
        live.briefly(size)


def _self_attention(live: _Live, space: SearchSpace, component: Component, *, fused: bool) -> int:
    tokens = component.grid**2
    q, k = _project(live, space, component.width, tokens)
    _attention(live, q, space.heads(component.width) * tokens**2, fused=fused)
    live.drop(q, k, k)
    _ungroup(live, space, q, tokens)
    return q


def _cross_attention(live: _Live, space: SearchSpace, component: Component, *, fused: bool) -> None:
    tokens, heads = component.grid**2, space.heads(component.width)
    q, k = tokens * heads * space.head_dim, space.text_tokens * space.kv_heads * space.head_dim
    live.make(q)
    live.briefly(q, 2 * tokens * heads)
    if _is_moved(space, heads, tokens):
        live.briefly(q)
    live.make(k)
    live.briefly(k, 2 * space.text_tokens * space.kv_heads)
    live.make(k)
    _attention(live, q, heads * tokens * space.text_tokens, fused=fused)
    _ungroup(live, space, q, tokens)
    live.make(tokens * component.width, tokens * component.width)


def _assa(live: _Live, space: SearchSpace, component: Component, *, fused: bool) -> int:
    """Both branches strip by strip; what the strip before left lives until it is replaced."""
    tokens, heads, blocks = component.grid**2, space.heads(component.width), component.bna_blocks
    q, k = _project(live, space, component.width, tokens)
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
    # Of the strip before: the local branch, the global branch, and, where it was copied, their mixture.
    copied = space.kv_heads > 1 and tokens // blocks > 1
    before = [0, 0, 0]
    for block in range(blocks):
        near = min(blocks, block + component.bna_radius + 1) - max(0, block - component.bna_radius)
        for branch, keys in enumerate((near * (tokens // blocks), compressed_tokens)):
            _attention(live, strip, per_row * keys, fused=fused)
            live.drop(before[branch])
            before[branch] = strip
        # Their difference, it times the gate, and the sum.
        live.briefly(strip, strip)
        live.briefly(strip, strip)
        live.make(strip)
        live.drop(before[2])
        before[2] = strip if copied else 0
        if copied:
            live.make(strip)
    live.make(q)
    live.drop(q, q, k, k, gates, compressed, compressed, *before)
    return q
