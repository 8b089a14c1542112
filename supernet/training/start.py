"""Beginning a training with weights that are there: an earlier supernet's, or those of a sub-DiT of the full shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import safe_open
from torch import Tensor

from subdit.core.errors import CheckpointError
from subdit.core.run import Run
from subdit.core.weights import weight_files
from subdit.space import SearchSpace
from subdit.space import built_in_space
from supernet.model.elastic import ElasticDiT

SUPERNET, SUB_DIT = "ElasticDiT", "SubDiT"


def start_folder(folder: Path) -> Path:
    """Where the weights are: of a run those of its supernet."""
    return Run(folder).supernet if Run(folder).manifest.is_file() else folder


@torch.no_grad()
def start_from(supernet: ElasticDiT, folder: Path) -> None:
    """Put the weights saved in a folder, or those of a run's supernet, into a supernet.

    Names and shapes of the full network must be the same; the size of the latent may be another one. What is kept apart
    for widths and strides is taken where the folder has it. Where it has not, norms and modulation of a width become
    slices of the full network's, and convolutions stay as they are.

    Raises `CheckpointError` where there are no weights, or they are damaged or do not fit.
    """
    folder = start_folder(folder)
    config = _config(folder)
    kind = config.get("_class_name")
    if kind not in (SUPERNET, SUB_DIT):
        raise CheckpointError(f"The folder {folder} holds a {kind}; start from a supernet or a sub-DiT.")
    where = f"The {'supernet' if kind == SUPERNET else 'sub-DiT'} at {folder}"
    prefix = "" if kind == SUPERNET else "full."
    owners = dict(supernet.named_parameters())
    # Mapped from the file, read when it is copied.
    there = {prefix + name: tuple(tensor.shape) for name, tensor in _tensors(folder, where)}
    _check(there, owners, where, supernet.space)
    _check_rotation(config, where, supernet.space)
    for name, tensor in _tensors(folder, where):
        if not tensor.isfinite().all():
            raise CheckpointError(f"{where} has numbers that are not finite ({name}); start from another one.")
        if prefix + name in owners:
            owners[prefix + name].copy_(tensor)
    for name, tensor in supernet.isolated_slices():
        if name not in there:
            owners[name].copy_(tensor)


def _check(there: Mapping[str, tuple[int, ...]], owners: Mapping[str, Tensor], where: str, space: SearchSpace) -> None:
    """Raise `CheckpointError` where a tensor of the full network is missing, too many, or of another shape."""
    full = [name for name in owners if name.startswith("full.")]
    shared = [name for name in owners if name in there]
    other = [name for name in shared if there[name] != tuple(owners[name].shape)]
    difference = ""
    if other:
        have, want = (_shape(shape) for shape in (there[other[0]], tuple(owners[other[0]].shape)))
        difference = f"{other[0].removeprefix('full.')} is {have} there and {want} here"
    elif missing := [name for name in full if name not in there]:
        difference = f"it has no {missing[0].removeprefix('full.')}"
    elif extra := [name for name in there if name.startswith("full.") and name not in owners]:
        difference = f"it has {extra[0].removeprefix('full.')}, which is not here"
    if difference:
        raise CheckpointError(
            f"{where} does not fit the full network of space {space.name!r}: {difference}; start from another one, or "
            "leave start_from out."
        )


def _check_rotation(config: Mapping[str, object], where: str, space: SearchSpace) -> None:
    """Raise `CheckpointError` where positions turn otherwise, which no shape says."""
    definition = config.get("space_definition")
    known = built_in_space(str(config.get("space")))
    stated = config if "rope_theta" in config else definition if isinstance(definition, Mapping) else {}
    theta = stated.get("rope_theta", known.rope_theta if known else None)
    if theta != space.rope_theta:
        raise CheckpointError(
            f"{where} has a rope_theta of {theta}, and space {space.name!r} one of {space.rope_theta}; start from "
            "another one, or leave start_from out."
        )


def _config(folder: Path) -> dict[str, object]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return dict(config)
    except OSError as error:
        raise CheckpointError(
            f"There are no weights to start from at {folder} (config.json: {error.strerror}); name the folder of a "
            "supernet, a sub-DiT or a run."
        ) from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"The folder {folder} is damaged (config.json: {error}); name another one.") from error


def _tensors(folder: Path, where: str) -> Iterator[tuple[str, Tensor]]:
    """One at a time, so that the weights are in memory once."""
    for path in weight_files(folder):
        if path.suffix != ".safetensors":
            continue
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{where} is damaged ({path.name}: {error}); copy it again from its origin."
            ) from error


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
