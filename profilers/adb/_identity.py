"""What is measured on a phone, and what its profile says besides latencies: identity, conditions, source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_profiles import DeviceProfile
from profilers._conditions import read_conditions
from profilers._kit import Kit
from profilers._operators import count_operators
from profilers.adb._benchmark_model import BenchmarkModel
from profilers.adb._benchmark_model import Setting
from profilers.adb._measure import Job
from profilers.adb._phone import Facts
from profilers.adb._store import digest_of


@dataclass(frozen=True)
class Plan:
    """What all phones share; the fields are the arguments of `profile_over_adb`."""

    kit: Kit
    benchmark_model: Path
    threads: int
    device: str | None
    delegate: str | None
    cores: str
    cooling_s: float
    out: Path | None
    budget_s: float
    force: bool
    by_whole: bool | None
    also: Mapping[str, Path]


def empty_profile(plan: Plan, facts: Facts, device: str, program: BenchmarkModel, setting: Setting) -> DeviceProfile:
    """The profile but for its numbers."""
    kit = plan.kit
    checked = "outputs compared with torch's on the phone"
    unchecked = "outputs not checked: this program cannot write them"
    here = read_conditions("", reference_ms=None)
    return DeviceProfile(
        device=device,
        runtime=program.runtime,
        precision=kit.precision,
        threads=setting.threads,
        space=kit.space,
        kit_hash=kit.hash,
        provenance="measured",
        noisy=True,
        components={},
        conditions=dataclasses.replace(
            here,
            # No serial number: profiles are for passing on.
            machine=facts.model,
            cpu=facts.soc,
            cores=len(facts.max_khz),
            os=facts.android,
            runtime_version=f"unknown version, {program.name} with SHA-256 {program.digest}",
            # Nothing of this machine's: what runs there is no Python, and the phone tells its own temperature.
            python_version="",
            temperature_c=None,
            governor=facts.governor,
            load_average=None,
            model=facts.model,
            soc=facts.soc,
            affinity=setting.mask,
        ),
        delegate=setting.delegate,
        compute_precision=_computed_in(kit.precision, setting),
        max_params=kit.max_params,
        source=f"{program.name}, SHA-256 {program.digest}, over adb; "
        + (checked if program.writes_outputs else unchecked)
        + ("; full delegation not required" if setting.delegate else ""),
    )


def _computed_in(precision: str, setting: Setting) -> str | None:
    """In which numbers products are computed: XNNPACK unpacks float16 weights to float32."""
    if setting.delegate is not None:
        computed = "fp16" if setting.fp16 else "fp32"
    else:
        computed = "fp32" if precision == "fp16" else precision
    return None if computed == precision else computed


def timings_header(
    plan: Plan, empty: DeviceProfile, facts: Facts, program: BenchmarkModel, setting: Setting, fixed: bool
) -> Mapping[str, object]:
    """What timings that are gone on with must have in common."""
    return {
        "subdit_timings": 1,
        "kit": plan.kit.hash,
        "whole": [entry.name for entry in plan.kit.whole],
        "also": {name: digest_of(file)[:16] for name, file in plan.also.items()},
        "id": empty.id,
        "build": facts.build,
        "program": program.digest,
        "affinity": setting.mask,
        "fixed_performance": fixed,
    }


def share_of(kit: Kit, jobs: Mapping[str, Job]) -> float | None:
    """Operators of the components, or else of the whole sub-DiTs, that ran on the accelerator; None if not all tell."""
    entries = kit.components or kit.whole
    told = [(count_operators(entry.model), jobs[entry.name].delegated_share) for entry in entries]
    if any(share is None for _, share in told):
        return None
    total = sum(count for count, _ in told)
    return sum(count * (share or 0.0) for count, share in told) / total if total else None
