"""Device profiles: the documented schema, the registry of profiles, and the latency estimator; no torch."""

from device_profiles._calibration import MIN_WHOLE
from device_profiles._calibration import fit_calibration
from device_profiles._calibration import noise_floor
from device_profiles._calibration import summarize_errors
from device_profiles._comparison import Comparison
from device_profiles._comparison import compare_profiles
from device_profiles._correction import CorrectedLatencies
from device_profiles._drift_report import DriftReport
from device_profiles._drift_report import Segment
from device_profiles._estimator import LatencyEstimate
from device_profiles._estimator import LatencyEstimator
from device_profiles._estimator import half_apart_ms
from device_profiles._finding import Finding
from device_profiles._fingerprint import LATENCY_MODEL
from device_profiles._pipeline import PipelineLatency
from device_profiles._pipeline import pipeline_fingerprint
from device_profiles._pipeline import pipeline_latency
from device_profiles._plain_sums import ASSUMED
from device_profiles._plain_sums import PlainSums
from device_profiles._plausibility import check_plausibility
from device_profiles._profile import NOISE_LIMIT
from device_profiles._profile import Calibration
from device_profiles._profile import Conditions
from device_profiles._profile import DeviceProfile
from device_profiles._profile import ErrorReport
from device_profiles._profile import Latency
from device_profiles._profile import Noise
from device_profiles._profile import WholeLatency
from device_profiles._profile import profile_from_dict
from device_profiles._ran_where import fallback
from device_profiles._ran_where import ran_where
from device_profiles._registry import RegisteredProfile
from device_profiles._registry import fits_space
from device_profiles._registry import list_profiles
from device_profiles._registry import load_profile
from device_profiles._registry import profile_path
from device_profiles._registry import read_profile
from device_profiles._registry import read_registry
from device_profiles._registry import save_profile
from device_profiles._registry import user_registry
from device_profiles._size_comparison import SizeRatio
from device_profiles._size_comparison import compare_by_size
from device_profiles._statistics import Z_95
from device_profiles._statistics import kendall_tau
from device_profiles._statistics import spearman_rho
from device_profiles._statistics import t_95
from device_profiles._whole_fit import WholeFit
from device_profiles._whole_fit import WholeRows
from device_profiles._whole_fit import fit_whole
from device_profiles._whole_model import MIN_WHOLE_ROWS
from device_profiles._whole_model import WholeModel
from device_profiles._whole_model import fit_whole_model

__all__ = [
    "ASSUMED",
    "LATENCY_MODEL",
    "MIN_WHOLE",
    "MIN_WHOLE_ROWS",
    "NOISE_LIMIT",
    "Calibration",
    "Comparison",
    "Conditions",
    "CorrectedLatencies",
    "DeviceProfile",
    "DriftReport",
    "ErrorReport",
    "Finding",
    "Latency",
    "LatencyEstimate",
    "LatencyEstimator",
    "Noise",
    "PipelineLatency",
    "PlainSums",
    "RegisteredProfile",
    "Segment",
    "SizeRatio",
    "WholeFit",
    "WholeLatency",
    "WholeModel",
    "WholeRows",
    "Z_95",
    "check_plausibility",
    "compare_by_size",
    "compare_profiles",
    "fallback",
    "fit_calibration",
    "fits_space",
    "fit_whole",
    "fit_whole_model",
    "half_apart_ms",
    "kendall_tau",
    "list_profiles",
    "load_profile",
    "noise_floor",
    "pipeline_fingerprint",
    "pipeline_latency",
    "profile_from_dict",
    "profile_path",
    "ran_where",
    "read_profile",
    "read_registry",
    "save_profile",
    "spearman_rho",
    "summarize_errors",
    "t_95",
    "user_registry",
]
