"""Truth: every sub-DiT of a sub-space scored, and how soon searches find the front that is really there.

Scores all 12,288 sub-DiTs of a sub-space of `digits` (width, depths, FFN ratios and radii of Down and Up; the rest as
in the full network) with the run's real supernet: flow-matching loss on 160 fixed (image, noise, timestep) triples.
Scores lie in the run's quality store, so a killed run goes on where it was. Then the default search and, on the very
same two numbers, Optuna's NSGA-II and TPE, random search without replacement and pymoo's NSGA-II look for the front,
500 evaluations each, 10 seeds each. An evaluation counts when its sub-DiT was not evaluated before: asking twice is
free. All but random search are told that each dimension's values are ordered. subdit alone makes use of the fact that
one of the two numbers, latency, costs nothing: it reads the table of every candidate before it asks for a quality.

Objectives are scaled to [0, 1] between ideal and nadir of the true front, the reference point is (1.1, 1.1). Reported
are the share of the true hypervolume after 500 evaluations and the mean regret (1 - share) over evaluations 1 to 500,
with Wilcoxon's signed-rank test over the paired seeds. pymoo is left out where it is not installed.

    python benchmarks/search_truth.py runs/demo --device runs/demo/device.json
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypervolume import bar
from hypervolume import machine

from nas._config import SearchConfig
from nas._costs import CostTable
from nas._costs import Latencies
from nas._costs import LatencySource
from nas._feasible_region import find_feasible_region
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from nas._problem import Objectives
from nas._problem import resolve
from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import ValidationLoss
from nas.samplers._nsga2 import evaluated_from
from nas.samplers._nsga2 import initial_rows
from nas.samplers._proposal import next_spec
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SearchSpace
from subdit.space import get_space

REFERENCE = (1.1, 1.1)
IMAGES = 80
PER_IMAGE = 2
PATIENCE = 4
"""Times the evaluations that a method may ask, old sub-DiTs included, before it counts as ended; Optuna's TPE without
`multivariate` asks for the same again and again, each time more slowly."""
DEFAULT = "subdit"

Floats = npt.NDArray[np.float64]
Score = Callable[[npt.NDArray[np.int64]], tuple[float, float]]
Method = Callable[[CostTable, Score, int, int], None]
"""Tables, score, evaluations and seed; asks `score` for encoded specs until it raises `EnoughError`."""


class EnoughError(Exception):
    """The evaluations are used up."""


def sub_space(name: str = "digits") -> SearchSpace:
    """The sub-space: 12,288 sub-DiTs of `digits`."""
    space = get_space(name)
    full = space.named_spec("full")
    return dataclasses.replace(
        space,
        ffn_ratios=(space.ffn_ratios[0], (full.ffn_ratio[1],), space.ffn_ratios[2]),
        bna_blocks=(full.bna_blocks[0],),
        named={"full": full},
    )


def score_all(run: Run, space: SearchSpace, proxy: QualityProxy, progress: ProgressCallback = no_progress) -> Floats:
    """The proxy's value of every sub-DiT of the space, in the order of its enumeration, from the run's store."""
    store = QualityStore(run.quality, proxy)
    specs = space.decode(space.enumerate())
    values = []
    for at, spec in enumerate(specs):
        values.append(store.value(spec))
        progress(at + 1, len(specs), "sub-DiTs scored")
    return np.asarray(values)


# The methods ---------------------------------------------------------------------------------------------------------


def search_by_subdit(tables: CostTable, score: Score, evaluations: int, seed: int, *, surrogate: bool = True) -> None:
    """The default search: the same function that `subdit search` asks for each proposal."""
    config, objectives = SearchConfig(("table",), seed=seed, surrogate=surrogate), Objectives()
    initial = initial_rows(tables.space, tables, find_feasible_region(tables))
    rows: list[npt.NDArray[np.int64]] = []
    points: list[tuple[float, float]] = []
    while True:
        evaluated = evaluated_from(tables.space, rows, points)
        found = next_spec(tables, config, objectives, initial=initial, evaluated=evaluated, number=len(rows))
        assert found is not None
        points.append(score(found.row))
        rows.append(found.row)


def search_by_random(tables: CostTable, score: Score, evaluations: int, seed: int) -> None:
    """Without replacement."""
    numbers = np.random.default_rng(seed).permutation(tables.space.size)
    for number in numbers.tolist():
        score(tables.space.enumerate(number, number + 1)[0])


def search_by_optuna(sampler: str, **options: Any) -> Method:
    """Optuna's own sampler, over the places in each dimension's list."""

    def method(tables: CostTable, score: Score, evaluations: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made = getattr(optuna.samplers, sampler)(seed=seed, **options)
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=made)
        while True:
            trial = study.ask()
            row = [trial.suggest_int(label, 0, len(values) - 1) for label, values in tables.space.dimensions.items()]
            study.tell(trial, score(np.asarray(row)))

    return method


def search_by_pymoo(tables: CostTable, score: Score, evaluations: int, seed: int) -> None:
    """pymoo's NSGA-II over the places in each dimension's list, with its operators for integers."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    sizes = np.asarray([len(values) for values in tables.space.dimensions.values()])

    class Problem(ElementwiseProblem):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__(n_var=len(sizes), n_obj=2, xl=np.zeros(len(sizes)), xu=sizes - 1, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = score(np.asarray(x, dtype=np.int64))

    algorithm = NSGA2(
        pop_size=50,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    minimize(Problem(), algorithm, ("n_gen", PATIENCE * evaluations), seed=seed)


def methods() -> dict[str, Method]:
    """By name; those whose package is missing are left out."""
    found: dict[str, Method] = {
        DEFAULT: search_by_subdit,
        "subdit without surrogate": lambda *given: search_by_subdit(*given, surrogate=False),
        "optuna NSGA-II": search_by_optuna("NSGAIISampler"),
        "optuna TPE": search_by_optuna("TPESampler"),
        "optuna TPE, multivariate": search_by_optuna("TPESampler", multivariate=True),
        "random": search_by_random,
    }
    try:
        import pymoo  # noqa: F401

        found["pymoo NSGA-II"] = search_by_pymoo
    except ModuleNotFoundError:
        pass
    return found


# The comparison ------------------------------------------------------------------------------------------------------


def trace(tables: CostTable, points: Floats, method: Method, evaluations: int, seed: int) -> tuple[Floats, int]:
    """The two numbers of each new sub-DiT that a method asked for, in order, shape (evaluations, 2), and how many.

    Where a method ended before that, the last of them stands for the rest.
    """
    sizes = [len(values) for values in tables.space.dimensions.values()]
    seen: dict[int, int] = {}
    asked = 0

    def score(row: npt.NDArray[np.int64]) -> tuple[float, float]:
        nonlocal asked
        number = int(np.ravel_multi_index(row.tolist(), sizes))
        asked += 1
        # A method that asks for nothing new any more has ended.
        if number not in seen and len(seen) == evaluations or asked > PATIENCE * evaluations:
            raise EnoughError
        seen.setdefault(number, len(seen))
        return float(points[number, 0]), float(points[number, 1])

    try:
        method(tables, score, evaluations, seed)
    except EnoughError:
        pass
    found = points[list(seen)]
    return np.concatenate([found, np.repeat(found[-1:], evaluations - len(found), axis=0)]), len(found)


def shares(found: Floats, front: Floats) -> Floats:
    """Share of the true hypervolume after each evaluation."""
    whole = hypervolume(scaled(front, front), REFERENCE)
    unit = scaled(found, front)
    share, best = np.zeros(len(unit)), np.zeros((0, 2))
    for at, point in enumerate(unit):
        if not len(best) or not (best <= point).all(axis=1).any():
            best = np.r_[best[~(point <= best).all(axis=1)], point[None]]
        share[at] = hypervolume(best, REFERENCE) / whole
    return share


def compare(
    tables: CostTable, points: Floats, *, evaluations: int, seeds: int, progress: ProgressCallback = no_progress
) -> dict[str, Any]:
    """Every method on the scored sub-space; `points` in the order of the space's enumeration."""
    from scipy.stats import wilcoxon

    front = points[on_front(points)]
    chosen = methods()
    left_out = [] if "pymoo NSGA-II" in chosen else ["pymoo NSGA-II (not installed)"]
    curves: dict[str, Floats] = {}
    seconds, asked = {}, {}
    for at, (name, method) in enumerate(chosen.items()):
        began = time.perf_counter()
        found, counts = [], []
        for seed in range(seeds):
            traced, count = trace(tables, points, method, evaluations, seed)
            found.append(shares(traced, front))
            counts.append(count)
            progress(at * seeds + seed + 1, len(chosen) * seeds, f"{name}, seed {seed}")
        curves[name], asked[name] = np.asarray(found), counts
        seconds[name] = (time.perf_counter() - began) / seeds
    regret = {name: (1 - curve).mean(axis=1) for name, curve in curves.items()}
    table = {}
    for name, curve in curves.items():
        differs = name != DEFAULT and bool((regret[name] != regret[DEFAULT]).any())
        table[name] = {
            "median_share": float(np.median(curve[:, -1])),
            "lowest_share": float(curve[:, -1].min()),
            "mean_regret": float(regret[name].mean()),
            "regrets": regret[name].tolist(),
            "p_against_default": float(wilcoxon(regret[DEFAULT], regret[name], alternative="less").pvalue)
            if differs
            else None,
            "evaluations": asked[name],
            "seconds_per_search": seconds[name],
            "median_curve": np.median(curve, axis=0).round(6).tolist(),
        }
    return {
        "machine": machine(),
        "sub_dits": len(points),
        "front_size": len(front),
        "ideal": front.min(axis=0).tolist(),
        "nadir": front.max(axis=0).tolist(),
        "reference": list(REFERENCE),
        "evaluations": evaluations,
        "seeds": seeds,
        "methods": table,
        "left_out": left_out,
        "too_easy": table["random"]["median_share"] >= 0.99,
    }


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        f"{result['sub_dits']:,} sub-DiTs scored, {result['front_size']} on the true front; {result['evaluations']} "
        f"evaluations, {result['seeds']} seeds; on {result['machine']}.",
        "",
        "method                    evaluations   share, median    lowest   mean regret   p, subdit less   s a search",
    ]
    for name, found in result["methods"].items():
        p = "" if found["p_against_default"] is None else f"{found['p_against_default']:.4f}"
        lines.append(
            f"{name:<24}  {np.median(found['evaluations']):>11.0f}   {found['median_share']:>13.2%}  "
            f"{found['lowest_share']:>8.2%}  {found['mean_regret']:>12.4f}  "
            f"{p:>15}  {found['seconds_per_search']:>11.1f}"
        )
    lines += ["", "subdit knows every latency beforehand; the others learn both numbers of a sub-DiT by asking for it."]
    at_most = PATIENCE * result["evaluations"]
    lines += [f"Evaluations are of different sub-DiTs, in the median, of at most {at_most:,} asked for."]
    lines += [f"Left out: {', '.join(result['left_out'])}."] if result["left_out"] else []
    if result["too_easy"]:
        lines += ["", "Random search is within 1 % of the truth: this space is too easy to tell methods apart."]
    return "\n".join(lines) + "\n"


def draw(result: dict[str, Any], path: Path) -> None:
    """Median regret by evaluations, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5))
    for name, found in result["methods"].items():
        regret = np.maximum(1 - np.asarray(found["median_curve"]), 1e-4)
        axes.plot(np.arange(1, len(regret) + 1), regret, label=name, linewidth=2 if name == DEFAULT else 1.2)
    axes.set(xlabel="quality evaluations", ylabel="1 - share of the true hypervolume", yscale="log")
    axes.axhline(0.01, color="grey", linewidth=0.8, linestyle=":")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--allow-noisy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    try:
        run = Run(given.run).require()
        problem = resolve(run, SearchConfig((given.device,), allow_noisy=given.allow_noisy))
        whole = problem.tables
        space = sub_space(whole.space.name)
        tables = dataclasses.replace(whole, space=space, latencies=SubLatencies(whole.latencies, whole.space, space))
        quality = score_all(run, space, fixed_triples(run, space.name), bar())
        points = np.c_[tables.look_up(space.enumerate()).latency_ms, quality]
        result = compare(tables, points, evaluations=given.evaluations, seeds=given.seeds, progress=bar())
    except SubditError as error:
        sys.exit(f"Error: {error}")
    write_json(
        given.out / "search_truth.json", result | {"device": problem.devices[0], "device_facts": problem.device_facts}
    )
    write_atomic(given.out / "search_truth.txt", text := describe(result))
    draw(result, given.out / "search_truth.png")
    print(text)


def fixed_triples(run: Run, space_name: str) -> ValidationLoss:
    """The default proxy on 160 triples."""
    from supernet.data.digits import DigitsDataSet
    from supernet.data.digits import digits
    from supernet.evaluation.validation_loss import validation_set

    some = replace(digits(), validation=digits().validation.take(range(IMAGES)))
    data = DigitsDataSet(get_space(space_name), split=some)
    return ValidationLoss(run.supernet, space_name, data=validation_set(data, per_image=PER_IMAGE))


class SubLatencies:
    """Latencies of a sub-space from the estimator of the whole space, whose whole sub-DiTs lie outside it."""

    def __init__(self, whole: LatencySource, whole_space: SearchSpace, space: SearchSpace) -> None:
        self._whole = whole
        # Places of the sub-space's values among the whole space's, by dimension.
        listed = zip(space.dimensions.values(), whole_space.dimensions.values(), strict=True)
        self._places = [np.asarray([among.index(value) for value in values]) for values, among in listed]

    @property
    def fingerprint(self) -> str:
        """That of the whole space's latencies."""
        return self._whole.fingerprint

    def estimate(self, encoded: npt.NDArray[np.int64]) -> Latencies:
        """Encoded specs of the sub-space, shape (n, dimensions), to latencies."""
        columns = [places[column] for places, column in zip(self._places, encoded.T, strict=True)]
        return self._whole.estimate(np.stack(columns, axis=1))


if __name__ == "__main__":
    main()
