"""A kit as a phone gets it: graphs without weights, recipes for weights and inputs, and what the outputs must be.

A component's latency does not depend on the values of its weights, so none are sent: every float32 tensor of 1 KB and
more becomes external data that the page generates (`_weights.py`). ONNX Runtime here runs the same graphs with the same
values and says what their outputs look like.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from profilers.browser.weights import Floats
from profilers.browser.weights import Generated
from profilers.browser.weights import generate
from profilers.browser.weights import recipe_like
from profilers.kits.kit import Kit
from profilers.measuring.timings import REFERENCE
from profilers.runtimes import get_runtime
from profilers.runtimes import reference_inputs
from subdit.core.errors import KitError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import space_argument

WEIGHTS = "w.bin"
"""Name of the external data in every graph."""

EXTERNAL_BYTES = 1024
SAMPLES = 8

TOLERANCE = 1e-3
"""How far a statistic of an output may be off, over the output's mean absolute value."""

# Of inputs; those of weights count from 1 per model.
_INPUT_SEED = 1_000_000


@dataclass(frozen=True)
class OutputStatistics:
    """What an output looks like: single values too, for two wrong outputs may have the same mean."""

    mean: float
    mean_abs: float
    std: float
    samples: tuple[float, ...]

    def difference(self, other: OutputStatistics) -> float:
        """Largest difference of any statistic, over the mean absolute value here."""
        own, others = (np.asarray([one.mean, one.mean_abs, one.std, *one.samples]) for one in (self, other))
        return float(np.abs(own - others).max() / self.mean_abs)


@dataclass(frozen=True)
class WebModel:
    """A model of the kit without its weights.

    Attributes:
        weights: one after the other they are the external data.
        inputs: name to shape and recipe.
        places: indices of the output whose values are compared.
    """

    name: str
    graph: bytes
    weights: tuple[Generated, ...]
    inputs: Mapping[str, tuple[tuple[int, ...], Generated]]
    output: str
    places: tuple[int, ...]
    expected: OutputStatistics

    @property
    def weight_bytes(self) -> int:
        return 4 * sum(recipe.count for recipe in self.weights)

    def to_json(self) -> dict[str, Any]:
        """What the page is told; not what is expected of it."""
        return {
            "name": self.name,
            "weights": [recipe.to_json() for recipe in self.weights],
            "inputs": {name: [list(shape), recipe.to_json()] for name, (shape, recipe) in self.inputs.items()},
            "output": self.output,
            "places": list(self.places),
        }


@dataclass(frozen=True)
class WebKit:
    """The reference kernel, the components and the whole sub-DiTs of a kit, in this order."""

    models: tuple[WebModel, ...]

    @property
    def digest(self) -> str:
        """Of everything that a phone gets."""
        found = hashlib.sha256()
        for model in self.models:
            found.update(json.dumps(model.to_json(), sort_keys=True).encode())
            found.update(model.graph)
        return found.hexdigest()[:16]


def web_kit(kit: Kit, *, progress: ProgressCallback = no_progress) -> WebKit:
    """Take the weights out of a kit's models and compute what must come out of them.

    Raises:
        KitError: the kit is not of float32 ONNX models, or a model's output cannot be checked.
    """
    if (kit.format, kit.precision) != ("onnx", "fp32"):
        raise KitError(
            f"The kit {kit.folder} is not of float32 ONNX models, which a browser runs; make one with 'subdit kit "
            f"{space_argument(kit.search_space)} --runtime onnxruntime --out {shlex.quote(f'{kit.folder}-onnx')}'."
        )
    models = [_web_model(REFERENCE, kit.reference, reference_inputs())]
    for done, entry in enumerate(kit.entries):
        progress(done, len(kit.entries), entry.name)
        models.append(_web_model(entry.name, entry.model, entry.arrays()[0]))
    progress(len(kit.entries), len(kit.entries), "")
    return WebKit(tuple(models))


def run_natively(
    graph: bytes, weights: tuple[Generated, ...], inputs: Mapping[str, tuple[tuple[int, ...], Generated]]
) -> Floats:
    """Output of a graph with generated weights and inputs, by ONNX Runtime on this machine."""
    with tempfile.TemporaryDirectory(prefix="subdit-web-") as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(graph)
        with (Path(folder) / WEIGHTS).open("wb") as file:
            for recipe in weights:
                file.write(generate(recipe).tobytes())
        given = {name: generate(recipe).reshape(shape) for name, (shape, recipe) in inputs.items()}
        session = get_runtime("onnxruntime").load(model, given, threads=1)
        session.run()
        return session.output()


def statistics(output: npt.NDArray[Any], places: tuple[int, ...]) -> OutputStatistics:
    """Statistics of an output; `page/generate.js` computes the same."""
    flat = output.astype(np.float64).ravel()
    samples = tuple(float(flat[place]) for place in places)
    return OutputStatistics(float(flat.mean()), float(np.abs(flat).mean()), float(flat.std()), samples)


def _web_model(name: str, path: Path, inputs: Mapping[str, npt.NDArray[Any]]) -> WebModel:
    graph, weights, output = _without_weights(path)
    recipes = {}
    for index, (key, values) in enumerate(inputs.items()):
        if values.dtype != np.float32:
            raise KitError(f"{path} has an input {key!r} of {values.dtype}, and a browser is given float32 alone.")
        recipes[key] = (values.shape, recipe_like(values, _INPUT_SEED + index))
    found = run_natively(graph, weights, recipes)
    places = tuple(int(place) for place in np.unique(np.linspace(0, found.size - 1, SAMPLES).astype(int)))
    expected = statistics(found, places)
    # Written so that a NaN is refused too. A constant output would look right whatever had computed it.
    if not (np.isfinite(found).all() and expected.std > 1e-3 * expected.mean_abs > 0):
        raise KitError(f"{name} has an output that cannot be checked with generated weights; report it with its kit.")
    return WebModel(name, graph, weights, recipes, output, places, expected)


def _without_weights(path: Path) -> tuple[bytes, tuple[Generated, ...], str]:
    """Graph whose large float32 tensors are external data, the recipes of those, and the output's name."""
    import onnx
    from onnx import TensorProto
    from onnx import numpy_helper

    model = onnx.load(str(path))
    weights: list[Generated] = []
    offset = 0
    for tensor in model.graph.initializer:
        count = int(np.prod(tensor.dims, dtype=np.int64))
        if tensor.data_type != TensorProto.FLOAT or 4 * count < EXTERNAL_BYTES:
            continue
        recipe = recipe_like(numpy_helper.to_array(tensor), len(weights) + 1)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        del tensor.external_data[:]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(4 * count))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        weights.append(recipe)
        offset += 4 * count
    return model.SerializeToString(deterministic=True), tuple(weights), model.graph.output[0].name
