"""`subdit profile --adb`: what the verb does for phones."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from subdit.cli._numbers import FiniteRange
from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.core.errors import DeviceError
from subdit.core.errors import ProfileError


def adb_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `--adb`."""
    options = (
        click.option(
            "--adb",
            multiple=True,
            is_flag=False,
            flag_value="",
            metavar="[SERIAL]",
            help="Measure an Android phone over adb, for --budget-s 600 by default; give it several times, with "
            "serials, for several phones at once.",
        ),
        click.option(
            "--benchmark-model",
            type=click.Path(path_type=Path),
            help="With --adb: TensorFlow Lite's or LiteRT's program of that name, built for Android.",
        ),
        click.option(
            "--delegate",
            metavar="gpu",
            help="With --adb, --ddp, --ai-hub: the phone's accelerator, or npu of --ai-hub.  [default: the processor]",
        ),
        click.option(
            "--cores", metavar="MASK", help="With --adb: hexadecimal mask of the cores.  [default: the fastest]"
        ),
        click.option(
            "--cooling-s",
            type=FiniteRange(min=0),
            help="With --adb: seconds of a pause where the phone is warm.  [default: 30]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def require_adb(**given: object) -> None:
    """Raise `ProfileError` where an option was given that only phones have."""
    for name, value in given.items():
        if value is not None:
            raise ProfileError(f"--{name.replace('_', '-')} is for phones over adb; give --adb too, or leave it out.")


def refuse_for_phones(*, runtime: str | None, pin: str | None) -> None:
    """Raise `ProfileError` where an option was given that only this machine has."""
    if runtime is not None:
        raise ProfileError("Over adb the runtime is that of --benchmark-model; leave --runtime out.")
    if pin is not None:
        raise ProfileError("The cores of a phone are named by a mask; give --cores MASK instead of --pin.")


def profile_phones(
    kit: Path,
    serials: Sequence[str],
    *,
    benchmark_model: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure phones and print their profiles; `options` that are None are left to `profile_over_adb`.

    Raises:
        DeviceError: a phone failed; those of the others are saved and printed before.
    """
    from profilers.adb import profile_over_adb

    if benchmark_model is None:
        raise DeviceError(
            "--adb needs a program to run on the phone; download the android_aarch64 build of TensorFlow Lite's or "
            "LiteRT's benchmark_model and name it with --benchmark-model FILE."
        )
    with progress_bar(f"Measuring {kit} over adb") as progress:
        results = profile_over_adb(
            kit,
            [serial for serial in serials if serial],
            benchmark_model=benchmark_model,
            progress=progress,
            **{name: value for name, value in options.items() if value is not None},
        )
    made = [result.profile for result in results if result.profile is not None]
    if as_json:
        echo_json(made[0].to_dict() if len(results) == 1 else [profile.to_dict() for profile in made])
    else:
        for profile in made:
            echo_profile(profile, components=False)
    problems = [result.problem for result in results if result.problem]
    if problems:
        raise DeviceError(" ".join(problems))
