"""Weights and activations in closed form: stored bytes, and the largest set of tensors that live at one moment.

The largest live set of a component follows from its dimensions (`_allocations.py`). While a component runs, other
tensors live too: the inputs, the modulation, the projected text, the output of Down, which Up reads again, and in
Middle the long skips that are not yet used. The figure of a sub-DiT is the maximum of both together over its
components, and not a sum over them.

The order of operators is that of `supernet`'s modules as they are exported. Tests hold the result equal to
`supernet.model.costs.measure_costs`, which counts while they run.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from subdit.space._allocations import FUSED
from subdit.space._allocations import PLAIN
from subdit.space._allocations import Form
from subdit.space._allocations import Live
from subdit.space._allocations import replay
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


def weight_bytes(space: SearchSpace, encoded: EncodedSpecs, precision: str) -> Bytes:
    """Bytes of the weights when stored in one of `PRECISIONS`, shape (n,); raises `ValueError` on another."""
    sizes = [component_weights(space, component) for component in all_components(space)]
    each = np.asarray([(one.matrix_params, one.vector_params, one.matrices, one.output_channels) for one in sizes])
    totals = np.rint(sum_components(component_terms(space, encoded), each.astype(np.float64))).astype(np.int64)
    return np.asarray(stored_bytes(precision, *totals.T))


def activation_bytes(space: SearchSpace, encoded: EncodedSpecs, *, element_bytes: int, fused: bool = False) -> Bytes:
    """Bytes of the largest live set of tensors, with inputs and without weights, shape (n,)."""
    return element_bytes * largest_live_set(space, encoded, FUSED if fused else PLAIN)


def part_activation_bytes(
    space: SearchSpace, spec: SubDiTSpec, *, element_bytes: int, fused: bool = False
) -> dict[Part, int]:
    """Bytes of the largest live set of the whole sub-DiT while each of its parts runs.

    A part is a stage of `components_by_stage` and a kind of component in it, such as ("down", "ffn"). Raises
    `SpecError` on a spec of another space.
    """
    moments = _moments(space, space.encode([spec]), FUSED if fused else PLAIN)
    return {part: element_bytes * int(numbers[0]) for part, numbers in moments.items()}


def largest_live_set(space: SearchSpace, encoded: EncodedSpecs, form: Form) -> Bytes:
    """The most numbers that live at once, shape (n,)."""
    largest: Bytes = np.maximum.reduce(list(_moments(space, encoded, form).values()))
    return largest


def _moments(space: SearchSpace, encoded: EncodedSpecs, form: Form) -> dict[Part, Bytes]:
    """For each part the most numbers that live at once while it runs, shape (n,)."""
    own = _own_peaks(space, form)
    peak = {place: own[columns] for place, columns in component_columns(space, encoded).items()}
    labels = list(space.dimensions)
    width = np.asarray(space.widths)[encoded[:, labels.index("width")]]
    long_skips = np.asarray(space.depths[1])[encoded[:, labels.index("depth_middle")]] // 2
    tokens, half = space.tokens * width, space.middle_grid**2 * width
    inputs = space.latent_size**2 * space.latent_channels + 1
    inputs += sum(text.tokens * text.width for text in space.text_inputs)
    # With the modulation of all blocks and the final layer; then with the text, too.
    modulated = inputs + 8 * width
    ready = modulated + space.text_tokens * space.text_width

    def blocks(
        stage: str, attention: str, around: Bytes, size: Bytes, *, fused_skip: bool = False
    ) -> dict[Part, Bytes]:
        # The block's input lives until the block ends; after its first branch, so does the output of the branch before.
        before = size * by_name
        return {
            (stage, attention): around + peak[f"{attention}_{stage}"] + size * fused_skip,
            (stage, "cross_attention"): around + before + peak[f"cross_attention_{stage}"],
            (stage, "ffn"): around + before + peak[f"ffn_{stage}"],
        }

    # In the centre of Middle, one output waits for each block of its second half. The block that takes the first of
    # them has it as its input, too. The output of Down lives until Up ends; a graph frees it after its last reader.
    by_name = not form.is_graph
    left_down = tokens * (by_name or space.down_up_skip)
    inside = ready + left_down + long_skips * half
    return {
        ("time", "time_embed"): inputs + peak["time_embed"],
        ("text", "text_projection"): modulated + peak["text_projection"],
        ("patch", "patch_embed"): ready + peak["patch_embed"],
        **blocks("down", "assa", ready + tokens, tokens),
        ("downsample", "downsample"): ready + tokens + peak["downsample"],
        ("middle", "skip_fusion"): inside + peak["skip_fusion_middle"],
        **blocks("middle", "self_attention", inside, half, fused_skip=True),
        ("upsample", "upsample"): ready + left_down + half + peak["upsample"],
        **blocks("up", "assa", ready + tokens * by_name + tokens, tokens),
        ("final", "final_layer"): modulated + tokens + peak["final_layer"],
    }


@cache
def _own_peaks(space: SearchSpace, form: Form) -> Bytes:
    """For each component the most numbers that live beside those that lived when it began, shape (components,)."""

    def own(component: Component) -> int:
        live = Live()
        replay(live, space, component, form)
        return live.peak

    return np.asarray([own(component) for component in all_components(space)], dtype=np.int64)
