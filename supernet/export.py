"""Export to ONNX, the check that the export computes what the model computes, and the verb `export`."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from subdit.errors import ExportError
from subdit.errors import RunError
from subdit.run import Run
from subdit.run import read_pick
from subdit.run import replacing
from subdit.run import write_json
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.dit import SubDiT
from supernet.dit import example_inputs
from supernet.space import SubDiTSpec
from supernet.space import get_space

OPSET = 20
OUTPUT = "output"
TOLERANCE = 1e-4


def export(run_path: Path, *, pick: str = "balanced", search: str = "default", force: bool = False) -> Path:
    """Export a pick, distilled if it is and otherwise with the supernet's weights, and check it against torch.

    Writes picks/SPEC_HASH/exports/dit.onnx and beside it dit.json, which tells a sampler the space, steps and shift.

    Raises:
        RunError: no such run, search or pick, or the export is there and `force` is not given.
        CheckpointError: the weights are damaged.
        ExportError: the export differs from torch by more than 1e-4.
    """
    run = Run(run_path)
    spec = SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"])
    folder = run.pick(spec.hash)
    path = folder / "exports" / "dit.onnx"
    if path.exists() and not force:
        raise RunError(f"The pick {pick!r} is exported already, at {path}; pass --force to export it anew.")
    distilled = (folder / "distilled" / "config.json").exists()
    model = load_sub_dit(folder / "distilled") if distilled else load_supernet(run.supernet).extract(spec)
    export_sub_dit(model, path, distilled=distilled, force=force)
    write_json(folder / "spec.json", spec.to_dict())
    return path


def export_sub_dit(model: SubDiT, path: Path, *, distilled: bool, force: bool = False) -> float:
    """Export a whole sub-DiT with its sampling card and return the deviation from torch; raises `ExportError`."""
    inputs = example_inputs(get_space(model.spec.space))
    export_onnx(model.eval(), inputs, path, force=force)
    off = deviation(model, inputs, path)
    if not off <= TOLERANCE:
        path.unlink()
        raise ExportError(f"The export of {model.spec.hash} differs from torch by {off:.1e}; report it with its spec.")
    card = {"spec": model.spec.to_dict(), "steps": 4 if distilled else 28, "shift": 3.0 if distilled else 1.0}
    write_json(path.with_suffix(".json"), {**card, "deviation_from_torch": off})
    return off


def export_onnx(module: nn.Module, inputs: dict[str, Tensor], path: Path, *, force: bool = False) -> Path:
    """Write a module as one ONNX file of opset 20 with static shapes; its output is named `output`.

    Raises `RunError` where the file exists and `force` is not given, `ExportError` where the module cannot be exported.
    The bytes are the same for the same module, on any machine: the exporter's notes are removed.
    """
    import onnx

    if path.exists() and not force:
        raise RunError(f"{path} exists already; pass --force to replace it.")
    written = io.BytesIO()
    try:
        # The TorchScript exporter is deprecated but takes a tenth of the other one's time on pieces this small, and the
        # runtime is equally fast with either; torch is pinned.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                written,  # type: ignore[arg-type]  # it takes a file as well, though its types do not say so
                dynamo=False,
                input_names=list(inputs),
                output_names=[OUTPUT],
                opset_version=OPSET,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        what = type(module).__name__
        raise ExportError(f"{what} cannot be exported to ONNX ({error}); report it with its spec.") from error
    model = onnx.load_from_string(written.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
    return path


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
