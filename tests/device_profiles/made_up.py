"""Profiles with made-up latencies, for tests of what is done with profiles."""

from __future__ import annotations

import dataclasses

import numpy as np

from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import Noise
from device_profiles import WholeLatency
from device_profiles import fit_calibration
from subdit.space import KINDS
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import component_params
from subdit.space import get_space

SPACE = get_space("digits")
COMPONENTS = all_components(SPACE)
CONDITIONS = Conditions(
    machine="bench",
    cpu="A CPU",
    cores=2,
    os="Linux",
    runtime_version="1.32.0",
    python_version="3.11.7",
    measured_at="2026-11-23T07:50:12+00:00",
)
NOISE = Noise(drift=0.03, component_ci=0.01, whole_ci=0.01, split=0.01, limit=0.03, attempts=1)


PARAMS = np.asarray([component_params(SPACE, component) for component in COMPONENTS], dtype=np.float64)


def component_ms(seed: int = 0) -> np.ndarray:
    """A latency for each component of the space, log-uniform between 10 and 300 microseconds."""
    return np.exp(np.random.default_rng(seed).uniform(np.log(0.01), np.log(0.3), len(COMPONENTS)))


def lifelike_ms(seed: int = 0) -> np.ndarray:
    """A latency for each component that grows with its work: 8 microseconds to start, and so many multiplications."""
    rng = np.random.default_rng(seed)
    speed = {kind: rng.uniform(0.5, 2.0) for kind in KINDS}
    work = [
        max(one.grid, 1) ** 2 * max(one.width, 32) ** 1.7 * max(one.ffn_ratio, 1) * (1 + 0.2 * one.bna_radius)
        for one in COMPONENTS
    ]
    latency_ms = [0.008 + 1e-6 * speed[one.kind] * each for one, each in zip(COMPONENTS, work, strict=True)]
    return np.asarray(latency_ms) * rng.normal(1, 0.005, len(COMPONENTS))


def whole_profile(rows: int = 40, *, parts: bool = True, seed: int = 0, noise: float = 0.005) -> DeviceProfile:
    """A profile that predicts from whole sub-DiTs, which take `true_whole_ms`, to within `noise`."""
    encoded = SPACE.sample(np.random.default_rng(seed + 1), rows)
    taken = true_whole_ms(encoded) * np.random.default_rng(seed + 2).normal(1, noise, rows)
    profile = made_up_profile(calibrated=False, latency_ms=lifelike_ms())
    return dataclasses.replace(
        profile,
        components=profile.components if parts else {},
        whole=tuple(
            WholeLatency(spec, Latency(ms, ms * (1 - 2 * noise), ms * (1 + 2 * noise), 40))
            for spec, ms in zip(SPACE.decode(encoded), taken.tolist(), strict=True)
        ),
    )


def true_whole_ms(encoded: np.ndarray) -> np.ndarray:
    """A sum of parts, 0.05 ms, and what no sum has: wide sub-DiTs lose their weights from the cache."""
    sums = component_counts(SPACE, encoded).astype(float) @ lifelike_ms()
    width = np.asarray(SPACE.widths)[encoded[:, 0]]
    return (1.1 * sums + 0.05) * (1 + 0.1 * ((width - 48) / 48) ** 2)


def made_up_profile(
    *, device: str = "kettle", calibrated: bool = True, seed: int = 0, latency_ms: np.ndarray | None = None
) -> DeviceProfile:
    """A profile whose whole sub-DiTs take 1.1 times their sum and 0.05 ms, to within half a per cent."""
    latency_ms = component_ms(seed) if latency_ms is None else latency_ms
    encoded = SPACE.sample(np.random.default_rng(seed + 1), 12)
    counts = component_counts(SPACE, encoded).astype(float)
    noise = np.random.default_rng(seed + 2).normal(1, 0.005, len(encoded))
    whole = [
        WholeLatency(spec, Latency(value, value * 0.99, value * 1.01, 40))
        for spec, value in zip(SPACE.decode(encoded), (1.1 * counts @ latency_ms + 0.05) * noise, strict=True)
    ]
    return DeviceProfile(
        device=device,
        runtime="onnxruntime",
        precision="fp32",
        threads=1,
        space="digits",
        kit_hash="0123456789abcdef",
        provenance="measured",
        noisy=False,
        components={
            component.name: Latency(value, value * 0.99, value * 1.01, 40)
            for component, value in zip(COMPONENTS, latency_ms.tolist(), strict=True)
        },
        conditions=CONDITIONS,
        noise=NOISE,
        calibration=(
            fit_calibration(COMPONENTS, latency_ms, counts, whole, params=PARAMS, split=NOISE.split)
            if calibrated
            else None
        ),
    )
