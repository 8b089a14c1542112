"""Measuring: rounds and sessions, statistics of raw timings, conditions, and the profile that they make."""

from profilers.measuring._accuracy_check import error_of
from profilers.measuring._accuracy_check import export_checked
from profilers.measuring._affinity import read_cpus
from profilers.measuring._build_profile import build_profile
from profilers.measuring._build_profile import calibrate
from profilers.measuring._build_profile import empty_profile
from profilers.measuring._build_profile import whole_latencies
from profilers.measuring._conditions import cpu_model
from profilers.measuring._conditions import device_name
from profilers.measuring._conditions import remote_conditions
from profilers.measuring._kit_selection import check_device
from profilers.measuring._kit_selection import check_pipeline
from profilers.measuring._kit_selection import require_new
from profilers.measuring._kit_selection import select_kit
from profilers.measuring._measure_kit import ATTEMPTS
from profilers.measuring._measure_kit import OVERDRAWN
from profilers.measuring._measure_kit import WHOLE_CI
from profilers.measuring._measure_models import Measurement
from profilers.measuring._measure_models import measure_models
from profilers.measuring._profile import profile
from profilers.measuring._profile import profile_beside
from profilers.measuring._statistics import is_noisy
from profilers.measuring._statistics import largest_noise
from profilers.measuring._statistics import noise_of
from profilers.measuring._statistics import within
from profilers.measuring._timings import REFERENCE
from profilers.measuring._timings import TimingLog
from profilers.measuring._timings import Timings
from profilers.measuring._timings import is_finished
from profilers.measuring._timings import log_path
from profilers.measuring._timings import timings_header

__all__ = [
    "ATTEMPTS",
    "OVERDRAWN",
    "REFERENCE",
    "WHOLE_CI",
    "Measurement",
    "TimingLog",
    "Timings",
    "build_profile",
    "calibrate",
    "check_device",
    "check_pipeline",
    "cpu_model",
    "device_name",
    "empty_profile",
    "error_of",
    "export_checked",
    "is_finished",
    "is_noisy",
    "largest_noise",
    "log_path",
    "measure_models",
    "noise_of",
    "profile",
    "profile_beside",
    "read_cpus",
    "remote_conditions",
    "require_new",
    "select_kit",
    "timings_header",
    "whole_latencies",
    "within",
]
