"""The device in the report: its profile's facts, and the errors of predicted latencies of whole sub-DiTs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles import DeviceProfile
from device_profiles import ErrorReport
from device_profiles import LatencyEstimator
from device_profiles import ran_where
from reports._figures import Line
from reports._figures import percent
from subdit.core.errors import ProfileError
from subdit.core.errors import SpaceError
from subdit.results import Trial


@dataclass(frozen=True)
class Fact:
    """A heading and what is known under it."""

    heading: str
    value: str


def device_facts(profile: DeviceProfile) -> list[Fact]:
    on, noise = profile.conditions, profile.noise
    facts = [
        Fact("profile", profile.id),
        Fact("provenance", profile.provenance),
        Fact("source", profile.source),
        Fact("measured at", on.measured_at),
        Fact("machine", on.machine),
        Fact("processor", f"{on.cpu}, {on.cores} cores" if on.cores else on.cpu),
        Fact("system", on.os),
        Fact("runtime", f"{profile.runtime} {on.runtime_version}".strip()),
        Fact(
            "precision", profile.precision + (f", in {profile.compute_precision}" if profile.compute_precision else "")
        ),
        Fact("threads", str(profile.threads)),
        Fact("ran where", ran_where(profile)),
        Fact("frequency governor", on.governor),
        Fact("load average", "" if on.load_average is None else f"{on.load_average:.2f}"),
        Fact("components", f"{len(profile.components)}, kit {profile.kit_hash}"),
    ]
    if noise is not None:
        facts += [
            Fact("95 % interval of a component", f"± {percent(noise.component_ci)}, median"),
            Fact("95 % interval of a whole sub-DiT", f"± {percent(noise.whole_ci)}, median"),
            Fact("halves of the measurement differ by", f"± {percent(noise.split)}, one standard deviation"),
            Fact("accepted up to", f"± {percent(noise.limit)}; {'not ' if profile.noisy else ''}kept"),
            Fact("drift, removed by the reference kernel", percent(noise.drift)),
            Fact("attempts", str(noise.attempts)),
        ]
    return [fact for fact in facts if fact.value]


@dataclass(frozen=True)
class Predictor:
    """How latencies were predicted, and how far sub-DiTs left out of the fit were off with it and without.

    Attributes:
        form: of the calibration; empty where latencies come from a fit to whole sub-DiTs.
        plain_label: what `plain` are the errors of.
    """

    form: str
    error: ErrorReport
    plain: ErrorReport
    plain_label: str


def read_predictor(profile: DeviceProfile) -> Predictor | None:
    """None where no whole sub-DiT was measured, or the profile predicts none."""
    try:
        estimator = LatencyEstimator(profile, profile.search_space)
    except (ProfileError, SpaceError):
        return None
    if estimator.error is None or estimator.plain_error is None:
        return None
    if estimator.whole_model is None:
        form = profile.calibration.form if profile.calibration else ""
        return Predictor(form, estimator.error, estimator.plain_error, "plain sum of components")
    plain = "calibrated sum of components" if profile.components else "by FLOPs and weights alone"
    return Predictor("", estimator.error, estimator.plain_error, plain)


def interval_statement(profile: DeviceProfile, trials: Sequence[Trial]) -> str:
    """What the trials' intervals mean where no whole sub-DiT was measured on the device; else empty."""
    try:
        assumed = LatencyEstimator(profile, profile.search_space).assumed
    except (ProfileError, SpaceError):
        return ""
    if assumed is None:
        return ""
    least = math.exp(assumed.mean + assumed.half) * (1 - 1e-6)
    if all(trial.latency_high_ms >= least * trial.latency_ms for trial in trials):
        return assumed.statement()
    return (
        "No whole sub-DiT was measured, and this search is of an earlier version: its intervals cover the noise of the "
        "components alone, and not the error of their sum; search again."
    )


def error_lines(predictor: Predictor) -> list[Line]:
    both = (predictor.error, predictor.plain)
    floor = both[0].noise_floor
    noise = [] if floor is None else [Line("of that noise alone", (percent(floor), ""))]
    return [
        Line("mean absolute error", tuple(percent(error.mean) for error in both)),
        *noise,
        Line("worst error", tuple(percent(error.worst) for error in both)),
        Line("bias", tuple(percent(error.bias, sign=True) for error in both)),
        Line("predicted within 5 %", tuple(percent(error.within_5_percent, decimals=0) for error in both)),
        Line("predicted within 10 %", tuple(percent(error.within_10_percent, decimals=0) for error in both)),
        Line("rank agreement (Kendall's tau)", tuple(f"{error.kendall_tau:.3f}" for error in both)),
    ]
