"""A real kit, written by `kit` for LiteRT, measured over adb: what the table says is what the files compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import profilers
from profilers.adb import measure
from profilers.adb import profile_over_adb
from profilers.kits import export_kit
from subdit.core.errors import KitError
from supernet.tflite import count_operators
from tests.profilers.adb.phones import Bench
from tests.profilers.adb.phones import make_phone
from tests.profilers.adb.stand_in import write_stand_in
from tests.profilers.litert import require_litert
from tests.profilers.small import small_space

require_litert()

from tests.profilers.adb import tiny  # noqa: E402 - it imports LiteRT.


@pytest.fixture(autouse=True)
def _small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_kit, "get_space", lambda name: small_space())
    monkeypatch.setattr(measure, "MIN_ROUNDS", 2)


@pytest.mark.slow
def test_a_kit_of_components_and_whole_sub_dits(desk: Bench, tmp_path: Path) -> None:
    kit_dir = profilers.kit("digits", tmp_path / "kit", runtime="litert", whole=2)
    desk.plug_in(make_phone(tmp_path / "phone"))
    program = write_stand_in(tmp_path / "benchmark_model", "tflite")
    (result,) = profile_over_adb(kit_dir, benchmark_model=program, cooling_s=0.01, budget_s=1.0)
    profile = result.profile
    assert profile is not None and profile.runtime == "tflite" and profile.noise is not None
    kit = profilers.open_kit(kit_dir)
    assert list(profile.components) == [entry.name for entry in kit.components]
    # The outputs of all parts and of both whole sub-DiTs were compared, on the phone, with torch's.
    assert "compared with torch's" in profile.source
    from ai_edge_litert.interpreter import Interpreter

    for entry in kit.components + kit.whole:
        assert count_operators(entry.model) >= len(Interpreter(str(entry.model))._get_ops_details()) > 0


def test_a_kit_of_another_format_is_refused(tmp_path: Path) -> None:
    kit_dir = tiny.make_kit(tmp_path / "kit")
    manifest = json.loads((kit_dir / "kit.json").read_text())
    (kit_dir / "reference.tflite").rename(kit_dir / "reference.onnx")
    (kit_dir / "kit.json").write_text(
        json.dumps(manifest | {"runtime": "onnxruntime", "format": "onnx", "components": {}})
    )
    with pytest.raises(KitError, match="has no .tflite files for a phone; make one with --runtime litert"):
        profile_over_adb(kit_dir, benchmark_model=tmp_path / "program")


def test_counting_operators_needs_a_whole_file(tmp_path: Path) -> None:
    for content in (b"", b"TFL3", b"\x08\0\0\0TFL3", b"\x08\0\0\0TFL3" + b"\xff" * 40):
        (tmp_path / "x.tflite").write_bytes(content)
        with pytest.raises(KitError, match="is no complete .tflite file"):
            count_operators(tmp_path / "x.tflite")


def test_counting_operators_of_damaged_files_is_a_number_or_a_refusal_by_name(tmp_path: Path) -> None:
    """Whatever bytes change: offsets that point before the data, past it, or in a circle."""
    path = tmp_path / "x.tflite"
    profilers.get_runtime("litert").export_reference(path)
    whole = path.read_bytes()
    assert count_operators(path) > 10
    rng = np.random.default_rng(0)
    # The tables come first, and the weights last.
    tables = np.frombuffer(whole, dtype=np.uint8)[:4000]
    outcomes = set()
    for _ in range(300):
        damaged = tables.copy()
        positions = rng.integers(8, len(damaged), size=3)
        damaged[positions] = rng.choice([0, 1, 127, 128, 255], size=3)
        path.write_bytes(damaged.tobytes() + whole[len(tables) :])
        try:
            outcomes.add(count_operators(path) >= 0)
        except KitError as error:
            assert "x.tflite is no complete .tflite file" in str(error)
            outcomes.add(str(error))
    assert len(outcomes) > 1
