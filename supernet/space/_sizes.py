"""Sizes in closed form: parameters of every component, and so of every sub-DiT, without building one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from supernet.space._components import Component
from supernet.space._components import all_components
from supernet.space._components import component_counts
from supernet.space._search_space import EncodedSpecs
from supernet.space._search_space import SearchSpace


def component_params(space: SearchSpace, component: Component) -> int:
    """Parameters of one component."""
    width, head = component.width, space.head_dim
    attention_width = space.heads(width) * head
    kv_width = space.kv_heads * head

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    branch = 2 * width + 3 * width  # the norm, and the modulation table
    self_attention = (
        branch
        + linear(width, attention_width)
        + 2 * linear(width, kv_width)
        + 3 * 2 * head
        + linear(attention_width, width)
    )
    match component.kind:
        case "patch_embed":
            return linear(space.patch_width, width)
        case "time_embed":
            return 2 * linear(space.time_width, space.time_width) + linear(space.time_width, 8 * width)
        case "text_projection":
            return sum(2 * text.width + linear(text.width, space.text_width) for text in space.text_inputs)
        case "self_attention":
            return self_attention
        case "assa":
            compression = kv_width * component.kv_compression**2 + kv_width
            return self_attention + 2 * compression + linear(width, space.heads(width))
        case "cross_attention":
            projections = linear(width, attention_width) + 2 * linear(space.text_width, kv_width)
            return projections + 2 * 2 * head + linear(attention_width, width)
        case "ffn":
            return branch + linear(width, component.ffn_ratio * width) + linear(component.ffn_ratio * width, width)
        case "downsample":
            return 4 * width * width
        case "upsample":
            return 4 * width * width + int(space.down_up_skip)
        case "skip_fusion":
            return linear(2 * width, width)
        case "final_layer":
            return 2 * width + 2 * width + linear(width, space.patch_width)
    raise AssertionError(component.kind)


def count_params(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.int64]:
    """Parameters of specs (n, dimensions): shape (n,), text projections in, text encoders out."""
    each = np.asarray([component_params(space, component) for component in all_components(space)], dtype=np.float64)
    return np.rint(component_counts(space, encoded).astype(np.float64) @ each).astype(np.int64)
