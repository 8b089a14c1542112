"""What ran where, in one line, and whether an accelerator took less than it was asked for.

The loudest complaint about accelerators is that one was asked for and silently not used. So what it left to the
processor is a warning of its own (`fallback`), and no profile is made of it unless that is what the user wants.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from subdit.core.errors import ImportLogError

ALLOW = "pass --allow-fallback"
"""How a user says that a part on the processor is meant."""

# Formats of runtimes whose plain path on the processor is XNNPACK.
_XNNPACK_IS_PLAIN = ("tflite", "litert")


def ran_where(log: ImportedLog) -> str:
    """One line: which share of the operators ran on what, in how many partitions."""
    if log.delegate is None:
        return "the log does not say what ran the model"
    if log.declined is not None:
        return f"the processor ran all: {log.declined} was asked for and took nothing"
    turns = f", in {log.partitions} partitions" if (log.partitions or 0) > 1 else ""
    if is_plain(log):
        share = log.delegated_share if log.delegate != CPU else None
        return "the processor ran all" + ("" if share in (None, 0, 1) else f", {_part(log)} in XNNPACK{turns}")
    if log.delegated_share == 1:
        every = "" if log.graph_operators is None else f" {log.graph_operators} operators"
        return f"{log.delegate} ran all{every}{turns}"
    if log.delegated_share is not None:
        return f"{log.delegate} ran {_part(log)}{turns}; the processor ran the rest"
    if log.partly_delegated:
        return f"{log.delegate} ran a part of the operators, how many the log does not say{turns}"
    return f"{log.delegate}, which share of the operators the log does not say"


def fallback(log: ImportedLog) -> str | None:
    """The sentence that says that an accelerator took less than it was asked for; None where nothing says so."""
    if log.declined is not None:
        return f"{log.declined} was asked for and took nothing: all ran on the processor"
    if log.delegate is None or is_plain(log):
        return None
    if log.delegated_share is not None and log.delegated_share < 1:
        return f"{log.delegate} took {_part(log)} only: the rest ran on the processor"
    return f"{log.delegate} took a part of the operators only" if log.partly_delegated else None


def is_plain(log: ImportedLog) -> bool:
    """Whether the processor's own path ran the model."""
    return log.delegate == CPU or (log.delegate == "xnnpack" and log.format.startswith(_XNNPACK_IS_PLAIN))


def refuse_fallback(found: Mapping[str, ImportedLog], asked: str | None = None) -> None:
    """Raise `ImportLogError` where an accelerator took less than it was asked for.

    Args:
        found: logs by model.
        asked: what the user says that all models were given to; one that the processor ran then counts, too.
    """
    missed = {name: said for name, log in found.items() if (said := fallback(log)) is not None}
    if asked is not None and any(not is_plain(log) for log in found.values()):
        missed |= {
            name: f"{asked} took nothing: all ran on the processor"
            for name, log in found.items()
            if name not in missed and log.delegate == CPU
        }
    if not missed:
        return
    shares = {
        name: 0.0 if found[name].declined or is_plain(found[name]) else found[name].delegated_share for name in missed
    }
    worst = min(missed, key=lambda name: (shares[name] is None, shares[name] or 0.0, name))
    raise ImportLogError(
        f"Of {len(found)} models {len(missed)} did not run on the accelerator alone, {worst} least: {missed[worst]}; "
        f"measure what it takes whole, or {ALLOW} to make a profile of this mixture."
    )


def compare_runs(logs: Sequence[ImportedLog]) -> list[str]:
    """What two runs of one model on one device tell: an accelerator against the processor, and what partitions cost.

    One sentence for each pair of runs that differ in what ran the model, or in its partitions alone.
    """
    by_model: defaultdict[tuple[str, str | None], list[ImportedLog]] = defaultdict(list)
    for log in logs:
        if log.model_file is not None and log.latency_ms:
            by_model[log.model_file, log.device].append(log)
    said = []
    for (model, _), runs in by_model.items():
        for pair in itertools.combinations(sorted(runs, key=_turns), 2):
            if (told := _compare(*pair)) is not None:
                said.append(f"{model}: {told}")
    return said


def count_partitions(on_accelerator: Sequence[bool]) -> int:
    """Stretches in the order of execution between which an accelerator and the rest take turns."""
    return sum(at == 0 or one != on_accelerator[at - 1] for at, one in enumerate(on_accelerator))


def _turns(log: ImportedLog) -> tuple[bool, int]:
    """Runs on the processor first, then by partitions."""
    return not (is_plain(log) or log.declined is not None), log.partitions or 0


def _compare(first: ImportedLog, second: ImportedLog) -> str | None:
    """Of two runs with a latency, in the order of `_turns`; None where nothing but times differs, or too much does."""
    one, other = first.latency_ms or 0.0, second.latency_ms or 0.0
    figures = f"({other:.4g} against {one:.4g} ms)"
    plain = [is_plain(log) for log in (first, second)]
    if plain == [True, False] and second.declined is None and first.declined is None:
        return f"with {second.delegate} it takes {other / one:.2f} times as long as on the processor alone {figures}"
    alike = all(getattr(first, name) == getattr(second, name) for name in ("delegate", "graph_operators", "threads"))
    more = (second.partitions or 0) - (first.partitions or 0)
    if not alike or not more or not first.partitions:
        return None
    share = 100 * ((second.delegated_share or 0.0) - (first.delegated_share or 0.0))
    return (
        f"{more} partitions more and {share:+.1f} % of the operators on {second.delegate} take {other - one:+.4g} ms, "
        f"{(other - one) / more:+.4g} ms for each {figures}"
    )


def _part(log: ImportedLog) -> str:
    share = log.delegated_share or 0.0
    if log.graph_operators is None:
        return f"{100 * share:.1f} % of the operators"
    return f"{round(share * log.graph_operators)} of {log.graph_operators} operators ({100 * share:.1f} %)"
