"""Adaptive sparse self-attention against slow references that share no code with it: loops over tokens, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import Phase
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from subdit.core.errors import SpecError
from supernet.model.assa import AdaptiveSparseSelfAttention
from supernet.model.assa import KVCompression
from supernet.model.assa import blockwise_neighborhood_attention
from supernet.model.assa import check_grid
from supernet.model.attention import SelfAttention
from supernet.model.attention import as_exported
from supernet.model.attention import group_queries
from supernet.model.attention import grouped_attention
from supernet.model.attention import ungroup_queries
from supernet.model.dit import redraw_
from supernet.model.rope import RotaryGrid
from supernet.model.rope import rotate

Array = npt.NDArray[np.float64]
GRID = 4
WIDTH = 24
# The loops are slow, and a failing case is small enough as it was drawn.
FAST_FAILURE = (Phase.explicit, Phase.generate)


def dense_attention(q: Array, k: Array, v: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """Attention one query at a time: q (batch, heads, n, d), k and v (batch, kv_heads, m, d), mask (n, m)."""
    out = np.zeros(q.shape[:3] + v.shape[3:])
    group = q.shape[1] // k.shape[1]
    for batch, head, row in np.ndindex(q.shape[:3]):
        logits = []
        for column in range(k.shape[2]):
            dot = float(np.dot(q[batch, head, row], k[batch, head // group, column])) / q.shape[3] ** 0.5
            logits.append(dot if mask[row, column] else -np.inf)
        weights = np.exp(np.asarray(logits) - max(logits))
        for column, weight in enumerate(weights / weights.sum()):
            out[batch, head, row] += weight * v[batch, head // group, column]
    return out


def everything(queries: int, keys: int) -> npt.NDArray[np.bool_]:
    return np.ones((queries, keys), dtype=bool)


def band(tokens: int, blocks: int, radius: int) -> npt.NDArray[np.bool_]:
    """Token i sees token j where their strips are at most `radius` apart."""
    strip = np.arange(tokens) * blocks // tokens
    return np.abs(strip[:, None] - strip[None]) <= radius


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def assert_same(found: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-10, atol=1e-10)


def grouped(q: Tensor, kv_heads: int) -> Tensor:
    """Queries (batch, heads, n, d) as the functions take them: those of one key-value head, token by token."""
    batch, heads, tokens, head_dim = q.shape
    return q.reshape(batch, kv_heads, -1, tokens, head_dim).transpose(2, 3).reshape(batch, kv_heads, -1, head_dim)


def by_head(x: Tensor, heads: int) -> Tensor:
    """The reverse of `grouped`."""
    batch, kv_heads, rows, head_dim = x.shape
    tokens = rows * kv_heads // heads
    return x.reshape(batch, kv_heads, tokens, -1, head_dim).transpose(2, 3).reshape(batch, heads, tokens, head_dim)


def heads_of(x: Tensor) -> Tensor:
    """Heads end to end (batch, n, 6 * d) to (batch, 6, n, d)."""
    return x.unflatten(-1, (6, -1)).transpose(1, 2)


# Functions ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, phases=FAST_FAILURE)
@given(
    blocks=st.integers(1, 6),
    strip=st.integers(1, 4),
    radius=st.integers(0, 6),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    head_dim=st.sampled_from([1, 4]),
    seed=st.integers(0, 99),
)
def test_bna_is_dense_attention_under_a_block_band_mask(
    blocks: int, strip: int, radius: int, kv_heads: int, group: int, head_dim: int, seed: int
) -> None:
    tokens = blocks * strip
    many, few = (2, kv_heads * group, tokens, head_dim), (2, kv_heads, tokens, head_dim)
    q, k, v = drawn(seed, many, few, few)
    rows = blockwise_neighborhood_attention(grouped(q, kv_heads), k, v, blocks=blocks, radius=radius)
    found = by_head(rows, kv_heads * group)
    assert_same(found, dense_attention(q.numpy(), k.numpy(), v.numpy(), band(tokens, blocks, radius)))
    if radius >= blocks - 1:
        assert_same(found, dense_attention(q.numpy(), k.numpy(), v.numpy(), everything(tokens, tokens)))


def test_a_narrower_band_is_another_function() -> None:
    q, k, v = drawn(0, (1, 2, 16, 4), (1, 1, 16, 4), (1, 1, 16, 4))
    q = grouped(q, 1)
    results = [blockwise_neighborhood_attention(q, k, v, blocks=4, radius=radius) for radius in range(4)]
    for narrow, wide in zip(results[:-1], results[1:], strict=True):
        assert (narrow - wide).abs().max() > 0.01


@given(kv_heads=st.integers(1, 3), group=st.integers(1, 4), tokens=st.integers(1, 5), keys=st.integers(1, 5))
@settings(max_examples=30, deadline=None, phases=FAST_FAILURE)
def test_grouped_attention_is_attention_to_repeated_heads(kv_heads: int, group: int, tokens: int, keys: int) -> None:
    q, k, v = drawn(1, (2, kv_heads * group, tokens, 4), (2, kv_heads, keys, 4), (2, kv_heads, keys, 4))
    repeated = [np.repeat(x.numpy(), group, axis=1) for x in (k, v)]
    expected = dense_attention(q.numpy(), *repeated, everything(tokens, keys))
    assert_same(by_head(grouped_attention(grouped(q, kv_heads), k, v), kv_heads * group), expected)
    # The layout, said twice: once by the test, once by the module.
    laid = group_queries(q.transpose(1, 2), kv_heads)
    assert torch.equal(laid, grouped(q, kv_heads))
    assert torch.equal(ungroup_queries(laid, tokens), q.transpose(1, 2).flatten(2))
    seen = torch.arange(keys)[None].expand(2, -1) <= keys // 2
    masked = dense_attention(q.numpy(), *repeated, np.broadcast_to(seen[0].numpy(), (tokens, keys)))
    assert_same(by_head(grouped_attention(grouped(q, kv_heads), k, v, seen), kv_heads * group), masked)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_fresh_compression_is_a_mean_over_squares(stride: int) -> None:
    (x,) = drawn(2, (2, 3, GRID * GRID, 5))
    module = KVCompression(channels=15, grid=GRID, stride=stride).double()
    squares = x.numpy().reshape(2, 3, GRID // stride, stride, GRID // stride, stride, 5)
    assert_same(module(x), squares.mean(axis=(3, 5)).reshape(2, 3, -1, 5))


# The module -----------------------------------------------------------------------------------------------------------


def assa(*, blocks: int = 4, radius: int = 1, kv_compression: int = 2) -> AdaptiveSparseSelfAttention:
    module = AdaptiveSparseSelfAttention(
        width=WIDTH,
        heads=6,
        kv_heads=2,
        head_dim=8,
        grid=GRID,
        rope_theta=100.0,
        blocks=blocks,
        radius=radius,
        kv_compression=kv_compression,
    )
    redraw_(module, seed=4)
    return module.double().eval()


def averaging(module: AdaptiveSparseSelfAttention) -> AdaptiveSparseSelfAttention:
    with torch.no_grad():
        for compress in (module.compress_k, module.compress_v):
            compress.conv.weight.fill_(1 / compress.conv.weight[0].numel())
            compress.conv.bias.zero_()  # type: ignore[union-attr]
    return module


def gated(module: AdaptiveSparseSelfAttention, bias: float) -> AdaptiveSparseSelfAttention:
    with torch.no_grad():
        module.branch_gate.weight.zero_()
        module.branch_gate.bias.fill_(bias)
    return module


def projected(module: SelfAttention, h: Tensor) -> list[Array]:
    """q, k, v of the module, LayerNorm and rotation included, computed without it."""

    def linear(layer: torch.nn.Linear) -> Array:
        return h.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    def normed(heads: Array, norm: torch.nn.LayerNorm) -> Array:
        mean, variance = heads.mean(-1, keepdims=True), heads.var(-1, keepdims=True)
        return (heads - mean) / np.sqrt(variance + 1e-6) * norm.weight.detach().numpy() + norm.bias.detach().numpy()

    def turned(heads: Array) -> Array:
        out = heads.copy()
        for token, first in np.ndindex(GRID * GRID, 4):
            position = divmod(token, GRID)[first // 2]
            angle = position * 100.0 ** (-(first % 2) / 2)
            a, b = heads[:, :, token, first], heads[:, :, token, first + 4]
            out[:, :, token, first] = a * np.cos(angle) - b * np.sin(angle)
            out[:, :, token, first + 4] = b * np.cos(angle) + a * np.sin(angle)
        return out

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:2], -1, 8).swapaxes(1, 2)

    q = turned(normed(split(linear(module.to_q)), module.q_norm))
    k = turned(normed(split(linear(module.to_k)), module.k_norm))
    return [q, k, normed(split(linear(module.to_v)), module.v_norm)]


def mean_pooled(x: Array, stride: int) -> Array:
    batch, heads, _, channels = x.shape
    squares = x.reshape(batch, heads, GRID // stride, stride, GRID // stride, stride, channels)
    return squares.mean(axis=(3, 5)).reshape(batch, heads, -1, channels)


@pytest.mark.parametrize(("bias", "stride"), [(60.0, 2), (60.0, 4), (-60.0, 2), (-60.0, 4)])
def test_gate_at_its_ends_selects_one_branch(bias: float, stride: int) -> None:
    module = averaging(gated(assa(kv_compression=stride), bias))
    (h,) = drawn(5, (2, GRID * GRID, WIDTH))
    q, k, v = projected(module, h)
    if bias > 0:
        pooled = [mean_pooled(x, stride) for x in (k, v)]
        expected = dense_attention(q, *pooled, everything(q.shape[2], pooled[0].shape[2]))
    else:
        expected = dense_attention(q, k, v, band(GRID * GRID, 4, 1))
    # The rotation's table is kept in float32.
    np.testing.assert_allclose(heads_of(module.attend(h)).detach().numpy(), expected, rtol=0, atol=1e-5)


def test_gate_mixes_per_head_and_token() -> None:
    module = assa()
    (h,) = drawn(6, (2, GRID * GRID, WIDTH))
    share = torch.sigmoid(h @ module.branch_gate.weight.T + module.branch_gate.bias).swapaxes(1, 2)[..., None]
    assert share.std() > 0.1
    mixed = heads_of(module.attend(h))
    everywhere, nearby = (heads_of(gated(module, bias).attend(h)) for bias in (60.0, -60.0))
    assert (everywhere - nearby).std() > 0.1
    assert_same(mixed, (share * everywhere + (1 - share) * nearby).detach().numpy())


def test_both_branches_take_part_from_the_start() -> None:
    module = AdaptiveSparseSelfAttention(
        width=WIDTH, heads=6, kv_heads=2, head_dim=8, grid=GRID, rope_theta=9.0, blocks=4, radius=1, kv_compression=2
    )
    (h,) = drawn(7, (1, 3, WIDTH))
    assert torch.all(torch.sigmoid(module.double().branch_gate(h)) == 0.5)


def test_exported_form_computes_the_same() -> None:
    """Exported, the global branch goes strip by strip; traced, the module takes that road."""
    module = assa()
    x, modulation = drawn(8, (2, GRID * GRID, WIDTH), (2, 3, WIDTH))
    traced = torch.jit.trace(module, (x, modulation), check_trace=False)
    counted = [str(traced.inlined_graph).count("scaled_dot_product_attention(")]
    assert counted == [2 * module.blocks]
    with torch.no_grad():
        assert_same(traced(x, modulation), module(x, modulation).numpy())
        with as_exported():
            assert torch.equal(traced(x, modulation), module(x, modulation))


def test_torch_compile_takes_the_whole_layer_as_one_graph() -> None:
    module = assa()
    x, modulation = drawn(8, (2, GRID * GRID, WIDTH), (2, 3, WIDTH))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(x, modulation), module(x, modulation).numpy())


def test_residual_branch_is_modulated_by_time() -> None:
    module = assa()
    x, modulation = drawn(8, (2, GRID * GRID, WIDTH), (2, 3, WIDTH))
    shift, scale, gate = ((modulation + module.scale_shift_table)[:, at, None].detach().numpy() for at in range(3))
    tokens = x.numpy()
    normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    normed = normed * module.norm.weight.detach().numpy() + module.norm.bias.detach().numpy()
    attended = module.attend(torch.from_numpy(normed * (1 + scale) + shift))
    out = attended.detach().numpy() @ module.to_out.weight.detach().numpy().T + module.to_out.bias.detach().numpy()
    assert_same(module(x, modulation), tokens + gate * out)


@pytest.mark.parametrize(
    ("grid", "blocks", "stride", "named"),
    [(4, 3, 2, "4x4"), (6, 4, 4, "6x6"), (5, 5, 2, "5x5"), (8, 128, 2, "8x8")],
)
def test_grids_that_do_not_fit_are_refused_by_name(grid: int, blocks: int, stride: int, named: str) -> None:
    with pytest.raises(SpecError, match=named):
        check_grid(grid, blocks=blocks, kv_compression=stride)
    with pytest.raises(SpecError, match=named):
        AdaptiveSparseSelfAttention(
            width=8,
            heads=2,
            kv_heads=1,
            head_dim=4,
            grid=grid,
            rope_theta=9.0,
            blocks=blocks,
            radius=1,
            kv_compression=stride,
        )


def test_sequences_that_do_not_cut_are_refused() -> None:
    q, k, v = drawn(0, (1, 1, 10, 4), (1, 1, 10, 4), (1, 1, 10, 4))
    with pytest.raises(SpecError, match="10 tokens.* 4 equal strips"):
        blockwise_neighborhood_attention(q, k, v, blocks=4, radius=1)


# Rotary position embedding --------------------------------------------------------------------------------------------


def turned_dots(grid: int, *, stride: int = 1) -> Array:
    """q_i . k_j over all pairs of tokens for one q and one k that are laid on every token."""
    q, k = drawn(9, (1, 1, 1, 16), (1, 1, 1, 16))
    cos, sin = (table.double() for table in RotaryGrid(grid, 16, theta=50.0, stride=stride).table())
    spread = [rotate(x.expand(-1, grid * grid, -1, -1), cos, sin)[0, :, 0] for x in (q, k)]
    return np.asarray(spread[0] @ spread[1].T)


def test_rotated_dot_products_depend_on_the_offset_alone() -> None:
    dots = turned_dots(5).reshape(5, 5, 5, 5)
    seen: dict[tuple[int, int], float] = {}
    for row, column, other_row, other_column in np.ndindex(5, 5, 5, 5):
        value = dots[row, column, other_row, other_column]
        assert value == pytest.approx(seen.setdefault((row - other_row, column - other_column), value), abs=1e-5)
    assert np.std(list(seen.values())) > 0.1, "otherwise it would depend on nothing"
    assert abs(seen[1, 0] - seen[0, 1]) > 0.01, "rows and columns are told apart"


def test_rotation_keeps_lengths_and_leaves_the_origin() -> None:
    (x,) = drawn(10, (1, 9, 1, 8))
    turned = rotate(x, *(table.double() for table in RotaryGrid(3, 8, theta=10.0).table()))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)
    assert torch.equal(turned[:, 0], x[:, 0])


def angles(grid: int, *, theta: float, stride: int = 1) -> Array:
    """Every token's angles (grid, grid, head_dim = 8), read off the tables; none may exceed half a turn."""
    tables = RotaryGrid(grid, 8, theta=theta, stride=stride).table()
    cos, sin = (np.asarray(table, dtype=np.float64) for table in tables)
    sin[..., :4] *= -1
    return np.arctan2(sin, cos).reshape(grid, grid, 8)


def test_angles_are_row_and_column() -> None:
    assert angles(3, theta=4.0)[2, 1].tolist() == pytest.approx([2, 1, 1, 0.5, 2, 1, 1, 0.5])


@pytest.mark.parametrize("stride", [2, 4])
def test_a_coarse_token_stands_at_the_mean_of_the_fine_ones_it_replaces(stride: int) -> None:
    # The slower of two frequencies, so slow that it never comes round.
    fine = angles(8, theta=100.0**2)[..., [1, 3]]
    coarse = angles(8 // stride, theta=100.0**2, stride=stride)[..., [1, 3]]
    squares = fine.reshape(8 // stride, stride, 8 // stride, stride, 2)
    np.testing.assert_allclose(coarse, squares.mean(axis=(1, 3)), rtol=1e-5, atol=1e-7)
