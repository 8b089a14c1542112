"""A kit of .tflite files: measured by LiteRT and tflite-runtime alike, refused where one computes wrong values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import profilers
from profilers.importers.profile import model_name
from subdit.core.errors import KitError
from tests.profilers.test_tflite import needs
from tests.profilers.wrong_values import hide_new_operators

pytestmark = pytest.mark.usefixtures("only_small_space")


def kit_of(precision: str, folder: Path) -> Path:
    needs("litert")
    return profilers.kit("digits", folder, runtime="litert", precision=precision, whole=0)


def test_one_kit_serves_both_runtimes(tmp_path: Path) -> None:
    folder = kit_of("fp32", tmp_path / "kit")
    kit = profilers.open_kit(folder)
    assert kit.format == "tflite" and kit.runtime == "litert"
    shares = []
    for runtime in ("litert", "tflite"):
        needs(runtime)
        out = tmp_path / f"{runtime}.json"
        made = profilers.profile(folder, runtime=runtime, device="bench", out=out, budget_s=1.0)
        assert made.id == f"bench/{runtime}/fp32/t1"
        assert set(made.components) == {model_name(entry.model.name) for entry in kit.components}
        shares.append(made.delegated_share or 0.0)
    # Over all operators of all models; the older runtime hands less to XNNPACK.
    assert 1.0 >= shares[0] > shares[1] > 0.5
    with pytest.raises(KitError, match="holds tflite models, which onnxruntime does not load"):
        profilers.profile(folder, runtime="onnxruntime", out=tmp_path / "other.json")


def test_a_runtime_that_computes_wrong_values_is_refused_by_name(tmp_path: Path) -> None:
    """The real one: tflite-runtime on int8 files as newer tools write them. LiteRT computes the same files right."""
    needs("tflite")
    copy = kit_of("int8", tmp_path / "kit")
    manifest = json.loads((copy / "kit.json").read_text())
    for entry in profilers.open_kit(copy).components:
        hide_new_operators(entry.model)
        manifest["components"][entry.name]["model"] = hashlib.sha256(entry.model.read_bytes()).hexdigest()
    (copy / "kit.json").write_text(json.dumps(manifest))
    out = tmp_path / "made.json"
    with pytest.raises(KitError, match=r"tflite 2\.14\.0 computes wrong values: assa-\S+ in int8 differs from torch's"):
        profilers.profile(copy, runtime="tflite", device="bench", out=out, budget_s=1.0)
    assert not out.exists() and not (copy / "timings").exists()
    profilers.profile(copy, runtime="litert", device="bench", out=out, budget_s=1.0)
