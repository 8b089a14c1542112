"""Loading and naming checkpoints in the diffusers layout: config.json and safetensors."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TypeVar

from diffusers.models.modeling_utils import ModelMixin

from subdit.errors import CheckpointError
from supernet.dit import SubDiT
from supernet.elastic import ElasticDiT

WEIGHTS = "diffusion_pytorch_model.safetensors"

_Model = TypeVar("_Model", bound=ModelMixin)


def load_supernet(path: Path) -> ElasticDiT:
    """The supernet saved in a folder, in eval mode; raises `CheckpointError`."""
    return _load(ElasticDiT, path, "supernet")


def load_sub_dit(path: Path) -> SubDiT:
    """The sub-DiT saved in a folder, in eval mode; raises `CheckpointError`."""
    return _load(SubDiT, path, "sub-DiT")


def save_model(model: ModelMixin, folder: Path) -> Path:
    """Save a model so that a process killed at any moment leaves the whole folder or none; replaces an old one."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def _load(kind: type[_Model], path: Path, what: str) -> _Model:
    if not (path / "config.json").is_file():
        raise CheckpointError(f"There is no {what} at {path} (no config.json); train one or name another folder.")
    try:
        saved = json.loads((path / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The {what} at {path} is damaged (config.json: {error}); make it again.") from error
    if saved != kind.__name__:
        raise CheckpointError(f"The folder {path} holds a {saved}, not a {kind.__name__}; name another folder.")
    try:
        loaded, info = kind.from_pretrained(
            path, low_cpu_mem_usage=False, output_loading_info=True, local_files_only=True
        )
    # A damaged file surfaces as whatever the reader of that part raises: safetensors, JSON, torch and diffusers errors.
    except Exception as error:
        raise CheckpointError(f"The {what} at {path} is damaged ({_first_line(error)}); make it again.") from error
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]:
        raise CheckpointError(f"The {what} at {path} does not fit its config ({wrong[0]}); make it again.")
    model: _Model = loaded.eval()
    return model


def supernet_digest(path: Path) -> str:
    """Ten hexadecimal digits of the weights saved in a folder; raises `CheckpointError` where there are none."""
    try:
        return hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()[:10]
    except OSError as error:
        raise CheckpointError(
            f"There are no weights at {path} ({WEIGHTS}: {error.strerror}); train a supernet."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
