"""`subdit profile`: measure a kit on this machine, or on phones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subdit.cli._fallback import allow_fallback_option
from subdit.cli._numbers import FiniteRange
from subdit.cli._profile_adb import adb_options
from subdit.cli._profile_adb import profile_phones
from subdit.cli._profile_adb import refuse_for_phones
from subdit.cli._profile_adb import require_adb
from subdit.cli._profile_rented import RENTED_NAMES
from subdit.cli._profile_rented import profile_on_rented
from subdit.cli._profile_rented import refuse_for_rented
from subdit.cli._profile_rented import rented_options
from subdit.cli._profile_rented import require_phone
from subdit.cli._profile_rented import require_rented
from subdit.cli._profile_serve import profile_served
from subdit.cli._profile_serve import refuse_for_browsers
from subdit.cli._profile_serve import require_serve
from subdit.cli._profile_serve import serve_options
from subdit.cli._profile_text import echo_profile
from subdit.cli._progress import progress_bar
from subdit.cli._table import echo_json
from subdit.core.errors import ProfileError


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
    type=FiniteRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds; up to three times as many where the machine is noisy, and more where 20 rounds take longer.",
)
@click.option(
    "--calibrate",
    type=click.IntRange(min=0),
    help="Whole sub-DiTs to calibrate the table on.  [default: all in the kit]",
)
@click.option("--whole", type=click.IntRange(min=1), help="Number of whole sub-DiTs to measure and predict from.")
@click.option(
    "--also",
    multiple=True,
    metavar="PART=FILE",
    help="Measure text_encoder=FILE or decoder=FILE in the same rounds; may be repeated.",
)
@adb_options
@serve_options
@rented_options
@allow_fallback_option
@click.option(
    "--force",
    is_flag=True,
    help="Replace the profile that is there. What was interrupted goes on; delete KIT/timings to begin it anew.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    kit: Path,
    runtime: str | None,
    precision: str | None,
    threads: int,
    pin: str | None,
    device: str | None,
    out: Path | None,
    budget_s: float,
    calibrate: int | None,
    whole: int | None,
    also: tuple[str, ...],
    adb: tuple[str, ...],
    benchmark_model: Path | None,
    delegate: str | None,
    cores: str | None,
    cooling_s: float | None,
    force: bool,
    allow_fallback: bool,
    as_json: bool,
    serve: bool,
    ddp: bool,
    ai_hub: bool,
    **others: Any,
) -> None:
    """Measure KIT on this machine, on phones (over adb, in browsers, rented), calibrate, and save the device profile.

    Let the machine do nothing else meanwhile. Interrupted, the same command goes on where it was. A runtime that does
    not compute what torch computes, within the limits of its precision, is refused.

    \b
    Examples:
        subdit profile kits/digits
        subdit profile kits/digits --device my-laptop --budget-s 30 --out my-laptop.json
        subdit profile kits/digits-tflite --adb --benchmark-model android_aarch64_benchmark_model
        subdit profile kits/digits-tflite --ddp --device caiman-35 --gcp-project my-project --sessions 5
        subdit profile kits/digits-tflite --ai-hub --device "Samsung Galaxy S24" --delegate npu
        subdit profile kits/digits --serve
        subdit profile kits/digits --serve --https --threads 4 --webgpu
        subdit profile kits/digits-tflite --runtime tflite --threads 2 --pin 0,1
        subdit profile kits/digits --whole 60
        subdit profile kits/mobile-1k --also decoder=decoder.onnx
    """
    if bool(adb) + serve + ddp + ai_hub > 1:
        raise ProfileError("--adb, --serve, --ddp and --ai-hub are ways to measure a phone; give one of them.")
    rented = {name: others.pop(name) for name in RENTED_NAMES}
    if not adb:
        require_adb(benchmark_model=benchmark_model, cores=cores, cooling_s=cooling_s)
    if not (adb or ddp or ai_hub):
        require_phone(delegate=delegate, allow_fallback=allow_fallback or None)
        require_rented(**rented)
    options: dict[str, Any] = {"threads": threads, "device": device, "out": out, "budget_s": budget_s}
    options |= {"calibrate": calibrate, "whole": whole, "force": force}
    if serve:
        refuse_for_browsers(runtime=runtime, precision=precision, pin=pin, also=also)
        profile_served(kit, as_json=as_json, **options, **others)
        return
    require_serve(**others)
    if ddp or ai_hub:
        budget = None if _is_default(context, "budget_s") else budget_s
        refuse_for_rented(runtime=runtime, pin=pin, also=also, whole=whole, budget_s=budget)
        given: dict[str, Any] = {"device": device, "delegate": delegate, "threads": threads, "precision": precision}
        given |= {"calibrate": calibrate, "out": out, "force": force, "allow_fallback": allow_fallback}
        profile_on_rented(kit, ai_hub=ai_hub, as_json=as_json, **given, **rented)
        return
    if adb:
        require_rented(**rented)
        refuse_for_phones(runtime=runtime, pin=pin)
        if _is_default(context, "budget_s"):
            # Phones have a default of their own.
            options["budget_s"] = None
        options |= {"precision": precision, "delegate": delegate, "cores": cores, "cooling_s": cooling_s}
        options["allow_fallback"] = allow_fallback
        profile_phones(kit, adb, benchmark_model=benchmark_model, also=_parts(also), as_json=as_json, **options)
        return
    from profilers import profile
    from profilers import read_cpus

    with progress_bar(f"Measuring {kit}") as progress:
        cpus = None if pin is None else read_cpus(pin)
        here: dict[str, Any] = {"runtime": runtime, "precision": precision, "also": _parts(also), "pin": cpus}
        made = profile(kit, progress=progress, **here, **options)
    if as_json:
        echo_json(made.to_dict())
    else:
        echo_profile(made, components=False)


def _is_default(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE


def _parts(also: tuple[str, ...]) -> dict[str, Path]:
    """Files by the part of the pipeline that they are; raises `ProfileError` on what is not PART=FILE, once each."""
    found: dict[str, Path] = {}
    for entry in also:
        part, is_given, file = entry.partition("=")
        if not is_given or not file or part in found:
            problem = "comes twice" if part in found else "is not PART=FILE"
            raise ProfileError(f"--also {entry!r} {problem}; write it once, such as --also decoder=decoder.onnx.")
        found[part] = Path(file)
    return found
