"""`subdit proxies --worker`: fill a truth table, alone or beside other workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subdit.cli._progress import progress_bar

TRUTH_FOLDER = "truth"
"""Of a run's folder proxies/, where no other is named."""


def work_on_table(
    run: Path,
    folder: Path | None,
    *,
    only_estimate: bool,
    stale_s: float | None,
    budget_s: float | None,
    **options: Any,
) -> None:
    """Print what the trainings will cost, then make them, and say where the table is."""
    from nas.truth_table import STALE_S
    from nas.truth_table import TruthOptions
    from nas.truth_table import estimate_cost
    from nas.truth_table import truth_work
    from subdit.core.run import Run

    where = Run(run).require()
    with progress_bar("Timing some updates") as progress:
        work = truth_work(where, folder or where.proxies / TRUTH_FOLDER, TruthOptions(**options), progress=progress)
        cost = estimate_cost(work)
    recipe = work.recipe
    noise = "common batches and noise" if recipe.common_noise else "batches and noise of their own"
    click.echo(
        f"{options['count']} sub-DiTs of {recipe.space} (seed {recipe.seed}), the first {options['twice']} trained "
        f"twice, {recipe.updates} updates each, with {noise}."
    )
    click.echo(str(cost))
    if only_estimate:
        return
    with progress_bar("Training sub-DiTs on their own") as progress:
        work.begin()
        work.fill(stale_s=stale_s or STALE_S, budget_s=budget_s, progress=progress)
    if left := len(work.left):
        click.echo(f"{left} trainings are left; the same command goes on.")
    click.echo(f"\n{work.file}")
