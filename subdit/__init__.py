"""subdit: hardware-aware architecture search and device profiling for diffusion transformers on phones.

One function per verb of the command line, each imported when it is first used::

    import subdit

    subdit.search(Path("runs/demo"), device="linux", constraints={"latency_ms": 2}, trials=400)
    subdit.report(Path("runs/demo"))
"""

from __future__ import annotations

import importlib
from typing import Any

from subdit.core.version import VERSION

__version__ = VERSION

_VERBS = {
    "spaces": "subdit.space:space_names",
    "data": "supernet.data.encoding:encode",
    "train": "supernet.training.train:train",
    "evaluate": "supernet.evaluation.evaluate:evaluate",
    "kit": "profilers:kit",
    "profile": "profilers:profile",
    # `import` is a keyword.
    "import_logs": "profilers.importers:import_logs",
    "devices": "device_profiles:list_profiles",
    "search": "subdit._search:search",
    "proxies": "nas:measure_proxies",
    "report": "reports:report",
    "distill": "supernet.distillation.distill_pick:distill",
    "export": "supernet.export.export_pick:export",
    "sample": "supernet.sampling:sample",
    "demo": "subdit._demo:demo",
}

_CONFIGURATIONS = {
    "TrainingConfig": "supernet.training.config:TrainingConfig",
    "FewStepConfig": "supernet.distillation.few_step_teacher:FewStepConfig",
    "KDMDConfig": "supernet.distillation.kdmd:KDMDConfig",
    "SearchConfig": "nas:SearchConfig",
    "StudyOptions": "nas:StudyOptions",
}
_HOMES = _VERBS | _CONFIGURATIONS

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """The function of a verb, or a configuration, imported on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'subdit' has no attribute {name!r}")
    module, _, function = _HOMES[name].partition(":")
    # Kept, so that the verb `demo` stays a function although the module subdit.demo was imported under that name.
    globals()[name] = value = getattr(importlib.import_module(module), function)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
