"""The arithmetic of an elastic step: its matrix products by shape, and the fastest bare calls that make them.

Linears and convolutions without groups are products of rows and weights, thrice each: forward, and gradients of weights
and of inputs. Attention counts per head and strip. Depthwise convolutions are no matrix products.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from supernet.model.assa import AdaptiveSparseSelfAttention
from supernet.model.attention import CrossAttention
from supernet.model.attention import SelfAttention
from supernet.model.dit import SubDiT
from supernet.training.elastic_step import Batch
from supernet.training.muon import Muon

CALIBRATION_S = 0.01


@dataclass(frozen=True)
class Product:
    """`count` matrix products (rows, inner) x (inner, columns); `kind` says how the operands of each lie in memory."""

    kind: str
    count: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        return 2 * self.count * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Attention:
    """`count` heads' attention of queries (rows, head_dim) to keys and values (keys, head_dim), and its gradients."""

    count: int
    rows: int
    keys: int
    head_dim: int

    @property
    def flops(self) -> int:
        return 6 * 2 * self.count * self.rows * self.keys * self.head_dim


Work = Product | Attention


def network_work(model: SubDiT, batch: Batch) -> Counter[Work]:
    """What forward and backward passes of a network multiply, found by what reaches its layers."""
    work: Counter[Work] = Counter()

    def linear(rows: int, inner: int, columns: int, *, wants_input: bool) -> None:
        work[Product("x W^T", 1, rows, inner, columns)] += 1
        work[Product("g^T x", 1, columns, rows, inner)] += 1
        if wants_input:
            work[Product("g W", 1, rows, columns, inner)] += 1

    def attention(module: SelfAttention | CrossAttention, samples: int, tokens: int, text_tokens: int) -> None:
        group, count = module.heads // module.kv_heads, samples * module.kv_heads
        head_dim = module.to_q.out_features // module.heads
        if isinstance(module, CrossAttention):
            work[Attention(count, tokens * group, text_tokens, head_dim)] += 1
        elif isinstance(module, AdaptiveSparseSelfAttention):
            stride = module.compress_k.conv.stride[0]
            work[Attention(count, tokens * group, tokens // stride**2, head_dim)] += 1
            for block in range(module.blocks):
                near = min(module.blocks, block + module.radius + 1) - max(0, block - module.radius)
                strip = tokens // module.blocks
                work[Attention(count, strip * group, near * strip, head_dim)] += 1
        else:
            work[Attention(count, tokens * group, tokens, head_dim)] += 1

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        x: Tensor = inputs[0]
        if isinstance(module, nn.Linear):
            rows = math.prod(x.shape[:-1])
            linear(rows, module.in_features, module.out_features, wants_input=x.requires_grad)
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            inner = module.in_channels * math.prod(module.kernel_size)
            rows = len(x) * math.prod(output.shape[2:])
            linear(rows, inner, module.out_channels, wants_input=x.requires_grad)
        elif isinstance(module, nn.ConvTranspose2d):
            columns = module.out_channels * math.prod(module.kernel_size)
            linear(len(x) * math.prod(x.shape[2:]), module.in_channels, columns, wants_input=True)
        elif isinstance(module, SelfAttention | CrossAttention):
            text_tokens = inputs[1].shape[1] if isinstance(module, CrossAttention) else 0
            attention(module, len(x), x.shape[1], text_tokens)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    model(batch.latents, batch.sigma, *batch.text)
    for hook in hooks:
        hook.remove()
    return work


def muon_work(muon: Muon) -> Counter[Work]:
    """What Newton-Schulz iterations multiply, matrices of one shape together."""
    work: Counter[Work] = Counter()
    for group in muon.param_groups:
        shapes = Counter((min(matrix.shape), max(matrix.shape)) for matrix in group["params"])
        for (rows, columns), count in shapes.items():
            work[Product("x x^T", count, rows, columns, rows)] += group["ns_steps"]
            work[Product("x y", count, rows, rows, rows)] += group["ns_steps"]
            work[Product("x y", count, rows, rows, columns)] += group["ns_steps"]
    return work


def product_calls(product: Product) -> list[Callable[[], object]]:
    """Bare calls that make the product, with their operands as a training has them."""

    def operand(rows: int, columns: int, *, transposed: bool) -> Tensor:
        shape = (columns, rows) if transposed else (rows, columns)
        made = torch.randn(product.count, *shape)
        return made.mT if transposed else made

    left = operand(product.rows, product.inner, transposed=product.kind.startswith("g^T"))
    right = operand(product.inner, product.columns, transposed=product.kind.endswith("^T"))
    outs = torch.empty(product.count, product.rows, product.columns)
    if product.count == 1:
        a, b, out = left[0], right[0], outs[0]
        calls: list[Callable[[], object]] = [lambda: torch.mm(a, b, out=out)]
    else:
        calls = [lambda: torch.bmm(left, right, out=outs)]
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        onednn = torch.ops.mkldnn._linear_pointwise
        calls.append(lambda: [onednn(x, y.t(), None, "none", [], "") for x, y in zip(left, right, strict=True)])
    return calls


def attention_calls(attention: Attention) -> list[Callable[[], object]]:
    """Attention and its gradients as torch's fused kernel and as plain products without a softmax."""
    count, rows, keys, head_dim = attention.count, attention.rows, attention.keys, attention.head_dim
    q, g = (torch.randn(count, 1, rows, head_dim) for _ in range(2))
    k, v = (torch.randn(count, 1, keys, head_dim) for _ in range(2))
    leaves = [tensor.requires_grad_() for tensor in (q, k, v)]
    a, b, c, d = (tensor.detach().squeeze(1) for tensor in (q, k, v, g))
    scores, out_q, out_k = torch.empty(count, rows, keys), torch.empty_like(a), torch.empty_like(b)

    def fused() -> None:
        torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), leaves, g)

    def plain() -> None:
        torch.bmm(a, b.mT, out=scores)
        torch.bmm(scores, c, out=out_q)
        torch.bmm(scores.mT, d, out=out_k)
        torch.bmm(d, c.mT, out=scores)
        torch.bmm(scores, b, out=out_q)
        torch.bmm(scores.mT, a, out=out_k)

    return [fused, plain]


class Floor:
    """The fastest bare call for each piece of work, found once and kept with its operands."""

    def __init__(self) -> None:
        self.calls: dict[Work, Callable[[], object]] = {}

    def prepare(self, work: Iterable[Work]) -> None:
        for piece in work:
            if piece not in self.calls:
                calls = product_calls(piece) if isinstance(piece, Product) else attention_calls(piece)
                self.calls[piece] = min(calls, key=least_seconds)

    def run(self, work: Counter[Work]) -> None:
        for piece, times in work.items():
            call = self.calls[piece]
            for _ in range(times):
                call()


def least_seconds(call: Callable[[], object]) -> float:
    call()
    taken: list[float] = []
    while sum(taken) < CALIBRATION_S or len(taken) < 3:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)
