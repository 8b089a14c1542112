"""Predict the latency of sub-DiTs on a device from its profile. Needs no torch.

python examples/predict_latency.py
"""

from __future__ import annotations

import numpy as np

from device_profiles import LatencyEstimator
from device_profiles import load_profile
from subdit.space import get_space


def main() -> None:
    space = get_space("digits")
    profile = load_profile("linux-amd-epyc/onnxruntime/fp32/t1", space=space.name)
    rows = space.sample(np.random.default_rng(7), 5)
    estimate = LatencyEstimator(profile, space).estimate(rows)
    print(f"One step on {profile.id}:")
    for index, spec in enumerate(space.decode(rows)):
        low, high = estimate.low_ms[index], estimate.high_ms[index]
        print(f"  {spec}: {estimate.latency_ms[index]:.3f} ms (95 % interval {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
