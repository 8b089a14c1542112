"""Sampling: Euler steps from noise along a velocity, in numpy, for torch modules and exported models."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.core.errors import SampleError
from subdit.core.files import read_json
from subdit.core.origin import warn_of_stale_model
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SearchSpace
from subdit.space import get_space
from supernet.data.data_record import DataRecord
from supernet.data.data_record import read_full_record
from supernet.data.data_sets import digits_record
from supernet.data.latent_codec import are_pixels
from supernet.data.latent_codec import open_latent_codec
from supernet.data.picture import to_unit_range
from supernet.data.prompt_encoders import open_prompt_encoders
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
    guidance_scale: float = 1.0,
    seed: int = 0,
    text: Mapping[str, str] | None = None,
    vae: Path | None = None,
    progress: ProgressCallback = no_progress,
    say: Callable[[str], None] = lambda text: None,
) -> Array:
    """One picture (channels, size, size) in [-1, 1] per prompt, by an exported model or a saved checkpoint.

    The text encoders, and the autoencoder that turns latents into pictures, are those of training. Exported models run
    without torch; text encoders of transformers and autoencoders need it.

    Args:
        model: a file that `export` wrote, .onnx for ONNX Runtime or .tflite for LiteRT or tflite-runtime, a folder that
            holds a sub-DiT or a supernet (then its full network), or a run (then its supernet).
        prompts: what to draw.
        steps: Euler steps; by default those of the card beside the file, or of scheduler_config.json in the folder.
        shift: time shift; the default is found there, too.
        guidance_scale: of classifier-free guidance, which runs the model twice a step; 1 is without.
        seed: seed of the noise.
        text: path of each text encoder, by text input; by default the path when the data was encoded.
        vae: path of the autoencoder; by default the path when the data was encoded.
        progress: reports samples.
        say: is called before the first sample with the steps and the shift, and with a note if the model does not say
            them itself.

    Raises:
        SampleError: no such model, a damaged one, one without card, a prompt that the text encoder cannot read, less
            than one step, or a guidance scale that is not positive.
        DataError: a text encoder or the autoencoder is missing, or is not the one of training.
        CheckpointError: the checkpoint, its recipe or the record of its data is damaged.
        MissingExtraError: no runtime for the file is installed.
    """
    if steps is not None and steps < 1:
        raise SampleError(f"A sample cannot be drawn in {steps} steps; take at least 1.")
    if not 0 < guidance_scale < math.inf:
        raise SampleError(f"A sample cannot be drawn with guidance scale {guidance_scale:g}; it must be positive.")
    if not model.exists():
        raise SampleError(f"There is no model at {model}; name an exported file or a checkpoint folder.")
    if (model / "manifest.json").is_file():
        model = Run(model).supernet
    warn_of_stale_model(model)
    made = (open_model_file if model.is_file() else _checkpoint)(model)
    space = get_space(made.spec.space)
    data = (made.data or digits_record(space)).moved(text=text, vae=vae)
    encoders = open_prompt_encoders(data.key["text"], data.places, data.null)
    embeddings = encoders.embed(prompts)
    velocity = made.velocity
    if guidance_scale != 1:
        velocity = guided(velocity, encoders.embed([""]), guidance_scale)
    recipe = SamplingRecipe(steps or made.recipe.steps, made.recipe.shift if shift is None else shift)
    if made.note and (steps is None or shift is None):
        say(f"{made.note} --steps and --shift override this.")
    say(f"Sampling in {recipe}.")
    return draw_pictures(velocity, embeddings, data, space, recipe=recipe, seed=seed, progress=progress)


def guided(velocity: Callable[..., Array], null: Sequence[Array], guidance_scale: float) -> Callable[..., Array]:
    """A velocity with classifier-free guidance (Ho and Salimans, arXiv 2207.12598).

    `null` has the empty prompt's embeddings (1, tokens, width) for each text input; see `draw_pictures` for the rest.
    """

    def both(x_t: Array, timestep: Array, *text: Array) -> Array:
        unconditional = velocity(x_t, timestep, *null)
        return unconditional + np.float32(guidance_scale) * (velocity(x_t, timestep, *text) - unconditional)

    return both


def draw_pictures(
    velocity: Callable[..., Array],
    text: Sequence[Array],
    data: DataRecord,
    space: SearchSpace,
    *,
    recipe: SamplingRecipe,
    seed: int,
    progress: ProgressCallback = no_progress,
) -> Array:
    """Pictures (count, channels, size, size) in [-1, 1], one after the other for each row of the embeddings.

    `velocity` takes a latent, a timestep and each text input's embeddings, all with a batch of one; `text` has the
    embeddings of each text input. The noise of a picture is a function of seed and row.
    """
    drawn = []
    for index in range(len(text[0])):
        conditions = tuple(tokens[index : index + 1] for tokens in text)
        noise = np.random.default_rng([seed, index]).standard_normal(input_shapes(space)[0]).astype(np.float32)
        drawn.append(
            sample_euler(
                lambda x, timestep, conditions=conditions: velocity(x, timestep, *conditions),  # type: ignore[misc]
                noise,
                steps=recipe.steps,
                shift=recipe.shift,
            )
        )
        progress(index + 1, len(text[0]), "")
    return _pictures(np.concatenate(drawn), data)


def _pictures(latents: Array, data: DataRecord) -> Array:
    if are_pixels(data.key):
        return latents
    codec = open_latent_codec(data.key, data.places)
    # One at a time: a decoder takes far more memory than the DiT.
    return np.concatenate([to_unit_range(codec.decode(latents[index : index + 1])) for index in range(len(latents))])


def _checkpoint(folder: Path) -> VelocityModel:
    import torch

    from supernet.checkpoints import load_sub_dit
    from supernet.checkpoints import load_supernet
    from supernet.model.placement import float_array
    from supernet.model.placement import model_inputs
    from supernet.model.placement import torch_device

    config = read_json(folder / "config.json", "checkpoint's config.json")
    supernet = isinstance(config, dict) and config.get("_class_name") == "ElasticDiT"
    model = (load_supernet(folder).full if supernet else load_sub_dit(folder)).to(torch_device("auto"))

    def velocity(*inputs: Array) -> Array:
        x, timestep, *text = (torch.from_numpy(value) for value in inputs)
        with torch.no_grad():
            return float_array(model(*model_inputs(model, x, timestep, text)))

    recipe, note = read_recipe(folder)
    return VelocityModel(model.spec, recipe, velocity, read_full_record(folder), note)
