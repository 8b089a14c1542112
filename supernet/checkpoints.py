"""Loading and naming checkpoints in the diffusers layout: config.json and safetensors."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import logging

from subdit.core.errors import CheckpointError
from subdit.core.errors import SpaceError
from subdit.core.weights import supernet_digest
from subdit.space import recorded_space
from subdit.space import register_space
from supernet.data.data_record import DataRecord
from supernet.data.data_record import write_record
from supernet.model.dit import SubDiT
from supernet.model.elastic import ElasticDiT
from supernet.recipe import MANY_STEPS
from supernet.recipe import SamplingRecipe
from supernet.recipe import write_recipe

_Model = TypeVar("_Model", bound=ModelMixin)


def load_supernet(path: Path) -> ElasticDiT:
    """The supernet saved in a folder, in eval mode; raises `CheckpointError`."""
    return _load(ElasticDiT, path, "supernet")


def load_supernet_of(path: Path, digest: str) -> ElasticDiT:
    """The supernet saved in a folder; raises `CheckpointError` if its digest is not `digest`.

    A caller that read the digest earlier must not get weights that were trained since.
    """
    supernet = load_supernet(path)
    if (now := supernet_digest(path)) != digest:
        raise CheckpointError(
            f"The supernet at {path} was trained again meanwhile ({now} instead of {digest}); run the command "
            "again, so that it uses one supernet throughout."
        )
    return supernet


def load_sub_dit(path: Path) -> SubDiT:
    """The sub-DiT saved in a folder, in eval mode; raises `CheckpointError`."""
    model = _load(SubDiT, path, "sub-DiT")
    if model.config.get("space_definition") is not None:
        try:
            register_space(recorded_space(model.config, f"The sub-DiT at {path}"))
        except SpaceError as error:
            raise CheckpointError(f"The sub-DiT at {path} cannot be used here: {error}") from error
    return model


def save_model(
    model: ModelMixin, folder: Path, *, recipe: SamplingRecipe = MANY_STEPS, data: DataRecord | None = None
) -> Path:
    """Save a model so that a process killed at any moment leaves the whole folder or none; an old folder is replaced.

    Two records are written beside the weights: `recipe`, how to sample the model (many steps unless it is a student),
    and `data`, what it was trained on.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    write_recipe(recipe, temporary)
    if data is not None:
        write_record(data, temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def _load(kind: type[_Model], path: Path, what: str) -> _Model:
    saved = _saved_class(path, what)
    if saved != kind.__name__:
        raise CheckpointError(f"The model in {path} is of class {saved}, not {kind.__name__}; name another folder.")
    try:
        with _silent_diffusers():
            loaded, info = kind.from_pretrained(
                path, low_cpu_mem_usage=False, output_loading_info=True, local_files_only=True
            )
    except SpaceError as error:
        raise CheckpointError(f"The {what} at {path} cannot be used here: {error}") from error
    # A damaged file raises an error of its reader: safetensors, JSON, torch or diffusers, which share no base class.
    except Exception as error:
        raise CheckpointError(f"The {what} at {path} is damaged ({_first_line(error)}); make it again.") from error
    if lora := [name for name in info["unexpected_keys"] if ".lora_" in name]:
        raise CheckpointError(
            f"The {what} at {path} was saved with a LoRA on it ({len(lora)} tensors, such as {lora[0]}); call "
            "fuse_lora() and unload_lora() before save_pretrained()."
        )
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]:
        raise CheckpointError(f"The {what} at {path} does not fit its config ({wrong[0]}); make it again.")
    model: _Model = loaded.eval()
    return model


@contextlib.contextmanager
def _silent_diffusers() -> Iterator[None]:
    """Silence diffusers' lists of missing and unexpected tensors; the `CheckpointError` names one."""
    kept = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(kept)


def _saved_class(path: Path, what: str) -> str:
    if not (path / "config.json").is_file():
        raise CheckpointError(f"There is no {what} at {path} (no config.json); train one or name another folder.")
    try:
        return str(json.loads((path / "config.json").read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The {what} at {path} is damaged (config.json: {error}); make it again.") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
