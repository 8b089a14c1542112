"""`profile_rented`: a kit on a rented phone, session by session, to a device profile."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from device_profiles import DeviceProfile
from device_profiles import profile_path
from profilers.importers import ImportedLog
from profilers.importers import fallback
from profilers.importers import import_logs
from profilers.importers import read_log
from profilers.importers.profile import model_name
from profilers.kits.kit import KitEntry
from profilers.measuring import build_profile
from profilers.measuring.conditions import remote_conditions
from profilers.measuring.kit_selection import require_new
from profilers.rented.plan import Plan
from profilers.rented.rental import Outcome
from profilers.rented.rental import run
from profilers.rented.store import SessionStore
from subdit.core.errors import DeviceError
from subdit.core.errors import ImportLogError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress


def by_hand(plan: Plan, program: str | None = None) -> list[str]:
    """The commands that measure the plan, one a line, and last the one that makes a profile of what they leave."""
    out = SessionStore.of(plan).folder / "by-hand"
    lines = [shlex.join(plan.rental.command(program, entry.model, out)) for _, entry in plan.order()]
    made = ["subdit", "import", "--device", plan.rental.device, "--kit", str(plan.kit.folder)]
    return [*lines, f"{shlex.join(made)} {plan.rental.left(out)}"]


def profile_rented(
    plan: Plan,
    program: str | None,
    *,
    out: Path | None = None,
    force: bool = False,
    allow_fallback: bool = False,
    progress: ProgressCallback = no_progress,
) -> DeviceProfile:
    """Measure a kit on a rented phone and save a profile; goes on where it was.

    Every session is one run of the provider's program. What is done is kept in the kit's folder `rented`. A session
    that was running when this process was killed is waited for and taken.

    Args:
        plan: from `make_plan`.
        program: the provider's, from `find_litert` or `find_python`; None where it is not installed.
        out: file to write, by default in the user's registry.
        force: replace the profile that is there.
        allow_fallback: measure also where the accelerator takes less than all operators.
        progress: reports sessions.

    Raises:
        DeviceError: the program is missing, a session failed, or the accelerator took less than it was asked for; what
            was measured is kept.
        ImportLogError: what a session left is damaged, or contradicts itself or the kit.
        RunError: there is such a profile already and `force` is not given, or another process measures this.
    """
    if program is None:
        raise DeviceError(
            f"{plan.rental.tool} is not installed; install it ({plan.rental.install}), or run the commands by hand."
        )
    rental, kit = plan.rental, plan.kit
    delegate = None if rental.accelerator == "cpu" else rental.accelerator
    expected = build_profile.empty_profile(
        kit,
        device=rental.device,
        runtime=rental.runtime,
        threads=rental.threads,
        conditions=remote_conditions(rental.device),
        delegate=delegate,
    )
    require_new(out or profile_path(expected), force=force)
    store = SessionStore.of(plan)
    with store.opened(plan):
        _take_pending(plan, store, program, progress, allow_fallback=allow_fallback)
        for round_, entry in plan.order():
            if store.session(round_, entry.name).is_dir():
                continue
            tick = partial(progress, len(store.done(plan)), plan.count, f"session {round_} of {entry.name}")
            outcome = _run(plan, store, program, round_, entry, tick)
            _check(plan, entry, outcome, allow_fallback=allow_fallback)
            store.take(outcome, round_, entry.name)
            store.end()
        progress(plan.count, plan.count, "")
        return import_logs(
            store.done(plan),
            device=rental.device,
            kit=kit.folder,
            out=out,
            force=force,
            allow_fallback=allow_fallback,
        )


def _take_pending(
    plan: Plan, store: SessionStore, program: str, progress: ProgressCallback, *, allow_fallback: bool
) -> None:
    """Take what a session left, or will leave, that an earlier, killed process had begun."""
    tick = partial(
        progress, len(store.done(plan)), plan.count, "waiting for a session that goes on since the last time"
    )
    found = store.wait_for_pending(plan.rental, tick)
    entries = {entry.name: entry for entry in plan.kit.entries}
    if found is not None and found[1] in entries and not store.session(found[0], found[1]).is_dir():
        round_, name, outcome = found
        if outcome.folder is None:
            outcome = _run(plan, store, program, round_, entries[name], tick, job=outcome.job)
        _check(plan, entries[name], outcome, allow_fallback=allow_fallback)
        store.take(outcome, round_, name)
    store.end()


def _run(
    plan: Plan,
    store: SessionStore,
    program: str,
    round_: int,
    entry: KitEntry,
    tick: Callable[[], None],
    *,
    job: str | None = None,
) -> Outcome:
    """One session, or the end of one that is `job`; raises `DeviceError` where it failed."""
    rental = plan.rental
    with store.pending_lock() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        log = store.begin(round_, entry, keep_log=job is not None)
        with log.open("ab") as output:
            code = run(rental.command(program, entry.model, store.left, job), output, held, tick)
    outcome = rental.read_output(log.read_text(encoding="utf-8", errors="replace"))
    if code != 0 or outcome.folder is None:
        raise DeviceError(
            f"{rental.tool} measured nothing of {entry.name} on {rental.device} ({outcome.problem}); what was measured "
            f"is kept: mend that and run the same command again, {os.fspath(log)} has all that it said."
        )
    return outcome


def _check(plan: Plan, entry: KitEntry, outcome: Outcome, *, allow_fallback: bool) -> None:
    """Refuse a session before the next one is paid for."""
    if outcome.folder is None:
        raise ImportLogError(f"The session of {entry.name} left nothing; run the same command again.")
    logs: tuple[ImportedLog, ...] = read_log(outcome.folder)
    for log in logs:
        if log.model_file is not None and model_name(log.model_file) != entry.name:
            raise ImportLogError(f"The session of {entry.name} measured {log.model_file}; run the same command again.")
        if not allow_fallback and (said := fallback(log)) is not None:
            raise DeviceError(
                f"{entry.name} on {plan.rental.device}: {said}; pass --allow-fallback to measure this mixture, or "
                "leave --delegate out."
            )
