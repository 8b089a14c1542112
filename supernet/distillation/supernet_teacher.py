"""A checkpoint of this project as a teacher: the full network of a supernet, or any sub-DiT."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from subdit.space import get_space
from supernet.checkpoints import load_supernet
from supernet.data.data_record import read_record
from supernet.data.data_sets import digits_record
from supernet.distillation.teacher import Conditions
from supernet.distillation.teacher import LatentsKey
from supernet.distillation.teacher import NetworkTeacher
from supernet.few_step_adapter import load_few_step_adapter
from supernet.model.dit import SubDiT
from supernet.model.placement import model_inputs


class SupernetTeacher(NetworkTeacher):
    """A sub-DiT; its conditions are the tokens of each text input (batch, tokens, width), by the input's name."""

    network: SubDiT

    def __init__(self, network: SubDiT, *, latents: LatentsKey) -> None:
        super().__init__(network, latents)

    def token_count(self, x_t: Tensor) -> int:
        """See `NetworkTeacher`."""
        patch: int = self.network.config["patch_size"]
        return x_t.shape[-2] // patch * (x_t.shape[-1] // patch)

    def predict(self, x_t: Tensor, sigma: Tensor, conditions: Conditions) -> Tensor:
        """See `NetworkTeacher`."""
        texts = [conditions[name] for name, _, _ in self.network.config["text_inputs"]]
        velocity: Tensor = self.network(*model_inputs(self.network, x_t, 1000 * sigma, texts))
        return velocity


def open_supernet_teacher(argument: str, *, lora: Path | None = None) -> SupernetTeacher:
    """The full network of a supernet's checkpoint folder, with a few-step adapter that `distill` has made.

    Raises `CheckpointError` if a file is missing or damaged.
    """
    network = load_supernet(Path(argument)).full
    if lora is not None:
        load_few_step_adapter(network, lora)
    record = read_record(Path(argument)) or digits_record(get_space(network.spec.space))
    return SupernetTeacher(network, latents=record.key["latents"])
