"""What the logs of one profile must have in common: the runtime, its threads, and what ran the models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.registry import BY_NAME
from profilers.kits.kit import Kit
from profilers.runtimes import runtime_class
from profilers.runtimes import runtime_names
from subdit.core.errors import ImportLogError

NO_DELEGATE = "none"
"""How a user names the plain CPU path."""

_WORD = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Setting:
    """What all logs share; `delegate` is None for the plain CPU path of the runtime."""

    runtime: str
    threads: int
    delegate: str | None
    tool: str
    version: str | None


def common_setting(found: Mapping[str, ImportedLog], *, threads: int | None, delegate: str | None) -> Setting:
    """The setting of the logs, with what the user says where they do not.

    Args:
        found: the logs by component.
        threads: as the user states them.
        delegate: as the user states it, `NO_DELEGATE` for the plain CPU path.

    Raises:
        ImportLogError: the logs differ, they contradict the user, or neither says it.
    """
    logs = list(found.values())
    runtimes = {runtime for log in logs if (runtime := BY_NAME[log.format].runtime)}
    versions = {log.runtime_version for log in logs}
    stated = {log.threads for log in logs if log.threads is not None} | ({threads} if threads is not None else set())
    for what, values in (("versions", versions), ("threads", stated)):
        _require_one(what, values)
    _require_one("runtimes", runtimes)
    (runtime,) = runtimes
    ran = _delegate(logs, delegate, (CPU, NO_DELEGATE, *plain_path(runtime)))
    if not stated:
        raise ImportLogError("The logs do not say how many threads were used; pass --threads.")
    tools = "/".join(sorted({log.tool for log in logs}))
    return Setting(runtime, stated.pop(), None if ran == CPU else ran, tools, versions.pop())


def plain_path(runtime: str) -> tuple[str, ...]:
    """What logs call the plain path of the processor, besides `CPU`; nothing is known of runtimes that are not here."""
    return runtime_class(runtime).plain_path if runtime in runtime_names() else ()


def check_precision(given: str | None, kit: Kit | None) -> None:
    """Raise `ImportLogError` where the user's word for a precision is none, or the kit has another."""
    if given is not None and not re.fullmatch(r"[a-z0-9][a-z0-9._]*", given):
        raise ImportLogError(
            f"{given!r} cannot name a precision; use fp32, fp16 or int8, or a word of lower-case letters, digits, '.' "
            "and '_'."
        )
    if kit is not None and given not in (None, kit.precision):
        raise ImportLogError(
            f"The kit {kit.folder} was made in {kit.precision}, not in {given}; leave --precision out."
        )


def precision_of(found: Mapping[str, ImportedLog], given: str | None, kit: Kit | None) -> str:
    """What the kit, the logs or the user say, else fp32; raises `ImportLogError` where they contradict each other."""
    stated = {log.precision for log in found.values() if log.precision is not None}
    _require_one("precisions", stated)
    said = next(iter(stated), None)
    if kit is not None and said not in (None, kit.precision):
        raise ImportLogError(
            f"The logs say that the models are in {said}, and the kit {kit.folder} was made in {kit.precision}; name "
            "the kit that was measured."
        )
    if said is not None and given not in (None, said):
        raise ImportLogError(f"The logs say that the models are in {said}, not in {given}; leave --precision out.")
    return kit.precision if kit is not None else said or given or "fp32"


def _delegate(logs: list[ImportedLog], given: str | None, plain: tuple[str, ...]) -> str:
    """`CPU`, or the delegate's name as in an id; `plain` are the words for the processor's own path."""
    ran = {_id_word(log.delegate) for log in logs if log.delegate is not None and log.declined is None}
    # A model of which the accelerator took nothing goes with those of which it took some.
    named = {
        _id_word(log.delegate)
        for log in logs
        if log.delegate is not None and (log.declined is None or _id_word(log.declined) not in ran)
    }
    words = {CPU if word in plain else word for word in named}
    placed = all(BY_NAME[log.format].places_operators for log in logs if log.delegate == CPU)
    if placed and given in words:
        # A model of which the accelerator took nothing looks like one that was never given to it.
        words.discard(CPU)
    others = sorted(words - {CPU})
    hint = f", or pass --delegate {others[0]} if all were run with it" if placed and len(words) == 2 and others else ""
    _require_one("delegates", words, hint)
    if given is None:
        if not words:
            raise ImportLogError(
                "The logs do not say what ran the models; pass --delegate with the accelerator's name, or --delegate "
                f"{NO_DELEGATE} for the plain CPU path."
            )
        return words.pop()
    if not _WORD.fullmatch(given):
        raise ImportLogError(
            f"{given!r} cannot name a delegate; use lower-case letters, digits, '.', '_' and '-', or {NO_DELEGATE} for "
            "the plain CPU path."
        )
    meant = CPU if given in plain else given
    if words and words != {meant}:
        said = "the plain CPU path" if words == {CPU} else f"{words.pop()}"
        raise ImportLogError(f"The logs say that {said} ran the models, not {given}; leave --delegate out.")
    return meant


def _id_word(name: str) -> str:
    """A name as it may stand in an id."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "unnamed"


def _require_one(what: str, values: set[str] | set[int] | set[str | None], hint: str = "") -> None:
    if len(values) > 1:
        shown = ", ".join(sorted(map(str, values)))
        raise ImportLogError(f"The logs have different {what} ({shown}); import those of one setting together{hint}.")
