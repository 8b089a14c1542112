"""What a begun training keeps when it goes on: its data set, its types of numbers, what its steps depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from subdit.core.errors import RunError
from subdit.core.run import Run
from subdit.space import SearchSpace
from supernet.data.data_record import read_record
from supernet.data.data_set import DataSet
from supernet.data.data_sets import default_data_set
from supernet.data.data_sets import open_data_set
from supernet.model.placement import autocast_dtype
from supernet.training.config import TrainingConfig
from supernet.training.config_file import read_training_config
from supernet.training.muon import muon_dtype
from supernet.training.resume_state import resume_facts

STATE = "state.safetensors"
KEPT = ("batch_size", "seed", "optimizer")
"""Settings without which a state is not one: they say which samples were seen, and what the optimisers remember."""
START = "start"
"""The digest of the weights that a training began with."""


def begun_config(run: Run) -> TrainingConfig | None:
    """How the run's unfinished training is configured, None where there is none; raises `ConfigError`."""
    if not ((run.training / STATE).exists() and run.config.exists()):
        return None
    return read_training_config(run.config).config


def begun_facts(run: Run) -> dict[str, str]:
    """What the run's unfinished training says of itself, nothing where there is none; raises `CheckpointError`."""
    return resume_facts(run.training / STATE)


def settled_config(config: TrainingConfig, device: torch.device, begun: Mapping[str, str]) -> TrainingConfig:
    """The configuration with its types by their own names: those of the begun training, or the device's.

    Raises `RunError` where the begun training has others, or another of the settings that are `KEPT`.
    """
    wanted = {
        "muon_dtype": str(muon_dtype(config.muon_dtype, device)).removeprefix("torch."),
        "precision": "fp32" if autocast_dtype(config.precision, device) is None else "bf16",
    }
    types = {name: begun.get(name, value) for name, value in wanted.items()}
    for name in (*types, *KEPT):
        asked = getattr(config, name)
        kept = begun.get(name, str(types.get(name, asked)))
        if str(asked) not in ("auto", kept):
            raise RunError(
                f"The begun training has {name} {kept}, not {asked}; leave out --{name.replace('_', '-')} to go on "
                "with it, or start over with --force."
            )
    return replace(config, **types)  # type: ignore[arg-type]  # texts, both of them


def kept_facts(config: TrainingConfig) -> dict[str, str]:
    """What `settled_config` looks at when the training goes on."""
    return {name: str(getattr(config, name)) for name in ("muon_dtype", "precision", *KEPT)}


def begun_data_set(
    data: str | Path | None, space: SearchSpace, run: Run, begun: Mapping[str, str]
) -> tuple[str | Path, DataSet]:
    """What opens the data set and the set: what is asked for, what the begun training has, or the run.

    Raises:
        DataError: it is missing, damaged, or of another space.
        SpaceError: none is named, and the space has none of its own.
        RunError: the begun training has another one.
    """
    recorded = read_record(run.supernet)
    if begun and "data" not in begun:
        raise RunError(
            f"The training begun in {run.path} is of an earlier version, which drew other batches; start over "
            "(--force)."
        )
    reference = data or begun.get("data_set") or (recorded.reference if recorded else default_data_set(space))
    data_set = open_data_set(reference, space=space)
    if begun and data_set.digest != begun["data"]:
        raise RunError(
            f"The training begun in {run.path} has another data set than {data_set.name}, or the same as it was "
            "before; name that one with --data, or start over with --force."
        )
    return reference, data_set
