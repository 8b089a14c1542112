"""Costs: closed forms against torch's own counter, and live sets against sums by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from diffusers.models.modeling_utils import no_init_weights
from torch import Tensor
from torch import nn

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import WeightSizes
from subdit.space import all_components
from subdit.space import component_flops
from subdit.space import component_weights
from subdit.space import components_by_stage
from subdit.space import count_flops
from subdit.space import get_space
from supernet.model.components import component_module
from supernet.model.costs import measure_costs
from supernet.model.costs import weight_sizes
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from tests.supernet.part_costs import measure_parts
from tests.supernet.part_costs import part_costs
from tests.supernet.shrunk import SHIPPED


def on_meta(space: SearchSpace, spec: SubDiTSpec) -> SubDiT:
    with torch.device("meta"), no_init_weights():
        return SubDiT.from_spec(space, spec)


# Closed forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [get_space(name) for name in SHIPPED], ids=SHIPPED)
def test_closed_forms_equal_what_torch_counts(space: SearchSpace) -> None:
    """Whole sub-DiTs at their real size, and every stage and kind of component in them."""
    for spec in space.decode(space.sample(np.random.default_rng(3), 1 if space.latent_size == 128 else 2)):
        model = on_meta(space, spec)
        costs, parts = measure_costs(model, example_inputs(space)), measure_parts(model, example_inputs(space))
        assert costs.flops == count_flops(space, space.encode([spec]))[0]
        weights = WeightSizes(0, 0, 0, 0)
        for stage, count in components_by_stage(space, spec).items():
            for component, times in count.items():
                weights = weights + component_weights(space, component) * times
                counted = part_costs(parts, stage, component.kind).flops
                assert counted == times * component_flops(space, component), (stage, component.name)
            expected = sum(times * component_flops(space, component) for component, times in count.items())
            assert part_costs(parts, stage).flops == expected, stage
        assert costs.weights == weights == weight_sizes(model)
        assert all(part.fused_activation_bytes <= part.activation_bytes for part in parts.values())
        assert 0 < costs.fused_activation_bytes <= costs.activation_bytes


def test_every_component_alone_costs_its_closed_form() -> None:
    space = get_space("digits")
    for component in all_components(space):
        if component.width in (0, space.full_width):
            made = component_module(space, component)
            costs = measure_costs(made.module, made.inputs)
            assert costs.flops == component_flops(space, component), component.name
            assert costs.weights == component_weights(space, component), component.name


def test_flops_grow_as_the_arithmetic_says() -> None:
    """Doubling the radius or B, and compressing more, moves the pairs that attention looks at and nothing else."""
    space = get_space("mobile-1k")
    full = space.named["full"]

    def down(blocks: int, radius: int, stride: int) -> int:
        values = space.values(full) | {"bna_blocks_down": blocks, "bna_radius_down": radius, "kv_compression": stride}
        return int(count_flops(space, space.encode([space.spec(values)]))[0])

    pair = 4 * space.heads(full.width) * space.head_dim * full.depth[0]
    assert down(16, 2, 2) - down(16, 1, 2) == pair * (74 - 46) * 256**2
    assert down(16, 1, 2) - down(32, 1, 2) == pair * (46 * 256**2 - 94 * 128**2)
    both = pair * (full.depth[0] + full.depth[2]) // full.depth[0]
    # The convolutions that compress read every token once, whatever their stride.
    assert down(16, 1, 2) - down(16, 1, 4) == both * 4096 * (1024 - 256)


# Weights --------------------------------------------------------------------------------------------------------------


def test_weight_sizes_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.ConvTranspose2d(5, 2, 2, stride=2, bias=False))
    sizes = weight_sizes(model)
    assert sizes == WeightSizes(matrix_params=15 + 40, vector_params=5 + 10, matrices=2, output_channels=5 + 2)
    assert {name: sizes.bytes(name) for name in ("fp32", "fp16", "int8", "palette4")} == {
        "fp32": 4 * 70,
        "fp16": 2 * 70,
        "int8": 55 + 4 * 7 + 4 * 15,
        "palette4": 28 + 2 * 16 * 2 + 2 * 15,
    }
    with pytest.raises(ValueError, match="fp8.*palette4"):
        sizes.bytes("fp8")


# Activation memory ----------------------------------------------------------------------------------------------------


def test_live_set_of_a_feed_forward_by_hand() -> None:
    """Two tokens of 4: the input (8 numbers), the hidden layer and its GELU (16 each) live together at most."""
    module = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    costs = measure_costs(module, [torch.zeros(2, 4)])
    assert costs.activation_bytes == 4 * (8 + 16 + 16)
    # While a layer runs, its input and output live, and the model's own input.
    peaks = {name: part.activation_bytes for name, part in measure_parts(module, [torch.zeros(2, 4)]).items()}
    assert peaks == {"0": 4 * (8 + 16), "1": 4 * (8 + 16 + 16), "2": 4 * (8 + 16 + 8)}
    assert costs.flops == 2 * (2 * 4 * 8) * 2
    assert measure_costs(module, [torch.zeros(2, 4)], dtype=torch.float16).activation_bytes == 2 * (8 + 16 + 16)


class Wander(nn.Module):
    """Holds some tensors, drops others, and looks at one in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))
        self.register_buffer("table", torch.ones(100))

    def forward(self, x: Tensor) -> Tensor:
        kept = x + 1  # 10 and 10
        for _ in range(5):
            kept.mul_(2)  # in place: nothing new
            kept.view(2, 5).t()[1:]  # views: nothing new
            _ = kept * 3  # 10 more; the one of the last round lives until it is replaced
        del _
        big = torch.cat([kept, self.weight[:5], self.table[:5]])  # 10 and 10 and 20
        del kept
        return big.sum()


def test_live_set_counts_views_once_and_forgets_what_is_dropped() -> None:
    costs = measure_costs(Wander(), [torch.zeros(10)])
    # In the loop: input, kept, the last product and the new one. At the end: input, kept and big.
    assert costs.activation_bytes == 4 * 40
    assert costs.flops == 0 and costs.weights.vector_params == 100


class Attend(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def test_live_set_of_attention_with_and_without_its_scores() -> None:
    q, kv = torch.zeros(1, 2, 64, 4), torch.zeros(1, 2, 32, 4)
    inputs = [q, kv, kv.clone()]
    costs = measure_costs(Attend(), inputs)
    held, out, scores = 2 * 64 * 4 + 2 * 2 * 32 * 4, 2 * 64 * 4, 2 * 64 * 32
    assert costs.fused_activation_bytes == 4 * (held + out)
    # As plain operators the scores and the softmax of them live together, in the numbers' own type.
    assert costs.activation_bytes == 4 * (held + 2 * scores)
    assert measure_costs(Attend(), inputs, dtype=torch.float16).activation_bytes == 2 * (held + 2 * scores)
    assert costs.flops == 2 * 2 * 2 * 64 * 32 * 4


def test_a_mask_costs_memory_and_no_flops() -> None:
    q, kv, mask = torch.zeros(1, 2, 64, 4), torch.zeros(1, 2, 32, 4), torch.ones(1, 1, 1, 32, dtype=torch.bool)
    masked = measure_costs(Attend(), [q, kv, kv.clone(), mask])
    plain = measure_costs(Attend(), [q, kv, kv.clone()])
    assert masked.flops == plain.flops
    assert masked.activation_bytes >= plain.activation_bytes + mask.numel()


def test_a_measurement_changes_nothing() -> None:
    space = get_space("digits")
    model = SubDiT.from_spec(space, space.named["tiny"])
    inputs = example_inputs(space)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = Counter(len(module._forward_hooks) for module in model.modules())
    measured, again = measure_costs(model, inputs), measure_costs(on_meta(space, model.spec), inputs.values())
    assert measured == again
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert Counter(len(module._forward_hooks) for module in model.modules()) == hooks
    assert all(not parameter.is_meta for parameter in model.parameters())
