"""Templates: sub-DiTs without storage, in which a supernet runs its slices (`torch.func.functional_call`).

Such a call puts the slices in the place of the template's parameters while it runs, so no two threads may ever have one
template in common. Building one takes as long as building a model. Hence there are two stores, both bounded: threads
share the blueprints, which nobody runs, and each has copies of them, whose modules are its own. Neither holds weights.
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
"""That a supernet keeps, those asked for last."""
COPIES = 8
"""That each thread keeps; of the paper's model one takes about 2 MB."""

_Plan = TypeVar("_Plan")
_Module = TypeVar("_Module", bound=nn.Module)

# `no_init_weights` changes torch.nn.init for the whole process: two at a time would leave it changed for good.
_building = threading.Lock()


def empty_sub_dit(space: SearchSpace, spec: SubDiTSpec) -> SubDiT:
    """A sub-DiT on the meta device, rotary tables too; raises `SpecError` on a spec that is not of the space."""
    with _building, torch.device("meta"), no_init_weights():
        return SubDiT.from_spec(space, spec)


def structure_copy(module: _Module) -> _Module:
    """A copy whose modules, hooks and places of tensors are its own, and whose tensors are the original's."""
    made = object.__new__(type(module))
    vars(made).update(
        {key: value.copy() if isinstance(value, dict | set) else value for key, value in vars(module).items()}
    )
    for name, child in module._modules.items():
        made._modules[name] = None if child is None else structure_copy(child)
    return made


class Templates(Generic[_Plan]):
    """The templates of a supernet's sub-DiTs, and what `plan` says of each: a function of space, spec and sub-DiT.

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
        """Blueprints that have been built since the beginning."""
        return self._blueprints.cache_info().misses

    def plan(self, spec: SubDiTSpec) -> _Plan:
        """What `plan` says of the sub-DiT, the same object for all threads."""
        return self._blueprints(spec)[1]

    def template(self, spec: SubDiTSpec) -> SubDiT:
        """This thread's template, the same at each call while it is kept."""
        if not hasattr(self._thread, "copies"):
            blueprints = self._blueprints
            self._thread.copies = lru_cache(COPIES)(lambda spec: structure_copy(blueprints(spec)[0]))
        template: SubDiT = self._thread.copies(spec)
        return template

    def fresh(self, spec: SubDiTSpec) -> SubDiT:
        """A template that nothing else will see, to be made a model of its own."""
        return structure_copy(self._blueprints(spec)[0])
