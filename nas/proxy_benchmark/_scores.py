"""What quality proxies say of the sub-DiTs of a truth table, by the weights of a run's supernet."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import make_proxy
from nas.truth_table import ProxyScores
from nas.truth_table import TruthTable
from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import run_space
from subdit.space import space_hash

_TIMED = 3
"""Evaluations of which the median is the time of a query, where all that are asked for are in the store."""


def score_table(
    table: TruthTable, run: Run, proxies: Sequence[str | QualityProxy], *, progress: ProgressCallback = no_progress
) -> TruthTable:
    """The table with what these proxies say, each an id or an object; evaluations are kept in the run's stores.

    Raises `SearchError` where the run is of another space than the table, or there is no such proxy, and
    `CheckpointError` where the run's supernet is missing or damaged.
    """
    space = run_space(run)
    if space_hash(space) != table.recipe.space_hash:
        raise SearchError(
            f"The truth table is of space {table.recipe.space!r} ({table.recipe.space_hash}), and the run {run.path} "
            f"of {space.name!r} ({space_hash(space)}); take a run of the table's space."
        )
    made = [make_proxy(each, run.supernet, space.name) if isinstance(each, str) else each for each in proxies]
    total, done = len(made) * len(table.rows), 0
    for proxy in made:
        store, seconds, values = QualityStore(run.quality, proxy), [], {}
        for spec in table.specs:
            progress(done, total, f"asking {proxy.id}")
            began, paid = time.perf_counter(), store.evaluations
            values[spec.hash] = store.value(spec)
            if store.evaluations > paid:
                seconds.append(time.perf_counter() - began)
            done += 1
        for spec in [] if seconds else table.specs[:_TIMED]:
            began = time.perf_counter()
            proxy.evaluate(spec)
            seconds.append(time.perf_counter() - began)
        query_s = round(float(np.median(seconds)), 4)
        table = table.with_scores(
            ProxyScores(proxy.id, proxy.unit, proxy.supernet_digest, proxy.data_hash, query_s, values)
        )
    progress(total, total, "")
    return table
