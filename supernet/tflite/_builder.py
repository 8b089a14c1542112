"""Makes nodes: equal nodes are shared, constants fold, and moves of data are merged.

Every rewrite is exact algebra on the values, so the order of rewrites cannot matter. Unused nodes are never written.
TFLite's runtimes do none of this themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from supernet.tflite._graph import Array
from supernet.tflite._graph import Node
from supernet.tflite._graph import Shape
from supernet.tflite._graph import Value
from supernet.tflite._graph import constant
from supernet.tflite._layout import reshape_first
from supernet.tflite._layout import shape_of_concat

_BINARY: dict[str, Callable[[Array, Array], Array]] = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}
# XNNPACK takes no more inputs than this in one concatenation.
_MAX_CONCAT = 4
# Elements of a constant made here, at most; else rotations of `mobile-1k` would take an eighth of its int8 weights.
MAX_TABLE = 32768


class Builder:
    """Makes the nodes of one graph."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Value] = {}
        self._constants: dict[tuple[Any, ...], Value] = {}
        # Keeps values alive, because the keys of `_made` contain their ids.
        self._held: list[Value] = []

    # Nodes -----------------------------------------------------------------------------------------------------------

    def node(self, kind: str, inputs: Sequence[Value], shape: Shape, **options: Any) -> Value:
        """A new node, or an existing equal one; nothing is rewritten."""
        shared = tuple(self._shared(value) for value in inputs)
        key = (kind, shape, tuple(id(value) for value in shared), tuple(sorted(options.items())))
        if key not in self._made:
            output = Value(tuple(int(size) for size in shape))
            output.node = Node(kind, shared, output, options)
            self._made[key] = output
        return self._made[key]

    def _shared(self, value: Value) -> Value:
        if value.data is None or value.data.nbytes > 4096:
            self._held.append(value)
            return value
        return self._constants.setdefault((value.data.dtype.str, value.shape, value.data.tobytes()), value)

    def indices(self, values: Sequence[int]) -> Value:
        return constant(list(values), np.int32)

    # Arithmetic ------------------------------------------------------------------------------------------------------

    def binary(self, kind: str, left: Value, right: Value) -> Value:
        if left.data is not None and right.data is not None:
            return constant(_BINARY[kind](left.data, right.data))
        shape = np.broadcast_shapes(left.shape, right.shape)
        return self.node(kind, (left, right), shape, fusedActivationFunction=0)

    def add(self, left: Value, right: Value) -> Value:
        """A sum; terms smaller than the result are added to each other first."""
        big, small = (left, right) if left.elements >= right.elements else (right, left)
        if self._splits(big, "ADD") and self._splits(small, "ADD") and big.shape == small.shape:
            (a, b), (c, d) = self.parts(big), self.parts(small)
            return self.binary("ADD", self.binary("ADD", a, c), self.add(b, d))
        for one, other in ((big, small), (small, big)):
            if self._splits(one, "ADD"):
                inner, offset = self.parts(one)
                if _is_small(other, one) and self._joint(offset, other) < one.elements:
                    return self.binary("ADD", inner, self.add(offset, other))
        return self.binary("ADD", big, small)

    def mul(self, left: Value, right: Value) -> Value:
        """A product; a factor smaller than the result is merged into existing small factors and terms."""
        big, small = (left, right) if left.elements >= right.elements else (right, left)
        if big.data is None and _is_small(small, big):
            if self._splits(big, "MUL"):
                inner, factor = self.parts(big)
                if self._joint(factor, small) <= self._limit(factor, small, big):
                    return self.binary("MUL", inner, self.mul(factor, small))
            if self._splits(big, "ADD"):
                inner, offset = self.parts(big)
                scaled = inner.made_by("MUL") and self._splits(inner, "MUL")
                if scaled and self._joint(offset, small) <= self._limit(offset, small, big):
                    return self.add(self.mul(inner, small), self.mul(offset, small))
        return self.binary("MUL", big, small)

    def parts(self, value: Value) -> tuple[Value, Value]:
        """The larger and the smaller input of a node."""
        assert value.node is not None
        left, right = value.node.inputs[:2]
        return (left, right) if left.elements >= right.elements and left.data is None else (right, left)

    def _splits(self, value: Value, kind: str) -> bool:
        """Whether a value is a sum or product with one input of its own shape and another that is small."""
        if not value.made_by(kind):
            return False
        big, small = self.parts(value)
        return big.shape == value.shape and big.data is None and _is_small(small, value)

    def _joint(self, left: Value, right: Value) -> int:
        return math.prod(np.broadcast_shapes(left.shape, right.shape))

    def _limit(self, left: Value, right: Value, whole: Value) -> int:
        """Elements that a small operand may have: constants cost no run time, but every layer stores its own."""
        constants = left.data is not None and right.data is not None
        return min(whole.elements, MAX_TABLE) if constants else whole.elements - 1

    def unary(self, kind: str, x: Value, **options: Any) -> Value:
        return self.node(kind, (x,), x.shape, **options)

    def mean(self, x: Value) -> Value:
        """The mean over the last axis, which stays with length 1."""
        axes = self.indices([len(x.shape) - 1])
        return self.node("MEAN", (x, axes), (*x.shape[:-1], 1), keepDims=True)

    # Moving data -----------------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Shape) -> Value:
        shape = tuple(int(size) for size in shape)
        if shape == x.shape:
            return x
        if x.data is not None:
            return constant(x.data.reshape(shape), x.data.dtype)
        if x.node is not None and x.made_by("RESHAPE"):
            return self.reshape(x.node.inputs[0], shape)
        if x.node is not None and x.made_by("TRANSPOSE"):
            # Transposes move down the graph, where they meet and often cancel.
            source, order = x.node.inputs[0], _ints(x.node.inputs[1])
            found = reshape_first(source.shape, order, shape)
            if found is not None:
                return self.transpose(self.reshape(source, found[0]), found[1])
        return self.node("RESHAPE", (x, self.indices(shape)), shape, newShape=shape)

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        order = tuple(int(axis) for axis in order)
        if x.data is not None:
            view = x.data.transpose(order)
            return Value(view.shape, view)
        if order == tuple(range(len(order))):
            return x
        shape = tuple(x.shape[axis] for axis in order)
        if x.node is not None and x.made_by("TRANSPOSE"):
            first = _ints(x.node.inputs[1])
            return self.transpose(x.node.inputs[0], [first[axis] for axis in order])
        kept = [axis for axis in order if x.shape[axis] != 1]
        if kept == sorted(kept):
            return self.reshape(x, shape)
        return self.node("TRANSPOSE", (x, self.indices(order)), shape)

    def slice(self, x: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
        shape = tuple(int(part) for part in size)
        if shape == x.shape:
            return x
        if x.data is not None:
            ranges = tuple(slice(start, start + part) for start, part in zip(begin, shape, strict=True))
            return constant(x.data[ranges])
        if x.node is not None and x.made_by("CONCATENATION"):
            axis, offset = x.node.options["axis"], 0
            for part in x.node.inputs:
                if offset == begin[axis] and part.shape == shape:
                    return part
                offset += part.shape[axis]
        return self.node("SLICE", (x, self.indices(begin), self.indices(shape)), shape)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Parts concatenated along an axis; a move that all parts share is applied once, to the result."""
        if len(parts) == 1:
            return parts[0]
        if all(part.data is not None for part in parts):
            return constant(np.concatenate([part.data for part in parts if part.data is not None], axis))
        nodes = [part.node for part in parts if part.node is not None]
        kinds = {node.kind for node in nodes}
        sources = [node.inputs[0] for node in nodes]
        if len(nodes) == len(parts) and kinds == {"TRANSPOSE"}:
            orders = {_ints(node.inputs[1]) for node in nodes}
            if len(orders) == 1:
                (order,) = orders
                return self.transpose(self.concat(sources, order[axis]), order)
        if len(nodes) == len(parts) and kinds == {"RESHAPE"}:
            found = shape_of_concat([source.shape for source in sources], [part.shape for part in parts], axis)
            if found is not None:
                return self.reshape(self.concat(sources, found[0]), found[1])
        if len(nodes) == len(parts) and kinds == {"SLICE"}:
            swapped = self._concat_sliced_inputs(nodes, axis)
            if swapped is not None:
                return swapped
        while len(parts) > 1:
            groups = [parts[first : first + _MAX_CONCAT] for first in range(0, len(parts), _MAX_CONCAT)]
            parts = [group[0] if len(group) == 1 else self._concat(group, axis) for group in groups]
        return parts[0]

    def _concat(self, parts: Sequence[Value], axis: int) -> Value:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.node("CONCATENATION", parts, tuple(shape), axis=axis, fusedActivationFunction=0)

    def _concat_sliced_inputs(self, slices: Sequence[Node], axis: int) -> Value | None:
        """Concatenated slices of one x + b or x * a as slices of x and of the constant; None if they are no such."""
        (source, *others) = {id(node.inputs[0]): node.inputs[0] for node in slices}.values()
        if others or source.node is None or source.node.kind not in ("ADD", "MUL"):
            return None
        big, small = self.parts(source)
        if big.shape != source.shape or small.data is None:
            return None
        small_axis = axis - (len(source.shape) - len(small.shape))
        along = small_axis >= 0 and small.shape[small_axis] == source.shape[axis]

        def piece(node: Node, value: Value, where: int) -> Value:
            begin, size = [0] * len(value.shape), list(value.shape)
            begin[where], size[where] = _ints(node.inputs[1])[axis], node.output.shape[axis]
            return self.slice(value, begin, size)

        whole = all(
            size == source.shape[index]
            for node in slices
            for index, size in enumerate(node.output.shape)
            if index != axis
        )
        if not whole:
            return None
        moved = self.concat([piece(node, big, axis) for node in slices], axis)
        if not along:
            return self.binary(source.node.kind, moved, small)
        constants = self.concat([piece(node, small, small_axis) for node in slices], small_axis)
        return self.binary(source.node.kind, moved, constants)


def _is_small(value: Value, beside: Value) -> bool:
    """Whether a value costs less than `beside`: it has fewer elements, or is a constant of no more."""
    return value.elements < beside.elements or (value.data is not None and value.elements <= beside.elements)


def _ints(value: Value) -> Shape:
    assert value.data is not None
    return tuple(int(entry) for entry in value.data)
