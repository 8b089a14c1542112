"""Sampling: Euler steps from noise along a velocity, in numpy, for a torch module and an exported model alike."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from subdit.errors import SampleError
from subdit.origin import name_model
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import read_json
from supernet.space import SubDiTSpec
from supernet.space import get_space
from supernet.text import encode_prompts

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
) -> Array:
    """One sample (channels, size, size) per prompt, by an exported model (ONNX Runtime alone) or a saved checkpoint.

    Args:
        model: an ONNX file that `export` wrote, or a folder that holds a sub-DiT or a supernet (then its full network).
        prompts: what to draw.
        steps: Euler steps, and
        shift: time shift; by default what the model was made for.
        seed: of the noise.
        progress: reports samples.

    Raises:
        SampleError: no such model, a prompt that the text encoder cannot read, or less than one step.
        CheckpointError: the checkpoint is damaged.
    """
    if steps is not None and steps < 1:
        raise SampleError(f"A sample cannot be drawn in {steps} steps; take at least 1.")
    if not model.exists():
        raise SampleError(f"There is no model at {model}; name an exported file or a checkpoint folder.")
    name_model(model)
    spec, velocity, made_for = (_onnx_model if model.is_file() else _checkpoint)(model)
    space = get_space(spec.space)
    text = encode_prompts(space, prompts)
    shape = (1, space.latent_channels, space.latent_size, space.latent_size)
    drawn = []
    for at in range(len(prompts)):
        conditions = tuple(tokens[at : at + 1] for tokens in text)
        noise = np.random.default_rng([seed, at]).standard_normal(shape).astype(np.float32)
        drawn.append(
            sample_euler(
                lambda x, timestep, conditions=conditions: velocity(x, timestep, *conditions),  # type: ignore[misc]
                noise,
                steps=steps or made_for[0],
                shift=made_for[1] if shift is None else shift,
            )
        )
        progress(at + 1, len(prompts), "")
    return np.concatenate(drawn)


def _onnx_model(path: Path) -> tuple[SubDiTSpec, Callable[..., Array], tuple[int, float]]:
    import onnxruntime

    card = read_json(path.with_suffix(".json"), "sampling card of the exported model")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        spec, made_for = SubDiTSpec.from_dict(card["spec"]), (int(card["steps"]), float(card["shift"]))
    except Exception as error:  # ONNX Runtime's errors have no common base of their own.
        raise SampleError(f"The exported model {path} is damaged; export it again.") from error
    names = [entry.name for entry in session.get_inputs()]

    def velocity(*inputs: Array) -> Array:
        (predicted,) = session.run(None, dict(zip(names, inputs, strict=True)))
        return np.asarray(predicted, dtype=np.float32)

    return spec, velocity, made_for


def _checkpoint(folder: Path) -> tuple[SubDiTSpec, Callable[..., Array], tuple[int, float]]:
    import torch

    from supernet.checkpoints import load_sub_dit
    from supernet.checkpoints import load_supernet

    config = read_json(folder / "config.json", "checkpoint's config.json")
    supernet = isinstance(config, dict) and config.get("_class_name") == "ElasticDiT"
    model = load_supernet(folder).full if supernet else load_sub_dit(folder)

    def velocity(*inputs: Array) -> Array:
        with torch.no_grad():
            return np.asarray(model(*(torch.from_numpy(value) for value in inputs)).numpy(), dtype=np.float32)

    return model.spec, velocity, (28, 1.0) if folder.name != "distilled" else (4, 3.0)
