"""What must hold before the steps of a demo: the same options, no cut training, nothing of other weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas import SearchConfig
from subdit._demo._context import Demo
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import stale_sentence
from subdit.core.retraining import set_aside_of_pick
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import read_pick
from subdit.core.run import record_step
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import training_records


def require_same_demo(demo: Demo) -> None:
    """Note the options in a new run; raises `RunError` where the run is another demo, or none.

    Raises `SearchError` where the constraints are none that the search takes, before anything is trained.
    """
    SearchConfig(("this machine",), constraints=demo.constraints)
    if others := [name for name in demo.constraints if "@" in name]:
        raise SearchError(f"The demo has one device, so write the limit {others[0]!r} without its @.")
    run, steps = demo.run, read_manifest(demo.run)["steps"]
    wanted = {"budget": asdict(demo.budget), "seed": demo.seed, "constraints": dict(demo.constraints)}
    wanted |= {"data": demo.data.name}
    if "demo" not in steps:
        if steps or run.supernet.exists():
            raise RunError(f"The run {run.path} was not begun by 'subdit demo'; name another folder with --run.")
        record_step(run, "demo", wanted)
    elif "train_s" in steps["demo"].get("budget", {}):
        raise RunError(
            f"The demo in {run.path} is an earlier version's, whose budgets in seconds came to more or less training "
            "with the machine's speed; its run can be searched and reported as before, begin another demo with --run."
        )
    elif _with_constraints(steps["demo"]) != wanted:
        raise RunError(
            f"The run {run.path} is a demo with other options; repeat those or name another folder with --run."
        )


def _with_constraints(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a demo; earlier versions had digits alone, and `max_latency_ms` in place of the constraints."""
    limit_ms = stored.get("max_latency_ms")
    constraints = stored.get("constraints", {} if limit_ms is None else {"latency_ms": limit_ms})
    known = {key: value for key, value in stored.items() if key != "max_latency_ms"}
    return {"data": "digits"} | known | {"constraints": constraints}


def training_records_of(run: Run) -> dict[str, TrainingRecord]:
    """How far the trainings of the run came."""
    found = (run.search("default") / "picks.json").exists()
    return training_records(run, read_pick(run, "balanced")["spec_hash"] if found else None)


def refuse_cut(demo: Demo) -> None:
    """Raise `RunError` where a training was cut short and there is to be no ceiling."""
    records = training_records_of(demo.run).values()
    if demo.ceiling_s is None and any(record.cut_step is not None for record in records):
        raise RunError(
            f"The training of the demo in {demo.run.path} was cut short, and all that came after rests on that; begin "
            "another without a ceiling in a new folder, with --run."
        )


def set_aside_stale(demo: Demo) -> None:
    """Set aside what was made from other weights than the run's, so that the steps that made it are repeated."""
    run, digest = demo.run, run_digest(demo.run)
    search, report = run.search("default"), run.report("default")
    for what, made, carrier in (("search", search, search), ("report", report, report / "report.html")):
        made_from = origin(carrier)
        if made.exists() and freshness(made_from, digest) is Freshness.STALE:
            folder = set_aside(run, made_from, made)
            demo.say(
                f"  {stale_sentence(f'The {what}', made_from, digest, f'it now lies in {folder}, and is made again')}"
            )
    for folder in sorted(path for path in run.path.glob("picks/*") if path.is_dir()):
        for made_from, names in set_aside_of_pick(run, folder, digest, but=Freshness.UNKNOWN).items():
            what = f"What was made of the sub-DiT {folder.name} ({', '.join(names)})"
            lies = run.path / "stale" / str(made_from)
            demo.say(f"  {stale_sentence(what, made_from, digest, f'it now lies in {lies}')}")
