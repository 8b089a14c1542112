"""`subdit profile`: measure a kit on this machine, or on phones."""

from __future__ import annotations

from pathlib import Path

import click

from device_profiles import DeviceProfile
from nas.cli._devices import echo_profile
from nas.cli._profile_adb import adb_options
from nas.cli._profile_adb import profile_phones
from nas.cli._profile_adb import refuse_for_phones
from nas.cli._profile_adb import require_adb
from nas.cli._progress import progress_bar
from nas.cli._table import echo_json


@click.command()
@click.argument("kit", type=click.Path(path_type=Path))
@click.option("--runtime", help="What runs the components.  [default: what the kit was made for]")
@click.option("--precision", help="Refuse the kit if it is of another one.  [default: the kit's]")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that it may use.")
@click.option("--pin", metavar="CORES", help="Run on these cores only, such as 0,2-3.")
@click.option("--device", help="Name of the device.  [default: this machine's system and processor]")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, instead of your registry.")
@click.option(
    "--budget-s",
    "budget_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds; up to three times as many where the machine is noisy, and more where 20 rounds take longer.",
)
@click.option(
    "--calibrate", type=click.IntRange(min=0), help="Whole sub-DiTs to calibrate on.  [default: all in the kit]"
)
@adb_options
@click.option("--force", is_flag=True, help="Measure anew and replace the profile that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
@click.pass_context
def command(
    context: click.Context,
    kit: Path,
    runtime: str | None,
    precision: str | None,
    threads: int,
    pin: str | None,
    device: str | None,
    out: Path | None,
    budget_s: float,
    calibrate: int | None,
    adb: tuple[str, ...],
    benchmark_model: Path | None,
    delegate: str | None,
    cores: str | None,
    cooling_s: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure KIT on this machine, or on phones over adb, calibrate, and save the device profile.

    Let the machine do nothing else meanwhile. Interrupted, the same command goes on where it was. A runtime that does
    not compute what torch computes, within the limits of its precision, is refused.

    \b
    Examples:
        subdit profile kits/digits
        subdit profile kits/digits --device my-laptop --budget-s 30 --out my-laptop.json
        subdit profile kits/digits-tflite --runtime tflite --threads 2 --pin 0,1
        subdit profile kits/digits-tflite --adb --benchmark-model android_aarch64_benchmark_model
    """
    if adb:
        refuse_for_phones(runtime=runtime, pin=pin)
        is_budget_given = context.get_parameter_source("budget_s") is click.core.ParameterSource.COMMANDLINE
        profile_phones(
            kit,
            adb,
            benchmark_model=benchmark_model,
            precision=precision,
            threads=threads,
            device=device,
            delegate=delegate,
            cores=cores,
            cooling_s=cooling_s,
            out=out,
            budget_s=budget_s if is_budget_given else None,
            calibrate=calibrate,
            force=force,
            as_json=as_json,
        )
        return
    require_adb(benchmark_model=benchmark_model, delegate=delegate, cores=cores, cooling_s=cooling_s)
    made = _measure_here(
        kit,
        runtime=runtime,
        precision=precision,
        threads=threads,
        pin=pin,
        device=device,
        out=out,
        budget_s=budget_s,
        calibrate=calibrate,
        force=force,
    )
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)


def _measure_here(
    kit: Path,
    *,
    runtime: str | None,
    precision: str | None,
    threads: int,
    pin: str | None,
    device: str | None,
    out: Path | None,
    budget_s: float,
    calibrate: int | None,
    force: bool,
) -> DeviceProfile:
    """On this machine."""
    from profilers import profile
    from profilers import read_cpus

    with progress_bar(f"Measuring {kit}") as progress:
        return profile(
            kit,
            runtime=runtime,
            precision=precision,
            threads=threads,
            device=device,
            out=out,
            budget_s=budget_s,
            calibrate=calibrate,
            pin=None if pin is None else read_cpus(pin),
            progress=progress,
            force=force,
        )
