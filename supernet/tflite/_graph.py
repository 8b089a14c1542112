"""The graph between an ONNX and a TFLite file: TFLite's operators on static shapes, each with one output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(eq=False)
class Value:
    """A tensor: an input, the output of a node, or a constant, which has `data`."""

    shape: Shape
    data: Array | None = None
    name: str = ""
    node: Node | None = None

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape))

    def made_by(self, kind: str) -> bool:
        return self.node is not None and self.node.kind == kind


@dataclass(eq=False)
class Node:
    """One operator, by the name of TFLite's builtin operator; `options` are the fields of its options table."""

    kind: str
    inputs: tuple[Value, ...]
    output: Value
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    output: Value


def constant(data: Any, dtype: Any = np.float32) -> Value:
    array = np.asarray(data, dtype=dtype)
    return Value(array.shape, array)


def graph_of(inputs: Iterable[Value], output: Value, name: str) -> Graph:
    """The graph of only those nodes that the output needs; the output gets that name."""
    output.name = name
    return Graph(tuple(inputs), _in_order(output), output)


def _in_order(output: Value) -> tuple[Node, ...]:
    """Every node that the output needs, each after those whose outputs it reads."""
    ordered: list[Node] = []
    seen: set[int] = set()
    # An explicit stack: a whole sub-DiT is deeper than Python's recursion allows.
    stack: list[tuple[Node, bool]] = [(output.node, False)] if output.node else []
    while stack:
        node, ready = stack.pop()
        if ready:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(made, False) for made in reversed(_makers(node.inputs)) if id(made) not in seen]
    return tuple(ordered)


def _makers(values: Iterable[Value]) -> list[Node]:
    return [value.node for value in values if value.node is not None]
