"""Kits of other precisions, formats and sizes: what is in them, what a profile says of them, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import profilers
from device_profiles import load_profile
from profilers.kits import export_kit
from profilers.kits.kit_estimate import ModelCosts
from profilers.measuring.accuracy_check import error_of
from profilers.measuring.measure_kit import load_checked
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import SpaceError
from subdit.space import all_components
from subdit.space import components_up_to
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space
from tests.profilers.small import small_space

pytestmark = pytest.mark.usefixtures("only_small_space")


@pytest.fixture(scope="module")
def int8_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_kit, "get_space", lambda name: small_space())
        return profilers.kit("digits", tmp_path_factory.mktemp("kit") / "kit", precision="int8", whole=1)


def test_an_int8_kit_is_measured_within_its_limit(int8_kit: Path, tmp_path: Path) -> None:
    kit = profilers.open_kit(int8_kit)
    assert (kit.format, kit.precision, kit.max_params) == ("onnx", "int8", None)
    out = tmp_path / "profile.json"
    made = profilers.profile(int8_kit, device="bench", out=out, budget_s=1.0)
    assert made.id == "bench/onnxruntime/int8/t1" and load_profile(out) == made
    runtime = profilers.get_runtime("onnxruntime", precision="int8")
    pool = load_checked(kit, runtime, threads=1)
    errors = {entry.name: error_of(pool[entry.name].output(), entry.arrays()[1], "int8") for entry in kit.components}
    # Weights are rounded, and what has none in a linear is exact.
    assert errors["ffn-w32-g4-f1"] > 1e-3 and errors["downsample-w32-g4"] < 1e-5
    with pytest.raises(KitError, match="made in int8, not in fp32; make another with --precision fp32"):
        profilers.profile(int8_kit, precision="fp32", device="other", out=tmp_path / "other.json")


def test_damaged_scales_are_refused_by_name_and_no_profile_is_written(int8_kit: Path, tmp_path: Path) -> None:
    kit = profilers.open_kit(int8_kit)
    entry = next(entry for entry in kit.components if entry.name.startswith("ffn"))
    model = onnx.load(str(entry.model))
    for weight in model.graph.initializer:
        if weight.name.endswith("_scale"):
            # One output channel of a linear is read at a quarter of its scale.
            array = numpy_helper.to_array(weight).copy()
            array.reshape(-1)[0] /= 4
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    # As a kit would hold it that was made with them, its digests in order.
    folder = Path(shutil.copytree(int8_kit, tmp_path / "kit", ignore=shutil.ignore_patterns("timings")))
    damaged = folder / entry.model.relative_to(int8_kit)
    damaged.write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "kit.json").read_text())
    manifest["components"][entry.name]["model"] = hashlib.sha256(damaged.read_bytes()).hexdigest()
    (folder / "kit.json").write_text(json.dumps(manifest))
    out = tmp_path / "profile.json"
    said = rf"onnxruntime [\d.]+ computes wrong values: {entry.name} in int8 .* and 0.06 is allowed"
    with pytest.raises(KitError, match=said):
        profilers.profile(folder, device="bench", out=out, budget_s=1.0)
    assert not out.exists() and not (folder / "timings").exists()


def test_half_precision_is_stored_and_not_computed_with(tmp_path: Path) -> None:
    folder = profilers.kit("digits", tmp_path / "kit", precision="fp16", whole=0)
    made = profilers.profile(folder, device="bench", out=tmp_path / "profile.json", budget_s=1.0)
    assert made.id == "bench/onnxruntime/fp16-in-fp32/t1" and made.compute_precision == "fp32"


def test_torch_measures_what_it_builds_from_descriptions(tmp_path: Path) -> None:
    folder = profilers.kit("digits", tmp_path / "kit", runtime="torch", whole=1)
    kit = profilers.open_kit(folder)
    assert kit.format == "torch" and all(entry.model.suffix == ".json" for entry in kit.components + kit.whole)
    made = profilers.profile(folder, device="bench", out=tmp_path / "profile.json", budget_s=1.0)
    assert made.id == "bench/torch/fp32/t1"
    assert set(made.components) == {component.name for component in all_components(small_space())}
    with pytest.raises(KitError, match="holds torch models, which onnxruntime does not load"):
        profilers.profile(folder, runtime="onnxruntime", out=tmp_path / "other.json")
    with pytest.raises(ProfileError, match="torch runs no int8 here"):
        profilers.kit("digits", tmp_path / "other", runtime="torch", precision="int8")


def test_a_damaged_description_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"space": "digits", "seed": 0, "component": "teapot"}')
    with pytest.raises(KitError, match="torch cannot build"):
        profilers.get_runtime("torch").load(tmp_path / "model.json", {}, threads=1)


# What is left out of a kit --------------------------------------------------------------------------------------------


def test_a_kit_of_small_sub_dits_has_what_they_have(tmp_path: Path) -> None:
    space = get_space("digits")
    params = count_params(space, space.enumerate())
    limit = int(np.quantile(params, 0.02))
    specs = profilers.calibration_specs(space, 8, max_params=limit)
    sizes = count_params(space, space.encode(specs))
    assert len(set(specs)) == 8 and sizes.max() <= limit and sizes.min() == params.min()
    wanted = components_up_to(space, limit)
    assert 0 < len(wanted) < len(all_components(space))
    with pytest.raises(SpaceError, match="No sub-DiT of space 'digits' has at most 1,000 parameters"):
        profilers.calibration_specs(space, 8, max_params=1000)


def test_a_limit_is_kept_from_kit_to_profile(tmp_path: Path) -> None:
    space = small_space()
    limit = int(np.median(count_params(space, space.enumerate())))
    folder = profilers.kit("digits", tmp_path / "kit", runtime="torch", whole=3, max_params=limit)
    kit = profilers.open_kit(folder)
    assert kit.max_params == limit
    assert max(count_params(space, space.encode([entry.spec for entry in kit.whole if entry.spec]))) <= limit
    made = profilers.profile(folder, device="bench", out=tmp_path / "profile.json", budget_s=1.0)
    assert made.max_params == limit
    assert set(made.components) == {component.name for component in components_up_to(space, limit)}


def test_a_kit_without_parts_holds_whole_sub_dits_alone(tmp_path: Path) -> None:
    folder = profilers.kit("digits", tmp_path / "kit", runtime="torch", whole=2, parts=False)
    kit = profilers.open_kit(folder)
    assert (kit.components, len(kit.whole)) == ((), 2)
    with pytest.raises(KitError, match="empty"):
        profilers.kit("digits", tmp_path / "other", parts=False, whole=0)


def test_what_is_expected_is_what_is_written(int8_kit: Path) -> None:
    expected = profilers.estimate("digits", precision="int8", whole=1)
    kit = profilers.open_kit(int8_kit)
    assert (expected.components, expected.whole) == (len(kit.components), len(kit.whole))
    written = sum(path.stat().st_size for path in int8_kit.rglob("*.*") if path.parent.name in ("components", "whole"))
    assert 0.5 < expected.bytes / written < 2.0
    fp32 = ModelCosts(get_space("mid-256"), profilers.get_runtime("onnxruntime"))
    for spec in profilers.calibration_specs(get_space("mid-256"), 3):
        assert fp32.flops(spec) == count_flops(fp32.space, fp32.space.encode([spec]))[0]
        assert fp32.weights(spec).params == count_params(fp32.space, fp32.space.encode([spec]))[0]


def test_a_budget_leaves_out_whole_sub_dits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_kit, "get_space", get_space)
    up_to = 434_000_000
    everything = profilers.estimate("mobile-1k", whole=12, max_params=up_to)
    budget = 0.9 * everything.measure_minutes
    few = profilers.estimate("mobile-1k", whole=12, max_params=up_to, budget_minutes=budget)
    assert everything.left_out == 0 < few.left_out == 12 - few.whole <= 6
    assert few.measure_minutes <= budget
    with pytest.raises(KitError, match="components and 6 whole sub-DiTs .* --max-params"):
        profilers.estimate("mobile-1k", whole=12, budget_minutes=1)


def test_a_budget_leaves_a_kit_without_parts_what_a_fit_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_kit, "get_space", get_space)
    with pytest.raises(KitError, match="0 components and 10 whole sub-DiTs") as refused:
        profilers.estimate("mobile-1k", whole=30, parts=False, budget_minutes=0.01)
    minutes = float(str(refused.value).partition("to take ")[2].split()[0])
    assert profilers.estimate("mobile-1k", whole=30, parts=False, budget_minutes=minutes + 0.1).whole == 10
