"""What latencies are made of, as a hash: a function of files alone, the same on every processor.

Predictions are not hashed. A fit to whole sub-DiTs is made again on each machine, and ends a last bit apart where the
linear algebra of two processors differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from device_profiles._profile import Calibration
from device_profiles._profile import DeviceProfile
from device_profiles._profile import Latency
from device_profiles._profile import WholeLatency

LATENCY_MODEL = "1: sums of components, or a fit to whole sub-DiTs"
"""How latencies are computed from a profile. A change of what is computed is a new number: with it no search is
resumed that was begun with another one."""


def fingerprint(made_of: Any) -> str:
    """Sixteen hexadecimal digits of a value that JSON can hold; the order of keys does not count."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def profile_fingerprint(profile: DeviceProfile) -> str:
    """Of everything in a profile that latencies and intervals of its sub-DiTs are computed from, its space apart."""
    return fingerprint(
        {
            "components": {name: latency_numbers(latency) for name, latency in profile.components.items()},
            "max_params": profile.max_params,
            "split": None if profile.noise is None else float(profile.noise.split),
            "calibration": None if profile.calibration is None else _calibration(profile.calibration),
            "whole": _whole(profile.whole),
        }
    )


def latency_numbers(latency: Latency) -> list[float]:
    """A latency and its interval in milliseconds."""
    return [float(latency.latency_ms), float(latency.low_ms), float(latency.high_ms)]


def _calibration(calibration: Calibration) -> dict[str, Any]:
    return {
        "form": calibration.form,
        "factors": {kind: float(factor) for kind, factor in calibration.factors.items()},
        "per_run_ms": float(calibration.per_run_ms),
        "per_million_params_ms": float(calibration.per_million_params_ms),
        "fixed_ms": float(calibration.fixed_ms),
        "relative_error": float(calibration.relative_error),
        "whole": _whole(calibration.whole),
    }


def _whole(rows: Iterable[WholeLatency]) -> list[list[Any]]:
    """In the order in which they were measured, as drift is found by it."""
    return [[row.spec.hash, *latency_numbers(row.latency)] for row in rows]
