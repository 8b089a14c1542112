"""What a phone's profile says besides latencies: identity, conditions, source; and how its timings are known again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_profiles import DeviceProfile
from profilers.adb.benchmark_model import BenchmarkModel
from profilers.adb.benchmark_model import Job
from profilers.adb.benchmark_model import Setting
from profilers.adb.phone import PhoneFacts
from profilers.kits.kit import Kit
from profilers.kits.kit import digest_of
from profilers.measuring import build_profile
from profilers.measuring import timings
from profilers.measuring.conditions import remote_conditions
from profilers.runtimes import runtime_class


@dataclass(frozen=True)
class Plan:
    """What is the same for all phones; the fields are the arguments of `profile_over_adb`."""

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
    allow_fallback: bool


def empty_profile(
    plan: Plan, facts: PhoneFacts, device: str, program: BenchmarkModel, setting: Setting
) -> DeviceProfile:
    """The profile without latencies."""
    checked = "outputs compared with torch's on the phone"
    unchecked = "outputs not checked: this program cannot write them"
    return build_profile.empty_profile(
        plan.kit,
        device=device,
        runtime=program.runtime,
        threads=setting.threads,
        conditions=remote_conditions(
            # No serial number: profiles are for passing on.
            facts.model,
            cpu=facts.soc,
            cores=len(facts.max_khz),
            os=facts.android,
            runtime_version=f"unknown version, {program.name} with SHA-256 {program.digest}",
            governor=facts.governor,
            model=facts.model,
            soc=facts.soc,
            affinity=setting.mask,
        ),
        delegate=setting.delegate,
        compute_precision=_compute_precision(plan.kit.precision, program, setting),
        source=f"{program.name}, SHA-256 {program.digest}, over adb; "
        + (checked if program.writes_outputs else unchecked)
        + ("; full delegation not required" if setting.delegate else ""),
    )


def _compute_precision(precision: str, program: BenchmarkModel, setting: Setting) -> str | None:
    """Numbers that products are computed in; None where they are those of the weights."""
    if setting.delegate is None:
        return program.runtime_class.computed_in.get(precision)
    computed = "fp16" if setting.fp16 else "fp32"
    return None if computed == precision else computed


def timings_header(
    plan: Plan, empty: DeviceProfile, facts: PhoneFacts, program: BenchmarkModel, setting: Setting, fixed: bool
) -> Mapping[str, object]:
    """What timings must have in common to go on with each other."""
    return timings.timings_header(
        plan.kit,
        empty,
        1,
        whole=plan.kit.whole_names,
        also={name: digest_of(file)[:16] for name, file in plan.also.items()},
        build=facts.build,
        program=program.digest,
        affinity=setting.mask,
        fixed_performance=fixed,
    )


def delegated_share(kit: Kit, jobs: Mapping[str, Job]) -> float | None:
    """Operators of the components, or else of the whole sub-DiTs, that ran on the accelerator; None if not all tell."""
    runtime = runtime_class(kit.runtime)
    entries = kit.components or kit.whole
    told = [(runtime.count_operators(entry.model) or 0, jobs[entry.name].delegated_share) for entry in entries]
    if any(share is None for _, share in told):
        return None
    total = sum(count for count, _ in told)
    return sum(count * (share or 0.0) for count, share in told) / total if total else None
