"""Loading and naming checkpoints in the diffusers layout: config.json and safetensors."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import logging

from subdit.errors import CheckpointError
from supernet.dit import SubDiT
from supernet.elastic import ElasticDiT
from supernet.recipe import MANY_STEPS
from supernet.recipe import SamplingRecipe
from supernet.recipe import write_recipe

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"

_Model = TypeVar("_Model", bound=ModelMixin)


def load_model(path: Path) -> ElasticDiT | SubDiT:
    """The supernet or sub-DiT saved in a folder, whichever it is, in eval mode; raises `CheckpointError`."""
    return load_sub_dit(path) if _saved_class(path, "model") == "SubDiT" else load_supernet(path)


def load_supernet(path: Path) -> ElasticDiT:
    """The supernet saved in a folder, in eval mode; raises `CheckpointError`."""
    return _load(ElasticDiT, path, "supernet")


def load_sub_dit(path: Path) -> SubDiT:
    """The sub-DiT saved in a folder, in eval mode; raises `CheckpointError`."""
    return _load(SubDiT, path, "sub-DiT")


def save_model(model: ModelMixin, folder: Path, *, recipe: SamplingRecipe = MANY_STEPS) -> Path:
    """Save a model so that a process killed at any moment leaves the whole folder or none; replaces an old one.

    `recipe`, how the model is sampled, goes beside the weights: many steps unless it is a student.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    write_recipe(recipe, temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def _load(kind: type[_Model], path: Path, what: str) -> _Model:
    saved = _saved_class(path, what)
    if saved != kind.__name__:
        raise CheckpointError(f"The folder {path} holds a {saved}, not a {kind.__name__}; name another folder.")
    try:
        with _silent_diffusers():
            loaded, info = kind.from_pretrained(
                path, low_cpu_mem_usage=False, output_loading_info=True, local_files_only=True
            )
    # A damaged file surfaces as whatever the reader of that part raises: safetensors, JSON, torch and diffusers errors.
    except Exception as error:
        raise CheckpointError(f"The {what} at {path} is damaged ({_first_line(error)}); make it again.") from error
    if lora := [name for name in info["unexpected_keys"] if ".lora_" in name]:
        raise CheckpointError(
            f"The {what} at {path} was saved with a LoRA on it ({len(lora)} tensors, as {lora[0]}); call fuse_lora() "
            "and unload_lora() before save_pretrained()."
        )
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]:
        raise CheckpointError(f"The {what} at {path} does not fit its config ({wrong[0]}); make it again.")
    model: _Model = loaded.eval()
    return model


@contextlib.contextmanager
def _silent_diffusers() -> Iterator[None]:
    """Keep diffusers' lists of tensors that are missing or too many off the terminal; the refusal says it."""
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


def weight_files(path: Path) -> list[Path]:
    """The files that hold a saved model's weights: one, or an index and its shards; raises `CheckpointError`."""
    if not (path / INDEX).exists():
        return [path / WEIGHTS]
    try:
        shards = set(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The weights at {path} are damaged ({INDEX}: {error}); make them again.") from error
    return [path / INDEX, *(path / shard for shard in sorted(shards))]


def supernet_digest(path: Path) -> str:
    """Ten hexadecimal digits of the weights saved in a folder; raises `CheckpointError` where there are none."""
    digest = hashlib.sha256()
    for file in weight_files(path):
        try:
            with file.open("rb") as opened:
                while block := opened.read(1 << 24):
                    digest.update(block)
        except OSError as error:
            raise CheckpointError(
                f"There are no weights at {path} ({file.name}: {error.strerror}); train a supernet."
            ) from error
    return digest.hexdigest()[:10]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
