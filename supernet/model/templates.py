"""Templates: sub-DiTs without storage, in which a supernet runs its slices (`torch.func.functional_call`).

Such a call replaces the template's parameters by the slices while it runs, so two threads must never share a template.
Building one takes as long as building a model. There are therefore two bounded caches without weights: blueprints,
which threads share and nobody runs, and each thread's own copies of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Generic
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import no_init_weights
from torch import nn

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from supernet.model.dit import SubDiT

BLUEPRINTS = 32
"""Blueprints that a supernet keeps, the last ones used."""
COPIES = 8
"""Copies that each thread keeps; one of the paper's model takes about 2 MB."""

_Plan = TypeVar("_Plan")
_Module = TypeVar("_Module", bound=nn.Module)

# `no_init_weights` changes torch.nn.init for the whole process; two at a time would never restore it.
_building = threading.Lock()


def empty_sub_dit(space: SearchSpace, spec: SubDiTSpec) -> SubDiT:
    """A sub-DiT on the meta device, rotary tables too; raises `SpecError` if the spec is not of the space."""
    with _building, torch.device("meta"), no_init_weights():
        return SubDiT.from_spec(space, spec)


def structure_copy(module: _Module) -> _Module:
    """A copy with modules, hooks and dictionaries of its own, which hold the original's tensors."""
    made = object.__new__(type(module))
    vars(made).update(
        {key: value.copy() if isinstance(value, dict | set) else value for key, value in vars(module).items()}
    )
    for name, child in module._modules.items():
        made._modules[name] = None if child is None else structure_copy(child)
    return made


class Templates(Generic[_Plan]):
    """The templates of a supernet's sub-DiTs, and the result of `plan(space, spec, sub-DiT)` for each.

    A copy, by `copy.deepcopy` or pickle, begins empty.
    """

    def __init__(self, space: SearchSpace, plan: Callable[[SearchSpace, SubDiTSpec, SubDiT], _Plan]) -> None:
        self._facts = space, plan

        def build(spec: SubDiTSpec) -> tuple[SubDiT, _Plan]:
            empty = empty_sub_dit(space, spec)
            return empty, plan(space, spec, empty)

        self._blueprints = lru_cache(BLUEPRINTS)(build)
        self._thread = threading.local()

    def __reduce__(self) -> tuple[type[Templates[_Plan]], tuple[object, ...]]:
        return type(self), self._facts

    @property
    def built(self) -> int:
        """How many blueprints were built so far."""
        return self._blueprints.cache_info().misses

    def plan(self, spec: SubDiTSpec) -> _Plan:
        """The result of `plan` for the sub-DiT, the same object for all threads."""
        return self._blueprints(spec)[1]

    def template(self, spec: SubDiTSpec) -> SubDiT:
        """This thread's template, the same at each call while the cache keeps it."""
        if not hasattr(self._thread, "copies"):
            blueprints = self._blueprints
            self._thread.copies = lru_cache(COPIES)(lambda spec: structure_copy(blueprints(spec)[0]))
        template: SubDiT = self._thread.copies(spec)
        return template

    def fresh(self, spec: SubDiTSpec) -> SubDiT:
        """A template that nothing else refers to, for the caller to make a model of."""
        return structure_copy(self._blueprints(spec)[0])
