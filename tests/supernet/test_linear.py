"""Products and attention by the project's own kernels are torch's, but for rounding, and so are their gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.model import attention_kernel
from supernet.model.assa import blockwise_neighborhood_attention
from supernet.model.attention import grouped_attention
from supernet.model.attention_kernel import attention
from supernet.model.linear import Linear
from supernet.model.linear import suits


def with_gradients(work: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result of `work` and the gradients of its inputs for a gradient that is drawn."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    made = work(*leaves)
    drawn = torch.randn(made.shape, generator=torch.Generator().manual_seed(1))
    return [made, *torch.autograd.grad(made, leaves, drawn)]


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_a_linear_is_torchs(shape: tuple[int, ...]) -> None:
    x, weight, bias = drawn(shape, (7, 5), (7,))
    layer = Linear(5, 7)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert suits(x, weight)
    torch.testing.assert_close(with_gradients(ours, x, weight, bias), with_gradients(F.linear, x, weight, bias))


def test_a_linear_takes_slices_and_transposed_tensors() -> None:
    x, weight, bias = drawn((4, 6, 3), (9, 8), (9,))
    layer = Linear(4, 5)
    inputs = x.permute(2, 1, 0), weight[:5, :4], bias[:5]
    made = torch.func.functional_call(layer, {"weight": inputs[1], "bias": inputs[2]}, (inputs[0],))
    torch.testing.assert_close(made, F.linear(*inputs))


def test_a_slice_of_a_weight_does_not_go_to_onednns_reference_code(capfd: pytest.CaptureFixture[str]) -> None:
    """That code is a thousand times slower at the paper's width; oneDNN itself says which code it takes."""
    x, weight, bias = drawn((3, 40, 64), (96, 80), (96,))
    layer = Linear(64, 64)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call]
        for sliced in (weight[:64, :64], weight.t()[:64, :64]):
            assert suits(x, sliced)
            with_gradients(ours, x, sliced, bias[:64])
    executed = [line for line in capfd.readouterr().out.splitlines() if ",exec,cpu,inner_product," in line]
    assert len(executed) == 6
    assert not [line for line in executed if ",ref:" in line]


def test_a_linear_without_bias_and_with_a_frozen_weight() -> None:
    (x,) = drawn((3, 5))
    layer = Linear(5, 7, bias=False)
    layer.weight.requires_grad_(False)
    x.requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 5))


def test_what_the_kernels_are_not_for_goes_to_torch() -> None:
    (x,) = drawn((3, 5))
    assert not suits(x.double())
    assert not suits(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits(x)
        assert Linear(5, 7)(x).dtype == torch.bfloat16


def test_without_gradients_everything_is_torchs_to_the_bit() -> None:
    x, weight, bias = drawn((256, 640), (160, 640), (160,))
    q, k, v = drawn((3, 2, 12, 8), (3, 2, 4, 8), (3, 2, 4, 8))
    layer = Linear(640, 160)
    layer.load_state_dict({"weight": weight, "bias": bias})
    with torch.no_grad():
        assert torch.equal(layer(x), F.linear(x, weight, bias))
        assert torch.equal(grouped_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("part", [1, 2**17])
@pytest.mark.parametrize("keys", [1, 4, 24])
def test_attention_is_torchs(monkeypatch: pytest.MonkeyPatch, part: int, keys: int) -> None:
    monkeypatch.setattr(attention_kernel, "PART_SCORES", part)
    q, k, v = drawn((3, 2, 12, 8), (3, keys, 2, 8), (3, keys, 2, 8))
    inputs = q, k.transpose(1, 2), v.transpose(1, 2)
    expected = with_gradients(F.scaled_dot_product_attention, *inputs)
    torch.testing.assert_close(with_gradients(attention, *inputs), expected)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_few_tokens_see_the_strips_around_theirs(monkeypatch: pytest.MonkeyPatch, radius: int) -> None:
    inputs = drawn((3, 2, 48, 8), (3, 2, 16, 8), (3, 2, 16, 8))

    def nearby(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return blockwise_neighborhood_attention(q, k, v, blocks=4, radius=radius)

    at_once = with_gradients(nearby, *inputs)
    monkeypatch.setattr("supernet.model.assa.MOST_KEYS", 0)
    torch.testing.assert_close(at_once, with_gradients(nearby, *inputs))
