"""Step distillation: the few-step teacher and K-DMD; imports torch only when used."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "FewStepConfig": "supernet.distillation.few_step_teacher",
    "KDMDConfig": "supernet.distillation.kdmd",
    "distill": "supernet.distillation.distill_pick",
}

__all__ = ["FewStepConfig", "KDMDConfig", "distill"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
