"""The few-step adapter: a LoRA on the full network that makes it the few-step teacher while it is switched on."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from subdit.core.errors import CheckpointError
from subdit.core.errors import RunError
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import stale_sentence
from subdit.core.run import Run
from subdit.core.students import STEPS
from subdit.core.students import few_step_folder
from subdit.core.weights import supernet_digest
from supernet.checkpoints import load_supernet
from supernet.lora import add_lora
from supernet.model.dit import SubDiT

ADAPTER = "few_step"
ADAPTER_FILE = "few_step_lora.safetensors"


def add_few_step_adapter(teacher: SubDiT, *, rank: int, seed: int = 0) -> None:
    """Put a LoRA on every linear of the teacher and freeze the rest; with the adapter off, the teacher is unchanged."""
    add_lora(teacher, ADAPTER, rank=rank, alpha=rank, seed=seed)


def load_few_step_adapter(teacher: SubDiT, file: Path) -> None:
    """Put a saved adapter on the teacher and switch it on; raises `CheckpointError` if the file is damaged."""
    try:
        saved = load_file(str(file))
        rank = saved[next(name for name in saved if "lora_A" in name)].shape[0]
        add_few_step_adapter(teacher, rank=rank)
        for name, parameter in adapter_tensors(teacher).items():
            parameter.copy_(saved[name])
    except (OSError, SafetensorError, KeyError, RuntimeError, StopIteration) as error:
        raise CheckpointError(f"The few-step LoRA {file} is damaged ({error}); delete it to make it again.") from error


def adapter_tensors(teacher: SubDiT) -> dict[str, Tensor]:
    """The adapter's weights by their names in the teacher."""
    return {name: value.data for name, value in teacher.named_parameters() if f".{ADAPTER}." in name}


def load_few_step_teacher(run: Run, steps: int = STEPS) -> SubDiT:
    """The full network with its adapter of that many steps; raises `RunError` if it is missing or of other weights."""
    file = few_step_folder(run, steps) / ADAPTER_FILE
    if not file.exists():
        raise RunError(
            f"The run {run.path} has no few-step teacher of {steps} steps; make one with 'subdit distill' and --steps "
            f"{steps}."
        )
    made_from, digest = origin(run.teacher), supernet_digest(run.supernet)
    if freshness(made_from, digest) is not Freshness.FRESH:
        what = f"The few-step teacher at {run.teacher}"
        raise RunError(stale_sentence(what, made_from, digest, "make one from the run's weights with 'subdit distill'"))
    teacher = load_supernet(run.supernet).full
    load_few_step_adapter(teacher, file)
    teacher.requires_grad_(False).eval()
    teacher.enable_adapters()
    return teacher
