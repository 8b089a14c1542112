"""How a model is sampled: Euler steps and time shift, kept beside its weights in scheduler_config.json, without torch.

The file is diffusers' own, of `FlowMatchEulerDiscreteScheduler`, which has the shift. It has no option for the number
of steps. Keys that begin with an underscore diffusers keeps and saves again without a warning, so the steps stand there
as `_num_inference_steps`, and travel with the scheduler into a saved pipeline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subdit.core.errors import CheckpointError
from subdit.core.errors import RunError
from subdit.core.files import read_json

SCHEDULER = "FlowMatchEulerDiscreteScheduler"
SCHEDULER_CONFIG = "scheduler_config.json"
STEPS_KEY = "_num_inference_steps"
# What a scheduler must be set to for its steps to be plain Euler steps along shifted sigmas; diffusers' own defaults.
_PLAIN: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "use_dynamic_shifting": False,
    "invert_sigmas": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "stochastic_sampling": False,
}


@dataclass(frozen=True)
class SamplingRecipe:
    """How many Euler steps a model is sampled in, and along which time shift."""

    steps: int
    shift: float

    def __str__(self) -> str:
        return f"{self.steps} Euler step{'s' if self.steps != 1 else ''} with shift {self.shift:g}"


MANY_STEPS = SamplingRecipe(steps=28, shift=1.0)
"""Of what flow matching alone trained: a supernet and its sub-DiTs."""

FEW_STEPS = SamplingRecipe(steps=4, shift=3.0)
"""Of students (paper, section 4.2)."""


def write_recipe(recipe: SamplingRecipe, folder: Path) -> None:
    """Write scheduler_config.json as diffusers does."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=recipe.shift)
    scheduler.register_to_config(**{STEPS_KEY: recipe.steps})
    scheduler.save_pretrained(folder)


def read_recipe(folder: Path) -> tuple[SamplingRecipe, str]:
    """The recipe of a checkpoint folder, and a sentence where a part of it is not the checkpoint's own, else "".

    Checkpoints of earlier versions have none: they are sampled in many steps, and the student that a run's folder
    `distilled` holds in few.

    Raises:
        CheckpointError: scheduler_config.json is damaged, or asks for more than Euler steps along shifted sigmas.
    """
    path = folder / SCHEDULER_CONFIG
    if not path.exists():
        student = folder.resolve().name == "distilled" and (folder.resolve().parent / "distilled.json").exists()
        why = "a student that an earlier version distilled" if student else "a model that is no student"
        note = f"The checkpoint {folder} has no {SCHEDULER_CONFIG}; it is taken for {why}."
        return FEW_STEPS if student else MANY_STEPS, note
    try:
        config = read_json(path, "checkpoint's recipe")
    except RunError as error:
        raise CheckpointError(f"The recipe {path} is damaged; copy it again, or delete it.") from error
    if not isinstance(config, dict) or config.get("_class_name") != SCHEDULER:
        raise CheckpointError(f"The recipe {path} is of no {SCHEDULER}; write one, or delete the file.")
    for option, plain in _PLAIN.items():
        if config.get(option, plain) != plain:
            raise CheckpointError(
                f"The recipe {path} asks for {option}={config[option]!r}, which subdit's own sampler does not know; "
                "sample with SubDiTPipeline."
            )
    steps, shift = config.get(STEPS_KEY, MANY_STEPS.steps), config.get("shift", 1.0)
    recipe = checked_recipe(steps, shift)
    if recipe is None:
        raise CheckpointError(
            f"The recipe {path} asks for {steps!r} steps and shift {shift!r}; both must be positive, steps whole."
        )
    return recipe, "" if STEPS_KEY in config else f"The recipe {path} names no {STEPS_KEY}."


def checked_recipe(steps: Any, shift: Any) -> SamplingRecipe | None:
    """A recipe of what a file says, or None where no model can be sampled so."""
    whole = isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1
    number = isinstance(shift, int | float) and not isinstance(shift, bool) and math.isfinite(shift) and shift > 0
    return SamplingRecipe(steps, float(shift)) if whole and number else None
