"""A kit for browsers: the graphs are those of the kit but for their weights, and wrong outputs are noticed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from profilers import Kit
from profilers import get_runtime
from profilers.browser.web_kit import EXTERNAL_BYTES
from profilers.browser.web_kit import TOLERANCE
from profilers.browser.web_kit import WEIGHTS
from profilers.browser.web_kit import WebKit
from profilers.browser.web_kit import run_natively
from profilers.browser.web_kit import statistics
from profilers.browser.web_kit import web_kit
from profilers.browser.weights import generate
from subdit.core.errors import KitError


def paths(kit: Kit) -> list[Path]:
    return [kit.reference, *(entry.model for entry in kit.components + kit.whole)]


def test_no_weight_is_sent_and_the_graph_is_the_same(small_kit: Kit, small_web: WebKit) -> None:
    for path, model in zip(paths(small_kit), small_web.models, strict=True):
        ours, theirs = onnx.load(str(path)), onnx.load_from_string(model.graph)
        assert [node.SerializeToString() for node in ours.graph.node] == [
            node.SerializeToString() for node in theirs.graph.node
        ]
        assert all(len(tensor.raw_data) < EXTERNAL_BYTES for tensor in theirs.graph.initializer)
        assert len(model.graph) < path.stat().st_size - model.weight_bytes + 200 * len(ours.graph.initializer)


def test_expected_outputs_are_those_of_a_model_with_the_weights_inside(
    small_kit: Kit, small_web: WebKit, tmp_path: Path
) -> None:
    """The independent way: the same numbers as plain initializers, run by the kit's own runtime."""
    for path, model in zip(paths(small_kit), small_web.models, strict=True):
        proto, recipes = onnx.load(str(path)), list(model.weights)
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and 4 * np.prod(tensor.dims) >= EXTERNAL_BYTES:
                values = generate(recipes.pop(0)).reshape(tuple(tensor.dims))
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        assert not recipes
        onnx.save(proto, str(tmp_path / "inside.onnx"))
        inputs = {name: generate(recipe).reshape(shape) for name, (shape, recipe) in model.inputs.items()}
        session = get_runtime("onnxruntime").load(tmp_path / "inside.onnx", inputs, threads=1)
        session.run()
        assert model.expected.difference(statistics(session.output(), model.places)) < 1e-5


def test_outputs_are_of_order_one_and_vary(small_web: WebKit) -> None:
    for model in small_web.models:
        assert 0.1 < model.expected.mean_abs < 10
        assert 0.1 < model.expected.std < 10
        assert len(set(model.expected.samples)) > 1


def test_weights_that_are_slightly_wrong_are_noticed(small_web: WebKit) -> None:
    for model in small_web.models[1:]:
        if not model.weights:
            continue
        wrong = tuple(dataclasses.replace(recipe, scale=recipe.scale * 1.05) for recipe in model.weights)
        off = model.expected.difference(statistics(run_natively(model.graph, wrong, model.inputs), model.places))
        assert off > TOLERANCE, model.name


def test_what_the_page_is_told_holds_nothing_of_what_must_come_out(small_web: WebKit) -> None:
    told = str([model.to_json() for model in small_web.models])
    for model in small_web.models:
        assert all(str(value) not in told for value in model.expected.samples)


def test_the_kit_is_the_same_every_time(small_kit: Kit, small_web: WebKit) -> None:
    assert web_kit(small_kit).digest == small_web.digest


def test_a_kit_of_other_numbers_is_refused(small_kit: Kit) -> None:
    with pytest.raises(KitError, match="not of float32 ONNX models"):
        web_kit(dataclasses.replace(small_kit, precision="int8"))


def test_external_data_has_one_name(small_web: WebKit) -> None:
    for model in small_web.models:
        end = 0
        for tensor in onnx.load_from_string(model.graph).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                told = {entry.key: entry.value for entry in tensor.external_data}
                assert (told["location"], int(told["offset"])) == (WEIGHTS, end)
                end += int(told["length"])
        assert end == model.weight_bytes
