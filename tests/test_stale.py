"""A supernet trained anew: every artefact of the old weights, met by every verb, is named and never mixed or lost."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file

import subdit
from nas import StudyOptions
from nas import measure_proxies
from nas.proxy_benchmark import _benchmark
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._truth import Training
from reports import report
from subdit.cli import group
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.errors import SubditError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.core.weights import supernet_digest
from subdit.space import SubDiTSpec
from supernet.distillation.distill_pick import distill
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.kdmd import KDMDConfig
from supernet.evaluation.picks import judge_pick
from supernet.evaluation.picks import judge_teacher
from supernet.export.export_pick import export
from supernet.sampling import sample
from supernet.training import step_loop
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from tests.nas.test_facade import made_profile
from tests.supernet.small_teacher import KilledError
from tests.supernet.small_teacher import leaping_clock

FAST: dict[str, Any] = {
    "few_step": FewStepConfig(steps=2, trajectories=4, substeps=1, rank=2, batch_size=4),
    "kdmd": KDMDConfig(steps=4, batch_size=4, guidance_scale=1.0),
}
TRUTH: dict[str, Any] = {"proxies": ["parameters"], "count": 2, "training": Training(updates=1, per_class=0)}
HALF = "fastest"
"""The pick whose distillation is begun and not ended; balanced is distilled, best is exported undistilled."""


def trained(run: Run, seed: int, **options: Any) -> None:
    train("digits", run.path, config=TrainingConfig(steps=1, batch_size=2, seed=seed), **options)


def asked(run: Run, **options: Any) -> Any:
    return subdit.search(run.path, device=made_profile(), trials=8, **options)


def folder_of(run: Run, pick: str) -> Path:
    return run.pick(read_pick(run, pick)["spec_hash"])


def half_distilled(run: Run, pick: str) -> None:
    """Begin a distillation, with a resume state after every step, and let it be killed in the middle."""

    def stop(done: float, total: float, note: str) -> None:
        if note.startswith("step 2 of ") and "of the student" in note:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(step_loop, "time", leaping_clock())
        distill(run.path, pick=pick, progress=stop, **FAST)
    assert list(folder_of(run, pick).glob("kdmd_state*"))


def write_figures(run: Run, pick: str, digest: str | None, latency_ms: float = 1.25) -> None:
    """What the demo measures, and the samples that it draws, with invented figures."""
    folder = folder_of(run, pick)
    told = {} if digest is None else {"supernet": digest}
    figures = {"latency_ms": latency_ms, "low_ms": 0.99 * latency_ms, "high_ms": 1.01 * latency_ms, "rounds": 40}
    write_json(folder / "measured.json", figures | told)
    notes = PngInfo()
    for key, text in told.items():
        notes.add_text(key, text)
    Image.new("L", (4, 4)).save(folder / "samples.png", pnginfo=notes)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Intervals of correlations, which are not what this is about, from a few draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_benchmark, "agreement", partial(agreement, draws=10))
        yield


@pytest.fixture(scope="module")
def made(few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in which everything was made from one supernet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBDIT_HOME", str(tmp_path_factory.mktemp("home")))
        run = Run(tmp_path_factory.mktemp("made") / "run")
        trained(run, 0)
        asked(run)
        half_distilled(run, HALF)
        distill(run.path, **FAST)
        for pick in ("balanced", "best"):
            export(run.path, pick=pick)
            judge_pick(run.path, pick=pick, per_class=2)
            write_figures(run, pick, supernet_digest(run.supernet))
        judge_teacher(run.path, per_class=2)
        measure_proxies(run.path, front=2, **TRUTH)
        report(run.path)
        yield run


@pytest.fixture
def run(made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    return Run(Path(shutil.copytree(made.path, tmp_path / "run")))


@pytest.fixture
def anew(run: Run) -> tuple[Run, str, str]:
    """The run with its supernet trained anew, and the digests before and after."""
    before = supernet_digest(run.supernet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(run, 1, force=True)
    after = supernet_digest(run.supernet)
    assert before != after
    return run, before, after


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Run], object], str]] = {
    "search": (lambda run: asked(run), "search 'default' is of .*--force.*--name"),
    "search --resume": (lambda run: asked(run, resume=True), "search 'default' is of .*--force.*--name"),
    "search --worker": (
        lambda run: asked(run, study=StudyOptions(worker=True)),
        "search 'default' is of .*--force.*--name",
    ),
    "search --verify": (lambda run: asked(run, resume=True, verify=0), "search 'default' is of .*--force"),
    "search, with more trials": (
        lambda run: subdit.search(run.path, device=made_profile(), trials=9, resume=True),
        "search 'default' is of ",
    ),
    "report over a report": (lambda run: report(run.path), "report at .*of the supernet .*--force"),
    "export of what is distilled": (lambda run: export(run.path), "distilled sub-DiT.*'subdit distill'"),
    "export of it --force": (lambda run: export(run.path, force=True), "distilled sub-DiT.*'subdit distill'"),
    "export of it as .tflite": (lambda run: export(run.path, format="litert"), "distilled sub-DiT.*'subdit distill'"),
    "judging what is distilled": (
        lambda run: judge_pick(run.path, pick="balanced", per_class=2),
        "distilled sub-DiT.*'subdit distill'",
    ),
    "judging the teacher": (lambda run: judge_teacher(run.path, per_class=2), "few-step teacher.*'subdit distill'"),
    "proxies of its front": (lambda run: measure_proxies(run.path, front=2, **TRUTH), "'default' is of .*--front 0"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", REFUSED)
def test_what_would_mix_weights_is_refused_by_name(anew: tuple[Run, str, str], verb: str) -> None:
    run, before, after = anew
    files = contents(run.path)
    call, says = REFUSED[verb]
    with pytest.raises(SubditError, match=says) as refused:
        call(run)
    assert before in str(refused.value) and str(refused.value).endswith(".")
    assert contents(run.path) == files


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but for locks and databases' own."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# What is named and used ----------------------------------------------------------------------------------------------


def model(pick: str, inside: str) -> Callable[[Run], object]:
    return lambda run: sample(folder_of(run, pick) / inside, ["a handwritten two"], steps=1)


NAMED: dict[str, Callable[[Run], object]] = {
    "sample of an export": model("balanced", "exports/dit.onnx"),
    "sample of an undistilled export": model("best", "exports/dit.onnx"),
    "sample of what is distilled": model("balanced", "distilled"),
    "export by a search's pick": lambda run: export(run.path, pick=HALF),
    "report": lambda run: report(run.path, force=True),
    "proxies": lambda run: measure_proxies(run.path, front=0, **TRUTH),
}


@pytest.mark.parametrize("verb", NAMED)
def test_what_is_used_all_the_same_is_named(anew: tuple[Run, str, str], verb: str) -> None:
    run, before, after = anew
    with pytest.warns(UserWarning, match=f"{before}|{after}"):
        NAMED[verb](run)


def test_a_model_outside_of_a_run_is_its_own(anew: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, _ = anew
    copy = Path(shutil.copytree(folder_of(run, "best") / "exports", tmp_path / "elsewhere"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(copy / "dit.onnx", ["a handwritten two"], steps=1)
    assert json.loads((copy / "dit.json").read_text())["supernet"] == before, "and says what it is of"


def test_a_search_of_other_weights_is_replaced_or_made_under_another_name(anew: tuple[Run, str, str]) -> None:
    run, _, after = anew
    assert asked(run, name="new").config["supernet"] == after
    assert asked(run, force=True).config["supernet"] == after


# What is set aside ----------------------------------------------------------------------------------------------------


def test_half_a_distillation_of_other_weights_begins_anew(anew: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, after = anew
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


WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("stop", [1, 3, 5, 7, 9])
def test_a_distillation_of_new_weights_killed_anywhere_ends_the_same(
    anew: tuple[Run, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    run, _, _ = anew
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
    assert (folder_of(run, HALF) / "distilled" / WEIGHTS).read_bytes() == expected


# The teacher, what is distilled with its facts, the export with its card, and three figures are moved.
@pytest.mark.parametrize("moves", range(8))
def test_a_kill_while_things_are_set_aside_loses_and_mixes_nothing(
    anew: tuple[Run, str, str], monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    run, before, after = anew
    old = contents(folder_of(run, "balanced")) | contents(run.teacher)
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
    folder = folder_of(run, "balanced")
    assert read_json(folder / "distilled.json", "facts")["supernet"] == after
    assert not (folder / "quality.json").exists() and not (folder / "exports" / "dit.onnx").exists()
    kept = set(contents(run.path / "stale" / before).values())
    # Of no weights is spec.json, and a card whose model was moved without it is replaced.
    lost = {name for name, content in old.items() if content not in kept}
    assert lost <= {"spec.json", "exports/dit.json", "distilled.json"}


def test_distilling_anew_leaves_the_old_pick_in_a_folder_of_its_own(anew: tuple[Run, str, str]) -> None:
    run, before, after = anew
    folder = folder_of(run, "balanced")
    old = contents(folder)
    with pytest.warns(UserWarning, match=f"distilled, dit.onnx.* is of the supernet {before}"):
        distill(run.path, **FAST)
    kept = contents(run.path / "stale" / before / "picks" / folder.name)
    assert kept == {name: content for name, content in old.items() if name != "spec.json"}
    assert (run.path / "stale" / before / "teacher" / "few_step_lora.safetensors").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["distilled", "distilled.json", "spec.json"]
    judged = judge_pick(run.path, pick="balanced", per_class=2)
    assert judged.keys() >= {"28_steps", "4_steps"} and read_json(folder / "quality.json", "it")["supernet"] == after


def test_an_export_and_figures_of_other_weights_make_room(anew: tuple[Run, str, str]) -> None:
    run, before, after = anew
    folder = folder_of(run, "best")
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


# Training anew --------------------------------------------------------------------------------------------------------


def test_training_anew_says_beforehand_what_becomes_stale_and_deletes_nothing(run: Run) -> None:
    before, files = supernet_digest(run.supernet), contents(run.path)
    seen: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(run, 1, force=True, progress=lambda *_: seen.append(str(caught[0].message)))
    for name in (before, "search 'default'", "report 'default'", "3 picks", "few-step teacher"):
        assert name in seen[0], "told before the first step"
    after = contents(run.path)
    # What a training logs is of that training alone.
    changed = {name for name in files if after.get(name) != files[name] and not name.startswith("training/")}
    # The manifest has the seconds of a training, which may be those of the one before.
    assert changed - {"manifest.json"} == {
        f"supernet/{WEIGHTS}",
        "config.yaml",
        "reports/default/report.html",
        "reports/default/report.md",
    }


def test_reports_of_the_old_weights_say_so_at_their_top(anew: tuple[Run, str, str]) -> None:
    run, before, after = anew
    said = f"This report is of the supernet {before}, and the run.*s is now {after}"
    page = (run.report("default") / "report.html").read_text()
    assert re.search(said, page.partition("<header>")[0])
    assert re.match(f"> .*{said}", (run.report("default") / "report.md").read_text())
    trained(run, 2, force=True)
    assert (run.report("default") / "report.html").read_text() == page, "said once"


def test_a_report_drawn_of_old_weights_says_so_everywhere(anew: tuple[Run, str, str]) -> None:
    run, before, after = anew
    with pytest.warns(UserWarning, match=before):
        paths = report(run.path, force=True)
    said = f"This report is of the supernet {before}, and the run.*s is now {after}"
    assert re.search(said, paths.html.read_text().partition("</header>")[0])
    assert re.search(said, paths.markdown.read_text().partition("##")[0])
    assert "of weights trained again since" in paths.markdown.read_text().splitlines()[0]
    assert all("trained again since" in line for line in paths.csv.read_text().splitlines()[1:])
    assert "1.250" in paths.html.read_text(), "its picks' figures are of the same weights"


def test_a_report_names_searches_that_it_does_not_compare_with(anew: tuple[Run, str, str]) -> None:
    run, _, _ = anew
    asked(run, name="new")
    with pytest.warns(UserWarning, match="other weights than this one's are not compared.*: default;"):
        page = report(run.path, search="new").html.read_text()
    assert "This report is of" not in page and "trained again" not in page


def test_a_damaged_report_does_not_end_a_training(run: Run) -> None:
    (run.report("default") / "report.html").write_bytes(b"\xff<main>\xfe")
    (run.report("default") / "report.md").write_bytes(b"\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(run, 1, force=True)
    assert b"This report is of" in (run.report("default") / "report.html").read_bytes()


def test_a_report_shows_no_figures_of_other_weights(anew: tuple[Run, str, str]) -> None:
    run, before, after = anew
    write_figures(run, "best", after, latency_ms=7.77)
    with pytest.warns(UserWarning, match=f"measured.json, samples.png of the pick best.*{after}.*{before}"):
        page = report(run.path, force=True).html.read_text()
    assert "1.250" in page and "7.770" not in page and page.count("data:image/png") == 1


def test_the_same_weights_once_more_make_nothing_stale(run: Run, made: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(run, 0, force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asked(run, resume=True).config["state"] == "finished"
        report(run.path, force=True)
        judge_pick(run.path, pick="balanced", per_class=2)
        with pytest.raises(RunError, match="distilled already, at"):
            distill(run.path, **FAST)
        with pytest.raises(RunError, match="exported already, at"):
            export(run.path)
    assert not (run.path / "stale").exists()
    # And what was begun is gone on with.
    assert list(folder_of(run, HALF).glob("kdmd_state*"))


def test_the_command_line_says_it_once_and_in_one_line(anew: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, _ = anew
    shown = CliRunner().invoke(group, ["report", str(run.path), "--force"])
    notes = [line for line in shown.stderr.splitlines() if line.startswith("Note: ")]
    assert shown.exit_code == 0 and len(notes) == 1 and before in notes[0], shown.stderr
    told = CliRunner().invoke(group, ["train", "digits", "--run", str(run.path), "--steps", "1", "--force"])
    assert told.exit_code == 0 and "Note: Retraining makes stale" in told.stderr


# Runs of earlier versions --------------------------------------------------------------------------------------------


def write_format_1(search: Path) -> None:
    """Give what a search left the names that it had in format 1."""
    told = read_json(search / "search.json", "search")
    ((name, proxy),) = told.pop("proxies").items()
    told |= {"subdit_search": 1, "proxy": {"id": name, **proxy}, "objectives": ["latency_ms", "quality"]}
    told |= {"limits": {"max_latency_ms": None, "max_params": None}, "reach": told.pop("feasible_region")}
    told |= {"redrawn": told.pop("rejected"), "redrawn_share": told.pop("rejected_fraction")}
    assert told.pop("constraints") == {}
    write_json(search / "search.json", told)
    for file in ("trials.csv", "front.csv", "picks.json"):
        (search / file).write_text((search / file).read_text().replace(name, "quality"))


@pytest.fixture
def earlier(run: Run) -> Run:
    """The run as an earlier version left it, which noted weights in few places and under other names."""
    digest = supernet_digest(run.supernet)
    for path in run.path.rglob("*.json"):
        told = json.loads(path.read_text())
        if isinstance(told, dict) and told.pop("supernet", None) is not None:
            if path.name in ("distilled.json",) or path == run.teacher / "supernet.json":
                told["digest"] = digest
            write_json(path, told)
    write_format_1(run.search("default"))
    for pick in ("balanced", "best"):
        write_figures(run, pick, None)
    for state in list(run.path.glob("picks/*/kdmd_state-*")):
        state.rename(state.with_name("kdmd_state.safetensors"))
    page = run.report("default") / "report.html"
    page.write_text(re.sub(r"<meta name=.subdit-supernet.*>\n", "", page.read_text()))
    return run


def test_a_run_of_an_earlier_version_loads_and_says_what_is_not_known(earlier: Run) -> None:
    assert asked(earlier, resume=True).config["state"] == "finished"
    with pytest.warns(UserWarning, match="without a note of their supernet.*measured.json of pick"):
        page = report(earlier.path, force=True).html.read_text()
    assert "1.250" in page
    with pytest.warns(UserWarning, match="does not say which supernet it is of"):
        judge_pick(earlier.path, pick="balanced", per_class=2)
    with pytest.warns(UserWarning, match="does not say which supernet it is of"):
        sample(folder_of(earlier, "best") / "exports" / "dit.onnx", ["a handwritten two"], steps=1)
    with pytest.raises(RunError, match="does not say which supernet it is of.*--force"):
        export(earlier.path, pick="best")
    with pytest.raises(RunError, match="distilled already"):
        distill(earlier.path, **FAST)
    judge_teacher(earlier.path, per_class=2)


def test_half_a_distillation_of_unknown_weights_begins_anew(earlier: Run, made: Run) -> None:
    teacher = contents(earlier.teacher)
    with pytest.warns(UserWarning, match="kdmd_state.*does not say which supernet.*starts over"):
        found = distill(earlier.path, pick=HALF, **FAST)
    assert load_file(found / WEIGHTS)
    assert contents(earlier.teacher).keys() == teacher.keys(), "which says what it is of"
    assert (earlier.path / "stale/unknown/picks" / found.parent.name / "kdmd_state.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_what_an_earlier_version_made_does_not_outlive_its_weights_unmarked(earlier: Run) -> None:
    before = supernet_digest(earlier.supernet)
    trained(earlier, 1, force=True)
    with pytest.raises(SearchError, match=f"'default' is of the supernet {before}.*--force"):
        asked(earlier, resume=True)
    assert before in (earlier.report("default") / "report.html").read_text().partition("<header>")[0]
    assert not list(earlier.path.glob("picks/*/measured.json")), "of nobody knows what"
    assert len(list(earlier.path.glob("stale/unknown/picks/*/measured.json"))) == 2
    with pytest.raises(RunError, match=before):
        export(earlier.path)


def test_the_specs_of_the_picks_differ(made: Run) -> None:
    specs = {SubDiTSpec.from_dict(read_pick(made, pick)["spec"]) for pick in ("fastest", "balanced", "best")}
    assert len(specs) == 3, "else the tests above would not be about three picks"
