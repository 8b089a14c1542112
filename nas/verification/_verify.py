"""Verify and correct: measure the most promising sub-DiTs, correct the latencies by them, and search again.

Whole exported sub-DiTs are measured here. The ratios of measured to predicted latencies correct the estimator: by one
factor for all sub-DiTs (the machine is now faster or slower, or all sums are wrong alike), and by a linear function of
the architecture, as far as cross-validation supports it. Quality is not evaluated again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import numpy.typing as npt

from nas._costs import LatencySource
from nas._feasible_region import find_feasible_region
from nas._feasible_region import out_of_reach
from nas._loop import run_search
from nas._picks import pick_name
from nas.verification._report import doubts
from nas.verification._report import measured_report
from nas.verification._report import report
from nas.verification._same_machine import check_same_machine
from subdit.core.errors import InfeasibleError
from subdit.core.errors import SearchError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import NO_PART
from subdit.core.origin import origin
from subdit.core.progress import ProgressCallback
from subdit.core.run import Run
from subdit.results import SearchResult
from subdit.results import Trial
from subdit.space import EncodedSpecs
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import spec_features

if TYPE_CHECKING:
    from device_profiles import CorrectedLatencies
    from device_profiles import DeviceProfile
    from nas._problem import SearchProblem
    from profilers import Measurement

Floats = npt.NDArray[np.float64]
Measure = Callable[[Mapping[str, SubDiTSpec]], Mapping[str, "Measurement"]]

RIDGES = (1e4, *np.logspace(3, -2, 11).tolist())
"""Penalties, next to the sum of squares of the measured sub-DiTs' features; with the first only the factor is left."""
CORRECTION_FILE = "correction.json"
_FEWEST = 3
"""Measurements below which a dependence on the architecture is not fitted."""


def correct(
    space: SearchSpace, source: LatencySource, encoded: EncodedSpecs, measured_ms: Floats
) -> CorrectedLatencies:
    """A latency source corrected by measured latencies (n,) in milliseconds of specs (n, dimensions), n >= 1.

    Ridge regression of the logarithm of measured over predicted latency on `spec_features`. Leave-one-out error
    (scikit-learn's RidgeCV) chooses the penalty and gives the residual: with more features than measurements, the
    error on the fitted measurements themselves tells nothing. The interval is Student's t. The residual is at least the
    uncertainty of the common factor: each sub-DiT's own error by the source, over the root of the number of
    measurements. The source's error that all sub-DiTs share is replaced by the factor.
    """
    from device_profiles import CorrectedLatencies
    from device_profiles import half_apart_ms
    from device_profiles import t_95

    plain = source.estimate(encoded)
    latency_ms = np.asarray(plain.latency_ms)
    ratio = np.log(measured_ms / latency_ms)
    count = len(ratio)
    features = spec_features(space, encoded).astype(np.float64)
    mean = features.mean(axis=0)
    slopes, variance = np.zeros(features.shape[1]), 0.0
    if count >= _FEWEST and features.shape[1]:
        from sklearn.linear_model import RidgeCV

        # Of equal errors the first is taken, so the largest penalties come first.
        model: Any = RidgeCV(alphas=RIDGES, store_cv_results=True).fit(features - mean, ratio)
        slopes, variance = np.asarray(model.coef_), float(model.cv_results_.mean(axis=0).min())
    elif count > 1:
        variance = float(np.mean(np.square((ratio - ratio.mean()) * count / (count - 1))))
    own = float(np.mean(half_apart_ms(plain) / latency_ms))
    # One measurement has no standard deviation.
    half_width = t_95(count - 1) * np.sqrt(variance) if count > 1 else 0.0
    residual = max(half_width, own / np.sqrt(count))
    return CorrectedLatencies(space, source, float(ratio.mean()), mean, slopes, float(residual))


def verify_search(
    run: Run,
    first: SearchResult,
    problem: SearchProblem,
    *,
    progress: ProgressCallback,
    measure: Measure | None = None,
    budget_s: float = 60.0,
) -> SearchResult:
    """Measure sub-DiTs of the front, as many as `config.verify`, and search again by the corrected latencies.

    Writes searches/NAME-verified/, with the profiles and with the correction of the first in correction.json, and
    searches/NAME/verify.json: the measurements before the second search starts, so that they are kept if it fails, and
    the whole report at the end. `measure` measures specs by name; by default they are exported with inherited weights
    and run here, which needs the profile to be of this machine.

    Raises `SearchError` where it is not, or where the measurements cannot be trusted and `config.allow_noisy` is not
    given: then they are kept and correct nothing. Raises `InfeasibleError` where by the corrected latencies no sub-DiT
    keeps the constraints. A pick at a value that is now out of reach is left out and named in `missed_picks` of the
    config.
    """
    profile, config = problem.profiles[0], problem.config
    chosen = most_promising(first, config.verify)
    if measure is None:
        check_same_machine(profile)
        measure = lambda specs: measure_exported(run, specs, profile, budget_s=budget_s, progress=progress)  # noqa: E731
    found = measure({row.spec.hash: row.spec for row in chosen})
    space = problem.tables.space
    encoded = space.encode([row.spec for row in chosen])
    # The profile is of the machine as it was, so a reference kernel that is slower now is no error of the profile.
    slower = _slower(profile, found)
    doubted = doubts(found, slower)
    found = {name: _at_speed(one, slower) for name, one in found.items()}
    measured = np.asarray([found[row.spec.hash].latency_ms for row in chosen])
    corrected = correct(space, problem.tables.latencies, encoded, measured)
    said = measured_report(chosen, found, corrected, problem, reference_kernel_ratio=slower, doubted=doubted)
    problem = problem.with_latencies(corrected)
    said |= {KEY: first.config.get(KEY, NO_PART)}
    file = write_json(first.folder / "verify.json", said)
    if doubted and not config.allow_noisy:
        raise SearchError(
            f"The search is finished, but what was measured of its front is not to be believed ({'; '.join(doubted)}), "
            f"so it is kept in {file} and corrects nothing; give --verify again with --resume when the machine is at "
            "rest, measure its profile again, or correct all the same with --allow-noisy."
        )
    try:
        gone = out_of_reach(find_feasible_region(problem.tables), config.pick_at)
    except InfeasibleError as error:
        raise InfeasibleError(f"By the table as corrected in {file}: {error}") from None
    name = f"{first.folder.name}-verified"
    reachable = {figure: value for figure, value in config.pick_at.items() if figure not in gone}
    problem = dataclasses.replace(problem, config=dataclasses.replace(config, pick_at=reachable))
    # With force: other measurements make another search of the same name.
    second = run_search(run, name, problem, force=True, progress=progress)
    said = report(said, first, second, problem)
    # With these a reader predicts as the second search did, even when the first one is replaced.
    problem.save_profiles(second.folder)
    learned = {KEY: said[KEY], "first_search": first.folder.name, "latency_hash": second.config["latency_hash"]}
    write_json(second.folder / CORRECTION_FILE, {**learned, "correction": corrected.to_dict(), "verified": said})
    write_json(file, said)
    missed = {pick_name(figure, config.pick_at[figure]): why for figure, why in gone.items()}
    missed = {**second.config.get("missed_picks", {}), **missed}
    return dataclasses.replace(second, config={**second.config, "verified": said, "missed_picks": missed})


def _slower(profile: DeviceProfile, found: Mapping[str, Measurement]) -> float:
    before = profile.conditions.reference_ms
    return float(np.median([one.reference_ms for one in found.values()]) / before) if before else 1.0


def _at_speed(measured: Measurement, slower: float) -> Measurement:
    scaled_to = {name: getattr(measured, name) / slower for name in ("latency_ms", "low_ms", "high_ms")}
    return dataclasses.replace(measured, **scaled_to)


def most_promising(result: SearchResult, count: int) -> list[Trial]:
    """The picks, then the points of the front that lie farthest from those chosen, by logarithm of latency."""
    front = list(result.front)
    picked = [row for row in front if row.spec in {pick.spec for pick in result.picks.values()}]
    chosen = picked[:count]
    while len(chosen) < min(count, len(front)):
        left = [row for row in front if row not in chosen]
        taken = np.log([row.latency_ms for row in chosen])
        chosen.append(max(left, key=lambda row: float(np.abs(np.log(row.latency_ms) - taken).min())))
    return sorted(chosen, key=lambda row: row.latency_ms)


def measure_exported(
    run: Run, specs: Mapping[str, SubDiTSpec], profile: DeviceProfile, *, budget_s: float, progress: ProgressCallback
) -> Mapping[str, Measurement]:
    """Export specs with the supernet's weights into picks/SPEC_HASH/verify/ and measure them side by side."""
    from profilers import export_checked
    from profilers import get_runtime
    from profilers import measure_models
    from profilers import sub_dit_model
    from subdit.core.weights import supernet_digest
    from supernet.checkpoints import load_supernet_of

    runtime = get_runtime(profile.runtime, precision=profile.precision)
    paths: dict[str, Path] = {}
    supernet, digest = None, supernet_digest(run.supernet)
    for index, (name, spec) in enumerate(specs.items()):
        folder = run.pick(spec.hash) / "verify" / f"{runtime.name}-{runtime.precision}"
        paths[name], origin_file = folder / f"dit{runtime.suffix}", folder / "origin.json"
        # It is written last, so an export that has one is whole; one of other weights is of no more use.
        if not paths[name].exists() or origin(origin_file) != digest:
            supernet = supernet or load_supernet_of(run.supernet, digest)
            origin_file.unlink(missing_ok=True)
            export_checked(runtime, sub_dit_model(supernet.extract(spec)), paths[name])
            write_json(origin_file, {KEY: digest})
        progress(index + 1, len(specs), "exporting what is to be measured")
    return measure_models(
        paths,
        runtime=runtime.name,
        precision=runtime.precision,
        threads=profile.threads,
        budget_s=budget_s,
        progress=progress,
    )
