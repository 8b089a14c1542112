"""Kits: which components and whole sub-DiTs of a space are exported, how they lie on disk, and what they will take."""

from profilers.kits._calibration_specs import calibration_specs
from profilers.kits._export_kit import estimate
from profilers.kits._export_kit import kit
from profilers.kits._kit import Kit
from profilers.kits._kit import KitEntry
from profilers.kits._kit import digest_of
from profilers.kits._kit import is_kit
from profilers.kits._kit import open_kit
from profilers.kits._kit_estimate import DEFAULT_BUDGET_S
from profilers.kits._kit_estimate import KitEstimate

__all__ = [
    "DEFAULT_BUDGET_S",
    "Kit",
    "KitEntry",
    "KitEstimate",
    "calibration_specs",
    "digest_of",
    "estimate",
    "is_kit",
    "kit",
    "open_kit",
]
