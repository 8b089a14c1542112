"""The search: Optuna's loop over a latency table and a quality proxy, limits, the Pareto front and its picks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from nas._results import SearchResult
    from nas._results import load_search
    from nas._search import search
    from nas.proxy_benchmark._benchmark import measure_proxies

__all__ = ["SearchResult", "load_search", "measure_proxies", "search"]

_HOMES = {
    "measure_proxies": "nas.proxy_benchmark._benchmark",
    "search": "nas._search",
    "SearchResult": "nas._results",
    "load_search": "nas._results",
}


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562): `import nas` must not load Optuna.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
