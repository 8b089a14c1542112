"""What of a kit is measured, and what beside it: refused here before anything is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import MIN_WHOLE_ROWS
from profilers._kit import Kit
from profilers._kit import KitEntry
from profilers._models import read_static_inputs
from subdit.core.errors import KitError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError
from subdit.space import PIPELINE_PARTS


def choose_whole(kit: Kit, *, calibrate: int | None, whole: int | None) -> tuple[KitEntry, ...]:
    """The whole sub-DiTs of a kit that are measured.

    Args:
        kit: the kit.
        calibrate: the first so many of them, to calibrate the table on; all by default. A kit without parts has none.
        whole: the first so many of them, to predict from.

    Raises:
        ProfileError: both are given, too few to predict from, or a calibration of no parts.
        KitError: the kit has fewer than `whole`, or no parts and too few to predict from.
    """
    if whole is not None and calibrate is not None:
        raise ProfileError("A profile is either calibrated or fitted to whole sub-DiTs; pass --calibrate or --whole.")
    if whole is not None and whole < MIN_WHOLE_ROWS:
        raise ProfileError(f"Nothing can be predicted from {whole} whole sub-DiTs; pass at least {MIN_WHOLE_ROWS}.")
    if calibrate is not None and not kit.components:
        raise ProfileError(
            f"The kit {kit.folder} has no parts to calibrate a table of; leave --calibrate out, or pass --whole."
        )
    needed = whole if whole is not None else MIN_WHOLE_ROWS if not kit.components else 0
    if len(kit.whole) < needed:
        raise KitError(
            f"The kit {kit.folder} has {len(kit.whole)} whole sub-DiTs, not {needed}; make one with 'subdit kit "
            f"{kit.space} --runtime {kit.runtime} --precision {kit.precision} --whole {needed}{_parts(kit)} --out "
            f"{shlex.quote(f'{kit.folder}-{needed}')}'."
        )
    return kit.whole[: len(kit.whole) if whole is None and calibrate is None else whole or calibrate or 0]


def _parts(kit: Kit) -> str:
    """The options that say which components a kit has."""
    if not kit.components:
        return " --no-parts"
    return "" if kit.max_params is None else f" --max-params {kit.max_params}"


def is_by_whole(kit: Kit, *, calibrate: int | None, whole: int | None) -> bool | None:
    """`by_whole` of `profile_from_timings`: what was asked for, or None for what predicts sub-DiTs left out better."""
    if whole is not None or not kit.components:
        return True
    return None if calibrate is None else False


def check_pipeline(also: Mapping[str, Path]) -> dict[str, Path]:
    """The same; raises `ProfileError` where a name is no part of a pipeline."""
    for name in also:
        if name not in PIPELINE_PARTS:
            raise ProfileError(f"{name!r} is no part of a pipeline; pass {' or '.join(PIPELINE_PARTS)}.")
    return dict(also)


def drawn_inputs(model: Path, like: Path) -> dict[str, npt.NDArray[Any]]:
    """Inputs by name for a model that is measured beside a kit, drawn for the shapes in its file.

    Raises `KitError` where it is not of the format of `like`, a model of the kit, is damaged, or has no fixed shape.
    """
    if model.suffix != like.suffix:
        raise KitError(f"The model {model} is no {like.suffix} file as those of the kit are; export it as one.")
    if model.suffix == ".onnx":
        return read_static_inputs(model)
    if model.suffix != ".tflite":
        raise KitError(
            f"A kit of {like.suffix} models takes no other models beside its own; use another runtime's kit."
        )
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise MissingExtraError("LiteRT is not installed; install it with pip install 'subdit[litert]'.")
    if not model.is_file():
        raise KitError(f"There is no model at {model}; export it first.")
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    try:
        details = interpreter(model_path=str(model)).get_input_details()
    except (ValueError, RuntimeError) as error:
        raise KitError(f"The model {model} is damaged; export it again.") from error
    rng = np.random.default_rng(0)
    return {entry["name"]: _draw(rng, tuple(map(int, entry["shape"])), entry["dtype"]) for entry in details}


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Normal numbers, or zeros and ones: every vocabulary and every mask has those."""
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
