"""Which models of a kit are measured; what cannot be measured is refused here, before anything is loaded."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from device_profiles import MIN_WHOLE_ROWS
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.space import PIPELINE_PARTS
from subdit.space import components_up_to
from subdit.space import space_argument


def select_models(
    kit: Kit, *, precision: str | None = None, calibrate: int | None = None, whole: int | None = None
) -> tuple[Kit, bool | None]:
    """A kit with those of its whole sub-DiTs that are measured, and `by_whole` of `build_profile`.

    Args:
        kit: as opened.
        precision: that it must have; None for any.
        calibrate, whole: see `choose_whole`.

    Raises:
        KitError: the kit is of another precision, of another version of its space, or has too few whole sub-DiTs.
        ProfileError: see `choose_whole`.
    """
    if precision not in (None, kit.precision):
        raise KitError(
            f"The kit {kit.folder} was made in {kit.precision}, not in {precision}; make another with --precision "
            f"{precision}."
        )
    expected = [component.name for component in components_up_to(kit.search_space, kit.max_params)]
    if kit.components and kit.component_names != expected:
        raise KitError(
            f"The kit {kit.folder} was made for another version of space {kit.space!r}; make it again with --force."
        )
    chosen = choose_whole(kit, calibrate=calibrate, whole=whole)
    return dataclasses.replace(kit, whole=chosen), is_by_whole(kit, calibrate=calibrate, whole=whole)


def choose_whole(kit: Kit, *, calibrate: int | None, whole: int | None) -> tuple[KitEntry, ...]:
    """The whole sub-DiTs of a kit that are measured.

    Args:
        kit: the kit.
        calibrate: the number of them to calibrate the table on; all by default. A kit without parts has none.
        whole: the number of them to predict from.

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
        parts = "" if kit.max_params is None else f" --max-params {kit.max_params}"
        raise KitError(
            f"The kit {kit.folder} has {len(kit.whole)} whole sub-DiTs, not {needed}; make one with 'subdit kit "
            f"{space_argument(kit.search_space)} --runtime {kit.runtime} --precision {kit.precision} --whole {needed}"
            f"{parts if kit.components else ' --no-parts'} --out {shlex.quote(f'{kit.folder}-{needed}')}'."
        )
    return kit.whole[: len(kit.whole) if whole is None and calibrate is None else whole or calibrate or 0]


def is_by_whole(kit: Kit, *, calibrate: int | None, whole: int | None) -> bool | None:
    """`by_whole` of `build_profile`: what was asked for, or None for what predicts sub-DiTs left out better."""
    if whole is not None or not kit.components:
        return True
    return None if calibrate is None else False


def check_pipeline(also: Mapping[str, Path]) -> dict[str, Path]:
    """Models by part of a pipeline, as given; raises `ProfileError` where a name is no such part."""
    for name in also:
        if name not in PIPELINE_PARTS:
            raise ProfileError(f"{name!r} is no part of a pipeline; pass {' or '.join(PIPELINE_PARTS)}.")
    return dict(also)


def check_device(name: str | None, threads: int = 1) -> None:
    """Raise `ProfileError` where a device cannot have that name, or a runtime that number of threads."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ProfileError(f"{name!r} cannot name a device; use lower-case letters, digits, '.', '_' and '-'.")
    if threads < 1:
        raise ProfileError(f"A runtime cannot use {threads} threads; pass at least 1.")


def require_new(target: Path, *, force: bool) -> None:
    """Raise `RunError` where there is a profile already that is not to be replaced."""
    if target.exists() and not force:
        raise RunError(f"There is a profile at {target} already; name another device or file, or pass --force.")
