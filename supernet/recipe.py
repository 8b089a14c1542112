"""How a model is sampled: Euler steps and time shift, kept beside its weights in scheduler_config.json, without torch.

The file is the config of diffusers' `FlowMatchEulerDiscreteScheduler`, which has an option for the shift but none for
the number of steps. Diffusers keeps keys that begin with an underscore, and saves them again without a warning. The
steps are therefore stored as `_num_inference_steps`, and a saved pipeline keeps them with its scheduler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subdit.core.errors import CheckpointError
from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from subdit.core.files import read_json

SCHEDULER = "FlowMatchEulerDiscreteScheduler"
SCHEDULER_CONFIG = "scheduler_config.json"
STEPS_KEY = "_num_inference_steps"
# Options with which a scheduler takes plain Euler steps along shifted sigmas; they are diffusers' defaults.
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
    """How a model is sampled: the number of Euler steps and the time shift."""

    steps: int
    shift: float

    def __str__(self) -> str:
        return f"{self.steps} Euler step{'s' if self.steps != 1 else ''} with shift {self.shift:g}"


MANY_STEPS = SamplingRecipe(steps=28, shift=1.0)
"""The recipe of models trained by flow matching alone: a supernet and its sub-DiTs."""

FEW_STEPS = SamplingRecipe(steps=4, shift=3.0)
"""The recipe of students (paper, section 4.2)."""

MOST_STUDENT_STEPS = 16


def few_step_recipe(steps: int) -> SamplingRecipe:
    """The recipe of a student of that many steps; raises `ConfigError` if there can be none.

    The shift is the same for all, so the sigmas of half as many steps are every second one: 1 of one step, 1 and .75 of
    two, 1, .9, .75 and .5 of four.
    """
    if not 1 <= steps <= MOST_STUDENT_STEPS:
        raise ConfigError(
            f"A student cannot be distilled to {steps:,} sampling steps; give 1 to {MOST_STUDENT_STEPS} as --steps. "
            "Iterations of K-DMD are --iterations."
        )
    return SamplingRecipe(steps, FEW_STEPS.shift)


def write_recipe(recipe: SamplingRecipe, folder: Path) -> None:
    """Write scheduler_config.json as diffusers does."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=recipe.shift)
    scheduler.register_to_config(**{STEPS_KEY: recipe.steps})
    scheduler.save_pretrained(folder)


def read_recipe(folder: Path) -> tuple[SamplingRecipe, str]:
    """The recipe of a checkpoint folder, and a sentence if the checkpoint does not say all of it, else "".

    Checkpoints of earlier versions say nothing. They are sampled in many steps, except for a student in the folder
    `distilled` of a run, which is sampled in few.

    Raises:
        CheckpointError: scheduler_config.json is damaged, or asks for more than Euler steps along shifted sigmas.
    """
    path = folder / SCHEDULER_CONFIG
    if not path.exists():
        student = folder.resolve().name == "distilled" and (folder.resolve().parent / "distilled.json").exists()
        kind = "a student that an earlier version distilled" if student else "a model that is not a student"
        note = f"The checkpoint {folder} has no {SCHEDULER_CONFIG}; it is sampled as {kind}."
        return FEW_STEPS if student else MANY_STEPS, note
    try:
        config = read_json(path, "checkpoint's recipe")
    except RunError as error:
        raise CheckpointError(f"The recipe {path} is damaged; copy it again, or delete it.") from error
    if not isinstance(config, dict) or config.get("_class_name") != SCHEDULER:
        raise CheckpointError(f"The recipe {path} is not of a {SCHEDULER}; write one that is, or delete the file.")
    for option, plain in _PLAIN.items():
        if config.get(option, plain) != plain:
            raise CheckpointError(
                f"The recipe {path} asks for {option}={config[option]!r}, which subdit's own sampler does not support; "
                "sample with SubDiTPipeline."
            )
    steps, shift = config.get(STEPS_KEY, MANY_STEPS.steps), config.get("shift", 1.0)
    recipe = checked_recipe(steps, shift)
    if recipe is None:
        raise CheckpointError(
            f"The recipe {path} asks for {steps!r} steps and shift {shift!r}; give a positive whole number of steps "
            "and a positive shift."
        )
    return recipe, "" if STEPS_KEY in config else f"The recipe {path} names no {STEPS_KEY}."


def checked_recipe(steps: Any, shift: Any) -> SamplingRecipe | None:
    """The recipe with the values of a file, or None if a value is invalid."""
    whole = isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1
    number = isinstance(shift, int | float) and not isinstance(shift, bool) and math.isfinite(shift) and shift > 0
    return SamplingRecipe(steps, float(shift)) if whole and number else None
