"""Architecture search: Optuna's loop over costs and quality proxies, constraints, the Pareto front and its picks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from nas._config import SearchConfig
    from nas._search import search
    from nas.proxy_benchmark._benchmark import measure_proxies
    from nas.study._location import StudyOptions
    from subdit.results import SearchResult
    from subdit.results import load_search

__all__ = ["SearchConfig", "SearchResult", "StudyOptions", "load_search", "measure_proxies", "search"]

_HOMES = {
    "measure_proxies": "nas.proxy_benchmark._benchmark",
    "search": "nas._search",
    "SearchConfig": "nas._config",
    "StudyOptions": "nas.study._location",
    "SearchResult": "subdit.results",
    "load_search": "subdit.results",
}


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562): `import nas` must not load Optuna.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
