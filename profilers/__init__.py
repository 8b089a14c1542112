"""Profilers: kits of a space's components, the measurement protocol, and the runtimes that it measures.

Nothing heavy is imported before a function is called: `profile` needs no torch, `kit` does.
"""

from device_profiles import NOISE_LIMIT
from profilers.kits import Kit
from profilers.kits import KitEntry
from profilers.kits import KitEstimate
from profilers.kits import calibration_specs
from profilers.kits import estimate
from profilers.kits import is_kit
from profilers.kits import kit
from profilers.kits import open_kit
from profilers.measuring import Measurement
from profilers.measuring import cpu_model
from profilers.measuring import device_name
from profilers.measuring import export_checked
from profilers.measuring import measure_models
from profilers.measuring import profile
from profilers.measuring import profile_beside
from profilers.measuring import read_cpus
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from profilers.runtimes import SourceModel
from profilers.runtimes import get_runtime
from profilers.runtimes import runtime_names
from profilers.runtimes import sub_dit_model

__all__ = [
    "NOISE_LIMIT",
    "Kit",
    "KitEntry",
    "KitEstimate",
    "Measurement",
    "Runtime",
    "Session",
    "SourceModel",
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
