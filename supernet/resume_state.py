"""The resume state of a training or distillation: any modules, optimisers and EMAs, as one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch import nn

from subdit.errors import CheckpointError
from subdit.run import replacing


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are learned: of a model with an adapter, those of the adapter."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _owns(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> bool:
    return any(parameter is own for group in optimizer.param_groups for own in group["params"])


class ResumeState:
    """What a loop must keep to go on exactly: trainable parameters, optimiser state, EMA shadows, and numbers."""

    def __init__(
        self,
        path: Path,
        modules: Mapping[str, tuple[nn.Module, Sequence[torch.optim.Optimizer]]],
        emas: Mapping[str, EMAModel],
    ) -> None:
        """`modules`: by name a module and the optimisers among which its trainable parameters are divided."""
        self.path = path
        self.modules = modules
        self.emas = emas

    def save(self, *, step: int, elapsed_s: float) -> None:
        """Write the state; a kill leaves the old file or the new one."""
        tensors: dict[str, Tensor] = {}
        for name, (module, optimizers) in self.modules.items():
            for at, parameter in enumerate(trainable(module)):
                tensors[f"{name}.{at}.weight"] = parameter.detach().clone()
                for optimizer in optimizers:
                    for key, value in optimizer.state.get(parameter, {}).items():
                        tensors[f"{name}.{at}.optimizer.{key}"] = value
        for name, ema in self.emas.items():
            tensors |= {f"{name}.{at}.ema": shadow for at, shadow in enumerate(ema.shadow_params)}
        facts = {"step": str(step), "elapsed_s": repr(elapsed_s)}
        facts |= {f"ema_step.{name}": str(ema.optimization_step) for name, ema in self.emas.items()}
        with replacing(self.path) as temporary:
            save_file({key: value.contiguous() for key, value in tensors.items()}, str(temporary), metadata=facts)

    def load(self) -> tuple[int, float]:
        """Restore in place and return (step, elapsed seconds), (0, 0) where there is none; raises `CheckpointError`."""
        if not self.path.exists():
            return 0, 0.0
        try:
            with safe_open(str(self.path), framework="pt") as file:
                facts, keys = file.metadata(), set(file.keys())
                for name, (module, optimizers) in self.modules.items():
                    for at, parameter in enumerate(trainable(module)):
                        parameter.data.copy_(file.get_tensor(f"{name}.{at}.weight"))
                        prefix = f"{name}.{at}.optimizer."
                        moments = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
                        if moments:
                            owner = next(optimizer for optimizer in optimizers if _owns(optimizer, parameter))
                            owner.state[parameter] = {key: file.get_tensor(prefix + key) for key in moments}
                for name, ema in self.emas.items():
                    for at, shadow in enumerate(ema.shadow_params):
                        shadow.copy_(file.get_tensor(f"{name}.{at}.ema"))
                    ema.optimization_step = int(facts[f"ema_step.{name}"])
                return int(facts["step"]), float(facts["elapsed_s"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"The resume state {self.path} is damaged ({error}); delete it and start anew."
            ) from error
