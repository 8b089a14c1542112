"""Exported models as velocity functions: .onnx and .tflite with their sampling card, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import MissingExtraError
from subdit.core.errors import RunError
from subdit.core.errors import SampleError
from subdit.core.errors import SpecError
from subdit.core.files import read_json
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import recorded_space
from subdit.space import register_space
from supernet.data.data_record import DataRecord
from supernet.recipe import SamplingRecipe
from supernet.recipe import checked_recipe
from supernet.tflite import load_tflite

Array = npt.NDArray[np.float32]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class VelocityModel:
    """A model to sample from.

    Attributes:
        spec: which sub-DiT it is.
        recipe: how it is sampled.
        velocity: (x_t, timestep, one tensor per text encoder) to velocity, each for a batch of one.
        data: what it was trained on; None if an earlier version wrote no record.
        note: a sentence if the model has no complete recipe of its own, else "".
    """

    spec: SubDiTSpec
    recipe: SamplingRecipe
    velocity: Callable[..., Array]
    data: DataRecord | None = None
    note: str = ""


@dataclass(frozen=True)
class SamplingCard:
    """What a sampler must know about an exported model: its spec, how it is sampled, what it was trained on."""

    spec: SubDiTSpec
    recipe: SamplingRecipe
    data: DataRecord | None


def card(
    spec: SubDiTSpec, recipe: SamplingRecipe, config: Mapping[str, Any], data: DataRecord | None = None
) -> dict[str, Any]:
    """The sampling card of an exported model, written as JSON beside it; `config` is the model's."""
    kept = {key: config.get(key) for key in ("space", "space_hash", "space_definition")}
    trained_on = None if data is None else data.to_dict()
    return {"spec": spec.to_dict(), "steps": recipe.steps, "shift": recipe.shift, "data": trained_on, **kept}


def read_card(model: Path) -> SamplingCard:
    """The card beside an exported model; raises `SampleError` if it is missing or damaged."""
    path = model.with_suffix(".json")
    if not path.is_file():
        raise SampleError(
            f"There is no sampling card {path}, which tells the model's space, steps and shift; copy it from where "
            "the model was exported, or export again."
        )
    try:
        found = read_json(path, "sampling card")
        spec, recipe = SubDiTSpec.from_dict(found["spec"]), checked_recipe(found["steps"], found["shift"])
        data = None if found.get("data") is None else DataRecord.from_dict(found["data"])
        if found.get("space_definition") is not None:
            register_space(recorded_space(found, f"The sampling card {path}"))
    except (RunError, SpecError, LookupError, TypeError, ValueError, AttributeError):
        recipe = None
    if recipe is None:
        raise SampleError(f"The sampling card {path} is damaged; copy it from where the model was exported.")
    return SamplingCard(spec, recipe, data)


def open_model_file(path: Path) -> VelocityModel:
    """An exported model with its card, on one thread of ONNX Runtime, LiteRT or tflite-runtime.

    Raises:
        SampleError: the file is no exported model, is damaged, has no card, or does not fit its card.
        MissingExtraError: no runtime for the file is installed.
    """
    if path.suffix not in _OPENERS:
        raise SampleError(
            f"The file {path} is no exported model; name a file that ends in {' or '.join(_OPENERS)}, or the folder of "
            "a checkpoint."
        )
    found = read_card(path)
    velocity, shapes = _OPENERS[path.suffix](path)
    expected = input_shapes(get_space(found.spec.space))
    if shapes != expected:
        raise SampleError(
            f"The model {path} has inputs of {_format_shapes(shapes)}, but its sampling card says "
            f"{_format_shapes(expected)}; copy the card that was exported with it."
        )
    return VelocityModel(found.spec, found.recipe, velocity, found.data)


def input_shapes(space: SearchSpace) -> Shapes:
    """Shapes of a whole sub-DiT's inputs for a batch of one: latent, timestep, each text encoder's tokens."""
    latent = (1, space.latent_channels, space.latent_size, space.latent_size)
    return [latent, (1,), *((1, text.tokens, text.width) for text in space.text_inputs)]


def _format_shapes(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _open_onnx(path: Path) -> tuple[Callable[..., Array], Shapes]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingExtraError("ONNX Runtime is not installed; install it with pip install 'subdit[onnx]'.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class.
        raise SampleError(f"The exported model {path} is damaged; export it again.") from error
    inputs = session.get_inputs()
    names = [entry.name for entry in inputs]

    def velocity(*given: Array) -> Array:
        (predicted,) = session.run(None, dict(zip(names, given, strict=True)))
        return np.asarray(predicted, dtype=np.float32)

    return velocity, _as_shapes(entry.shape for entry in inputs)


def _open_tflite(path: Path) -> tuple[Callable[..., Array], Shapes]:
    model = load_tflite(path)
    return model.run, _as_shapes(model.shapes)


def _as_shapes(shapes: Any) -> Shapes:
    return [tuple(shape) for shape in shapes]


_OPENERS: dict[str, Callable[[Path], tuple[Callable[..., Array], Shapes]]] = {
    ".onnx": _open_onnx,
    ".tflite": _open_tflite,
}
