"""What quality proxies say of the sub-DiTs of a truth table, by the weights of a run's supernet."""

from __future__ import annotations

import time
from collections.abc import Sequence

from nas.proxies import QualityProxy
from nas.proxies import QualityStore
from nas.proxies import make_proxy
from nas.proxies._inherited import forget_passes
from nas.truth_table import ProxyScores
from nas.truth_table import TruthTable
from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SubDiTSpec
from subdit.space import run_space
from subdit.space import space_hash


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
    stores = [QualityStore(run.quality, proxy) for proxy in made]
    values: list[dict[str, float]] = [{} for _ in made]
    # One sub-DiT after the other, for proxies of the same weights share a pass of it.
    for done, spec in enumerate(table.specs):
        progress(done, len(table.specs), f"asking {len(made)} proxies")
        for store, found in zip(stores, values, strict=True):
            found[spec.hash] = store.value(spec)
    for proxy, found in zip(made, values, strict=True):
        progress(len(table.specs), len(table.specs), f"timing {proxy.id}")
        table = table.with_scores(
            ProxyScores(
                proxy.id, proxy.unit, proxy.supernet_digest, proxy.data_hash, _query_s(proxy, table.specs[0]), found
            )
        )
    return table


def _query_s(proxy: QualityProxy, spec: SubDiTSpec) -> float:
    """Seconds that an evaluation takes alone, when the proxy has loaded what it needs."""
    # What the store knew, the proxy was not asked for.
    proxy.evaluate(spec)
    forget_passes()
    began = time.perf_counter()
    proxy.evaluate(spec)
    return round(time.perf_counter() - began, 4)
