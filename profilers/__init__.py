"""Profilers: kits of a space's components, the measurement protocol, and the runtimes that it measures.

Nothing heavy is imported before a function is called: `profile` needs no torch, `kit` does.
"""

from device_profiles import NOISE_LIMIT
from profilers.kits.calibration_specs import calibration_specs
from profilers.kits.export_kit import estimate
from profilers.kits.export_kit import kit
from profilers.kits.kit import Kit
from profilers.kits.kit import is_kit
from profilers.kits.kit import open_kit
from profilers.kits.kit_estimate import KitEstimate
from profilers.measuring.accuracy_check import export_checked
from profilers.measuring.affinity import read_cpus
from profilers.measuring.conditions import cpu_model
from profilers.measuring.conditions import device_name
from profilers.measuring.measure_models import Measurement
from profilers.measuring.measure_models import measure_models
from profilers.measuring.profile import profile
from profilers.measuring.profile import profile_beside
from profilers.runtimes import Runtime
from profilers.runtimes import get_runtime
from profilers.runtimes import runtime_names
from profilers.runtimes import sub_dit_model

__all__ = [
    "NOISE_LIMIT",
    "Kit",
    "KitEstimate",
    "Measurement",
    "Runtime",
    "calibration_specs",
    "cpu_model",
    "device_name",
    "estimate",
    "export_checked",
    "get_runtime",
    "is_kit",
    "kit",
    "measure_models",
    "open_kit",
    "profile",
    "profile_beside",
    "read_cpus",
    "runtime_names",
    "sub_dit_model",
]
