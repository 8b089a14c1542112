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

from subdit.core.errors import CheckpointError
from subdit.core.errors import RunError
from subdit.core.files import remove_leftovers
from subdit.core.files import replacing
from supernet.training.step_budget import Cut
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are learned: of a model with an adapter, those of the adapter."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


class ResumeState:
    """What a loop must keep to go on exactly: trainable parameters, optimiser state, EMA shadows, and numbers."""

    def __init__(
        self,
        path: Path,
        modules: Mapping[str, tuple[nn.Module, Sequence[torch.optim.Optimizer]]],
        emas: Mapping[str, EMAModel],
        *,
        facts: Mapping[str, str] | None = None,
        writes: bool = True,
    ) -> None:
        """`modules`: by name a module and the optimisers among which its trainable parameters are divided.

        `facts` are kept beside the numbers, for `resume_facts`. Of several processes with the same state one `writes`
        it; the others load it.
        """
        self.path = path
        self.modules = modules
        self.emas = emas
        self.facts = dict(facts or {})
        self.writes = writes

    def save(self, budget: StepBudget, state: StepState) -> None:
        """Write the state; a kill leaves the old file or the new one."""
        if not self.writes:
            return
        tensors: dict[str, Tensor] = {}
        for name, (module, optimizers) in self.modules.items():
            for index, parameter in enumerate(trainable(module)):
                tensors[f"{name}.{index}.weight"] = parameter.detach()
                for optimizer in optimizers:
                    for key, value in optimizer.state.get(parameter, {}).items():
                        tensors[f"{name}.{index}.optimizer.{key}"] = value
        for name, ema in self.emas.items():
            tensors |= {f"{name}.{index}.ema": shadow for index, shadow in enumerate(ema.shadow_params)}
        facts = self.facts | {"step": str(state.step), "elapsed_s": repr(state.elapsed_s), "steps": str(budget.steps)}
        if state.cut is not None:
            facts |= {"cut_step": str(state.cut.step), "cut_last": str(state.cut.last)}
        facts |= {f"ema_step.{name}": str(ema.optimization_step) for name, ema in self.emas.items()}
        with replacing(self.path) as temporary:
            placed = {key: value.cpu().contiguous() for key, value in tensors.items()}
            save_file(placed, str(temporary), metadata=facts)

    def load(self, budget: StepBudget) -> StepState:
        """Restore in place and return how far the training is, the beginning where there is no state.

        Everything goes where the parameters are, and an optimiser's state in their type. States that a kill left half
        written, each as large as this one, are deleted.

        Raises:
            CheckpointError: the state is damaged.
            RunError: it is of another number of steps, or was cut and is to go on without a ceiling.
        """
        if self.writes:
            remove_leftovers(self.path)
        if not self.path.exists():
            return StepState()
        state = self._load()
        # Earlier versions, whose budgets were in seconds, kept no number of steps.
        steps = int(resume_facts(self.path).get("steps", budget.steps))
        if steps != budget.steps:
            raise RunError(
                f"The training begun in {self.path} is one of {steps:,} steps, not {budget.steps:,}: the learning rate "
                "depends on it; ask for as many, or delete that file to start over."
            )
        if state.cut is not None and budget.ceiling_s is None:
            raise RunError(
                f"The training begun in {self.path} was cut after {state.cut.step:,} steps, and its learning rate has "
                "fallen since; let it end with a --ceiling-s, or delete that file to start over."
            )
        return state

    def _load(self) -> StepState:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                facts, keys = file.metadata(), set(file.keys())
                for name, (module, optimizers) in self.modules.items():
                    moments: dict[nn.Parameter, dict[str, Tensor]] = {}
                    for index, parameter in enumerate(trainable(module)):
                        parameter.data.copy_(file.get_tensor(f"{name}.{index}.weight"))
                        prefix = f"{name}.{index}.optimizer."
                        found = {key: file.get_tensor(key) for key in keys if key.startswith(prefix)}
                        if found:
                            moments[parameter] = {key.removeprefix(prefix): value for key, value in found.items()}
                    for optimizer in optimizers:
                        _restore(optimizer, moments)
                for name, ema in self.emas.items():
                    for index, shadow in enumerate(ema.shadow_params):
                        shadow.copy_(file.get_tensor(f"{name}.{index}.ema"))
                    ema.optimization_step = int(facts[f"ema_step.{name}"])
                cut = Cut(int(facts["cut_step"]), int(facts["cut_last"])) if "cut_step" in facts else None
                int(facts.get("steps", 1))
                return StepState(int(facts["step"]), float(facts["elapsed_s"]), cut)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise _damaged(self.path, error) from error


def _restore(optimizer: torch.optim.Optimizer, moments: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
    """Give an optimiser the state of those of its parameters that have one; torch says on which device each part is."""
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: moments[parameter] for index, parameter in enumerate(own) if parameter in moments}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def resume_facts(path: Path) -> dict[str, str]:
    """What a resume state says of itself, nothing where there is none; raises `CheckpointError`."""
    if not path.exists():
        return {}
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"The resume state {path} is damaged ({error}); delete it and start over.")
