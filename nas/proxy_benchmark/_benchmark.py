"""`measure_proxies`: how well each quality proxy ranks sub-DiTs, against sub-DiTs that were trained on their own.

The sample is chosen before any result is seen: some specs uniformly by a seed, some from a search's front. Each is
trained on the training split alone and judged on the judge half, which nothing else has seen: flow-matching loss on
fixed triples, and Frechet distance of its samples. Proxies see the supernet and the validation images only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import make_proxy
from nas.proxies import untrained_proxies
from nas.proxy_benchmark._correlation import Agreement
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._correlation import kendall_tau
from nas.proxy_benchmark._correlation import spearman_rho
from nas.proxy_benchmark._report import ProxyFigures
from nas.proxy_benchmark._report import ProxyReport
from nas.proxy_benchmark._truth import STARTS
from nas.proxy_benchmark._truth import Training
from nas.proxy_benchmark._truth import TruthStore
from subdit.core.errors import SearchError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.origin import warn_stale
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.results import load_search
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import run_space

_TIMED = 3
"""Evaluations of which the median is the time of a query."""
Sets = Mapping[str, Sequence[SubDiTSpec]]


def measure_proxies(
    run: Path | str,
    *,
    proxies: Sequence[str] | None = None,
    count: int = 24,
    front: int = 8,
    search: str = "default",
    twice: int = 0,
    training: Training | None = None,
    seed: int = 20260131,
    progress: ProgressCallback = no_progress,
) -> ProxyReport:
    """Rank correlations of quality proxies with true quality, and what a query costs.

    Args:
        proxies: ids, by default `nas.proxies.untrained_proxies()`.
        count: specs drawn uniformly by `seed`.
        front: specs from the front of the finished search `search`, evenly spread; 0 for none.
        twice: how many of the drawn specs are trained with a second seed too, for tau between two seeds.
        training: how each is trained.

    Writes proxies/truth.jsonl, a line for each training as soon as it is done, so that the next call continues there,
    then proxies/report.json. Raises `SearchError` on contradicting options, `RunError` where the run or the search is
    missing or damaged, `CheckpointError` where the supernet is.
    """
    training = training or Training()
    where = Run(Path(run)).require()
    space = run_space(where)
    names = list(proxies or untrained_proxies())
    if training.start not in STARTS:
        raise SearchError(f"Sub-DiTs cannot start from {training.start!r}; there is {', '.join(STARTS)}.")
    if count < 2:
        raise SearchError(f"A rank correlation needs at least 2 specs, not {count}; give --specs more.")
    numbers = {"updates": training.updates, "front": front, "twice": twice, "per-class": training.per_class}
    for option, number in {**numbers, "seed": seed}.items():
        if number < 0:
            raise SearchError(f"The option --{option} is {number}; it must not be negative.")
    if twice > count:
        raise SearchError(f"Of {count} specs {twice} cannot be trained twice; give --twice at most {count}.")
    made = [make_proxy(name, where.supernet, space.name) for name in names]
    sets = {"random": _draw(space, count, seed)}
    if front:
        sets["front"] = _spread_over_front(where, search, front)
    truth = TruthStore(where, training)
    jobs = [(spec, 0) for specs in sets.values() for spec in specs] + [(spec, 1) for spec in sets["random"][:twice]]
    total = len(jobs) + len(made)
    for done, (spec, number) in enumerate(jobs):
        progress(done, total, f"training sub-DiT {done + 1} of {len(jobs)}")
        truth.of(spec, number)
    figures = []
    for done, proxy in enumerate(made):
        progress(len(jobs) + done, total, f"asking {proxy.id}")
        figures.append(_measure(proxy, QualityStore(where.quality, proxy), sets, truth))
    ceiling = {}
    if twice > 1:
        for judged in truth.judged:
            pairs = np.asarray(
                [[truth.of(spec, number)[judged] for number in (0, 1)] for spec in sets["random"][:twice]]
            )
            ceiling[judged] = agreement(kendall_tau, pairs[:, 0], pairs[:, 1])
    report = ProxyReport(training, seed, sets, tuple(figures), ceiling, where.proxies / "report.json")
    _set_stale_aside(where, report.file)
    write_json(report.file, {**report.to_dict(), KEY: run_digest(where)})
    progress(total, total, "")
    return report


def _draw(space: SearchSpace, count: int, seed: int) -> list[SubDiTSpec]:
    drawn = space.decode(np.unique(space.sample(np.random.default_rng(seed), 4 * count), axis=0))
    return [drawn[index] for index in np.random.default_rng([seed, 1]).permutation(len(drawn))[:count]]


def _measure(proxy: QualityProxy, store: QualityStore, sets: Sets, truth: TruthStore) -> ProxyFigures:
    values = {spec: store.value(spec) for specs in sets.values() for spec in specs}
    seconds = []
    for spec in sets["random"][:_TIMED]:
        began = time.perf_counter()
        proxy.evaluate(spec)
        seconds.append(time.perf_counter() - began)
    tables: dict[str, dict[str, dict[str, Agreement]]] = {}
    for label, measure in (("kendall", kendall_tau), ("spearman", spearman_rho)):
        tables[label] = {
            judged: {
                name: agreement(
                    measure,
                    np.asarray([values[spec] for spec in specs]),
                    np.asarray([truth.of(spec, 0)[judged] for spec in specs]),
                )
                for name, specs in sets.items()
                if len(specs) > 1
            }
            for judged in truth.judged
        }
    return ProxyFigures(proxy.id, tables["kendall"], tables["spearman"], float(np.median(seconds)))


def _spread_over_front(run: Run, search: str, count: int) -> list[SubDiTSpec]:
    """Specs evenly spread over a front; raises `SearchError` where it was found by other weights than the run's."""
    made_from, digest = origin(run.search(search)), run_digest(run)
    if freshness(made_from, digest) is Freshness.STALE:
        remedy = "search again, or leave its front out with --front 0"
        raise SearchError(stale_sentence(f"The search {search!r}", made_from, digest, remedy))
    front = load_search(run.path, search).front
    places = np.unique(np.linspace(0, len(front) - 1, min(count, len(front))).round().astype(int))
    return [front[index].spec for index in places]


def _set_stale_aside(run: Run, file: Path) -> None:
    """Set aside a report of other weights, and say so; one that does not name its weights is replaced."""
    made_from, digest = origin(file), run_digest(run)
    if file.exists() and freshness(made_from, digest) is Freshness.STALE:
        folder = set_aside(run, made_from, file)
        warn_stale(stale_sentence(f"What {file} said", made_from, digest, f"it now lies in {folder}"))
