"""What `--verify` measures is exported for the runtime of the profile, whichever it is, and once per supernet."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nas.verification._verify import measure_exported
from profilers import runtime_names
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.core.weights import supernet_digest
from subdit.space import get_space
from supernet import ElasticDiT
from supernet.checkpoints import save_model
from supernet.model.dit import redraw_
from tests.nas.test_facade import made_profile
from tests.profilers.test_tflite import needs

SPACE = get_space("digits")
SPECS = {spec.hash: spec for spec in SPACE.decode(SPACE.enumerate(0, 2))}


def measured(run: Run, runtime: str, precision: str) -> dict[str, float]:
    profile = dataclasses.replace(made_profile(), runtime=runtime, precision=precision)
    found = measure_exported(run, SPECS, profile, budget_s=0.2, progress=no_progress)
    return {name: one.latency_ms for name, one in found.items()}


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("litert", "fp16"), ("torch", "fp32")]
)
def test_a_front_is_exported_for_the_runtime_of_its_profile(runtime: str, precision: str, tmp_path: Path) -> None:
    if runtime == "litert":
        needs("litert")
    assert runtime in runtime_names()
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    supernet = ElasticDiT(space="digits")
    save_model(redraw_(supernet, 0), run.supernet)
    first = measured(run, runtime, precision)
    assert len(first) == 2 and min(first.values()) > 0
    (note,) = set(run.path.glob(f"picks/{next(iter(first))}/verify/{runtime}-{precision}/origin.json"))
    assert json.loads(note.read_text()) == {"supernet": supernet_digest(run.supernet)}
    written = {path: path.stat().st_mtime_ns for path in run.path.glob("picks/*/verify/*/*")}
    assert len(written) == 4
    measured(run, runtime, precision)
    assert {path: path.stat().st_mtime_ns for path in written} == written, "what is of these weights is not made again"
    save_model(redraw_(supernet, 1), run.supernet)
    measured(run, runtime, precision)
    assert all(path.stat().st_mtime_ns > before for path, before in written.items())
