"""How often 95 % intervals of predicted latencies hold what was measured, on all timings that are stored.

    python benchmarks/interval_coverage.py

Two kinds of stored timings are judged. *Held out*: the sub-DiTs that `benchmarks/latency_accuracy.py` measured in the
same rounds as a kit and that no fit has seen. *Left out*: the whole sub-DiTs of the shipped profiles, each predicted by
a fit to the others of its profile. Each is predicted

- with whole measurements: by the calibration or the fit that the profile is used with;
- without: by the table alone, with what is assumed of plain sums. What is assumed is found anew for each profile, from
  all profiles but those of the same runtime and space, so that no profile is judged by what it has told.

Prints coverage with its exact binomial (Clopper-Pearson) 95 % interval, and the figures that `device_profiles` has as
`ASSUMED`; writes benchmarks/results/interval_coverage.txt and .json. Exit code 1 where coverage of all held-out
sub-DiTs together, with or without whole measurements, is outside 90 to 98 %, or `ASSUMED` is not what is found. Takes
a quarter of a minute of processor time, for the fits to whole sub-DiTs.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_profiles import ASSUMED
from device_profiles import MIN_WHOLE
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import Noise
from device_profiles import PlainSums
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from device_profiles import read_profile
from subdit.core.files import read_json
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.space import SubDiTSpec
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_params

RESULTS = Path(__file__).parent / "results"
SHIPPED = Path(__file__).parents[1] / "device_profiles" / "shipped"
ASKED = (0.90, 0.98)
_FOLDS = 10
HELD_OUT, LEFT_OUT = "held out", "left out"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """A profile with its table, and whole sub-DiTs that were measured beside it.

    Attributes:
        profile: as it is used, with its calibration or the whole sub-DiTs that latencies are predicted from.
        judged: sub-DiTs to predict; for `LEFT_OUT` those of the profile itself.
        kind: `HELD_OUT` or `LEFT_OUT`.
    """

    profile: DeviceProfile
    judged: tuple[WholeLatency, ...]
    kind: str

    @property
    def name(self) -> str:
        return f"{self.profile.id.split('/', 1)[1]} {self.profile.space}"

    @property
    def group(self) -> tuple[str, str]:
        return self.profile.runtime, self.profile.space

    @property
    def fitted_on(self) -> tuple[WholeLatency, ...]:
        return self.profile.calibration.whole if self.profile.calibration else self.profile.whole

    @property
    def measured_ms(self) -> Floats:
        return np.asarray([entry.latency.latency_ms for entry in self.judged])

    def log_ratio(self) -> Floats:
        """log(measured / plain sum) of what is judged."""
        space = self.profile.search_space
        plain = LatencyEstimator(_table_alone(self.profile), space).estimate_uncalibrated(
            space.encode([entry.spec for entry in self.judged])
        )
        return np.log(self.measured_ms / plain)


@dataclass(frozen=True)
class Judged:
    """Of each sub-DiT of a profile whether the interval held it, and half the interval over the latency."""

    held: npt.NDArray[np.bool_]
    half: Floats


def stored_timings() -> list[Stored]:
    """Everything that is stored, held-out sub-DiTs first."""
    found = []
    for path in sorted(RESULTS.glob("latency_accuracy_*.json")):
        result = read_json(path, "result")
        if "held_out" in result:
            found.append(_from_benchmark(result))
    for path in sorted(SHIPPED.glob("*.json")):
        profile = read_profile(path)
        whole = profile.calibration.whole if profile.calibration else profile.whole
        if profile.components and whole:
            found.append(Stored(profile, whole, LEFT_OUT))
    return found


def _from_benchmark(result: Mapping[str, Any]) -> Stored:
    """The profile of an accuracy benchmark, of which all but the components' intervals is stored."""
    runtime = result["runtime"]
    bare = DeviceProfile(
        device=result["profile"].split("/")[0],
        runtime=runtime,
        precision="fp32",
        threads=1,
        space=result["space"],
        kit_hash="0" * 16,
        provenance="measured",
        noisy=result["profile_noisy"],
        components={name: Latency(ms, ms, ms) for name, ms in result["components_ms"].items()},
        conditions=Conditions(**result["conditions"]),
        noise=Noise(**result["profile_noise"]),
    )
    whole = tuple(_whole(row, row["ci"]) for row in result["calibrated_on"])
    by_fit = result["predicted_by"].startswith("fitted")
    return Stored(
        refitted(bare, whole, by_fit=by_fit),
        tuple(_whole(row, row["relative_ci"]) for row in result["held_out"]),
        HELD_OUT,
    )


def _whole(row: Mapping[str, Any], ci: float) -> WholeLatency:
    ms = row["measured_ms"]
    return WholeLatency(SubDiTSpec.from_dict(row["spec"]), Latency(ms, ms * (1 - ci), ms * (1 + ci), 1))


def refitted(profile: DeviceProfile, whole: Sequence[WholeLatency], *, by_fit: bool) -> DeviceProfile:
    """The profile predicting from these sub-DiTs: by a fit to them, or by a calibration on them."""
    if by_fit:
        return dataclasses.replace(profile, calibration=None, whole=tuple(whole))
    space = profile.search_space
    components = all_components(space)
    table = np.asarray([profile.latency_ms.get(one.name, 0.0) for one in components])
    counts = component_counts(space, space.encode([entry.spec for entry in whole])).astype(np.float64)
    # Components that a table of small sub-DiTs lacks are in none of its whole ones.
    known = np.asarray([one.name in profile.components for one in components])
    calibration = fit_calibration(
        [one for one, is_known in zip(components, known.tolist(), strict=True) if is_known],
        table[known],
        counts[:, known],
        whole,
        params=np.asarray([component_params(space, one) for one in components], dtype=np.float64)[known],
        split=profile.noise.split if profile.noise else 0.0,
    )
    return dataclasses.replace(profile, calibration=calibration, whole=())


def _table_alone(profile: DeviceProfile) -> DeviceProfile:
    return dataclasses.replace(profile, calibration=None, whole=())


def with_whole(one: Stored) -> Judged | None:
    """None where too few are left to fit to when one is left out."""
    if one.kind == HELD_OUT:
        return judge(LatencyEstimator(one.profile, one.profile.search_space), one.judged)
    by_fit = one.profile.calibration is None
    if len(one.judged) <= MIN_WHOLE:
        return None
    # A fit takes seconds, a calibration none.
    fold = np.arange(len(one.judged)) % (_FOLDS if by_fit else len(one.judged))
    held, half = np.zeros(len(fold), dtype=bool), np.zeros(len(fold))
    for each in range(int(fold.max()) + 1):
        out, rest = (tuple(one.judged[at] for at in np.flatnonzero(which)) for which in (fold == each, fold != each))
        profile = refitted(one.profile, rest, by_fit=by_fit)
        found = judge(LatencyEstimator(profile, profile.search_space), out)
        held[fold == each], half[fold == each] = found.held, found.half
    return Judged(held, half)


def without_whole(one: Stored, everything: Sequence[Stored]) -> Judged:
    """By the table alone, with what other runtimes and spaces say of plain sums."""
    others = assumed_of([other for other in everything if other.group != one.group])
    return judge(LatencyEstimator(_table_alone(one.profile), one.profile.search_space, plain_sums=others), one.judged)


def judge(estimator: LatencyEstimator, entries: Sequence[WholeLatency]) -> Judged:
    """Whether the intervals hold what was measured."""
    estimate = estimator.estimate(estimator.space.encode([entry.spec for entry in entries]))
    measured = np.asarray([entry.latency.latency_ms for entry in entries])
    held = (estimate.low_ms <= measured) & (measured <= estimate.high_ms)
    return Judged(held, (estimate.high_ms - estimate.low_ms) / 2 / estimate.latency_ms)


def assumed_of(everything: Sequence[Stored]) -> PlainSums:
    """What plain sums are off by, from profiles of several runtimes and spaces, each of which counts once."""
    groups: dict[tuple[str, str], list[Floats]] = {}
    for one in everything:
        groups.setdefault(one.group, []).append(one.log_ratio())
    means = [float(np.mean([ratios.mean() for ratios in profiles])) for profiles in groups.values()]
    within = [float(np.mean([ratios.var() for ratios in profiles])) for profiles in groups.values()]
    return PlainSums(
        mean=round(float(np.mean(means)), 3),
        between=round(float(np.std(means, ddof=1)), 3),
        within=round(float(np.sqrt(np.mean(within))), 3),
        groups=len(groups),
    )


def binomial_interval(held: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's exact 95 % interval of a share."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, held, count - held + 1)) if held else 0.0
    return low, float(beta.ppf(0.975, held + 1, count - held)) if held < count else 1.0


def rows_of(everything: Sequence[Stored], of: Callable[[Stored], Judged | None], kind: str) -> list[dict[str, Any]]:
    """One row for each profile of that kind, and one for all together."""
    rows, judged = [], []
    for one in everything:
        if one.kind != kind:
            continue
        found = of(one)
        if found is None:
            rows.append({"profile": one.name, "count": 0})
            continue
        judged.append(found)
        rows.append({"profile": one.name, **_row(found)})
    together = Judged(np.concatenate([one.held for one in judged]), np.concatenate([one.half for one in judged]))
    return [*rows, {"profile": "all together", **_row(together)}]


def _row(judged: Judged) -> dict[str, Any]:
    held, count = int(judged.held.sum()), len(judged.held)
    low, high = binomial_interval(held, count)
    return {
        "count": count,
        "held": held,
        "coverage": held / count,
        "coverage_low": low,
        "coverage_high": high,
        "median_half_width": float(np.median(judged.half)),
    }


def measure() -> dict[str, Any]:
    everything = stored_timings()
    spread = [
        {
            "profile": one.name,
            "kind": one.kind,
            "count": len(one.judged),
            "mean": float(one.log_ratio().mean()),
            "std": float(one.log_ratio().std()),
            "least": float(one.log_ratio().min()),
            "most": float(one.log_ratio().max()),
        }
        for one in everything
    ]
    coverage = {
        f"{kind}, {how}": rows_of(everything, of, kind)
        for kind in (HELD_OUT, LEFT_OUT)
        for how, of in (
            ("with whole measurements", with_whole),
            ("without whole measurements", lambda one: without_whole(one, everything)),
        )
    }
    found = assumed_of(everything)
    pooled = [rows[-1]["coverage"] for name, rows in coverage.items() if name.startswith(HELD_OUT)]
    return {
        "asked": ASKED,
        "coverage": coverage,
        "plain_sums": spread,
        "assumed": dataclasses.asdict(found),
        "assumed_is_stored": found == ASSUMED,
        "machines": sorted({one.profile.conditions.cpu for one in everything}),
        "met": all(ASKED[0] <= share <= ASKED[1] for share in pooled) and found == ASSUMED,
    }


def as_text(result: Mapping[str, Any]) -> str:
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield "Coverage of the 95 % intervals of predicted latencies"
    yield f"timings of {', '.join(result['machines'])}, stored in benchmarks/results and device_profiles/shipped"
    for name, rows in result["coverage"].items():
        yield ""
        yield f"{name:<42}{'n':>5}{'held':>6}{'coverage':>10}  {'95 % of that':<16}{'+- median':>10}"
        for row in rows:
            if not row["count"]:
                yield f"{row['profile']:<42}    -   too few to leave one out"
                continue
            of_that = f"{100 * row['coverage_low']:.1f} to {100 * row['coverage_high']:.1f} %"
            yield (
                f"{row['profile']:<42}{row['count']:>5}{row['held']:>6}{100 * row['coverage']:>8.1f} %  "
                f"{of_that:<16}{100 * row['median_half_width']:>8.1f} %"
            )
    yield ""
    yield f"{'log(measured / plain sum)':<42}{'n':>5}{'mean':>9}{'std':>8}{'least':>9}{'most':>9}"
    for row in result["plain_sums"]:
        yield (
            f"{row['profile'] + ', ' + row['kind']:<42}{row['count']:>5}{row['mean']:>+9.3f}{row['std']:>8.3f}"
            f"{row['least']:>+9.3f}{row['most']:>+9.3f}"
        )
    found = PlainSums(**result["assumed"])
    yield ""
    yield (
        f"assumed of plain sums, from {found.groups} pairs of runtime and space: mean {found.mean:+.3f}, between them "
        f"{found.between:.3f}, within {found.within:.3f}"
    )
    low, high = np.expm1([found.mean - found.half, found.mean + found.half])
    yield (
        f"so without whole measurements a sub-DiT takes {100 * low:+.0f} to {100 * high:+.0f} % of its plain sum more; "
        f"two of one profile are told apart from {100 * found.half_apart:.1f} % each"
    )
    for name, rows in result["coverage"].items():
        for row in rows:
            if row["count"] and (row["coverage_high"] < ASKED[0] or row["coverage_low"] > ASKED[1]):
                yield f"outside by more than chance: {name}, {row['profile']}: {row['held']} of {row['count']}"
    if not result["assumed_is_stored"]:
        yield f"device_profiles has other figures: {ASSUMED}"
    yield (
        f"asked for: {100 * ASKED[0]:.0f} to {100 * ASKED[1]:.0f} % of all held-out sub-DiTs, with and without: "
        f"{'met' if result['met'] else 'NOT met'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    result = measure()
    print(as_text(result))
    if not options.no_write:
        write_json(RESULTS / "interval_coverage.json", result)
        write_atomic(RESULTS / "interval_coverage.txt", as_text(result) + "\n")
    return int(not result["met"])


if __name__ == "__main__":
    sys.exit(main())
