"""A device profile for people: what it is of, how it was made, how far it is off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from subdit.cli._table import echo_table
from subdit.core.errors import SubditError

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from device_profiles import ErrorReport
    from device_profiles import Latency
    from device_profiles import LatencyEstimator

Facts = Iterator[tuple[str, str]]

MARKS = {"measured": "measured", "reported": "REPORTED, not measured here", "estimated": "ESTIMATED, not measured"}


def provenance_mark(profile: DeviceProfile) -> str:
    """Where the latencies are from, so that what was not measured cannot be overlooked."""
    return MARKS[profile.provenance]


def error_of(profile: DeviceProfile, *, fit: bool) -> ErrorReport | None:
    """Errors on whole sub-DiTs left out of the fit; None where there are none, or the space is not known here.

    Without `fit` also of a profile that must be fitted first (`needs_fit`), which takes seconds.
    """
    if profile.calibration is not None:
        return profile.calibration.error
    estimator = _estimator(profile) if fit and profile.whole else None
    return estimator.error if estimator else None


def needs_fit(profile: DeviceProfile) -> bool:
    """Whether predictions come from a fit to whole sub-DiTs, which no file keeps."""
    from device_profiles import MIN_WHOLE_ROWS

    return profile.calibration is None and len(profile.whole) >= MIN_WHOLE_ROWS


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def echo_profile(profile: DeviceProfile, *, components: bool, fit: bool = True) -> None:
    """Print a profile; without `fit`, one that must be fitted first does not say how far its predictions are off."""
    for label, text in (*_identity(profile), *_noise(profile), *_prediction(profile, fit=fit)):
        click.echo(f"{label:<12} {text}".rstrip())
    if components:
        _echo_table("component", list(profile.components.items()))
        _echo_table("whole sub-DiT", [(str(entry.spec), entry.latency) for entry in profile.whole])


def _identity(profile: DeviceProfile) -> Facts:
    from device_profiles import fallback
    from device_profiles import ran_where

    on = profile.conditions
    yield "profile", profile.id
    yield "space", f"{profile.space_id}, {len(profile.components)} components, kit {profile.kit_hash}"
    if profile.max_params is not None:
        yield "covers", f"sub-DiTs of at most {profile.max_params:,} parameters"
    yield "provenance", f"{provenance_mark(profile)} {on.measured_at}"
    if profile.source:
        yield "source", profile.source
    names = [on.machine, on.model, on.soc, on.cpu, f"{on.cores} cores" if on.cores else ""]
    yield "machine", ", ".join(name for name in names if name)
    yield "system", ", ".join(name for name in (on.os, f"{profile.runtime} {on.runtime_version}", on.browser) if name)
    if profile.compute_precision:
        yield "precision", f"{profile.precision} weights, computed in {profile.compute_precision}"
    yield "ran where", ran_where(profile)
    if (warning := fallback(profile)) is not None:
        yield "WARNING", warning
    if on.affinity:
        yield "pinned to", on.affinity
    seen = [
        "" if on.temperature_c is None else f"at most {on.temperature_c:.0f} C",
        "" if on.battery_percent is None else f"battery at least {on.battery_percent:.0f} %",
    ]
    if any(seen):
        yield "meanwhile", ", ".join(one for one in seen if one)
    for name, latency in profile.pipeline.items():
        yield name, f"{latency.latency_ms:.4g} ms, once per picture"


def _noise(profile: DeviceProfile) -> Facts:
    noise = profile.noise
    if noise is None:
        return
    verdict = "noisy" if profile.noisy else "quiet enough"
    parts = f"components +-{percent(noise.component_ci)}, " if profile.components else ""
    yield (
        "noise",
        f"{verdict}: {parts}whole sub-DiTs +-{percent(noise.whole_ci)}, halves differ by {percent(noise.split)} "
        f"(limit {percent(noise.limit)}, {noise.attempts} attempts)",
    )


def _prediction(profile: DeviceProfile, *, fit: bool) -> Facts:
    """How latencies are predicted, and how far that is off."""
    from device_profiles import LatencyEstimator

    if (calibration := profile.calibration) is not None and not profile.whole:
        yield (
            "calibration",
            f"{calibration.form}, on {calibration.error.samples} whole sub-DiTs, each left out in turn:",
        )
        yield from _errors(calibration.error, calibration.uncalibrated_error, "without it")
        return
    if needs_fit(profile) and not fit:
        yield "fit", f"to {len(profile.whole)} whole sub-DiTs, not made; --fit makes it and says how far it is off"
        return
    try:
        estimator = LatencyEstimator(profile, profile.search_space)
    except SubditError as error:
        yield "prediction", f"none: {error}"
        if not profile.components:
            for entry in profile.whole:
                yield "", f"{entry.spec}: {entry.latency.latency_ms:g} ms"
        return
    if estimator.error is None or estimator.plain_error is None or estimator.whole_model is None:
        yield "calibration", "none: latencies are plain sums of components"
        if estimator.assumed is not None:
            yield "", estimator.assumed.statement()
        return
    rest = "the parts as what is expected" if profile.components else "no parts"
    yield "fit", f"to {len(profile.whole)} whole sub-DiTs, {rest}; of each tenth left out in turn:"
    yield from _errors(estimator.error, estimator.plain_error, "what is expected")
    for sentence in estimator.whole_model.fit.drift.statement():
        yield "", sentence


def _errors(error: ErrorReport, plain: ErrorReport, plain_label: str) -> Facts:
    yield "", f"mean error {percent(error.mean)}, worst {percent(error.worst)}, bias {100 * error.bias:+.1f} %"
    shares = f"within 5 %: {100 * error.within_5_percent:.0f} %, within 10 %: {100 * error.within_10_percent:.0f} %"
    yield "", f"{shares}, tau {error.kendall_tau:.3f}"
    if error.noise_floor is not None:
        yield "", f"of that noise alone: mean {percent(error.noise_floor)}, as measurements do not repeat themselves"
    yield "", f"{plain_label}: mean {percent(plain.mean)}, worst {percent(plain.worst)}, tau {plain.kendall_tau:.3f}"


def _estimator(profile: DeviceProfile) -> LatencyEstimator | None:
    from device_profiles import LatencyEstimator

    try:
        return LatencyEstimator(profile, profile.search_space)
    except SubditError:
        return None


def _echo_table(heading: str, rows: list[tuple[str, Latency]]) -> None:
    if not rows:
        return
    click.echo()
    echo_table(
        (heading, "latency, ms", "low", "high", "rounds"),
        [
            (name, f"{found.latency_ms:.5f}", f"{found.low_ms:.5f}", f"{found.high_ms:.5f}", str(found.rounds))
            for name, found in rows
        ],
    )
