"""How much of the best front the search finds, and how much chance finds with as many evaluations.

Scores random specs with the same two functions as the search, keeps every score in the run's quality store (so that it
goes on where it was killed), runs the search, and compares hypervolumes: objectives scaled to [0, 1] between ideal and
nadir of the random specs' front, reference point (1.1, 1.1), shares of that front's hypervolume.

    python benchmarks/hypervolume.py runs/demo --device my-laptop
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas._config import SearchConfig
from nas._loop import run_search
from nas._pareto import Points
from nas._pareto import hypervolume
from nas._pareto import on_front
from nas._pareto import scaled
from nas._problem import SearchProblem
from nas._problem import resolve
from nas.proxies import QualityStore
from nas.samplers._nsga2 import POPULATION
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import start_manifest

REFERENCE = (1.1, 1.1)


def compare(
    run: Run,
    problem: SearchProblem,
    *,
    specs: int,
    seed: int,
    trials: tuple[int, ...],
    search_seeds: int,
    draws: int,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Shares of the random front's hypervolume, by number of evaluations; see the module."""
    tables, name = problem.tables, problem.objectives.qualities[0]
    proxy = problem.proxies[name]
    rng = np.random.default_rng(seed)
    encoded = tables.space.sample(rng, specs)
    store = QualityStore(run.quality, proxy)
    quality = []
    for index, spec in enumerate(tables.space.decode(encoded)):
        quality.append(store.value(spec))
        progress(index + 1, specs, "random specs scored")
    scored: Points = np.c_[tables.look_up(encoded).latency_ms, quality]
    best = scored[on_front(scored)]
    whole = hypervolume(scaled(best, best), REFERENCE)

    def fraction(points: Points) -> float:
        return hypervolume(scaled(points, best), REFERENCE) / whole

    most = max(trials)
    searched = []
    with tempfile.TemporaryDirectory() as folder:
        # A run of its own, so that no search of the user's is touched; the quality store is the user's, so that what is
        # paid for stays.
        for search_seed in range(search_seeds):
            aside = Run(Path(folder) / str(search_seed))
            start_manifest(aside, space=tables.space.name)
            os.symlink(run.quality.resolve(), aside.quality)
            config = replace(problem.config, seed=search_seed, trials=most)
            result = run_search(aside, "default", replace(problem, config=config), progress=progress)
            searched.append(result.to_frame()[["latency_ms", name]].to_numpy(dtype=np.float64))
    by_trials = {}
    for count in trials:
        chance = [fraction(scored[rng.permutation(specs)[:count]]) for _ in range(draws)]
        found = [fraction(points[:count]) for points in searched]
        by_trials[str(count)] = {
            "search": {"shares": found, "mean": float(np.mean(found)), "lowest": min(found)},
            "random": {"mean": float(np.mean(chance)), "lowest": min(chance), "highest": max(chance), "draws": draws},
        }
    return {
        "machine": machine(),
        "space": tables.space.name,
        "device": problem.devices[0],
        "device_facts": problem.device_facts,
        "proxy": {"id": proxy.id, "supernet_digest": proxy.supernet_digest, "data_hash": proxy.data_hash},
        "random_specs": specs,
        "seed": seed,
        "random_front_size": len(best),
        "ideal": best.min(axis=0).tolist(),
        "nadir": best.max(axis=0).tolist(),
        "reference": list(REFERENCE),
        "population": POPULATION,
        "evaluations": by_trials,
    }


def machine() -> str:
    """Name and cores of this machine."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    specs, seed = result["random_specs"], result["seed"]
    lines = [
        f"Hypervolume, as a share of that of the front of {specs:,} random specs (seed {seed}).",
        f"Space {result['space']}, device {result['device']}, proxy {result['proxy']['id']}; on {result['machine']}.",
        "",
        "evaluations  search, mean   lowest  random, mean   lowest  highest",
    ]
    for count, shares in result["evaluations"].items():
        search, chance = shares["search"], shares["random"]
        lines.append(
            f"{count:>11}  {search['mean']:>12.1%}  {search['lowest']:>7.1%}  "
            f"{chance['mean']:>12.1%}  {chance['lowest']:>7.1%}  {chance['highest']:>7.1%}"
        )
    searches = len(next(iter(result["evaluations"].values()))["search"]["shares"])
    draws = next(iter(result["evaluations"].values()))["random"]["draws"]
    lines += ["", f"Search: {searches} seeds. Random: {draws} draws without replacement from the scored specs."]
    return "\n".join(lines) + "\n"


def bar() -> Callable[[float, float, str], None]:
    """A line on stderr at every twentieth of the way."""
    said: dict[str, int] = {}

    def progress(done: float, total: float, note: str) -> None:
        part = int(20 * done / total)
        key = note.lstrip("0123456789 ")
        if said.get(key) != part:
            said[key] = part
            print(f"{100 * done / total:3.0f} % {note}", file=sys.stderr, flush=True)

    return progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--specs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 250, 400])
    parser.add_argument("--search-seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--allow-noisy", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    try:
        run = Run(given.run).require()
        problem = resolve(run, SearchConfig((given.device,), allow_noisy=given.allow_noisy))
        result = compare(
            run,
            problem,
            specs=given.specs,
            seed=given.seed,
            trials=tuple(sorted(given.trials)),
            search_seeds=given.search_seeds,
            draws=given.draws,
            progress=bar(),
        )
    except SubditError as error:
        sys.exit(f"Error: {error}")
    name = f"hypervolume_{result['space']}"
    write_json(given.out / f"{name}.json", result)
    text = describe(result)
    write_atomic(given.out / f"{name}.txt", text)
    print(text)


if __name__ == "__main__":
    main()
