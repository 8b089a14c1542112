"""The verb `distill`: picks, what is stale, what was cut."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import supernet.training.step_loop as step_loop
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.core.students import students
from subdit.core.training_record import STUDENT
from subdit.core.training_record import TEACHER
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import training_records
from supernet.checkpoints import load_sub_dit
from supernet.distillation.distill_pick import distill
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.kdmd import KDMDConfig
from supernet.export.export_pick import export
from supernet.few_step_adapter import load_few_step_teacher
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.recipe import SamplingRecipe
from supernet.recipe import read_recipe
from tests.supernet.killed import KilledError
from tests.supernet.small_teacher import SPACE
from tests.supernet.small_teacher import TINY
from tests.supernet.small_teacher import leaping_clock
from tests.supernet.small_teacher import redrawn_supernet
from tests.supernet.small_teacher import same
from tests.supernet.small_teacher import weights_of


@pytest.fixture
def searched(tmp_path: Path) -> Run:
    """A run with a supernet and the picks of a search."""
    run = Run(tmp_path / "run")
    start_manifest(run, space="digits")
    redrawn_supernet().save_pretrained(run.supernet)
    write_json(run.search("default") / "picks.json", {"balanced": {"spec": TINY.to_dict(), "spec_hash": TINY.hash}})
    return run


FAST: dict[str, Any] = {
    "few_step": FewStepConfig(steps=1, trajectories=4, substeps=1, batch_size=4, ceiling_s=None),
    "kdmd": KDMDConfig(steps=3, batch_size=4, guidance_scale=1.0, ceiling_s=None),
}


def test_distilling_a_pick(searched: Run) -> None:
    with pytest.raises(RunError, match="no few-step teacher"):
        load_few_step_teacher(searched)
    folder = distill(searched.path, **FAST)
    first = weights_of(load_sub_dit(folder))
    assert load_sub_dit(folder).spec == TINY
    assert folder == searched.pick(TINY.hash) / "distilled"
    assert not list(folder.parent.glob("*state*"))
    assert any("lora" in name for name in weights_of(load_few_step_teacher(searched)))
    with pytest.raises(RunError, match="--force"):
        distill(searched.path, **FAST)
    assert same(weights_of(load_sub_dit(distill(searched.path, force=True, **FAST))), first)


def test_students_of_several_numbers_of_steps_lie_side_by_side(searched: Run) -> None:
    """Each is sampled as it was distilled; making one, or making it anew, changes no bit of another."""
    folder = searched.pick(TINY.hash)
    assert distill(searched.path, **FAST) == folder / "distilled"
    four = weights_of(load_sub_dit(folder / "distilled"))
    assert distill(searched.path, steps=2, **FAST) == folder / "distilled_2_steps"
    assert distill(searched.path, steps=1, **FAST) == folder / "distilled_1_step"
    assert {steps: path.name for steps, path in students(folder).items()} == {
        4: "distilled",
        1: "distilled_1_step",
        2: "distilled_2_steps",
    }
    for steps, path in students(folder).items():
        assert read_recipe(path) == (SamplingRecipe(steps, 3.0), "")
        assert training_records(searched, TINY.hash, steps=steps).keys() >= {TEACHER, STUDENT}
        assert origin(path) == run_digest(searched)
        assert any("lora" in name for name in weights_of(load_few_step_teacher(searched, steps)))
    two = weights_of(load_sub_dit(folder / "distilled_2_steps"))
    assert same(weights_of(load_sub_dit(folder / "distilled")), four) and not same(two, four)
    with pytest.raises(RunError, match="distilled_2_steps; pass --force"):
        distill(searched.path, steps=2, **FAST)
    with pytest.raises(RunError, match="not distilled to 8 steps; do it with 'subdit distill' and --steps 8"):
        export(searched.path, steps=8)
    assert export(searched.path).name == "dit.onnx"
    for steps, name in ((1, "dit-1_step.onnx"), (2, "dit-2_steps.onnx")):
        path = export(searched.path, steps=steps)
        assert path.name == name and read_json(path.with_suffix(".json"), "card")["steps"] == steps
    modes = ("28_steps", "4_steps", "plain_2_steps", "distilled_2_steps", "distilled_1_step")
    write_json(folder / "quality.json", {name: {"fd_mean": 1.0} for name in modes} | {"supernet": run_digest(searched)})
    assert same(weights_of(load_sub_dit(distill(searched.path, steps=2, force=True, **FAST))), two)
    assert {path.name for path in (folder / "exports").glob("*.onnx")} == {"dit.onnx", "dit-1_step.onnx"}
    left = read_json(folder / "quality.json", "quality").keys()
    assert left == {"28_steps", "4_steps", "plain_2_steps", "distilled_1_step", "supernet"}
    distill(searched.path, force=True, **FAST)
    assert [path.name for path in (folder / "exports").glob("*.onnx")] == ["dit-1_step.onnx"]
    assert read_json(folder / "quality.json", "quality").keys() == {"distilled_1_step", "supernet"}
    assert same(weights_of(load_sub_dit(folder / "distilled_2_steps")), two)


def test_students_of_all_numbers_of_steps_make_room_for_those_of_new_weights(searched: Run) -> None:
    distill(searched.path, **FAST)
    distill(searched.path, steps=2, **FAST)
    before = run_digest(searched)
    other = ElasticDiT(space="digits")
    redraw_(other, seed=1)
    other.save_pretrained(searched.supernet)
    with pytest.warns(UserWarning, match="is of the supernet"):
        distill(searched.path, steps=1, **FAST)
    old = searched.path / "stale" / str(before)
    for name in ("distilled", "distilled.json", "distilled_2_steps", "distilled_2_steps.json"):
        assert (old / "picks" / TINY.hash / name).exists() and not (searched.pick(TINY.hash) / name).exists()
    assert (old / "teacher" / "2_steps" / "few_step_lora.safetensors").exists()
    assert [path.name for path in searched.teacher.glob("*_step*")] == ["1_step"]


def test_each_number_of_steps_goes_on_with_its_own_half(searched: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    expected = weights_of(load_sub_dit(distill(searched.path, steps=2, **FAST)))

    def kill(done: float, total: float, note: str) -> None:
        if note.startswith("step 2 of ") and "of the student" in note:
            raise KilledError

    for steps in (4, 2):
        with pytest.raises(KilledError):
            distill(searched.path, steps=steps, force=True, progress=kill, **FAST)
    folder, digest = searched.pick(TINY.hash), run_digest(searched)
    names = {f"kdmd_state-{digest}.safetensors", f"kdmd_state_2_steps-{digest}.safetensors"}
    assert {path.name for path in folder.glob("kdmd_state*")} == names
    assert all(origin(path) == digest for path in folder.glob("kdmd_state*"))
    assert same(weights_of(load_sub_dit(distill(searched.path, steps=2, **FAST))), expected)
    assert [path.name for path in folder.glob("kdmd_state*")] == [f"kdmd_state-{digest}.safetensors"]


def test_what_was_exported_before_makes_room_for_what_is_distilled(searched: Run) -> None:
    path = export(searched.path)
    (searched.pick(TINY.hash) / "samples.png").write_bytes(b"drawn by that export")
    distill(searched.path, **FAST)
    assert not path.exists() and not (searched.pick(TINY.hash) / "samples.png").exists()
    steps = read_json(export(searched.path).with_suffix(".json"), "card")["steps"]
    assert steps == 4, "the new export is of the student"


def test_a_supernet_trained_anew_gets_a_teacher_of_its_own(searched: Run) -> None:
    distill(searched.path, **FAST)
    old = (searched.teacher / "few_step_lora.safetensors").read_bytes()
    other = ElasticDiT(space="digits")
    redraw_(other, seed=1)
    other.save_pretrained(searched.supernet)
    distill(searched.path, force=True, **FAST)
    assert (searched.teacher / "few_step_lora.safetensors").read_bytes() != old


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_second_pick_half_distilled_from_an_older_supernet_begins_anew(
    searched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Distilling the first one under the new supernet must not make the other's state pass for one of that."""
    second = SPACE.decode(SPACE.enumerate(1, 2))[0]
    picks = {"balanced": TINY, "best": second}
    write_json(
        searched.search("default") / "picks.json",
        {name: {"spec": spec.to_dict(), "spec_hash": spec.hash} for name, spec in picks.items()},
    )
    monkeypatch.setattr(step_loop, "time", leaping_clock())

    def kill(done: float, total: float, note: str) -> None:
        if note.startswith(f"step {stop} of ") and "of the student" in note:
            raise KilledError

    for pick in picks:
        with pytest.raises(KilledError):
            distill(searched.path, pick=pick, progress=kill, **FAST)
        assert list(searched.pick(picks[pick].hash).glob("kdmd_state*"))
    other = ElasticDiT(space="digits")
    redraw_(other, seed=1)
    other.save_pretrained(searched.supernet)
    fresh = Run(Path(shutil.copytree(searched.path, tmp_path / "fresh")))
    for made in (fresh.teacher, fresh.path / "picks"):
        shutil.rmtree(made)
    expected = {pick: weights_of(load_sub_dit(distill(fresh.path, pick=pick, **FAST))) for pick in picks}
    for pick in picks:
        with pytest.warns(UserWarning, match="is of the supernet .*, and the run's is now"):
            found = distill(searched.path, pick=pick, **FAST)
        assert same(weights_of(load_sub_dit(found)), expected[pick]), pick


def test_distilling_what_is_no_pick_is_refused(searched: Run) -> None:
    with pytest.raises(RunError, match="no pick 'quickest'; it has balanced"):
        distill(searched.path, pick="quickest", **FAST)
    with pytest.raises(RunError, match="no finished search 'other'"):
        distill(searched.path, search="other", **FAST)
    with pytest.raises(RunError, match="no run folder"):
        distill(searched.path / "nowhere", **FAST)


def test_what_was_cut_is_recorded_and_made_anew_where_asked(searched: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes 20 seconds: ten fit under a ceiling of 200, and after nine of them that is decided."""
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    few_step = FewStepConfig(steps=25, trajectories=4, substeps=1, batch_size=4, ceiling_s=200.0)
    kdmd = KDMDConfig(steps=12, batch_size=4, guidance_scale=1.0, ceiling_s=200.0)
    distill(searched.path, few_step=few_step, kdmd=kdmd)
    records = training_records(searched, TINY.hash)
    assert records[TEACHER] == TrainingRecord(10, 25, 200.0, 9)
    assert records[STUDENT] == TrainingRecord(10, 12, 200.0, 9)
    adapter = searched.teacher / "few_step_lora.safetensors"
    cut = adapter.read_bytes()
    distill(searched.path, few_step=few_step, kdmd=kdmd, force=True)
    assert adapter.read_bytes() == cut, "the teacher that all picks share stays"
    distill(
        searched.path,
        few_step=replace(few_step, steps=11, ceiling_s=None),
        kdmd=replace(kdmd, steps=11, ceiling_s=None),
        force=True,
    )
    assert adapter.read_bytes() != cut
    assert training_records(searched, TINY.hash) == {
        TEACHER: TrainingRecord(11, 11, 220.0),
        STUDENT: TrainingRecord(11, 11, 220.0),
    }
