"""Searches of earlier versions: their names as this version has them. Nothing else knows the old names.

In format 1 the first quality proxy was called `quality` and another one `quality_ID`, a limit `max_FIGURE`, and trials
of a study carried `redrawn` and `looked_at`. In either format the errors of a surrogate were `mean` and `share`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = {
    "reach": "feasible_region",
    "redrawn": "rejected",
    "redrawn_share": "rejected_fraction",
    "looked_at": "candidates_scored",
    "column_hashes": "cost_hashes",
}


_ERROR_KEYS = {"mean": "mean_absolute_error", "share": "relative_absolute_error"}


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What search.json or a study says of a search, in the names of today; equal to `config` where it has those."""
    if isinstance(errors := config.get("surrogate_error"), dict):
        config = {**config, "surrogate_error": {name: _error(error) for name, error in errors.items()}}
    if config.get("subdit_search", 1) != 1:
        return dict(config)
    proxies = _proxies(config)
    upgraded = {_KEYS.get(key, key): value for key, value in config.items()}
    for key in ("proxy", "other_proxies", "limits"):
        upgraded.pop(key, None)
    limits, errors = config.get("limits"), config.get("surrogate_error")
    upgraded |= {
        "subdit_search": 2,
        "proxies": proxies,
        "objectives": [upgrade_name(name, proxies) for name in config.get("objectives") or ("latency_ms", "quality")],
        "constraints": {
            upgrade_name(name.removeprefix("max_"), proxies): limit
            for name, limit in (limits.items() if isinstance(limits, dict) else ())
            if limit is not None
        },
    }
    if isinstance(errors, dict):
        upgraded["surrogate_error"] = {upgrade_name(name, proxies): error for name, error in errors.items()}
    return upgraded


def _error(error: Any) -> Any:
    """Of a surrogate; None where there was none."""
    return {_ERROR_KEYS.get(key, key): value for key, value in error.items()} if isinstance(error, dict) else error


def upgrade_name(name: str, proxies: Mapping[str, Any]) -> str:
    """The name that a column or an objective of a search in format 1 has in format 2.

    Not for names of format 2, where an id may begin with `quality_`. `proxies` are by id, that of `quality` first.
    """
    if name == "quality":
        return next(iter(proxies), name)
    return name.removeprefix("quality_")


def upgrade_notes(notes: Mapping[str, Any], proxies: Mapping[str, Any]) -> dict[str, Any]:
    """The user attributes of a study's finished trial in the names of format 2; equal to `notes` where it has those."""
    if "rejected" in notes:
        return dict(notes)
    upgraded = {_KEYS.get(key, key): value for key, value in notes.items()}
    noise = upgraded.get("half_widths", {})
    return upgraded | {"half_widths": {upgrade_name(name, proxies): half for name, half in noise.items()}}


def _proxies(config: Mapping[str, Any]) -> dict[str, Any]:
    first, others = config.get("proxy"), config.get("other_proxies")
    if not isinstance(first, dict):
        # The first versions named the proxy alone, or nothing.
        first = {"id": str(first or "quality")}
    listed = [first, *(others.values() if isinstance(others, dict) else ())]
    return {
        str(each.get("id", "quality")): {key: value for key, value in each.items() if key != "id"}
        for each in listed
        if isinstance(each, dict)
    }
