"""Parameters, FLOPs and bytes of weights of every component, in closed form.

A component has a few weight matrices, each applied at a number of positions, some vectors, and attention between
queries and keys. FLOPs follow torch.utils.flop_counter: a multiply-add counts as two. Matrix products, convolutions and
attention count, elementwise operations do not. All figures are of one forward pass of one image.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import astuple
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.space._components import Component
from subdit.space._components import all_components
from subdit.space._components import component_counts
from subdit.space._components import component_terms
from subdit.space._components import places
from subdit.space._components import sum_components
from subdit.space._dimensions import Matrix
from subdit.space._dimensions import Operations
from subdit.space._dimensions import known_dimensions
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace

PRECISIONS = ("fp32", "fp16", "int8", "palette4")
"""Precisions that weights may be stored in, see `WeightSizes.bytes`."""


@dataclass(frozen=True)
class WeightSizes:
    """What the stored size of a model's weights depends on.

    Attributes:
        matrix_params: numbers in the weight matrices of linear layers and convolutions.
        vector_params: all other parameters: biases, norms, modulation tables.
        matrices: number of those matrices.
        output_channels: number of rows of all those matrices.
    """

    matrix_params: int
    vector_params: int
    matrices: int
    output_channels: int

    @property
    def params(self) -> int:
        return self.matrix_params + self.vector_params

    def __add__(self, other: WeightSizes) -> WeightSizes:
        return WeightSizes(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> WeightSizes:
        return WeightSizes(*(mine * times for mine in astuple(self)))

    def bytes(self, precision: str) -> int:
        """Bytes of the stored weights, without file headers.

        - fp32, fp16: every number in that format.
        - int8: one byte for each number of a matrix, and a float32 scale for each output channel; vectors in float32.
        - palette4: a 4-bit index for each number of a matrix, into 16 float16 values per matrix; vectors in float16.
        """
        return int(stored_bytes(precision, *astuple(self)))


def stored_bytes(precision: str, matrix_params: Any, vector_params: Any, matrices: Any, output_channels: Any) -> Any:
    """`WeightSizes.bytes` of whole numbers, or of arrays of them."""
    match precision:
        case "fp32":
            return 4 * (matrix_params + vector_params)
        case "fp16":
            return 2 * (matrix_params + vector_params)
        case "int8":
            return matrix_params + 4 * output_channels + 4 * vector_params
        case "palette4":
            return (matrix_params + 1) // 2 + 32 * matrices + 2 * vector_params
    raise ValueError(f"no such precision {precision!r}; there is {', '.join(PRECISIONS)}")


def visible_strip_pairs(blocks: int, radius: int) -> int:
    """Pairs of a query strip and a key strip in blockwise neighbourhood attention: 46 of 256 for B = 16, r = 1."""
    return sum(min(blocks, block + radius + 1) - max(0, block - radius) for block in range(blocks))


def _plain_operations(space: SearchSpace, component: Component) -> Operations:
    width, head, tokens = component.width, space.head_dim, component.grid**2
    heads = space.heads(width)
    attention_width, kv_width = heads * head, space.kv_heads * head
    branch = 2 * width + 3 * width  # the norm, and the modulation table
    queries, out = Matrix(width, attention_width, tokens), Matrix(attention_width, width, tokens)
    keys = Matrix(width, kv_width, tokens)
    match component.kind:
        case "patch_embed":
            return Operations((Matrix(space.patch_width, width, tokens),))
        case "time_embed":
            mlp = Matrix(space.time_width, space.time_width, 1)
            return Operations((mlp, mlp, Matrix(space.time_width, 8 * width, 1)))
        case "text_projection":
            return Operations(
                tuple(Matrix(text.width, space.text_width, text.tokens) for text in space.text_inputs),
                vectors=sum(2 * text.width for text in space.text_inputs),
            )
        case "self_attention":
            return Operations((queries, keys, keys, out), branch + 3 * 2 * head, heads * tokens**2)
        case "assa":
            stride, blocks = component.kv_compression, component.bna_blocks
            compressed = tokens // stride**2
            compress = Matrix(stride**2, kv_width, compressed)
            gate = Matrix(width, heads, tokens)
            nearby = visible_strip_pairs(blocks, component.bna_radius) * (tokens // blocks) ** 2
            return Operations(
                (queries, keys, keys, compress, compress, gate, out),
                branch + 3 * 2 * head,
                heads * (tokens * compressed + nearby),
            )
        case "cross_attention":
            text = Matrix(space.text_width, kv_width, space.text_tokens)
            return Operations((queries, text, text, out), 2 * 2 * head, heads * tokens * space.text_tokens)
        case "ffn":
            hidden = component.ffn_ratio * width
            return Operations((Matrix(width, hidden, tokens), Matrix(hidden, width, tokens)), branch)
        case "downsample":
            return Operations((Matrix(4 * width, width, tokens // 4, bias=False),))
        case "upsample":
            # Each coarse token gives four fine ones: four times the positions, at a quarter of the inputs.
            return Operations((Matrix(4 * width, width, tokens, bias=False),), int(space.down_up_skip))
        case "skip_fusion":
            return Operations((Matrix(2 * width, width, tokens),))
        case "final_layer":
            return Operations((Matrix(width, space.patch_width, tokens),), 2 * width + 2 * width)
    raise AssertionError(component.kind)


def _operations(space: SearchSpace, component: Component) -> Operations:
    operations = _plain_operations(space, component)
    for name, value in component.values.items():
        effect = known_dimensions()[name].effect
        operations = operations if effect is None else effect(operations, value)
    return operations


# One component ------------------------------------------------------------------------------------------------------


def component_weights(space: SearchSpace, component: Component) -> WeightSizes:
    """What the stored size of one component depends on."""
    operations = _operations(space, component)
    return WeightSizes(
        matrix_params=sum(matrix.inputs * matrix.outputs for matrix in operations.matrices),
        vector_params=operations.vectors + sum(matrix.outputs for matrix in operations.matrices if matrix.bias),
        matrices=len(operations.matrices),
        output_channels=sum(matrix.outputs for matrix in operations.matrices),
    )


def component_params(space: SearchSpace, component: Component) -> int:
    """Parameters of one component."""
    return component_weights(space, component).params


def component_flops(space: SearchSpace, component: Component) -> int:
    """FLOPs of one component on one image; each attended pair takes two products of `head_dim` numbers."""
    operations = _operations(space, component)
    products = sum(2 * matrix.positions * matrix.inputs * matrix.outputs for matrix in operations.matrices)
    return products + 4 * space.head_dim * operations.attended


# Whole sub-DiTs -----------------------------------------------------------------------------------------------------


def count_params(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.int64]:
    """Parameters of specs (n, dimensions), shape (n,), with text projections and without text encoders."""
    return _total(space, encoded, component_params)


def count_flops(space: SearchSpace, encoded: EncodedSpecs) -> npt.NDArray[np.int64]:
    """FLOPs of one step on one image of specs (n, dimensions), shape (n,), without text encoders."""
    return _total(space, encoded, component_flops)


def components_up_to(space: SearchSpace, max_params: int | None) -> tuple[Component, ...]:
    """Components of all sub-DiTs with at most `max_params` parameters, in the order of `all_components`.

    None means no limit. The result is exact, and empty where no sub-DiT is that small.
    """
    if max_params is None:
        return all_components(space)
    # The smallest sub-DiT with a component has the smallest value of every dimension that the component does not depend
    # on, as a larger value never has fewer parameters.
    labels = list(space.dimensions)
    makers = {frozenset(column.label for column in place.columns(space)) | {"width"} for place in places(space)}
    rows = [
        row
        for free in makers
        for row in itertools.product(
            *(
                range(len(values) if label in free else 1)
                for label, values in zip(labels, space.dimensions.values(), strict=True)
            )
        )
    ]
    smallest = np.asarray(rows, dtype=np.int64)
    small_enough = smallest[count_params(space, smallest) <= max_params]
    found = component_counts(space, small_enough).any(axis=0)
    return tuple(component for component, is_found in zip(all_components(space), found, strict=True) if is_found)


def _total(
    space: SearchSpace, encoded: EncodedSpecs, size_of: Callable[[SearchSpace, Component], int]
) -> npt.NDArray[np.int64]:
    return np.rint(sum_components(component_terms(space, encoded), _each(space, size_of))).astype(np.int64)


@cache
def _each(space: SearchSpace, size_of: Callable[[SearchSpace, Component], int]) -> npt.NDArray[np.float64]:
    # Sums in double precision are exact up to 2^53, about 9e15. Those of the largest space are below 1e14.
    return np.asarray([size_of(space, component) for component in all_components(space)], dtype=np.float64)
