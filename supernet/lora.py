"""LoRA on every linear of a model, by PEFT: put on, and merged into the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch import nn

from supernet.model.dit import SubDiT


def add_lora(model: SubDiT, name: str, *, rank: int, alpha: float, seed: int = 0) -> None:
    """Put a LoRA of that name on every linear of the model and freeze the rest; it changes no output before it learns.

    Its share of a linear is alpha / rank times the product of its two matrices, of which the first is drawn from
    `seed` and the second is zero.
    """
    from peft import LoraConfig

    targets = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.requires_grad_(False)
        model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets), adapter_name=name)


def merge_lora(model: SubDiT) -> None:
    """Add the active LoRA to the weights, in place, and leave a plain model, whose weights all can be trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {path: module for path, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    for path, layer in layers.items():
        layer.merge()
        model.set_submodule(path, layer.get_base_layer())
    del model.peft_config
    model._hf_peft_config_loaded = False
    model.requires_grad_(True)


def sharing_copy(model: SubDiT) -> SubDiT:
    """A copy of the modules over the same parameters and buffers; only what is added to one later is its own."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
