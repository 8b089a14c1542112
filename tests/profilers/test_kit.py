"""Kits and profiles of real components: made, checked, killed, resumed, damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import profilers
from benchmarks import latency_accuracy
from device_profiles import load_profile
from profilers.kits import export_kit
from profilers.kits.kit import digest_of
from profilers.measuring.measure_kit import load_checked
from subdit.cli import group
from subdit.core.errors import KitError
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.errors import SpaceError
from subdit.space import all_components
from subdit.space import get_space
from tests.profilers.small import small_space
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.usefixtures("only_small_space")

WHOLE = 6


@pytest.fixture(scope="module")
def kit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_kit, "get_space", lambda name: small_space())
        return profilers.kit("digits", tmp_path_factory.mktemp("kit") / "kit", whole=WHOLE)


@pytest.fixture
def kit_copy(kit_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kit_folder, tmp_path / "kit"))


def run_until_killed(verb: str, folder: Path, calls: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.profilers.small", verb, str(folder), str(calls)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def stop_in_round_3(done: float, total: float, note: str) -> None:
    """Ctrl-C after three rounds, or after one more where those are there."""
    if note.startswith("round") and not note.startswith(("round 1", "round 2")):
        raise KeyboardInterrupt


def test_a_kit_holds_every_component_with_what_torch_computes(kit_folder: Path) -> None:
    kit = profilers.open_kit(kit_folder)
    assert [entry.name for entry in kit.components] == [component.name for component in all_components(small_space())]
    assert len(kit.whole) == WHOLE == len({entry.spec for entry in kit.whole})
    runtime = profilers.get_runtime("onnxruntime")
    sessions = load_checked(kit, runtime, threads=1)
    for entry in kit.components + kit.whole:
        inputs, expected = entry.arrays()
        assert np.abs(expected).max() > 0.1, "an output of zero would agree with anything"
        drawn = runtime.draw_inputs(entry.model)
        assert list(drawn) == list(inputs)
        assert all((drawn[name].shape, drawn[name].dtype) == (a.shape, a.dtype) for name, a in inputs.items())
        sessions[entry.name].run()
        assert np.abs(sessions[entry.name].output() - expected).max() <= 1e-4


def test_a_killed_kit_is_finished_without_making_its_models_again(kit_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "kit"
    run_until_killed("kit", out, 9)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert len(before) == 8
    with pytest.raises(KitError, match="unfinished"):
        profilers.open_kit(out)
    profilers.kit("digits", out, whole=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert profilers.open_kit(out).hash == profilers.open_kit(kit_folder).hash


@pytest.mark.slow
def test_the_accuracy_benchmark_finishes_a_kit_that_was_killed(tmp_path: Path) -> None:
    run_until_killed("kit", tmp_path / "kit", 9)
    options = latency_accuracy._parser().parse_args(["--whole", "2", "--count", "3", "--budget", "0.5", "--ci", "1"])
    result = latency_accuracy.measure(small_space(), options, tmp_path)
    assert len(result["held_out"]) == 3 and profilers.is_kit(tmp_path / "kit")


def test_a_kit_is_replaced_only_with_force(kit_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--force"):
        profilers.kit("digits", kit_copy, whole=WHOLE)
    reference = kit_copy / "reference.onnx"
    whole = reference.read_bytes()
    # Damaged, and of a kit of another format.
    reference.write_bytes(b"x")
    (kit_copy / "reference.json").write_bytes(b"x")
    profilers.kit("digits", kit_copy, whole=1, force=True)
    assert reference.read_bytes() == whole and not (kit_copy / "reference.json").exists()
    assert profilers.open_kit(kit_copy).reference == reference
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds no kit"):
        profilers.kit("digits", tmp_path / "mine", force=True)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("kit.json", None, "There is no kit at"),
        ("kit.json", b"{", "damaged"),
        ("kit.json", b"[]", "damaged"),
        ("kit.json", b'{"subdit_kit": 1}', "damaged"),
        ("components/text_projection.onnx", None, r"components/text_projection\.onnx is missing"),
        ("components/text_projection.npz", b"x", r"components/text_projection\.npz has changed"),
        ("reference.onnx", b"x", r"reference\.onnx has changed"),
    ],
)
def test_a_damaged_kit_is_refused_by_the_name_of_its_file(
    kit_copy: Path, name: str, change: bytes | None, said: str
) -> None:
    if change is None:
        (kit_copy / name).unlink()
    else:
        (kit_copy / name).write_bytes(change)
    with pytest.raises(KitError, match=said):
        profilers.profile(kit_copy)


def test_a_component_that_computes_something_else_is_not_measured(kit_copy: Path) -> None:
    kit = profilers.open_kit(kit_copy)
    inputs, expected = kit.components[0].arrays()
    np.savez(kit.components[0].tensors, **inputs, output=expected + 1e-3)
    with pytest.raises(KitError, match=rf"{kit.components[0].name} in fp32 differs from torch.s float32 by 0.00015,"):
        load_checked(kit, profilers.get_runtime("onnxruntime"), threads=1)


def test_a_killed_profile_goes_on_with_the_rounds_it_has(kit_copy: Path) -> None:
    kit = profilers.open_kit(kit_copy)
    run_until_killed("profile", kit_copy, len(kit.components + kit.whole) + 7)
    (log,) = (kit_copy / "timings").iterdir()
    before = log.read_text().splitlines()
    # The log is written twice a second, so at most half a second of rounds is lost.
    out = kit_copy.parent / "profile.json"
    assert not out.exists()
    made = profilers.profile(kit_copy, device="bench", out=out, budget_s=2.0)
    after = log.read_text().splitlines()
    assert after[0] == before[0]
    whole_lines = before[:-1]
    assert after[: len(whole_lines)] == whole_lines
    assert load_profile(out) == made
    assert made.id == "bench/onnxruntime/fp32/t1"
    assert made.provenance == "measured"
    assert set(made.components) == {component.name for component in all_components(small_space())}
    assert made.calibration is not None and len(made.calibration.whole) == WHOLE
    assert made.noise is not None and made.noise.attempts == len({json.loads(line)[0] for line in after[1:-1]})
    with pytest.raises(RunError, match="--force"):
        profilers.profile(kit_copy, device="bench", out=out, budget_s=2.0)


def test_a_profile_that_cannot_be_written_costs_no_timing(kit_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        profilers.profile(kit_copy, device="bench", out=tmp_path / "file" / "profile.json", budget_s=0.5, calibrate=0)
    (log,) = (kit_copy / "timings").iterdir()
    before = log.read_text()
    made = profilers.profile(kit_copy, device="bench", out=tmp_path / "profile.json", budget_s=0.5, calibrate=0)
    assert log.read_text() == before + '"finished"\n'
    assert load_profile(tmp_path / "profile.json") == made


def test_models_measured_beside_a_kit_teach_the_profile_nothing(kit_copy: Path, tmp_path: Path) -> None:
    entry = profilers.open_kit(kit_copy).whole[0]
    out = tmp_path / "profile.json"
    made, measured = profilers.profile_beside(kit_copy, {"it": entry.model}, device="bench", out=out, budget_s=2.0)
    assert list(measured) == ["it"] and "it" not in made.components
    assert made.calibration is not None and len(made.calibration.whole) == WHOLE
    (log,) = (kit_copy / "timings").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()[1:-1]]
    attempt = max(line[0] for line in lines)
    rounds = {
        name: {line[1] for line in lines if line[0] == attempt and line[3] == name} for name in ("it", entry.name)
    }
    assert rounds["it"] == rounds[entry.name], "the same rounds"


def test_timings_of_another_decoder_are_not_gone_on_with(kit_copy: Path, tmp_path: Path) -> None:
    first, second = profilers.open_kit(kit_copy).whole[:2]
    decoder = tmp_path / "decoder.onnx"
    shutil.copyfile(first.model, decoder)

    def measure() -> list[str]:
        with pytest.raises(KeyboardInterrupt):
            out = tmp_path / "profile.json"
            profilers.profile(
                kit_copy, device="bench", out=out, calibrate=0, also={"decoder": decoder}, progress=stop_in_round_3
            )
        (log,) = (kit_copy / "timings").iterdir()
        return log.read_text().splitlines()

    cut = measure()
    longer = measure()
    assert longer[: len(cut)] == cut and len(longer) > len(cut), "the same decoder is"
    shutil.copyfile(second.model, decoder)
    assert not set(measure()) & set(longer)


def test_force_replaces_the_profile_and_goes_on_with_what_was_interrupted(kit_copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    measure = partial(profilers.profile, kit_copy, device="bench", out=out, budget_s=0.5, calibrate=0, force=True)
    out.write_text("{}")

    def interrupted() -> list[str]:
        with pytest.raises(KeyboardInterrupt):
            measure(progress=stop_in_round_3)
        (log,) = (kit_copy / "timings").iterdir()
        return log.read_text().splitlines()

    cut = interrupted()
    assert out.read_text() == "{}"
    assert interrupted()[: len(cut)] == cut
    shutil.rmtree(kit_copy / "timings")
    assert interrupted()[: len(cut)] != cut
    assert measure() == load_profile(out)
    told = " ".join(CliRunner().invoke(group, ["profile", "--help"]).output.split())
    assert "Replace the profile that is there. What was interrupted goes on; delete KIT/timings" in told


def test_what_cannot_be_profiled_is_said_before_measuring(kit_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no runtime 'abacus'; there is litert, onnxruntime, tflite, torch"):
        profilers.profile(kit_folder, runtime="abacus")
    with pytest.raises(ProfileError, match="'My Phone' cannot name a device"):
        profilers.profile(kit_folder, device="My Phone")
    export_kit.get_space = get_space  # type: ignore[assignment]
    with pytest.raises(SpaceError, match="no search space 'letters'"):
        profilers.kit("letters", tmp_path / "kit")


def test_models_are_measured_until_their_intervals_are_narrow(kit_folder: Path) -> None:
    kit = profilers.open_kit(kit_folder)
    paths = {entry.name: entry.model for entry in (*kit.components[:2], kit.whole[0])}
    measured = profilers.measure_models(paths, budget_s=1.0, relative_ci=0.5)
    assert set(measured) == set(paths)
    whole = measured[kit.whole[0].name]
    assert all(0 < one.low_ms <= one.latency_ms <= one.high_ms for one in measured.values())
    assert all(one.latency_ms < whole.latency_ms for name, one in measured.items() if name != kit.whole[0].name)
    assert whole.rounds >= 8


def test_a_model_that_cannot_be_measured_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 40)
    for name in ("broken.onnx", "missing.onnx"):
        with pytest.raises(KitError, match=name):
            profilers.measure_models({"it": tmp_path / name})


def test_calibration_specs_reach_the_corners_and_differ() -> None:
    space = get_space("digits")
    specs = profilers.calibration_specs(space, 12)
    assert len(set(specs)) == 12
    encoded = space.encode(specs)
    sizes = [len(values) for values in space.dimensions.values()]
    assert (encoded[0] == 0).all() and (encoded[1] == np.asarray(sizes) - 1).all()
    assert all(len(set(column)) == size or size > 4 for column, size in zip(encoded.T.tolist(), sizes, strict=True))
    assert profilers.calibration_specs(space, 6) == specs[:6]
    assert len(set(profilers.calibration_specs(small_space(), 50))) == small_space().size


def test_weights_beside_a_large_model_are_watched_too(tmp_path: Path) -> None:
    model, weights = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    model.write_bytes(b"graph")
    alone = digest_of(model)
    assert alone == hashlib.sha256(b"graph").hexdigest()
    weights.write_bytes(b"weights")
    beside = digest_of(model)
    weights.write_bytes(b"weighty")
    assert len({alone, beside, digest_of(model)}) == 3
