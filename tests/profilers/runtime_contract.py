"""What every runtime keeps: subclass `RuntimeContract` with `name`, and set `library` to the module that it needs.

class TestMine(RuntimeContract):
    name = "mine"
    library = "mine_runtime"
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from profilers.kits.kit import Kit
from profilers.kits.kit_estimate import ModelCosts
from profilers.measuring.accuracy_check import error_of
from profilers.measuring.accuracy_check import export_checked
from profilers.runtimes import Runtime
from profilers.runtimes import SourceModel
from profilers.runtimes import get_runtime
from profilers.runtimes import reference_inputs
from profilers.runtimes import runtime_class
from profilers.runtimes import runtime_names
from profilers.runtimes import source_model
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.space import Component
from subdit.space import all_components
from subdit.space import get_space
from tests.programs import require_module

KINDS = ("ffn", "self_attention", "text_projection")
SPACE = get_space("digits")


def component(kind: str) -> Component:
    return next(entry for entry in all_components(SPACE) if entry.kind == kind)


def arrays(model: SourceModel) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.inputs.items()}


def torch_output(model: SourceModel) -> np.ndarray:
    return model.module(*model.inputs.values()).detach().numpy()


class RuntimeContract:
    """`name` of the runtime, `library` that it runs by, and `refused`, precisions that it refuses when it loads."""

    name: str
    library: str
    refused: tuple[str, ...] = ()

    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        require_module(self.library, f"pip install '{runtime_class(self.name).install}'")

    def precisions(self) -> list[Runtime]:
        """The runtime at every precision that it can."""
        can = [precision for precision in runtime_class(self.name).tolerances if precision not in self.refused]
        return [get_runtime(self.name, precision=precision) for precision in can]

    def test_it_is_found_by_its_name_and_says_what_it_is(self) -> None:
        runtime = get_runtime(self.name)
        assert self.name in runtime_names()
        assert runtime.name == self.name and runtime.title and runtime.install and runtime.version
        assert runtime.suffix.startswith(".") and runtime.format
        assert "fp32" in runtime.tolerances and runtime.compute_precision is None
        assert set(runtime.computed_in) <= set(runtime.tolerances) <= set(runtime.costs.gflops)
        assert runtime.conditions()["runtime_version"] == runtime.version

    def test_what_it_lacks_is_refused_by_name(self) -> None:
        with pytest.raises(ProfileError, match="runs no int3 here; choose fp32"):
            get_runtime(self.name, precision="int3")
        with pytest.raises(ProfileError, match="has no delegate 'abacus'"):
            get_runtime(self.name, delegate="abacus")

    @pytest.mark.parametrize("kind", KINDS)
    def test_components_are_what_torch_computes_run_after_run(self, kind: str, tmp_path: Path) -> None:
        """Within the tolerance of every precision; inputs are bound once, and no run may spoil them for the next."""
        model = source_model(SPACE, component(kind))
        for runtime in self.precisions():
            path = tmp_path / f"{runtime.precision}{runtime.suffix}"
            export_checked(runtime, model, path)
            session = runtime.load(path, arrays(model), threads=1)
            session.run()
            first = session.output()
            error = error_of(first, torch_output(model), runtime.precision)
            assert error <= runtime.tolerance
            session.run(3)
            np.testing.assert_array_equal(session.output(), first)

    def test_a_smaller_precision_is_a_smaller_file_and_a_larger_error(self, tmp_path: Path) -> None:
        model = source_model(SPACE, component("ffn"))
        sizes, errors = [], []
        for runtime in self.precisions():
            path = tmp_path / f"{runtime.precision}{runtime.suffix}"
            runtime.export(model, path)
            session = runtime.load(path, arrays(model), threads=1)
            session.run()
            sizes.append(path.stat().st_size)
            errors.append(error_of(session.output(), torch_output(model), "fp16"))
        assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)

    def test_the_same_model_is_exported_as_the_same_bytes(self, tmp_path: Path) -> None:
        for runtime in self.precisions():
            written = []
            for folder in (tmp_path / "a", tmp_path / "b"):
                folder.mkdir(exist_ok=True)
                path = folder / f"{runtime.precision}{runtime.suffix}"
                runtime.export(source_model(SPACE, component("ffn")), path)
                written.append(path.read_bytes())
            assert written[0] == written[1]

    def test_the_reference_kernel_is_that_of_every_runtime(self, tmp_path: Path) -> None:
        """Also in a smaller precision it is float32; against numpy."""
        for runtime in self.precisions():
            path = tmp_path / f"{runtime.precision}{runtime.suffix}"
            runtime.export_reference(path)
            session = runtime.load(path, reference_inputs(), threads=1)
            session.run()
            assert np.abs(session.output() - numpy_reference()).max() < 1e-5

    def test_a_run_leaves_the_threads_of_this_process_alone(self, tmp_path: Path) -> None:
        """A training in the same process would be slower afterwards, and round otherwise."""
        before = torch.get_num_threads()
        assert before != 1
        for runtime in self.precisions():
            path = tmp_path / f"{runtime.precision}{runtime.suffix}"
            runtime.export_reference(path)
            runtime.load(path, reference_inputs(), threads=1).run()
            assert torch.get_num_threads() == before

    def test_inputs_are_drawn_as_the_file_says_or_refused(self, tmp_path: Path) -> None:
        model, runtime = source_model(SPACE, component("ffn")), get_runtime(self.name)
        path = tmp_path / f"model{runtime.suffix}"
        runtime.export(model, path)
        try:
            drawn = runtime.draw_inputs(path)
        except KitError as error:
            assert "does not tell its inputs" in str(error)
            return
        wanted = arrays(model)
        assert {name: (array.shape, array.dtype) for name, array in drawn.items()} == {
            name: (array.shape, array.dtype) for name, array in wanted.items()
        }
        runtime.load(path, drawn, threads=1).run()

    def test_a_damaged_file_is_one_sentence_that_names_it(self, tmp_path: Path) -> None:
        runtime = get_runtime(self.name)
        path = tmp_path / f"model{runtime.suffix}"
        for content in (b"", b"no model", b"\xff" * 64):
            path.write_bytes(content)
            with pytest.raises(KitError, match=path.name):
                runtime.load(path, reference_inputs(), threads=1)

    def test_operators_are_counted_or_not_told(self, tmp_path: Path) -> None:
        runtime = get_runtime(self.name)
        path = tmp_path / f"model{runtime.suffix}"
        runtime.export(source_model(SPACE, component("ffn")), path)
        counted = runtime.count_operators(path)
        assert counted is None or counted > 2

    def test_a_kit_of_it_is_named_by_its_format(self) -> None:
        runtime = runtime_class(self.name)
        kit = Kit(Path("kit"), "digits", self.name, "fp32", "0" * 16, (), (), runtime.format)
        assert kit.reference == Path("kit") / f"reference{runtime.suffix}"

    def test_larger_models_are_expected_to_take_longer(self) -> None:
        small, *_, large = sorted(
            (entry for entry in all_components(SPACE) if entry.kind == "ffn"), key=lambda entry: entry.width
        )
        for runtime in self.precisions():
            costs = ModelCosts(SPACE, runtime)
            assert 0 < costs.export_s(small) <= costs.export_s(large)
            assert 0 < costs.measure_s(small) and costs.flops(small) < costs.flops(large)
            assert costs.file_bytes(small) < costs.file_bytes(large)


def numpy_reference() -> np.ndarray:
    """The reference kernel in float64, from its formula."""
    from scipy.special import softmax

    from profilers.runtimes._reference_kernel import reference_weights

    x = reference_inputs()["input"].astype(np.float64)
    for layer in reference_weights():
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        h = (x - mean) / np.sqrt(variance + 1e-5) * layer["scale"] @ layer["up"]
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = softmax(h @ layer["down"], axis=-1) + x
    return x
