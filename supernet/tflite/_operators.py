"""The operators of a DiT as TFLite has them, in the form that XNNPACK runs fastest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from supernet.tflite._builder import MAX_TABLE
from supernet.tflite._builder import Builder
from supernet.tflite._graph import Array
from supernet.tflite._graph import Value
from supernet.tflite._graph import constant

# TFLite's numbers for "no fused activation" and for padding; ours never pads.
_NONE = 0
_VALID = 1


class Operators(Builder):
    """Makes the nodes that ONNX's operators stand for."""

    def __init__(self) -> None:
        super().__init__()
        # Results of `_scaled`, because each strip asks again; arguments are kept so that their ids stay valid.
        self._scales: dict[tuple[int, float], tuple[Value, Value | None]] = {}

    def linear(self, x: Value, weight: Array, bias: Array | None = None) -> Value:
        """A linear with `weight` (out, in), as torch and FULLY_CONNECTED have it."""
        # Runtimes read a bias in any case, and some fail without one.
        held = np.zeros(weight.shape[0], dtype=np.float32) if bias is None else bias
        inputs = (x, Value(weight.shape, weight), constant(held))
        options = {"fusedActivationFunction": _NONE, "keepNumDims": True}
        return self.node("FULLY_CONNECTED", inputs, (*x.shape[:-1], weight.shape[0]), **options)

    def add_bias(self, x: Value, y: Value) -> Value:
        """A sum, where one side may be the bias of a linear just before it."""
        for made, bias in ((x, y), (y, x)):
            if made.node is None or not made.made_by("FULLY_CONNECTED") or bias.data is None:
                continue
            weight, old = made.node.inputs[1], made.node.inputs[2]
            if bias.elements != bias.shape[-1] or bias.shape[-1] != made.shape[-1]:
                continue
            assert weight.data is not None and old.data is not None
            return self.linear(made.node.inputs[0], weight.data, old.data + bias.data.reshape(-1))
        return self.add(x, y)

    def product(self, x: Value, y: Value) -> Value:
        """Matrix product of two activations; scalar factors of both are merged into constants if possible."""
        (x, a), (y, b) = self._unscaled(x), self._unscaled(y)
        scale = a * b
        if scale != 1.0:
            reached = self._scaled(x, scale)
            x = reached if reached is not None else self.mul(x, constant(scale))
        last = len(y.shape) - 1
        order = (*range(last - 1), last, last - 1)
        # ADJ_Y transposes the right side's matrices, so y can be passed transposed if that moves less data.
        flipped = self.transpose(y, order)
        adjoint = _moves(flipped) < _moves(y)
        shape = (*x.shape[:-1], y.shape[-1])
        return self.node("BATCH_MATMUL", (x, flipped if adjoint else y), shape, adjX=False, adjY=adjoint)

    def _unscaled(self, x: Value) -> tuple[Value, float]:
        """A value without its scalar factor, and that factor; looks through nodes that only move data."""
        if x.node is None:
            return x, 1.0
        if x.made_by("MUL"):
            big, small = self.parts(x)
            if small.data is not None and small.elements == 1:
                inner, scale = self._unscaled(big)
                return inner, scale * float(small.data.reshape(()))
        if x.node.kind in ("RESHAPE", "TRANSPOSE", "SLICE"):
            inner, scale = self._unscaled(x.node.inputs[0])
            return (x, 1.0) if scale == 1.0 else (self._again(x, inner), scale)
        return x, 1.0

    def _again(self, x: Value, source: Value) -> Value:
        """The move of data `x`, applied to another source."""
        assert x.node is not None
        if x.node.kind == "RESHAPE":
            return self.reshape(source, x.shape)
        entries = [entry.data.tolist() for entry in x.node.inputs[1:] if entry.data is not None]
        return self.transpose(source, entries[0]) if x.node.kind == "TRANSPOSE" else self.slice(source, *entries)

    def _scaled(self, x: Value, scale: float) -> Value | None:
        """`scale` * x if constants can take the scale at no cost; None if it would need a node of its own."""
        key = (id(x), scale)
        if key not in self._scales:
            self._scales[key] = (x, self._scale(x, scale))
        return self._scales[key][1]

    def _scale(self, x: Value, scale: float) -> Value | None:
        if x.data is not None:
            return constant(x.data * np.float32(scale))
        if x.node is None:
            return None
        inputs = x.node.inputs
        match x.node.kind:
            case "RESHAPE" | "TRANSPOSE" | "SLICE":
                source = self._scaled(inputs[0], scale)
                return None if source is None else self._again(x, source)
            case "ADD":
                both = [self._scaled(part, scale) for part in inputs]
                return None if both[0] is None or both[1] is None else self.binary("ADD", both[0], both[1])
            case "MUL":
                # The scale goes to a small constant, else to an activation, and last to a table that others share.
                for kept, part in sorted((inputs, inputs[::-1]), key=lambda pair: _reluctance(pair[1])):
                    factor = self._scaled(part, scale)
                    if factor is not None:
                        return self.binary("MUL", kept, factor)
        return None

    def layer_norm(self, x: Value, weight: Array, bias: Array | None, *, epsilon: float) -> Value:
        """LayerNorm over the last axis, by operators of XNNPACK."""
        centered = self._centered(x)
        variance = self.mean(self.binary("MUL", centered, centered))
        deviation = self.unary("RSQRT", self.add(variance, constant(np.full((1,), epsilon))))
        normed = self.mul(self.binary("MUL", centered, deviation), constant(weight))
        return normed if bias is None else self.add(normed, constant(bias))

    def _centered(self, x: Value) -> Value:
        """x less its mean over the last axis; a linear just before it gets weights whose outputs have mean zero.

        Only norms of heads change the linear. The input of other norms is read again where the branch is added.
        """
        source = x.node.inputs[0] if x.node is not None and x.made_by("RESHAPE") else x
        if source.node is None or not source.made_by("FULLY_CONNECTED") or source.shape[-1] % x.shape[-1]:
            return self.binary("SUB", x, self.mean(x))
        if source.shape[-1] == x.shape[-1]:
            return self.binary("SUB", x, self.mean(x))
        weight, bias = source.node.inputs[1].data, source.node.inputs[2].data
        assert weight is not None and bias is not None
        rows = weight.reshape(-1, x.shape[-1], weight.shape[1]).astype(np.float64)
        biases = bias.reshape(-1, x.shape[-1]).astype(np.float64)
        rows = (rows - rows.mean(axis=1, keepdims=True)).astype(np.float32)
        biases = (biases - biases.mean(axis=1, keepdims=True)).astype(np.float32)
        made = self.linear(source.node.inputs[0], rows.reshape(weight.shape), biases.reshape(-1))
        return self.reshape(made, x.shape)

    def gelu(self, x: Value, *, approximate: bool) -> Value:
        return self.unary("GELU", x, approximate=approximate)

    def softmax(self, x: Value) -> Value:
        return self.unary("SOFTMAX", x, beta=1.0)

    # Images, which TFLite has with channels last ---------------------------------------------------------------------

    def conv(self, x: Value, weight: Array, bias: Array | None, *, stride: int, groups: int) -> Value:
        """A convolution of (batch, channels, rows, columns) without padding; whole or depthwise."""
        image = self.transpose(x, (0, 2, 3, 1))
        size = [(extent - weight.shape[2]) // stride + 1 for extent in image.shape[1:3]]
        held = np.zeros(weight.shape[0], dtype=np.float32) if bias is None else bias
        options: dict[str, Any] = {"padding": _VALID, "strideW": stride, "strideH": stride}
        options["fusedActivationFunction"] = _NONE
        if groups == 1:
            kernel, kind = weight.transpose(0, 2, 3, 1), "CONV_2D"
        else:
            kernel, kind = weight.transpose(1, 2, 3, 0), "DEPTHWISE_CONV_2D"
            options["depthMultiplier"] = 1
        inputs = (image, Value(kernel.shape, kernel), constant(held))
        made = self.node(kind, inputs, (image.shape[0], *size, weight.shape[0]), **options)
        return self.transpose(made, (0, 3, 1, 2))

    def unpatch(self, x: Value, weight: Array, bias: Array | None) -> Value:
        """A transposed convolution with a stride of its kernel size: a linear per pixel, then depth to space.

        `weight` has the shape (in, out, rows, columns).
        """
        image = self.transpose(x, (0, 2, 3, 1))
        block = weight.shape[2]
        rows = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
        made = self.linear(image, rows, None if bias is None else np.tile(bias, block * block))
        return self.transpose(self._spread(made, block), (0, 3, 1, 2))

    def _spread(self, image: Value, block: int) -> Value:
        batch, height, width, channels = image.shape
        shape = (batch, height * block, width * block, channels // block**2)
        return self.node("DEPTH_TO_SPACE", (image,), shape, blockSize=block)

    def pixel_shuffle(self, x: Value, block: int) -> Value:
        """(batch, channels * block^2, rows, columns) to (batch, channels, rows * block, columns * block)."""
        batch, depth, height, width = x.shape
        channels = depth // block**2
        image = self.transpose(x, (0, 2, 3, 1))
        # Channels come first in ONNX's depth and last in TFLite's.
        pixels = self.reshape(image, (batch * height * width, channels, block * block))
        image = self.reshape(self.transpose(pixels, (0, 2, 1)), (batch, height, width, depth))
        return self.transpose(self._spread(image, block), (0, 3, 1, 2))


def _reluctance(x: Value) -> int:
    """Rank of an operand of a product for taking a scale; the lowest takes it."""
    if x.data is None:
        return 1
    return 0 if x.elements <= MAX_TABLE else 2


def _moves(x: Value) -> int:
    """Elements that the chain of moves just before a value copies."""
    moved = 0
    while x.node is not None and x.node.kind in ("RESHAPE", "TRANSPOSE", "SLICE"):
        moved += 0 if x.node.kind == "RESHAPE" else math.prod(x.shape)
        x = x.node.inputs[0]
    return moved
