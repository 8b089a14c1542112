"""Profilers: the kit of a space's components, the measurement protocol, and the runtimes that it measures.

Nothing heavy is imported before a function is called: `profile` needs no torch, `kit` does.
"""

from device_profiles import NOISE_LIMIT
from profilers._affinity import read_cpus
from profilers._conditions import cpu_model
from profilers._conditions import device_name
from profilers._expected import KitEstimate
from profilers._kit import Kit
from profilers._kit import KitEntry
from profilers._kit import estimate
from profilers._kit import is_kit
from profilers._kit import kit
from profilers._kit import open_kit
from profilers._models import Measurement
from profilers._models import measure_models
from profilers._models import read_static_inputs
from profilers._profile import profile
from profilers._profile import profile_beside
from profilers._whole import calibration_specs
from profilers.runtimes import Runtime
from profilers.runtimes import Session
from profilers.runtimes import get_runtime

__all__ = [
    "NOISE_LIMIT",
    "Kit",
    "KitEntry",
    "KitEstimate",
    "Measurement",
    "Runtime",
    "Session",
    "calibration_specs",
    "cpu_model",
    "device_name",
    "estimate",
    "get_runtime",
    "is_kit",
    "kit",
    "measure_models",
    "open_kit",
    "profile",
    "profile_beside",
    "read_cpus",
    "read_static_inputs",
]
