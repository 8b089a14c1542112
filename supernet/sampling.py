"""Sampling: Euler steps from noise along a velocity, in numpy, for a torch module and an exported model alike."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SampleError
from subdit.core.files import read_json
from subdit.core.origin import warn_of_stale_model
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import get_space
from supernet.data.text import encode_prompts
from supernet.model_file import VelocityModel
from supernet.model_file import input_shapes
from supernet.model_file import open_model_file
from supernet.recipe import SamplingRecipe
from supernet.recipe import read_recipe

Array = npt.NDArray[np.float32]
VelocityFunction = Callable[[Array, Array], Array]
"""(x_t (batch, ...), timestep (batch,) = 1000 sigma) to velocity (batch, ...)."""


def euler_sigmas(steps: int, *, shift: float = 1.0) -> npt.NDArray[np.float64]:
    """The steps + 1 sigmas from 1 to 0; shift 3 and 4 steps give 1, .9, .75, .5, 0 (paper, section 4.2)."""
    sigma = np.linspace(1, 0, steps + 1)
    return shift * sigma / (1 + (shift - 1) * sigma)


def sample_euler(velocity: VelocityFunction, noise: Array, *, steps: int, shift: float = 1.0) -> Array:
    """Integrate from noise (batch, ...) at sigma 1 to a sample at sigma 0."""
    sigmas = euler_sigmas(steps, shift=shift)
    x = noise
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        timestep = np.full(len(x), 1000 * sigma, dtype=np.float32)
        x = (x + (following - sigma) * velocity(x, timestep)).astype(np.float32)
    return x


def sample(
    model: Path,
    prompts: Sequence[str],
    *,
    steps: int | None = None,
    shift: float | None = None,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    say: Callable[[str], None] = lambda text: None,
) -> Array:
    """One sample (channels, size, size) per prompt, by an exported model, without torch, or by a saved checkpoint.

    Args:
        model: a file that `export` wrote, .onnx for ONNX Runtime or .tflite for LiteRT or tflite-runtime, or a folder
            that holds a sub-DiT or a supernet (then its full network).
        prompts: what to draw.
        steps: Euler steps, and
        shift: time shift; by default what the card beside the file, or scheduler_config.json in the folder, says.
        seed: of the noise.
        progress: reports samples.
        say: is told, before the first sample, in how many steps and with which shift the samples are drawn, and where
            the model does not say so itself.

    Raises:
        SampleError: no such model, a damaged one, one without card, a prompt that the text encoder cannot read, or less
            than one step.
        CheckpointError: the checkpoint, or its recipe, is damaged.
        MissingExtraError: the runtime of the file is not installed.
    """
    if steps is not None and steps < 1:
        raise SampleError(f"A sample cannot be drawn in {steps} steps; take at least 1.")
    if not model.exists():
        raise SampleError(f"There is no model at {model}; name an exported file or a checkpoint folder.")
    warn_of_stale_model(model)
    made = (open_model_file if model.is_file() else _checkpoint)(model)
    space = get_space(made.spec.space)
    text = encode_prompts(space, prompts)
    recipe = SamplingRecipe(steps or made.recipe.steps, made.recipe.shift if shift is None else shift)
    if made.note and (steps is None or shift is None):
        say(f"{made.note} --steps and --shift choose others.")
    say(f"Sampling in {recipe}.")
    drawn = []
    for index in range(len(prompts)):
        conditions = tuple(tokens[index : index + 1] for tokens in text)
        noise = np.random.default_rng([seed, index]).standard_normal(input_shapes(space)[0]).astype(np.float32)
        drawn.append(
            sample_euler(
                lambda x, timestep, conditions=conditions: made.velocity(x, timestep, *conditions),  # type: ignore[misc]
                noise,
                steps=recipe.steps,
                shift=recipe.shift,
            )
        )
        progress(index + 1, len(prompts), "")
    return np.concatenate(drawn)


def _checkpoint(folder: Path) -> VelocityModel:
    import torch

    from supernet.checkpoints import load_sub_dit
    from supernet.checkpoints import load_supernet

    config = read_json(folder / "config.json", "checkpoint's config.json")
    supernet = isinstance(config, dict) and config.get("_class_name") == "ElasticDiT"
    model = load_supernet(folder).full if supernet else load_sub_dit(folder)

    def velocity(*inputs: Array) -> Array:
        with torch.no_grad():
            return np.asarray(model(*(torch.from_numpy(value) for value in inputs)).numpy(), dtype=np.float32)

    recipe, note = read_recipe(folder)
    return VelocityModel(model.spec, recipe, velocity, note)
