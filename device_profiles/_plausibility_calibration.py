"""Whether a calibration is the fit to its own whole sub-DiTs, with the errors that it states.

A fit follows from the table, the whole sub-DiTs and the name of its form, all of which are in the file. So no figure of
a calibration is taken on trust: the fit and its leave-one-out errors are computed again and compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from device_profiles._calibration import MIN_WHOLE
from device_profiles._calibration import refit_calibration
from device_profiles._estimator import LatencyEstimator
from device_profiles._finding import Finding
from device_profiles._finding import ms
from device_profiles._finding import percent
from device_profiles._profile import Calibration
from device_profiles._profile import DeviceProfile
from device_profiles._profile import ErrorReport
from device_profiles._statistics import Z_95
from device_profiles._table import component_work
from device_profiles._table import read_table
from subdit.core.errors import SpecError
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_params

Floats = npt.NDArray[np.float64]

# Smallest and largest factor on the latencies of a kind.
_FACTORS = (0.2, 5.0)
# Standard errors by which a calibration may miss the whole sub-DiTs that it was fitted on.
_MISSES = 4.0
# Linear algebra rounds differently between machines, by 1e-13 on shipped profiles; stated figures are 1e-3 and more.
_ROUNDING = 1e-6
# Earlier versions expanded the quantiles of Student's t, which were too small by up to this fraction.
_EARLIER_T = 0.01

_REPORTS = {"error": "each sub-DiT left out in turn", "uncalibrated_error": "plain sums"}
_FIELDS = ("bias", "mean", "worst", "within_5_percent", "within_10_percent", "kendall_tau", "noise_floor")


def report_findings(profile: DeviceProfile) -> Iterator[Finding]:
    """Error reports of a calibration whose figures contradict each other, or the number of its sub-DiTs."""
    if profile.calibration is None:
        return
    for label in _REPORTS:
        report: ErrorReport = getattr(profile.calibration, label)
        for problem in _contradictions(report, len(profile.calibration.whole)):
            yield Finding("calibration", f"The calibration's {label} contradicts itself: {problem}.")


def _contradictions(report: ErrorReport, whole: int) -> Iterator[str]:
    if report.samples != whole:
        yield f"it is of {report.samples} samples, and there are {whole} whole sub-DiTs"
    if report.mean > report.worst + _ROUNDING:
        yield f"the mean, {_figure(report.mean)}, is above the worst, {_figure(report.worst)}"
    if abs(report.bias) > report.mean + _ROUNDING:
        yield f"the bias, {_figure(report.bias)}, is farther from 0 than the mean, {_figure(report.mean)}"
    if report.within_5_percent > report.within_10_percent + _ROUNDING:
        yield (
            f"{_figure(report.within_5_percent)} are within 5 %, and only {_figure(report.within_10_percent)} within "
            "10 %"
        )
    for fraction, limit in ((report.within_5_percent, 0.05), (report.within_10_percent, 0.10)):
        all_within = fraction >= 1 - _ROUNDING
        # At the limit itself, rounding decides.
        if all_within != (report.worst <= limit) and abs(report.worst - limit) > _ROUNDING:
            yield f"{_figure(fraction)} are within {100 * limit:.0f} %, and the worst is off by {_figure(report.worst)}"


def calibration_findings(profile: DeviceProfile, space: SearchSpace) -> Iterator[Finding]:
    """A calibration that cannot be applied, is absurd, or is not what its own whole sub-DiTs say.

    Asks for a table without gaps.
    """
    calibration = profile.calibration
    if calibration is None:
        return
    if not profile.components:
        yield Finding("calibration", "The profile has a calibration, but no table of components that it corrects.")
        return
    components = [component for component in all_components(space) if component.name in profile.components]
    kinds = sorted({component.kind for component in components})
    if missing := [kind for kind in kinds if kind not in calibration.factors]:
        yield Finding("calibration", f"The calibration has no factor for {', '.join(missing)}.")
        return
    for kind in kinds:
        if not _FACTORS[0] <= calibration.factors[kind] <= _FACTORS[1]:
            yield Finding(
                "calibration",
                f"The calibration multiplies {kind} with {calibration.factors[kind]:.3g}; {_FACTORS[0]:g} to "
                f"{_FACTORS[1]:g} is believable.",
            )
    for component in components:
        plain = profile.latency_ms[component.name]
        weights_ms = calibration.per_million_params_ms * component_params(space, component) / 1e6
        corrected = calibration.factors[component.kind] * plain + calibration.per_run_ms + weights_ms
        if corrected <= 0:
            yield Finding(
                "calibration",
                f"The calibration turns the {ms(plain)} of {component.name} into {ms(corrected)}; none may "
                "be 0 or less.",
                (component.name,),
            )
    try:
        encoded = space.encode([entry.spec for entry in calibration.whole])
    except SpecError as error:
        yield Finding("calibration", f"The calibration has a sub-DiT that is none of the space: {error}")
        return
    estimator = LatencyEstimator(replace(profile, whole=()), space)
    covered = estimator.covers(encoded).tolist()
    for entry, is_covered in zip(calibration.whole, covered, strict=True):
        if not is_covered:
            yield Finding(
                "calibration",
                f"The calibration has the sub-DiT '{entry.spec}', of which the table lacks components.",
            )
    if not all(covered):
        return
    yield from _misses(calibration, estimator, encoded)
    yield from _refit_findings(profile, calibration, space, encoded)


def _misses(calibration: Calibration, estimator: LatencyEstimator, encoded: EncodedSpecs) -> Iterator[Finding]:
    estimate = estimator.estimate(encoded)
    for entry, predicted in zip(calibration.whole, estimate.latency_ms.tolist(), strict=True):
        measured = entry.latency
        # It was left out when the worst error was found, and not when this fit was made, so this fit is no farther off.
        allowed = _MISSES * float(np.hypot(calibration.relative_error, measured.relative_ci)) / Z_95
        allowed = max(allowed, calibration.error.worst)
        off = predicted / measured.latency_ms - 1
        if abs(off) > allowed + 1e-9:
            yield Finding(
                "calibration",
                f"The calibration predicts {ms(predicted)} for '{entry.spec}', which took "
                f"{ms(measured.latency_ms)}: {100 * off:+.1f} %, and by its own figures at most "
                f"+-{percent(allowed)}.",
            )


def _refit_findings(
    profile: DeviceProfile, stated: Calibration, space: SearchSpace, encoded: EncodedSpecs
) -> Iterator[Finding]:
    """Where the same fit to the same sub-DiTs gives other numbers than the profile states."""
    for spec, times in Counter(entry.spec for entry in stated.whole).items():
        if times > 1:
            # Left out, it would still be in the fit.
            yield Finding("calibration", f"The calibration has the whole sub-DiT '{spec}' {times} times.")
    if len(stated.whole) < MIN_WHOLE:
        yield Finding(
            "calibration", f"The calibration has {len(stated.whole)} whole sub-DiTs; it needs at least {MIN_WHOLE}."
        )
        return
    components = all_components(space)
    component_ms = read_table(profile, space).plain_ms
    counts = component_counts(space, encoded).astype(np.float64)
    params = component_work(space)[:, 1]
    split = profile.noise.split if profile.noise else 0.0
    try:
        made = refit_calibration(
            stated.form, components, component_ms, counts, stated.whole, params=params, split=split
        )
    except np.linalg.LinAlgError:
        yield Finding("calibration", "The calibration's whole sub-DiTs are such that no fit can be made of them.")
        return
    except ValueError:
        yield Finding(
            "calibration", f"The calibration's form {stated.form!r} is not known here, so its errors cannot be found."
        )
        return
    plain_ms = counts @ component_ms
    for label, how in _REPORTS.items():
        doubt = _tied(plain_ms) if label == "uncalibrated_error" else 0.0
        yield from _report_findings(label, how, getattr(stated, label), getattr(made, label), doubt)
    if abs(stated.relative_error - made.relative_error) > _ROUNDING + _EARLIER_T * made.relative_error:
        yield Finding(
            "calibration",
            f"The calibration states a relative_error of {_figure(stated.relative_error)}, and from sub-DiTs left out "
            f"of it comes {_figure(made.relative_error)}.",
        )
    # By what each number adds to the mean component or sub-DiT.
    runs, millions = counts.sum(axis=1), counts @ params / 1e6
    numbers = {
        f"factor of {kind}": (stated.factors[kind], made.factors[kind], 1.0)
        for kind in made.factors & stated.factors.keys()
    }
    for name, most in (("per_run_ms", runs), ("per_million_params_ms", millions), ("fixed_ms", np.ones(len(runs)))):
        numbers[name] = (getattr(stated, name), getattr(made, name), float(np.mean(most) / np.mean(plain_ms)))
    for name, (said, found, weight) in numbers.items():
        if abs(said - found) * weight > _ROUNDING:
            yield Finding(
                "calibration", f"The calibration's {name} is {said:.6g}, and a fit to its sub-DiTs gives {found:.6g}."
            )


def _report_findings(label: str, how: str, stated: ErrorReport, made: ErrorReport, doubt: float) -> Iterator[Finding]:
    """`doubt`: by how much tau may be off because rounding breaks ties."""
    for name in _FIELDS:
        said, found = getattr(stated, name), getattr(made, name)
        if said is None or _is_near(said, found, doubt if name == "kendall_tau" else 0.0):
            continue
        yield Finding(
            "calibration",
            f"The calibration states {label}.{name} as {said:.6g}, and its whole sub-DiTs give {found:.6g} ({how}).",
        )


def _tied(plain_ms: Floats) -> float:
    """What tau may change by where sums that are equal are not so to the last bit.

    They are equal where Down and Up of one sub-DiT are Up and Down of another. A pair counts once for the signs and
    half for each of two scales.
    """
    first, second = np.triu_indices(len(plain_ms), k=1)
    return 2 * float(np.mean(np.isclose(plain_ms[first], plain_ms[second], rtol=1e-9, atol=0.0)))


def _is_near(said: float, found: float, doubt: float = 0.0) -> bool:
    return abs(said - found) <= _ROUNDING * max(1.0, abs(found)) + doubt


def _figure(fraction: float) -> str:
    return f"{100 * fraction:.4g} %"
