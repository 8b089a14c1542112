"""Export to ONNX and .tflite, and a check that an export computes the same as the model."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import ExportError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import RunError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.space import EXTERNAL_DATA_BYTES
from supernet.data.data_record import DataRecord
from supernet.export.onnx_graph import data_path
from supernet.export.onnx_graph import parameter_bytes
from supernet.export.onnx_graph import write_graph
from supernet.export.onnx_graph import write_with_external_data
from supernet.model.dit import SubDiT
from supernet.model_file import card
from supernet.recipe import SamplingRecipe
from supernet.tflite import PRECISIONS
from supernet.tflite import run_tflite
from supernet.tflite import write_tflite

OPSET = 20
OUTPUT = "output"
# Limits of the deviation from torch. For fp32 it is the largest difference; otherwise it is the root mean square error
# over the output's standard deviation, and the limit is three times that of sub-DiTs with redrawn weights.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-3, "int8": 0.1}
_REMEDY = {"fp16": "export it as fp32", "int8": "export it as fp16 or fp32"}


def export_sub_dit(
    model: SubDiT,
    path: Path,
    *,
    recipe: SamplingRecipe,
    precision: str = "fp32",
    force: bool = False,
    supernet: str | None = None,
    data: DataRecord | None = None,
) -> float:
    """Export a whole sub-DiT with its sampling card, as .onnx or .tflite; return the deviation from torch.

    The card holds `recipe`, how the model is sampled, and, if they are known, `supernet`, the digest of the weights
    that it was made from, and `data`, what it was trained on.

    The deviation is the largest difference, or for weights of less than float32 the root mean square error over the
    output's standard deviation. Raises `ExportError` if it is above `TOLERANCES`.
    """
    inputs = model.example_inputs()
    if path.suffix == ".tflite":
        export_tflite(model.eval(), inputs, path, precision=precision, force=force)
        off = tflite_deviation(model, inputs, path, relative=precision != "fp32")
    else:
        export_onnx(model.eval(), inputs, path, force=force)
        off = deviation(model, inputs, path)
    if not off <= TOLERANCES[precision]:
        path.unlink()
        data_path(path).unlink(missing_ok=True)
        what = f"The {precision} export of {model.spec.hash} differs from torch by {off:.1e}"
        raise ExportError(f"{what}; {_REMEDY.get(precision, 'report it with its spec')}.")
    facts = {"deviation_from_torch": off, KEY: supernet}
    write_json(path.with_suffix(".json"), {**card(model.spec, recipe, model.config, data), **facts})
    return off


def export_onnx(
    module: nn.Module,
    inputs: dict[str, Tensor],
    path: Path,
    *,
    force: bool = False,
    external_data: bool | None = None,
) -> Path:
    """Write a module as ONNX of opset 20: static shapes, plain operators, nothing above rank 4; the output is `output`.

    With `external_data` the weights lie beside X.onnx in X.onnx.data; by default they do above 1.5 GB of parameters.
    Raises `RunError` if the file exists and `force` is not given, `ExportError` if the module cannot be exported. A
    module gives the same bytes on any machine, because the exporter's notes are removed.
    """
    if path.exists() and not force:
        raise RunError(f"{path} exists already; pass --force to replace it.")
    if external_data is None:
        external_data = parameter_bytes(module) > EXTERNAL_DATA_BYTES
    # The exporter copies parameters to fold or compare them; `write_with_external_data` does both without copies.
    kept: dict[str, Any] = {"export_params": False, "do_constant_folding": False, "keep_initializers_as_inputs": True}
    written = io.BytesIO()
    try:
        # The TorchScript exporter is deprecated, but takes a tenth of the newer one's time on modules this small, and
        # the runtime is equally fast with either; torch is pinned.
        with warnings.catch_warnings(), torch.no_grad(), _positional_only(module):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                written,  # type: ignore[arg-type]  # it takes a file as well, though its types do not say so
                dynamo=False,
                input_names=list(inputs),
                output_names=[OUTPUT],
                opset_version=OPSET,
                **(kept if external_data else {}),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        what = type(module).__name__
        raise ExportError(f"{what} cannot be exported to ONNX ({error}); report it with its spec.") from error
    if external_data:
        write_with_external_data(written.getvalue(), module.state_dict(), len(inputs), path)
    else:
        write_graph(written.getvalue(), path)
    return path


def export_tflite(
    module: nn.Module,
    inputs: dict[str, Tensor],
    path: Path,
    *,
    precision: str = "fp32",
    force: bool = False,
) -> Path:
    """Write a module as .tflite, without a converter: float32 inputs of the module's own names, order and layout.

    Args:
        module: what `export_onnx` can export.
        inputs: by name, in the order of `forward`; their shapes are the file's.
        path: the file.
        precision: fp32; fp16: weights are stored as float16, and a CPU computes with them as float32; int8: weights of
            linears and convolutions are int8 per output channel, activations are float (TFLite's dynamic range).
        force: replace the file.

    A module gives the same bytes each time. Raises `RunError` if the file exists and `force` is not given,
    `ExportError` for an unknown precision, a module that cannot be exported, or one above the 2 GB of a flatbuffer, and
    `MissingExtraError` without LiteRT, which has the schema.
    """
    if path.exists() and not force:
        raise RunError(f"{path} exists already; pass --force to replace it.")
    if precision not in PRECISIONS:
        raise ExportError(f"There is no precision {precision!r} of .tflite; choose from {', '.join(PRECISIONS)}.")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise MissingExtraError("LiteRT is not installed; install it with pip install 'subdit[litert]'.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as made:
        write_tflite(export_onnx(module, inputs, Path(made) / "graph.onnx"), path, precision=precision)
    return path


@contextlib.contextmanager
def _positional_only(module: nn.Module) -> Iterator[None]:
    """Hide a module's keyword-only options, whose defaults the exporter would pass as further inputs."""
    forward = module.forward

    def plain(*inputs: Tensor) -> Any:
        return forward(*inputs)

    module.forward = plain
    try:
        yield
    finally:
        del module.forward


def deviation(module: nn.Module, inputs: dict[str, Tensor], path: Path) -> float:
    """Largest absolute difference between the module's output and the exported file's in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected: npt.NDArray[np.float32] = module(*inputs.values()).numpy()
    (actual,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return float(np.abs(expected - actual).max())


def tflite_deviation(module: nn.Module, inputs: dict[str, Tensor], path: Path, *, relative: bool = False) -> float:
    """As `deviation`, for a .tflite file in LiteRT; `relative`: root mean square error over standard deviation."""
    with torch.no_grad():
        expected: npt.NDArray[np.float32] = module(*inputs.values()).numpy()
    off = run_tflite(path, {name: value.numpy() for name, value in inputs.items()}) - expected
    return float(np.sqrt(np.mean(off**2)) / expected.std()) if relative else float(np.abs(off).max())
