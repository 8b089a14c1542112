"""Artefacts of the old weights are set aside: none is lost or mixed with the new ones, even if a process is killed."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from subdit.core.files import read_json
from subdit.core.run import Run
from supernet.distillation.distill_pick import distill
from supernet.evaluation.picks import judge_pick
from supernet.export.export_pick import export
from supernet.training import step_loop
from tests.stale.stale_run import FAST
from tests.stale.stale_run import HALF
from tests.stale.stale_run import WEIGHTS
from tests.stale.stale_run import contents
from tests.stale.stale_run import pick_folder
from tests.supernet.killed import KilledError
from tests.supernet.small_teacher import leaping_clock


def test_half_a_distillation_of_other_weights_starts_over(retrained: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, after = retrained
    fresh = Run(Path(shutil.copytree(run.path, tmp_path / "fresh")))
    shutil.rmtree(fresh.path / "picks")
    shutil.rmtree(fresh.teacher)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = (distill(fresh.path, pick=HALF, **FAST) / WEIGHTS).read_bytes()
        # The other pick first: it must not make the teacher pass for this one's.
        distill(run.path, pick="best", **FAST)
    with pytest.warns(UserWarning, match=f"kdmd_state.* is of the supernet {before}.*{after}.*starts over"):
        found = distill(run.path, pick=HALF, **FAST)
    assert (found / WEIGHTS).read_bytes() == expected
    assert read_json(found.with_name("distilled.json"), "facts")["supernet"] == after
    assert list((run.path / "stale" / before / "picks" / found.parent.name).glob("kdmd_state*"))


@pytest.mark.parametrize("stop", [7, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (1, 3, 5, 9))])
def test_a_distillation_of_new_weights_killed_anywhere_ends_the_same(
    retrained: tuple[Run, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    run, _, _ = retrained
    monkeypatch.setattr(step_loop, "time", leaping_clock())
    fresh = Run(Path(shutil.copytree(run.path, tmp_path / "fresh")))
    shutil.rmtree(fresh.path / "picks")
    shutil.rmtree(fresh.teacher)
    calls = iter(range(1, 1000))

    def kill(done: float, total: float, note: str) -> None:
        if next(calls) == stop:
            raise KilledError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = (distill(fresh.path, pick=HALF, **FAST) / WEIGHTS).read_bytes()
        try:
            distill(run.path, pick=HALF, progress=kill, **FAST)
        except KilledError:
            distill(run.path, pick=HALF, **FAST)
    assert (pick_folder(run, HALF) / "distilled" / WEIGHTS).read_bytes() == expected


# The teacher, what is distilled with its facts, the export with its card, and three figures are moved.
@pytest.mark.parametrize(
    "moves", [3, *(pytest.param(moves, marks=pytest.mark.slow) for moves in (0, 1, 2, 4, 5, 6, 7))]
)
def test_a_kill_while_things_are_set_aside_loses_and_mixes_nothing(
    retrained: tuple[Run, str, str], monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    run, before, after = retrained
    old = contents(pick_folder(run, "balanced")) | contents(run.teacher)
    left = iter(range(moves))
    rename = Path.rename

    def dying(self: Path, target: Path) -> Path:
        if "stale" in Path(target).parts and next(left, None) is None:
            raise KilledError
        return rename(self, target)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", dying)
            with pytest.raises(KilledError):
                distill(run.path, **FAST)
        distill(run.path, **FAST)
    folder = pick_folder(run, "balanced")
    assert read_json(folder / "distilled.json", "facts")["supernet"] == after
    assert not (folder / "quality.json").exists() and not (folder / "exports" / "dit.onnx").exists()
    kept = set(contents(run.path / "stale" / before).values())
    # Of no weights is spec.json, and a card whose model was moved without it is replaced.
    lost = {name for name, content in old.items() if content not in kept}
    assert lost <= {"spec.json", "exports/dit.json", "distilled.json"}


def test_distilling_again_leaves_the_old_pick_in_a_folder_of_its_own(retrained: tuple[Run, str, str]) -> None:
    run, before, after = retrained
    folder = pick_folder(run, "balanced")
    old = contents(folder)
    with pytest.warns(UserWarning, match=f"distilled, dit.onnx.* is of the supernet {before}"):
        distill(run.path, **FAST)
    kept = contents(run.path / "stale" / before / "picks" / folder.name)
    assert kept == {name: content for name, content in old.items() if name != "spec.json"}
    assert (run.path / "stale" / before / "teacher" / "few_step_lora.safetensors").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["distilled", "distilled.json", "spec.json"]
    judged = judge_pick(run.path, pick="balanced", per_class=2)
    assert judged.keys() >= {"28_steps", "4_steps"} and read_json(folder / "quality.json", "it")["supernet"] == after


def test_an_export_and_figures_of_other_weights_make_room(retrained: tuple[Run, str, str]) -> None:
    run, before, after = retrained
    folder = pick_folder(run, "best")
    old = contents(folder)
    with pytest.warns(UserWarning, match=f"export of pick 'best'.* is of the supernet {before}"):
        path = export(run.path, pick="best")
    assert read_json(path.with_suffix(".json"), "card")["supernet"] == after
    with pytest.warns(UserWarning, match=f"quality.json is of the supernet {before}"):
        judge_pick(run.path, pick="best", per_class=2)
    assert read_json(folder / "quality.json", "quality")["supernet"] == after
    kept = contents(run.path / "stale" / before / "picks" / folder.name)
    for name in ("exports/dit.onnx", "exports/dit.json", "quality.json"):
        assert kept[name] == old[name] != (folder / name).read_bytes()
