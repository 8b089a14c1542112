"""LiteRT and tflite-runtime: what they compute, what they say of it, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from profilers.runtimes import get_runtime
from profilers.runtimes import reference_inputs
from subdit.core.errors import KitError
from subdit.space import all_components
from subdit.space import get_space
from supernet.export.exporter import export_tflite
from supernet.model.components import ComponentModule
from supernet.model.components import component_module
from tests.profilers.wrong_values import hide_new_operators
from tests.programs import require_module

LIBRARIES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime"}


def needs(name: str) -> None:
    """Skip where a runtime cannot be, or is not; in CI it must be."""
    if name == "tflite" and (sys.version_info >= (3, 12) or sys.platform != "linux"):
        pytest.skip("tflite-runtime has no wheel for this Python or system")
    require_module(LIBRARIES[name], f"pip install 'subdit[{name}]'")


@pytest.fixture(params=LIBRARIES)
def name(request: pytest.FixtureRequest) -> str:
    needs("litert")  # its schema is what files are written by
    needs(request.param)
    return str(request.param)


def made(kind: str) -> ComponentModule:
    space = get_space("digits")
    return component_module(space, [entry for entry in all_components(space) if entry.kind == kind][-1])


def arrays(component: ComponentModule) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in component.inputs.items()}


def reference_file(name: str, path: Path) -> Path:
    get_runtime(name).export_reference(path)
    return path


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((actual - expected) ** 2)) / expected.std())


def expected_of(component: ComponentModule) -> np.ndarray:
    return component.module(*component.inputs.values()).detach().numpy()


# What they compute ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["assa", "ffn", "time_embed", "text_projection", "upsample", "final_layer"])
def test_components_equal_torch_run_after_run(kind: str, name: str, tmp_path: Path) -> None:
    """Inputs are bound once: no run may spoil them for the next."""
    component = made(kind)
    path = export_tflite(component.module, component.inputs, tmp_path / "component.tflite")
    session = get_runtime(name).load(path, arrays(component), threads=1)
    session.run()
    first = session.output()
    assert np.abs(first - expected_of(component)).max() <= 1e-4
    session.run(3)
    np.testing.assert_array_equal(session.output(), first)


def test_half_precision_weights_are_computed_with_as_float32(name: str, tmp_path: Path) -> None:
    component = made("ffn")
    path = export_tflite(component.module, component.inputs, tmp_path / "ffn.tflite", precision="fp16")
    runtime = get_runtime(name, precision="fp16")
    session = runtime.load(path, arrays(component), threads=1)
    session.run()
    assert 1e-6 < relative_error(session.output(), expected_of(component)) < 2e-3
    assert runtime.compute_precision == "fp32"
    assert get_runtime(name).compute_precision is None


# What they say --------------------------------------------------------------------------------------------------------


def test_the_share_that_xnnpack_took_is_known(name: str, tmp_path: Path) -> None:
    """LiteRT's XNNPACK has every operator of ours; tflite-runtime's lacks MEAN, GELU and products of activations."""
    component = made("self_attention")
    path = export_tflite(component.module, component.inputs, tmp_path / "attention.tflite")
    runtime = get_runtime(name)
    assert runtime.delegated_share is None
    runtime.load(path, arrays(component), threads=1)
    share = runtime.delegated_share
    assert share is not None and (share == 1.0 if name == "litert" else 0.5 < share < 0.95)
    runtime.load(reference_file(name, tmp_path / "r.tflite"), reference_inputs(), threads=1)
    assert (runtime.delegated_share == share) == (name == "litert")
    assert (runtime.name, runtime.delegate, runtime.suffix) == (name, None, ".tflite")
    assert runtime.version.split(".")[0] == "2"


def test_loading_prints_nothing(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = reference_file(name, tmp_path / "r.tflite")
    get_runtime(name).load(path, reference_inputs(), threads=1).run()
    assert "".join(capfd.readouterr()) == ""


# What is refused ------------------------------------------------------------------------------------------------------


def test_int8_runs_on_litert_and_is_refused_by_tflite_runtime(name: str, tmp_path: Path) -> None:
    """Per-channel weights came to FULLY_CONNECTED with version 12, which the file claims and tflite-runtime lacks."""
    component = made("ffn")
    path = export_tflite(component.module, component.inputs, tmp_path / "ffn.tflite", precision="int8")
    runtime = get_runtime(name, precision="int8")
    if name == "tflite":
        with pytest.raises(KitError, match="tflite-runtime 2.14.0 cannot run .*FULLY_CONNECTED' version '12'.*choose"):
            runtime.load(path, arrays(component), threads=1)
        return
    session = runtime.load(path, arrays(component), threads=1)
    session.run()
    assert 1e-3 < relative_error(session.output(), expected_of(component)) < 0.05
    assert runtime.delegated_share == 1.0


def test_a_file_that_claims_old_operators_is_computed_wrong_by_tflite_runtime(name: str, tmp_path: Path) -> None:
    """What other quantisers write: no error, wrong values. It is why outputs are compared before anything is timed."""
    component = made("ffn")
    path = export_tflite(component.module, component.inputs, tmp_path / "ffn.tflite", precision="int8")
    hide_new_operators(path)
    session = get_runtime(name, precision="int8").load(path, arrays(component), threads=1)
    session.run()
    error = relative_error(session.output(), expected_of(component))
    assert error > 0.3 if name == "tflite" else error < 0.05


def test_damaged_files_are_refused_and_crash_nothing(name: str, tmp_path: Path) -> None:
    runtime, inputs = get_runtime(name), reference_inputs()
    path = reference_file(name, tmp_path / "r.tflite")
    whole = path.read_bytes()
    with pytest.raises(KitError, match="no model at"):
        runtime.load(tmp_path / "none.tflite", inputs, threads=1)
    for length in (0, 7, 40, 1000, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(KitError, match="it is cut short.*export it again"):
            runtime.load(path, inputs, threads=1)
    path.write_bytes(b"PK\3\4" + whole)
    with pytest.raises(KitError, match="no .tflite file"):
        runtime.load(path, inputs, threads=1)


def test_other_inputs_are_refused(name: str, tmp_path: Path) -> None:
    runtime, path = get_runtime(name), reference_file(name, tmp_path / "r.tflite")
    with pytest.raises(KitError, match="it reads input and was given x"):
        runtime.load(path, {"x": reference_inputs()["input"]}, threads=1)
    with pytest.raises(KitError, match="Dimension mismatch"):
        runtime.load(path, {"input": np.zeros(3, np.float32)}, threads=1)


def test_a_runtime_that_is_not_there_or_does_not_run_is_told_from_one_that_does(tmp_path: Path) -> None:
    """An import proves nothing: tflite-runtime beside numpy 2 fails when its interpreter is made."""
    code = "from profilers import get_runtime\nget_runtime('tflite')"

    def refusal() -> str:
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
        return ran.stderr.splitlines()[-1]

    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    broken = "raise SystemError('<built-in method CreateWrapperFromFile> returned a result with an exception set')"
    (package / "interpreter.py").write_text(f"class Interpreter:\n    def __init__(self, **options): {broken}\n")
    assert "MissingExtraError: tflite-runtime is installed but does not run beside numpy" in refusal()
    (package / "interpreter.py").write_text("import a_library_that_is_not_there\n")
    assert "pip install 'subdit[tflite]'" in refusal()
