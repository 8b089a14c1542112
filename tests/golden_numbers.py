"""Figures of this code on fixed inputs, frozen in tests/golden/numbers, so that a move changes none of them.

    python -m tests.golden_numbers            # writes them anew; say in the commit why a number changed

Inputs are made by numpy from seeds or are files of the repository, and results that rounding decides are kept out, so
that any processor gives the same figures to the tolerance that the test states. Where predicted latencies change,
`device_profiles.LATENCY_MODEL` is a new one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles import LatencyEstimator
from device_profiles import read_registry
from nas import SearchConfig
from nas import search
from profilers.measuring.build_profile import build_profile
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from tests.nas.analytic import Loss
from tests.profilers.test_build_profile import EMPTY
from tests.profilers.test_build_profile import kit_of
from tests.profilers.test_build_profile import timings_of

FILE = Path(__file__).parent / "golden" / "numbers" / "numbers.json"
DEVICE = "linux-amd-epyc/litert/fp32/t1"
"""Its latencies are sums, so a search on it does not depend on the last digits of a fit."""
SPECS = 40


def numbers() -> dict[str, Any]:
    """Every figure, by what it is of."""
    return {
        "search": searched(),
        "profile_from_timings": profiled(),
        "latency_ms": predicted(),
        "fitted_latency_ms": predicted(fitted=True),
        "extracted": extracted(),
        "tflite": written_tflite(),
    }


def some_specs(space: SearchSpace, count: int = SPECS) -> list[SubDiTSpec]:
    return space.decode(space.sample(np.random.default_rng(20261127), count))


def searched() -> dict[str, Any]:
    """A search by NSGA-II on a shipped profile and a loss in closed form: what was tried, the front, the picks."""
    space = get_space("digits")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        start_manifest(run, space="digits")
        objectives = ("latency_ms", Loss(space))
        config = SearchConfig((DEVICE,), objectives, {"latency_ms": 1.0}, surrogate=False, trials=60)
        found = search(run.path, config)
        tried = (found.folder / "trials.csv").read_text(encoding="utf-8").splitlines()
    column = tried[0].split(",").index("spec_hash")
    return {
        "tried": [line.split(",")[column] for line in tried[1:]],
        "front": [[row.spec.hash, row.latency_ms, row.value("analytic")] for row in found.front],
        "picks": {name: pick.spec.hash for name, pick in found.picks.items()},
    }


def profiled() -> dict[str, Any]:
    """What made-up timings of a kit come to: the latency of each component, and the calibration."""
    kit = kit_of(30)
    made = build_profile(kit, EMPTY, timings_of(kit, plain=True))
    assert made.calibration is not None
    return {
        "latency_ms": {name: latency.latency_ms for name, latency in made.components.items()},
        "half_width_ms": {name: (latency.high_ms - latency.low_ms) / 2 for name, latency in made.components.items()},
        "factors": dict(made.calibration.factors),
        "fixed_ms": made.calibration.fixed_ms,
        "mean_error": made.calibration.error.mean,
    }


def predicted(*, fitted: bool = False) -> dict[str, Any]:
    """Latencies that each shipped profile with a table predicts: sums of it, or `fitted` to whole sub-DiTs."""
    found: dict[str, Any] = {}
    for profile in (registered.profile for registered in read_registry()[0] if registered.shipped):
        space = get_space(profile.space)
        if profile.components and bool(profile.whole) == fitted:
            estimate = LatencyEstimator(profile, space).estimate(space.encode(some_specs(space)))
            covered = np.isfinite(estimate.latency_ms)
            found[f"{profile.id} {profile.space}"] = np.where(covered, estimate.latency_ms, -1.0).tolist()
    return found


def fill(model: Any) -> Any:
    """Every parameter by numpy: multiples of 1/1024, which no processor rounds."""
    import torch

    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            drawn = np.random.default_rng([7, index]).integers(-256, 257, size=tuple(parameter.shape)) / 1024
            parameter.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return model.eval()


def extracted() -> dict[str, str]:
    """Digests of the weights that extraction gives, which are copied and not computed."""
    from supernet import ElasticDiT

    found = {}
    for name in ("digits", "mid-256"):
        supernet = fill(ElasticDiT(space=name))
        for spec in some_specs(supernet.space, 4):
            digest = hashlib.sha256()
            for key, value in supernet.extract(spec).state_dict().items():
                digest.update(key.encode())
                digest.update(value.numpy().tobytes())
            found[f"{name} {spec.hash}"] = digest.hexdigest()[:16]
    return found


def written_tflite() -> dict[str, Any]:
    """Of an exported sub-DiT its size in bytes, and what it computes in LiteRT of fixed inputs."""
    from supernet import ElasticDiT
    from supernet.export.exporter import export_tflite
    from supernet.tflite import run_tflite

    supernet = fill(ElasticDiT(space="digits"))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for spec in some_specs(supernet.space, 3):
            model = supernet.extract(spec)
            inputs = model.example_inputs()
            file = export_tflite(model, inputs, Path(folder) / f"{spec.hash}.tflite")
            fixed = {
                name: np.random.default_rng(index).integers(-8, 9, size=tuple(value.shape)).astype(np.float32) / 8
                for index, (name, value) in enumerate(inputs.items())
            }
            output = run_tflite(file, fixed).ravel()
            found[spec.hash] = {"bytes": file.stat().st_size, "output": output[:: len(output) // 16].tolist()}
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(numbers(), indent=1) + "\n", encoding="utf-8")
    print(FILE)
