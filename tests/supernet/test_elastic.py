"""The supernet's central promise: a sub-network and its extraction are one and the same function.

All models here have every parameter redrawn: a fresh DiT is silent, and equal silence would prove nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

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
from subdit.space import ASSA_STAGES
from subdit.space import STAGES
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import count_params
from subdit.space import get_space
from subdit.space import register_space
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.supernet.shrunk import shrunk_spaces
from tests.supernet.shrunk import specs

DIGITS = get_space("digits")
FULL = DIGITS.named["full"]
SPACES = shrunk_spaces()

every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
# The models are deterministic and slow to shrink a failure on: the spec that failed says enough.
phases = [Phase.explicit, Phase.reuse, Phase.generate]
few = settings(max_examples=1, deadline=None, phases=phases)
many = settings(max_examples=15, deadline=None, phases=phases)


@cache
def redrawn_once(name: str, dtype: torch.dtype = torch.float32) -> ElasticDiT:
    """One supernet for all tests that leave it as it is."""
    return redrawn(name, seed=0 if dtype == torch.float32 else 1).to(dtype)


def redrawn(name: str, seed: int) -> ElasticDiT:
    model = ElasticDiT(space=name)
    redraw_(model, seed=seed)
    return model.eval()


def inputs_for(model: ElasticDiT, batch: int = 2) -> list[Tensor]:
    return [value.to(model.dtype) for value in example_inputs(model.space, batch=batch, seed=3).values()]


@pytest.fixture
def supernet() -> ElasticDiT:
    return redrawn_once("digits")


def random_specs(count: int, seed: int) -> list[SubDiTSpec]:
    return DIGITS.decode(DIGITS.sample(np.random.default_rng(seed), count))


def by_name(spec: SubDiTSpec) -> str:
    return spec.hash


# What a sub-network owns, said anew: flags from the words, without the supernet's tables ----------------------


def owned(supernet: ElasticDiT, spec: SubDiTSpec) -> dict[str, npt.NDArray[np.bool_]]:
    """Which numbers of which parameter of the supernet the sub-network may read."""
    flags = {name: np.zeros(p.shape, dtype=bool) for name, p in supernet.named_parameters()}
    space = supernet.space
    width, full = spec.width, space.full_width
    head, heads, group = space.head_dim, space.full_heads, space.full_heads // space.kv_heads
    kept_group = space.heads(width) // space.kv_heads
    kept_heads = np.asarray([at % group < kept_group for at in range(heads)])
    kept_channels = np.repeat(kept_heads, head)
    hidden = np.arange(full) < width
    for name in flags:
        if not name.startswith("full."):
            continue
        plain = name.removeprefix("full.")
        if plain.split(".")[0] in STAGES and not keeps_block(plain, spec, space.named["full"]):
            continue
        compressed = f"apart.compression{spec.kv_compression}:{plain.replace('.', ':')}"
        if compressed in flags:
            flags[compressed][:] = True
            continue
        apart = f"apart.width{width}:{plain.replace('.', ':')}"
        if apart in flags or (width == full and name.endswith(("scale_shift_table", "modulation.weight"))):
            flags[apart if apart in flags else name][:] = True
            continue
        ratio_kept = np.arange(supernet.get_parameter(name).shape[0]) < spec.ffn_ratio[stage_of(plain)] * width
        shape = supernet.get_parameter(name).shape
        axes = [np.ones(length, dtype=bool) for length in shape]
        words = plain.split(".")
        layer = ".".join(words[-3:-1]) if words[-2] in ("proj", "conv") else words[-2]
        match layer, words[-1]:
            case "to_q", "weight":
                axes = [kept_channels, hidden]
            case "to_q", "bias":
                axes = [kept_channels]
            case (("to_k" | "to_v"), "weight") if "cross_attn" not in plain:
                axes[1] = hidden
            case "to_out", "weight":
                axes = [hidden, kept_channels]
            case "branch_gate", "weight":
                axes = [kept_heads, hidden]
            case "branch_gate", "bias":
                axes = [kept_heads]
            case "fc1", "weight":
                axes = [ratio_kept, hidden]
            case "fc1", "bias":
                axes = [ratio_kept]
            case "fc2", "weight":
                axes = [hidden, np.arange(shape[1]) < spec.ffn_ratio[stage_of(plain)] * width]
            case "skip.proj", "weight":
                axes = [hidden, np.concatenate([hidden, hidden])]
            case (("downsample.proj" | "upsample.proj"), "weight"):
                axes[:2] = [hidden, hidden]
            case "final_layer.proj", "weight":
                axes[1] = hidden
            case "patch_embed.proj", "weight":
                axes[0] = hidden
            case (("to_out" | "fc2" | "skip.proj" | "patch_embed.proj"), "bias"):
                axes = [hidden]
            case _:
                assert full not in shape or "text_projection" in plain or "cross_attn" in plain or width == full, name
        flags[name][np.ix_(*axes)] = True
    return flags


def stage_of(plain: str) -> int:
    stage = plain.split(".")[0]
    return STAGES.index(stage) if stage in STAGES else 0


def keeps_block(plain: str, spec: SubDiTSpec, largest: SubDiTSpec) -> bool:
    """Down keeps its first blocks, Up its last, Middle its outermost pairs."""
    stage, number = plain.split(".")[0], int(plain.split(".")[1])
    kept, full = spec.depth[STAGES.index(stage)], largest.depth[STAGES.index(stage)]
    return {
        "down": number < kept,
        "middle": number < kept // 2 or number >= full - kept // 2,
        "up": number >= full - kept,
    }[stage]


# Tests ----------------------------------------------------------------------------------------------------------------


def check_extraction(name: str, spec: SubDiTSpec) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        model = redrawn_once(name, dtype)
        inputs = inputs_for(model)
        with torch.no_grad():
            inside = model(*inputs, spec=spec)
            alone = model.extract(spec)(*inputs)
        assert inside.std() > 0.1, "a silent model would prove nothing"
        assert torch.linalg.norm(inside - alone) <= tolerance * torch.linalg.norm(inside)


def check_gradients(supernet: ElasticDiT, spec: SubDiTSpec) -> None:
    space = supernet.space
    flags = owned(supernet, spec)
    assert sum(mask.sum() for mask in flags.values()) == count_params(space, space.encode([spec]))[0]
    supernet.zero_grad(set_to_none=True)
    inputs = inputs_for(supernet, batch=4)
    target = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(0))
    (supernet(*inputs, spec=spec) - target).square().mean().backward()
    for name, parameter in supernet.named_parameters():
        gradient = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        assert not gradient[~flags[name]].any(), name
        # Softmax is blind to a shift of all keys, so this one gradient is zero but for rounding.
        if flags[name].any() and not name.endswith("cross_attn.k_norm.bias"):
            assert gradient[flags[name]].any(), name
    supernet.zero_grad(set_to_none=True)


def check_nothing_else_is_read(name: str, spec: SubDiTSpec) -> None:
    """What is outside the slice is not even multiplied by zero: it is poisoned with not-a-number."""
    supernet, poisoned = redrawn_once(name), redrawn(name, seed=0)
    inputs = inputs_for(supernet)
    flags = owned(supernet, spec)
    with torch.no_grad():
        for key, parameter in poisoned.named_parameters():
            parameter[torch.from_numpy(~flags[key])] = torch.nan
        assert torch.equal(poisoned(*inputs, spec=spec), supernet(*inputs, spec=spec))
        assert torch.equal(poisoned.extract(spec)(*inputs), supernet.extract(spec)(*inputs))
        if spec != supernet.full_spec:
            assert poisoned(*inputs).isnan().any()


@pytest.mark.parametrize("spec", random_specs(50, seed=5), ids=by_name)
def test_extracted_equals_supernet(spec: SubDiTSpec) -> None:
    check_extraction("digits", spec)


@pytest.mark.parametrize("spec", [*DIGITS.named.values(), *random_specs(9, seed=6)], ids=by_name)
def test_gradients_are_zero_outside_the_slice_and_only_there(supernet: ElasticDiT, spec: SubDiTSpec) -> None:
    check_gradients(supernet, spec)


@pytest.mark.parametrize("spec", [DIGITS.named["tiny"], FULL, *random_specs(8, seed=7)], ids=by_name)
def test_what_lies_outside_the_slice_is_never_read(spec: SubDiTSpec) -> None:
    check_nothing_else_is_read("digits", spec)


@every_space
@few
@given(data=st.data())
def test_the_promise_holds_in_every_space(space: SearchSpace, data: st.DataObject) -> None:
    """Equal outputs, gradients and not-a-number, of specs drawn from each named space at its own structure."""
    check_promise(space, data.draw(specs(space)))


@pytest.mark.slow
@every_space
@many
@given(data=st.data())
def test_the_promise_holds_anywhere_in_every_space(space: SearchSpace, data: st.DataObject) -> None:
    check_promise(space, data.draw(specs(space)))


def check_promise(space: SearchSpace, spec: SubDiTSpec) -> None:
    check_extraction(space.name, spec)
    check_gradients(redrawn_once(space.name), spec)
    check_nothing_else_is_read(space.name, spec)


# The other spaces of the paper's differ from mobile-1k in layer counts alone.
DISTINCT = [space for space in SPACES if space.name.removesuffix("-shrunk") in ("digits", "mid-256", "mobile-1k")]
distinct_space = pytest.mark.parametrize("space", DISTINCT, ids=lambda space: space.name)
DIMENSIONS = [(space, label) for space in DISTINCT for label, values in space.dimensions.items() if len(values) > 1]


@pytest.mark.parametrize(("space", "dimension"), DIMENSIONS, ids=lambda value: getattr(value, "name", value))
def test_each_dimension_changes_the_output(space: SearchSpace, dimension: str) -> None:
    supernet = redrawn_once(space.name)
    inputs = inputs_for(supernet)
    values = space.values(space.named["small"])
    # r at least B - 1 is full attention whatever B is, so B is large and r small where the other one varies.
    values |= {f"bna_blocks_{stage}": space.bna_blocks[-1] for stage in ASSA_STAGES}
    values |= {f"bna_radius_{stage}": space.bna_radii[0] for stage in ASSA_STAGES}
    with torch.no_grad():
        outputs = [
            supernet(*inputs, spec=space.spec({**values, dimension: value})) for value in space.dimensions[dimension]
        ]
    for at, one in enumerate(outputs):
        for other in outputs[:at]:
            assert (one - other).std() > 1e-3


def test_full_network_is_the_sub_network_of_the_full_spec(supernet: ElasticDiT) -> None:
    inputs = inputs_for(supernet)
    with torch.no_grad():
        assert torch.equal(supernet(*inputs), supernet(*inputs, spec=FULL))
        assert torch.equal(supernet(*inputs), supernet.full(*inputs))


@distinct_space
def test_norms_and_modulation_are_isolated_per_width(space: SearchSpace) -> None:
    """Scrambling one width's own parameters changes that width's output and no other's."""
    before, tiny = redrawn_once(space.name), space.named["tiny"]
    inputs = inputs_for(before)
    own = {width: owned(before, replace(tiny, width=width)) for width in space.widths}
    with torch.no_grad():
        was = {width: before(*inputs, spec=replace(tiny, width=width)) for width in space.widths}
    for width in space.widths if space is DIGITS else space.widths[1:2]:
        others = [flags for other, flags in own.items() if other != width]
        mine = own[width]
        isolated = [name for name in mine if mine[name].any() and not any(other[name].any() for other in others)]
        changed = {name.replace(":", ".").rsplit(".", 1)[-1] for name in isolated}
        assert changed == {"weight", "bias", "scale_shift_table"}
        # Norm (2) and table of both branches of each block and of the final layer, and the modulation (2).
        assert len(isolated) == 3 * (2 * sum(tiny.depth) + 1) + 2
        after = redrawn(space.name, seed=0)
        with torch.no_grad():
            for name in isolated:
                after.get_parameter(name).mul_(-1.5)
            for other in space.widths:
                same = torch.equal(was[other], after(*inputs, spec=replace(tiny, width=other)))
                assert same == (other != width)


def _shallowest(space: SearchSpace) -> tuple[int, int, int]:
    return space.depths[0][0], space.depths[1][0], space.depths[2][0]


@every_space
def test_depth_keeps_first_down_last_up_and_outer_pairs_of_middle(space: SearchSpace) -> None:
    supernet, full, fewest = redrawn_once(space.name), space.named["full"], _shallowest(space)
    shallow = supernet.extract(replace(full, depth=fewest))
    kept = {"down.0": "down.0", "up.0": f"up.{full.depth[2] - fewest[2]}", "middle.0": "middle.0"}
    kept[f"middle.{fewest[1] - 1}"] = f"middle.{full.depth[1] - 1}"
    for own, origin in kept.items():
        theirs = dict(supernet.full.get_submodule(origin).named_parameters())
        mine = dict(shallow.get_submodule(own).named_parameters())
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert torch.equal(mine[name], theirs[name]), (own, name)
    assert tuple(len(getattr(shallow, stage)) for stage in STAGES) == fewest


def test_middle_skips_join_mirrored_blocks(supernet: ElasticDiT) -> None:
    seen: dict[int, Tensor] = {}
    sources: dict[int, Tensor] = {}
    handles = []
    for at, block in enumerate(supernet.full.middle):
        handles.append(block.register_forward_hook(lambda _, __, out, at=at: seen.update({at: out})))
        if block.skip is not None:
            handles.append(block.skip.register_forward_hook(lambda _, ins, __, at=at: sources.update({at: ins[1]})))
    with torch.no_grad():
        supernet(*inputs_for(supernet))
    for handle in handles:
        handle.remove()
    depth = FULL.depth[1]
    assert list(sources) == list(range(depth // 2, depth))
    assert all(skip is seen[depth - 1 - at] for at, skip in sources.items())


@pytest.mark.parametrize("spec", random_specs(6, seed=8), ids=by_name)
def test_extraction_copies_what_it_keeps_and_nothing_else(supernet: ElasticDiT, spec: SubDiTSpec) -> None:
    made = supernet.extract(spec)
    assert type(made) is SubDiT and made.spec == spec
    assert sum(p.numel() for p in made.parameters()) == count_params(DIGITS, DIGITS.encode([spec]))[0]
    storages = {parameter.untyped_storage().data_ptr() for parameter in supernet.parameters()}
    for name, parameter in made.named_parameters():
        assert parameter.untyped_storage().data_ptr() not in storages, name
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size(), name
        assert parameter.requires_grad and parameter.is_contiguous(), name
    inputs = inputs_for(supernet)
    with torch.no_grad():
        before = supernet(*inputs, spec=spec)
        for parameter in made.parameters():
            parameter.zero_()
        assert torch.equal(supernet(*inputs, spec=spec), before)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"space": "mars"}, "mars"), ({"width": 33}, "width 33"), ({"depth": (9, 2, 2)}, "depth_down 9")],
)
def test_foreign_specs_are_refused(supernet: ElasticDiT, change: dict[str, object], named: str) -> None:
    spec = replace(FULL, **change)
    with pytest.raises(SpecError, match=named):
        supernet.extract(spec)
    with pytest.raises(SpecError, match=named):
        supernet(*inputs_for(supernet), spec=spec)


@pytest.mark.slow
def test_the_promise_holds_at_the_papers_width() -> None:
    """Full width 2176 with 64 heads of 32 and both text encoders, on few layers and a small grid."""
    paper = get_space("mobile-1k")
    name = "mobile-1k-wide-test"

    def point(width: int) -> SubDiTSpec:
        return SubDiTSpec(name, width, (1, 2, 1), (4, 3, 4), (16, 16), (1, 1), 2)

    register_space(
        replace(
            paper,
            name=name,
            latent_size=16,
            depths=((1,), (2,), (1,)),
            bna_blocks=(16,),
            kv_compressions=(2, 4),
            named={key: point(spec.width) for key, spec in paper.named.items()},
        )
    )
    for width, stride in ((816, 4), (1088, 2), (1632, 2)):
        spec = replace(point(width), kv_compression=stride)
        check_extraction(name, spec)
        check_gradients(redrawn_once(name), spec)
    redrawn_once.cache_clear()
