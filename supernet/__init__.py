"""The supernet and its sub-DiTs as diffusers models:

    from supernet import SubDiT

    model = SubDiT.from_pretrained("picks/0123456789/distilled")

Each class is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

_CLASSES = {
    "ElasticDiT": "supernet.model.elastic",
    "SubDiT": "supernet.model.dit",
    "SubDiTPipeline": "supernet.pipeline",
}

__all__ = ["ElasticDiT", "SubDiT", "SubDiTPipeline"]


def __getattr__(name: str) -> Any:
    """A class of `__all__`, imported on first use (PEP 562)."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'supernet' has no attribute {name!r}")
    return getattr(importlib.import_module(_CLASSES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
