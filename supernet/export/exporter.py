"""Export to ONNX, the check that the export computes what the model computes, and the verb `export`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shlex
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
from subdit.core.origin import Standing
from subdit.core.origin import artefact_paths
from subdit.core.origin import name_search
from subdit.core.origin import of_others
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import say
from subdit.core.origin import set_aside
from subdit.core.origin import standing
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.space import EXTERNAL_DATA_BYTES
from subdit.space import SubDiTSpec
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.export.onnx_graph import data_path
from supernet.export.onnx_graph import parameter_bytes
from supernet.export.onnx_graph import write_graph
from supernet.export.onnx_graph import write_with_external_data
from supernet.model.dit import SubDiT
from supernet.model_file import card
from supernet.recipe import SamplingRecipe
from supernet.recipe import read_recipe
from supernet.tflite import PRECISIONS
from supernet.tflite import run_tflite
from supernet.tflite import write_tflite

OPSET = 20
OUTPUT = "output"
# The largest difference from torch for fp32; otherwise root mean square error over the output's standard deviation,
# three times what sub-DiTs with redrawn weights show.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-3, "int8": 0.1}
_REMEDY = {"fp16": "export it as fp32", "int8": "export it as fp16 or fp32"}
# Precisions of each.
FORMATS = {"onnx": ("fp32",), "litert": PRECISIONS}


def export(
    run_path: Path,
    *,
    pick: str = "balanced",
    search: str = "default",
    format: str = "onnx",
    precision: str = "fp32",
    force: bool = False,
) -> Path:
    """Export a pick, distilled if it is and otherwise with the supernet's weights, and check it against torch.

    An export of other weights than the run's is set aside, in `stale/` of the run, with a warning.

    Writes picks/SPEC_HASH/exports/dit.onnx and beside it dit.json, which tells a sampler the space, steps and shift; or
    for LiteRT dit-PRECISION.tflite with dit-PRECISION.json.

    Args:
        run_path: the run folder.
        pick: name of the pick.
        search: of which search.
        format: onnx or litert.
        precision: of the weights, see `export_tflite`; ONNX is written as fp32.
        force: replace the export that is there.

    Raises:
        RunError: no such run, search or pick, the export is there and `force` is not given, or what is distilled is of
            other weights than the run's.
        CheckpointError: the weights are damaged.
        ExportError: no such format or precision, or the export differs from torch by more than its limit.
        MissingExtraError: the runtime of the format is not installed.
    """
    check_format(format, precision)
    run = Run(run_path)
    spec = SubDiTSpec.from_dict(read_pick(run, pick, search=search)["spec"])
    folder = run.pick(spec.hash)
    path = folder / "exports" / ("dit.onnx" if format == "onnx" else f"dit-{precision}.tflite")
    digest = run_digest(run)
    name_search(run, search, digest)
    made_from = student_origin(run, pick, folder / "distilled", digest)
    _make_room(run, pick, path, digest, force=force)
    distilled = (folder / "distilled" / "config.json").exists()
    model = load_sub_dit(folder / "distilled") if distilled else load_supernet(run.supernet).extract(spec)
    recipe, _ = read_recipe(folder / "distilled" if distilled else run.supernet)
    export_sub_dit(model, path, recipe=recipe, precision=precision, force=force, supernet=made_from)
    write_json(folder / "spec.json", spec.to_dict())
    return path


def student_origin(run: Run, pick: str, distilled: Path, digest: str | None) -> str | None:
    """The supernet that a pick's weights are of: what is distilled, or else the run's own.

    Raises `RunError` where it is another than the run's; warns where it is unknown.
    """
    if not (distilled / "config.json").exists():
        return digest
    made_from = origin(distilled)
    what = f"The distilled sub-DiT of pick {pick!r} at {distilled}"
    match standing(made_from, digest):
        case Standing.STALE:
            raise RunError(of_others(what, made_from, digest, "distil the pick again with 'subdit distill'"))
        case Standing.UNKNOWN:
            command = f"subdit distill {shlex.quote(str(run.path))} --pick {shlex.quote(pick)} --force"
            remedy = f"to be sure distil it again with '{command}'"
            say(of_others(what, made_from, digest, remedy))
    return made_from


def _make_room(run: Run, pick: str, path: Path, digest: str | None, *, force: bool) -> None:
    """Set aside an export of other weights; raise `RunError` on another one, where it is not to be replaced."""
    if not path.exists():
        return
    made_from = origin(path)
    match standing(made_from, digest):
        case Standing.STALE:
            folder = set_aside(run, made_from, *artefact_paths(path))
            what = f"The export of pick {pick!r} that was at {path}"
            say(of_others(what, made_from, digest, f"it now lies in {folder}, and the pick is exported anew"))
        case Standing.UNKNOWN if not force:
            what = f"The pick {pick!r} is exported already, but {path}"
            raise RunError(of_others(what, made_from, digest, "pass --force to export it anew"))
        case _ if not force:
            raise RunError(f"The pick {pick!r} is exported already, at {path}; pass --force to export it anew.")


def check_format(format: str, precision: str) -> None:
    """Raise `ExportError` on a format or a precision of it that `export` has not."""
    if format not in FORMATS:
        raise ExportError(f"There is no format {format!r}; choose from {', '.join(FORMATS)}.")
    if precision not in FORMATS[format]:
        has = ", ".join(FORMATS[format])
        raise ExportError(f"There is no {precision} for the format {format}; choose {has}, or another format.")


def export_sub_dit(
    model: SubDiT,
    path: Path,
    *,
    recipe: SamplingRecipe,
    precision: str = "fp32",
    force: bool = False,
    supernet: str | None = None,
) -> float:
    """Export a whole sub-DiT with its sampling card, as .onnx or .tflite; return the deviation from torch.

    `recipe`, how the model is sampled, goes into the card, and so does the digest `supernet` of the weights that it was
    made from, where it is known.

    That is the largest difference, and for weights of less than float32 the root mean square error over the output's
    standard deviation. Raises `ExportError` where it is above `TOLERANCES`.
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
    write_json(path.with_suffix(".json"), {**card(model.spec, recipe), "deviation_from_torch": off, KEY: supernet})
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
    Raises `RunError` where the file exists and `force` is not given, `ExportError` where the module cannot be exported.
    The bytes are the same for the same module, on any machine: the exporter's notes are removed.
    """
    if path.exists() and not force:
        raise RunError(f"{path} exists already; pass --force to replace it.")
    if external_data is None:
        external_data = parameter_bytes(module) > EXTERNAL_DATA_BYTES
    # Neither folded nor compared, parameters are not copied; `write_with_external_data` sees to both.
    apart: dict[str, Any] = {"export_params": False, "do_constant_folding": False, "keep_initializers_as_inputs": True}
    written = io.BytesIO()
    try:
        # The TorchScript exporter is deprecated but takes a tenth of the other one's time on pieces this small, and the
        # runtime is equally fast with either; torch is pinned.
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
                **(apart if external_data else {}),
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
        precision: fp32; fp16, weights stored as float16 and computed with as float32 on a processor; int8, weights of
            linears and convolutions stored as int8 per output channel, activations float (TFLite's dynamic range).
        force: replace the file.

    The bytes are the same for the same module. Raises `RunError` where the file exists and `force` is not given,
    `ExportError` for an unknown precision, a module that cannot be exported, or one above the 2 GB of a flatbuffer, and
    `MissingExtraError` without LiteRT, whose schema it writes by.
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
    """As `deviation`, of a .tflite file in LiteRT; `relative` is its root mean square over the output's deviation."""
    with torch.no_grad():
        expected: npt.NDArray[np.float32] = module(*inputs.values()).numpy()
    off = run_tflite(path, {name: value.numpy() for name, value in inputs.items()}) - expected
    return float(np.sqrt(np.mean(off**2)) / expected.std()) if relative else float(np.abs(off).max())
