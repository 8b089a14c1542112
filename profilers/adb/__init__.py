"""Android phones over adb: TensorFlow Lite's or LiteRT's benchmark_model runs a kit's .tflite files there."""

from profilers.adb.profile import BUDGET_S
from profilers.adb.profile import COOLING_S
from profilers.adb.profile import PhoneResult
from profilers.adb.profile import profile_over_adb

__all__ = [
    "BUDGET_S",
    "COOLING_S",
    "PhoneResult",
    "profile_over_adb",
]
