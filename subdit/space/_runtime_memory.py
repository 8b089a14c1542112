"""Peak memory of a process: what loading and running a sub-DiT adds, in the runtime that takes more of it.

A runtime holds more than weights and one live set of activations (`_memory.py`):

- weights as stored: LiteRT maps the file. Its pages are resident once they were read, until the kernel takes them back.
- weights as computed with: both runtimes repack matrices for their kernels, as float32 where float16 was stored. ONNX
  Runtime has freed what it read of its file by then, but the heap keeps up to half of float32 weights, and all of
  others.
- activations: LiteRT plans one arena and reuses the space of dead tensors. ONNX Runtime plans by `buffers`, and holds
  the plan twice: its second run takes a block for the whole plan, and the first run's arena stays.
- operators and the runtime: shapes, kernels and names of each node, and pages of the library.

The bytes of the last item were fitted for ONNX Runtime 1.32 and LiteRT 2.3 with their defaults, on one thread of an
x86-64 processor. `benchmarks/memory.py` fits them to some sub-DiTs, and states the error on others.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from subdit.space._allocations import ONNX_RUNTIME
from subdit.space._allocations import XNNPACK
from subdit.space._allocations import Buffers
from subdit.space._allocations import replay
from subdit.space._components import Component
from subdit.space._components import all_components
from subdit.space._components import component_columns
from subdit.space._components import component_terms
from subdit.space._components import sum_components
from subdit.space._dimensions import STAGES
from subdit.space._memory import activation_bytes
from subdit.space._memory import largest_live_set
from subdit.space._memory import weight_bytes
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._sizes import component_weights

Bytes = npt.NDArray[np.int64]

MEMORY_MODEL = "2: peak of a process, in ONNX Runtime or LiteRT"
"""Named in search.json. A change of what `peak_memory_bytes` computes is a new number. Model 1, which no search named,
was weights and one live set of activations."""

EXTERNAL_DATA_BYTES = 1_500_000_000
"""Bytes of float32 weights above which an ONNX model has them in a file of their own: a protobuf ends at 2 GB."""

_FLOAT32 = 4
# More than there ever are tensors of one size.
_MOST = 1024
_DEPTHS = tuple(f"depth_{stage}" for stage in STAGES)
# Rows whose buffers are summed at once, which takes about 20 MB.
_CHUNK = 16_384


@dataclass(frozen=True)
class MemoryTerms:
    """How many times a runtime holds each of `memory_features` at its peak.

    Attributes:
        stored: copies of the weights as stored.
        packed: copies of the weights as computed with.
        activations: copies of the largest live set.
        operator_bytes: bytes for each operator of the exported graph.
        fixed_bytes: bytes for any model.
    """

    stored: float
    packed: float
    activations: float
    operator_bytes: float
    fixed_bytes: float

    def as_array(self) -> npt.NDArray[np.float64]:
        """Shape (5,), in the order of the attributes."""
        return np.asarray(astuple(self), dtype=np.float64)


MEMORY_TERMS = {
    ("onnxruntime", "fp32"): MemoryTerms(0.5, 1, 2, 6000, 16.8e6),
    ("onnxruntime", "fp16"): MemoryTerms(1, 1, 2, 5100, 17.4e6),
    ("onnxruntime", "int8"): MemoryTerms(1, 1, 2, 4600, 17.1e6),
    ("litert", "fp32"): MemoryTerms(1, 1, 1, 2350, 6.4e6),
    ("litert", "fp16"): MemoryTerms(1, 1, 1, 2400, 6.8e6),
    ("litert", "int8"): MemoryTerms(1, 1, 1, 2400, 7.1e6),
}
"""Terms by runtime and precision of the weights; `benchmarks/memory.py` fits the bytes."""

MODELLED_RUNTIMES = tuple(dict.fromkeys(runtime for runtime, _ in MEMORY_TERMS))
"""Runtimes whose memory was measured. Another runtime is assumed to need what the larger of these needs."""

_PACKED = {"fp32": "fp32", "fp16": "fp32", "int8": "int8"}
"""Precision that weights are computed with, by precision of the stored ones: processors compute no half precision."""


def peak_memory_bytes(
    space: SearchSpace, encoded: EncodedSpecs, precision: str, *, runtime: str | None = None
) -> Bytes:
    """The most that loading a sub-DiT and running some steps adds to a process, for one image on one thread.

    It includes weights that a runtime maps from its file, which the kernel may take back. Neither runtime knows
    "palette4": there it is the stored weights and the largest live set in float16, and no measurement has tested it.

    Args:
        encoded: specs of shape (n, dimensions).
        precision: of the weights, one of `PRECISIONS`.
        runtime: one of `MODELLED_RUNTIMES`; by default the one that takes more.

    Returns:
        Bytes, shape (n,).

    Raises:
        ValueError: no such precision.
    """
    if precision == "palette4":
        return weight_bytes(space, encoded, precision) + activation_bytes(space, encoded, element_bytes=2)
    features = memory_features(space, encoded, precision)
    runtimes = (runtime,) if runtime else MODELLED_RUNTIMES
    each = [features[name] @ MEMORY_TERMS[name, precision].as_array() for name in runtimes]
    return np.rint(np.maximum.reduce(each)).astype(np.int64)


def memory_features(space: SearchSpace, encoded: EncodedSpecs, precision: str) -> dict[str, npt.NDArray[np.float64]]:
    """By runtime what `MemoryTerms` multiply, in their order, shape (n, 5); raises as `peak_memory_bytes` does."""
    stored = weight_bytes(space, encoded, precision)
    packed = stored if _PACKED[precision] == precision else weight_bytes(space, encoded, _PACKED[precision])
    operators = count_operators(space, encoded)
    alive = {"onnxruntime": buffers(space, encoded), "litert": largest_live_set(space, encoded, XNNPACK)}
    weights = {"onnxruntime": (stored, packed), "litert": (stored, packed)}
    if precision == "fp32":
        # Weights in a file of their own are read to where they are used.
        weights["onnxruntime"] = (np.where(stored > EXTERNAL_DATA_BYTES, 0, stored), packed)
    elif precision == "int8":
        # ONNX Runtime's quantisation leaves convolutions in float32.
        left = 3 * _convolution_params(space, encoded)
        weights["onnxruntime"] = (stored + left, packed + left)
    return {
        runtime: np.column_stack([*weights[runtime], _FLOAT32 * alive[runtime], operators, np.ones(len(encoded))])
        for runtime in MODELLED_RUNTIMES
    }


def _convolution_params(space: SearchSpace, encoded: EncodedSpecs) -> Bytes:
    """Numbers in the matrices of patch embedding, down- and upsampling, shape (n,)."""
    each = [
        component_weights(space, one).matrix_params if one.kind in ("patch_embed", "downsample", "upsample") else 0
        for one in all_components(space)
    ]
    return np.rint(sum_components(component_terms(space, encoded), np.asarray(each, dtype=np.float64))).astype(np.int64)


def buffers(space: SearchSpace, encoded: EncodedSpecs) -> Bytes:
    """Numbers in the buffers that ONNX Runtime plans, shape (n,).

    It gives a tensor the buffer of an earlier one only where both have the same size, and holds a buffer from its first
    use to its last. So there are as many buffers of a size as tensors of that size ever live at once. A sub-DiT has the
    buffers of all its parts, and not only those of the largest one.
    """
    labels = list(space.dimensions)
    planned = _planned(space)[tuple(encoded[:, index] for index, label in enumerate(labels) if label not in _DEPTHS)]
    width = np.asarray(space.widths)[encoded[:, labels.index("width")]]
    long_skips = np.asarray(space.depths[1])[encoded[:, labels.index("depth_middle")]] // 2
    waiting = long_skips * space.middle_grid**2 + space.tokens * space.down_up_skip
    return np.asarray(planned + waiting * width)


@cache
def _planned(space: SearchSpace) -> Bytes:
    """Numbers in buffers by the indices of all dimensions but depths, which change nothing but the long skips."""
    sizes = [1 if label in _DEPTHS else len(values) for label, values in space.dimensions.items()]
    rows = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    keys = _buffer_keys(space)
    planned = [_sum_largest(space, chunk, keys) for chunk in np.array_split(rows, len(rows) // _CHUNK + 1)]
    elastic = [len(values) for label, values in space.dimensions.items() if label not in _DEPTHS]
    return np.concatenate(planned).reshape(elastic)


def _sum_largest(space: SearchSpace, encoded: EncodedSpecs, keys: Bytes) -> Bytes:
    columns = component_columns(space, encoded)
    found = np.sort(np.concatenate([keys[column] for column in columns.values()], axis=1), axis=1)
    # Keys of a size are sorted by count, so its last key has the largest one.
    is_last = np.ones(found.shape, dtype=bool)
    is_last[:, :-1] = found[:, 1:] // _MOST != found[:, :-1] // _MOST
    return np.asarray(np.where(is_last, (found // _MOST) * (found % _MOST), 0).sum(axis=1))


@cache
def _buffer_keys(space: SearchSpace) -> Bytes:
    """For each component the sizes of its tensors and how many of a size live at once, as size * _MOST + count.

    Shape (components, most sizes of any), filled up with zeros.
    """
    made = []
    for component in all_components(space):
        live = Buffers()
        # Its input is a tensor of its predecessor.
        live.make(component.grid**2 * component.width)
        replay(live, space, component, ONNX_RUNTIME)
        made.append([size * _MOST + min(count, _MOST - 1) for size, count in live.most.items() if size])
    keys = np.zeros((len(made), max(map(len, made))), dtype=np.int64)
    for row, each in zip(keys, made, strict=True):
        row[: len(each)] = each
    return keys


def count_operators(space: SearchSpace, encoded: EncodedSpecs) -> Bytes:
    """Operators of the exported ONNX graph, shape (n,). It is off by a few, as edges of strips and parts differ."""
    each = np.asarray([_operators(space, component) for component in all_components(space)], dtype=np.float64)
    return np.rint(sum_components(component_terms(space, encoded), each)).astype(np.int64)


def _operators(space: SearchSpace, component: Component) -> int:
    match component.kind:
        case "assa":
            # For each strip: slices of queries, keys, values and gates, two attentions, and their mixture.
            return 66 + 21 * component.bna_blocks
        case "self_attention":
            return 53
        case "cross_attention":
            return 27
        case "ffn" | "time_embed":
            return 16
        case "final_layer":
            return 12
        case "text_projection":
            return 3 * len(space.text_inputs)
        case "upsample":
            return 5 + 3 * space.down_up_skip
        case "downsample":
            return 5
    return 3
