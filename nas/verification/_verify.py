"""Verify and correct: measure the most promising, let the table learn from it, and search again.

What is measured here is the latency of whole exported sub-DiTs. Their ratios to the predictions correct the estimator:
one factor for all (the machine is faster or slower now, or sums are wrong alike), and what is left over as a smooth
function of the architecture, as far as measurements left out support it. Quality is not measured anew.
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

from nas._config import Budget
from nas._costs import LatencySource
from nas._feasible_region import find_feasible_region
from nas._feasible_region import out_of_reach
from nas._loop import run_search
from nas._results import SearchResult
from nas._results import TrialRow
from nas._results import keep_profiles
from nas._results import pick_name
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
"""Against the sum of squares of the measured sub-DiTs' columns; the first leaves one factor and nothing else."""
CORRECTION_FILE = "correction.json"
_FEWEST = 3
"""Measurements below which there is no telling a tendency from chance."""


def correct(
    space: SearchSpace, source: LatencySource, encoded: EncodedSpecs, measured_ms: Floats
) -> CorrectedLatencies:
    """A source that has learned from latencies measured of specs (n, dimensions), n >= 1.

    How far a tendency is believed, and what is left over, say predictions of each measured spec from all others
    (leave-one-out, in closed form by scikit-learn's RidgeCV): with more columns than measurements a fit is near to what
    it was fitted on whatever that is worth. The interval is Student's t. What is left over is never less than what one
    does not know of the common factor: what the source says that each sub-DiT is off by for itself, over the root of
    the number of measurements. What it says that all are off by alike, the factor replaces.
    """
    from device_profiles import CorrectedLatencies
    from device_profiles import half_apart_ms
    from device_profiles import t_95

    plain = source.estimate(encoded)
    latency_ms = np.asarray(plain.latency_ms)
    ratio = np.log(measured_ms / latency_ms)
    count = len(ratio)
    columns = spec_features(space, encoded).astype(np.float64)
    middle = columns.mean(axis=0)
    slopes, left = np.zeros(columns.shape[1]), 0.0
    if count >= _FEWEST and columns.shape[1]:
        from sklearn.linear_model import RidgeCV

        # The first of equals is taken, so the cautious ones come first.
        model: Any = RidgeCV(alphas=RIDGES, store_cv_results=True).fit(columns - middle, ratio)
        slopes, left = np.asarray(model.coef_), float(model.cv_results_.mean(axis=0).min())
    elif count > 1:
        left = float(np.mean(np.square((ratio - ratio.mean()) * count / (count - 1))))
    own = float(np.mean(half_apart_ms(plain) / latency_ms))
    # One measurement has no spread of its own.
    spread = t_95(count - 1) * np.sqrt(left) if count > 1 else 0.0
    left_over = max(spread, own / np.sqrt(count))
    return CorrectedLatencies(space, source, float(ratio.mean()), middle, slopes, float(left_over))


def verify_search(
    run: Run,
    first: SearchResult,
    asked: SearchProblem,
    *,
    count: int,
    pick_at: Mapping[str, float] | None,
    progress: ProgressCallback,
    allow_noisy: bool = False,
    measure: Measure | None = None,
    budget_s: float = 60.0,
) -> SearchResult:
    """Measure `count` of the front's sub-DiTs, search again as NAME-verified, and say how wrong the first front was.

    Writes searches/NAME-verified/, with the profiles and with what corrects the first of them in correction.json, and
    searches/NAME/verify.json: what was measured before the second search, so that it is kept whatever becomes of
    that, and all of it last. `measure` measures specs by name; by default they are exported with inherited weights and
    run here, which needs the profile to be of this machine. Raises `SearchError` where it is not, or where what was
    measured is not to be believed and `allow_noisy` is not given, so that it is kept but corrects nothing;
    `InfeasibleError` where by the corrected table no sub-DiT keeps the limits. A pick at a value that is now out of
    reach is left out and named in `missed_picks` of the config.
    """
    profile = asked.profiles[0]
    chosen = most_promising(first, count)
    if measure is None:
        check_same_machine(profile)
        measure = lambda specs: measure_exported(run, specs, profile, budget_s=budget_s, progress=progress)  # noqa: E731
    found = measure({row.spec.hash: row.spec for row in chosen})
    space = asked.tables.space
    encoded = space.encode([row.spec for row in chosen])
    # The profile holds for the machine as it was; how much slower its reference kernel is now is none of the table's.
    slower = _slower(profile, found)
    doubted = doubts(found, slower)
    found = {name: _at_speed(one, slower) for name, one in found.items()}
    measured = np.asarray([found[row.spec.hash].latency_ms for row in chosen])
    corrected = correct(space, asked.tables.latencies, encoded, measured)
    tables = asked.with_latencies(corrected)
    said = measured_report(chosen, found, corrected, asked, machine_slower=slower, doubted=doubted)
    said |= {KEY: first.config.get(KEY, NO_PART)}
    file = write_json(first.folder / "verify.json", said)
    if doubted and not allow_noisy:
        raise SearchError(
            f"The search is finished, but what was measured of its front is not to be believed ({'; '.join(doubted)}), "
            f"so it stands in {file} and corrected nothing; give --verify again with --resume when the machine is at "
            "rest, measure its profile anew, or correct all the same with --allow-noisy."
        )
    try:
        gone = out_of_reach(find_feasible_region(tables), pick_at or {})
    except InfeasibleError as error:
        raise InfeasibleError(f"By the table as corrected in {file}: {error}") from None
    name = f"{first.folder.name}-verified"
    config = first.config
    second = run_search(
        run,
        name,
        tables,
        asked.proxies,
        asked.question,
        Budget(int(config["budget"]["trials"]), config["budget"]["budget_s"]),
        pick_at={figure: value for figure, value in (pick_at or {}).items() if figure not in gone},
        # What was measured this time is another question than what was measured last time.
        force=True,
        progress=progress,
    )
    said = report(said, first, second, tables, asked.question)
    # All that a reader of the second search needs to predict as it did; the first one may be replaced.
    keep_profiles(second.folder, asked.profiles)
    learned = {KEY: said[KEY], "first_search": first.folder.name, "latency_hash": second.config["latency_hash"]}
    write_json(second.folder / CORRECTION_FILE, {**learned, "correction": corrected.to_dict(), "verified": said})
    write_json(file, said)
    missed = {pick_name(figure, (pick_at or {})[figure]): why for figure, why in gone.items()}
    missed = {**second.config.get("missed_picks", {}), **missed}
    return dataclasses.replace(second, config={**second.config, "verified": said, "missed_picks": missed})


def _slower(profile: DeviceProfile, found: Mapping[str, Measurement]) -> float:
    before = profile.conditions.reference_ms
    return float(np.median([one.reference_ms for one in found.values()]) / before) if before else 1.0


def _at_speed(measured: Measurement, slower: float) -> Measurement:
    scaled_to = {name: getattr(measured, name) / slower for name in ("latency_ms", "low_ms", "high_ms")}
    return dataclasses.replace(measured, **scaled_to)


def most_promising(result: SearchResult, count: int) -> list[TrialRow]:
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
    from profilers import measure_models
    from subdit.core.weights import supernet_digest
    from supernet.checkpoints import load_supernet_of
    from supernet.export.exporter import export_sub_dit
    from supernet.recipe import read_recipe

    paths: dict[str, Path] = {}
    supernet, digest = None, supernet_digest(run.supernet)
    for at, (name, spec) in enumerate(specs.items()):
        path = run.pick(spec.hash) / "verify" / "dit.onnx"
        # The card is written last, so an export that has one is whole; one of other weights is of no more use.
        if not path.exists() or origin(path) != digest:
            supernet = supernet or load_supernet_of(run.supernet, digest)
            path.with_suffix(".json").unlink(missing_ok=True)
            recipe = read_recipe(run.supernet)[0]
            export_sub_dit(supernet.extract(spec), path, recipe=recipe, force=True, supernet=digest)
        paths[name] = path
        progress(at + 1, len(specs), "exporting what is to be measured")
    return measure_models(
        paths, runtime=profile.runtime, threads=profile.threads, budget_s=budget_s, progress=progress
    )  # fmt: skip
