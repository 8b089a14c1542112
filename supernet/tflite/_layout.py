"""How to swap a reshape with a transpose or a concatenation, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.tflite._graph import Shape

_MAX_RANK = 4


def groups_of(left: Shape, right: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The finest pairs of axes that a reshape from `left` to `right` turns into each other, in order."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(left) or j < len(right):
        start_i, start_j = i, j
        # An axis of 1 without a counterpart forms a pair of its own.
        a = left[i] if i < len(left) else 1
        b = right[j] if j < len(right) else 1
        i, j = min(i + 1, len(left)), min(j + 1, len(right))
        if a == 1 and b != 1:
            j = start_j
            b = 1
        elif b == 1 and a != 1:
            i = start_i
            a = 1
        while a != b:
            if a < b:
                a, i = a * left[i], i + 1
            else:
                b, j = b * right[j], j + 1
        found.append((tuple(range(start_i, i)), tuple(range(start_j, j))))
    return found


def reshape_first(source: Shape, order: Sequence[int], target: Shape) -> tuple[Shape, tuple[int, ...]] | None:
    """A transpose and a reshape, swapped: (shape of the reshape, order of the transpose), or None if they cannot be.

    `source` is transposed by `order`, and the result is reshaped to `target`.
    """
    middle = tuple(source[axis] for axis in order)
    pieces: list[tuple[float, tuple[int, ...]]] = []
    for before, after in groups_of(middle, target):
        sources = [order[axis] for axis in before if middle[axis] != 1]
        if any(later - earlier != 1 and _real(source, earlier, later) for earlier, later in _pairs(sources)):
            return None
        # A group of ones can stand anywhere; it keeps its place.
        first = sources[0] if sources else (order[before[0]] if before else len(source) + len(pieces))
        pieces.append((first, after))
    by_source = sorted(range(len(pieces)), key=lambda index: pieces[index][0])
    axes = [axis for index in by_source for axis in pieces[index][1]]
    shape = tuple(target[axis] for axis in axes)
    if len(shape) > _MAX_RANK or math.prod(shape) != math.prod(source):
        return None
    return shape, tuple(axes.index(axis) for axis in range(len(target)))


def _pairs(axes: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(axes, axes[1:], strict=False))


def _real(source: Shape, earlier: int, later: int) -> bool:
    """Whether data lies between two axes, or the later one lies first."""
    return later < earlier or any(source[axis] != 1 for axis in range(earlier + 1, later))


def shape_of_concat(sources: Sequence[Shape], targets: Sequence[Shape], axis: int) -> tuple[int, Shape] | None:
    """Reshapes and a concatenation, swapped: (axis of the concatenation, shape of the reshape), or None.

    Parts of shapes `sources` are reshaped to `targets`, and the results concatenated along `axis`.
    """
    found: set[int] = set()
    for source, target in zip(sources, targets, strict=True):
        (group,) = [(before, after) for before, after in groups_of(source, target) if axis in after]
        before, after = group
        # Only along the first axis of a group are the elements of a part contiguous.
        if not before or any(target[inner] != 1 for inner in after if inner < axis):
            return None
        found.add(next((index for index in before if source[index] != 1), before[0]))
    if len(found) != 1:
        return None
    (source_axis,) = found
    rest = {(source[:source_axis], source[source_axis + 1 :]) for source in sources}
    if len(rest) != 1:
        return None
    shape = list(targets[0])
    shape[axis] = sum(target[axis] for target in targets)
    return source_axis, tuple(shape)
