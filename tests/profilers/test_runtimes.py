"""The runtimes that come along keep the contract, and one that is added is a file and an entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import profilers
from device_profiles import read_profile
from profilers.importers import IMPORTERS
from profilers.runtimes import runtime_class
from subdit.cli import group
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from tests.profilers.runtime_contract import RuntimeContract
from tests.profilers.test_tflite import needs


class TestOnnxRuntime(RuntimeContract):
    name = "onnxruntime"
    library = "onnxruntime"


class TestLiteRt(RuntimeContract):
    name = "litert"
    library = "ai_edge_litert"


class TestTfliteRuntime(RuntimeContract):
    name = "tflite"
    library = "tflite_runtime"
    # Per-channel int8 weights came after its last version.
    refused = ("int8",)

    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        needs("litert")  # its schema is what files are written by
        needs("tflite")


class TestTorch(RuntimeContract):
    name = "torch"
    library = "torch"


# A runtime of others: one file and an entry point ---------------------------------------------------------------------


@pytest.fixture
def safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package that has an entry point for the runtime in `safetensors_runtime.py`."""
    installed = tmp_path / "site-packages" / "safetensors_runtime-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: safetensors-runtime\nVersion: 1.0\n")
    points = "[subdit.runtimes]\nsafetensors = tests.profilers.safetensors_runtime:SafetensorsRuntime\n"
    (installed / "entry_points.txt").write_text(points + "broken = no.such.module:Runtime\nstranger = pathlib:Path\n")
    monkeypatch.syspath_prepend(str(installed.parent))
    yield "safetensors"
    runtime_class.cache_clear()


class TestSafetensors(RuntimeContract):
    name = "safetensors"
    library = "torch"

    @pytest.fixture(autouse=True)
    def _library(self, safetensors: str) -> None:
        """Torch is there."""


@pytest.mark.usefixtures("only_small_space")
def test_a_kit_is_made_and_measured_for_a_runtime_that_was_added(safetensors: str, tmp_path: Path) -> None:
    folder = profilers.kit("digits", tmp_path / "kit", runtime=safetensors, whole=1)
    kit = profilers.open_kit(folder)
    assert (kit.runtime, kit.format, kit.reference.name) == ("safetensors", "safetensors", "reference.safetensors")
    out = tmp_path / "profile.json"
    made = profilers.profile(folder, device="bench", out=out, budget_s=0.5, also={"decoder": kit.whole[0].model})
    assert made.id == "bench/safetensors/fp32/t1" and read_profile(out) == made and set(made.pipeline) == {"decoder"}
    assert profilers.estimate("digits", runtime=safetensors).export_minutes > 0
    with pytest.raises(KitError, match="holds safetensors models, which onnxruntime does not load"):
        profilers.profile(folder, runtime="onnxruntime")


def test_a_kit_of_a_runtime_that_is_gone_is_refused_by_name(safetensors: str, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    stated = '{"subdit_kit": 2, "runtime": "abacus", "format": "beads", "components": {}, "whole": {}}'
    (tmp_path / "kit" / "kit.json").write_text(stated)
    with pytest.raises(KitError, match="cannot be read here: There is no runtime 'abacus'; there is .*litert, .*safe"):
        profilers.open_kit(tmp_path / "kit")


@pytest.mark.parametrize(("name", "said"), [("broken", "cannot be imported"), ("stranger", "is no `Runtime`")])
@pytest.mark.usefixtures("safetensors")
def test_an_entry_point_that_is_no_runtime_is_refused_by_name(name: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        profilers.get_runtime(name)
    assert "onnxruntime" in profilers.runtime_names() and profilers.get_runtime("onnxruntime")


def test_the_command_line_names_the_runtimes() -> None:
    shown = CliRunner().invoke(group, ["kit", "--help"]).output
    assert all(name in shown for name in profilers.runtime_names())


def test_importers_name_runtimes_as_they_name_themselves() -> None:
    """A profile of imported logs is of the same runtime as one that was measured here, where there is such a one."""
    foreign = {"aihub", "coreml", "executorch", "mnn", "ncnn", "qnn"}
    assert {one.runtime for one in IMPORTERS if one.runtime} - foreign <= set(profilers.runtime_names())
    assert sys.modules["profilers.runtimes"] is not None
