"""The teacher protocol: velocities of a frozen network, its few-step velocity by an adapter, and its last tokens.

Any network can be a teacher of a student that works on the same latents. It has text conditions of its own, beside the
student's. A few-step teacher is the same network with an adapter switched on in place, so there is no second copy.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any
from typing import Protocol
from typing import runtime_checkable

import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import ConfigError
from subdit.core.errors import DataError
from supernet.data.manifest import key_difference
from supernet.flow_matching import guided_velocity
from supernet.model.placement import full_precision

Conditions = Mapping[str, Tensor]
"""What a teacher is conditioned on, by the names of its network, each (batch, ...)."""


LatentsKey = Mapping[str, Any]
"""What latents depend on: the `key` of the codec that makes them, as data sets record it."""


def check_shared_latents(teacher: LatentsKey, student: LatentsKey) -> None:
    """Raise `DataError`, which names what differs, unless teacher and student work on the same latents."""
    if difference := key_difference({"latents": teacher}, {"latents": student}):
        raise DataError(
            f"The teacher does not work on the student's latents: {difference}; encode the pictures with the teacher's "
            "autoencoder by 'subdit data encode' and --vae, or name another teacher."
        )


@runtime_checkable
class Teacher(Protocol):
    """A frozen network to learn from; nothing it returns has a gradient, and no call changes it.

    x_t has shape (batch, channels, height, width), sigma (batch,). Velocities are eps - x0, in float32 at least.
    """

    @property
    def latents(self) -> LatentsKey: ...

    def velocity(
        self,
        x_t: Tensor,
        sigma: Tensor,
        conditions: Conditions,
        *,
        empty: Conditions | None = None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """The many-step velocity; guidance other than 1 takes the conditions of the empty prompt, too."""

    def few_step(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """The few-step velocity, and the tokens (batch, tokens, width) of x_t after the last block."""


class NetworkTeacher(ABC):
    """A `Teacher` made of a torch network; a family of networks adds `predict` and `token_count`."""

    def __init__(self, network: nn.Module, latents: LatentsKey) -> None:
        self.network = network.requires_grad_(False).eval()
        self._latents = latents

    @property
    def latents(self) -> LatentsKey:
        return self._latents

    @abstractmethod
    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """The network's velocity in its own type, with its adapter as it stands."""

    @abstractmethod
    def token_count(self, x_t: Tensor) -> int:
        """Tokens that the network makes of x_t."""

    def velocity(
        self,
        x_t: Tensor,
        sigma: Tensor,
        conditions: Conditions,
        *,
        empty: Conditions | None = None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """See `Teacher`; raises `ConfigError` if guidance is asked for without the conditions of the empty prompt."""
        if guidance_scale != 1 and empty is None:
            raise ConfigError("Guidance needs the teacher's conditions of the empty prompt; give them, or scale 1.")
        with torch.no_grad(), adapter(self.network, on=False):
            conditional = full_precision(self.predict(x_t, sigma, conditions))
            if empty is None or guidance_scale == 1:
                return conditional
            unconditional = full_precision(self.predict(x_t, sigma, empty))
            return guided_velocity(conditional, unconditional, guidance_scale)

    def few_step(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """See `Teacher`; raises `ConfigError` if the network has no adapter."""
        with torch.no_grad(), adapter(self.network, on=True), last_tokens(self.network, self.token_count(x_t)) as found:
            predicted = full_precision(self.predict(x_t, sigma, conditions))
        return predicted, full_precision(found[-1])


@contextmanager
def adapter(network: nn.Module, *, on: bool) -> Iterator[None]:
    """Switch the network's PEFT adapters on or off in place, and afterwards off again; no weight changes.

    Raises `ConfigError` if they are to be on and there are none.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
    if on and not layers:
        raise ConfigError(
            "The teacher has no few-step adapter; load one into its network, or leave L_out and L_feat out."
        )
    for layer in layers:
        layer.enable_adapters(on)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(False)


@contextmanager
def last_tokens(network: nn.Module, count: int) -> Iterator[list[Tensor]]:
    """A list to which the network's calls within add the picture's tokens (batch, count, width) after the last block.

    Blocks are the entries of a network's module lists; which one is the last, a call itself shows. Of its outputs the
    picture's tokens are the last that are as many. Text may precede them in one sequence.
    """
    found: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        tensors = [each for each in (output if isinstance(output, tuple | list) else (output,))]
        sequences = [each for each in tensors if isinstance(each, Tensor) and each.ndim == 3 and each.shape[1] >= count]
        sequences.sort(key=lambda each: each.shape[1] == count)
        if sequences:
            found[:] = [sequences[-1][:, -count:]]

    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    inner = {
        id(each) for outer in lists for entry in outer for each in entry.modules() if isinstance(each, nn.ModuleList)
    }
    handles = [block.register_forward_hook(keep) for blocks in lists if id(blocks) not in inner for block in blocks]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
