"""Each verb names artefacts of the old weights: it refuses to mix them with the new ones, or warns and uses them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import subdit
from nas import StudyOptions
from nas import measure_proxies
from reports import report
from subdit.core.errors import SubditError
from subdit.core.run import Run
from subdit.core.run import read_pick
from subdit.space import SubDiTSpec
from supernet.evaluation.picks import judge_pick
from supernet.evaluation.picks import judge_teacher
from supernet.export.export_pick import export
from supernet.sampling import sample
from tests.nas.test_facade import made_profile
from tests.stale.stale_run import HALF
from tests.stale.stale_run import TRUTH
from tests.stale.stale_run import contents
from tests.stale.stale_run import pick_folder
from tests.stale.stale_run import search

REFUSED: dict[str, tuple[Callable[[Run], object], str]] = {
    "search": (lambda run: search(run), "search 'default' is of .*--force.*--name"),
    "search --resume": (lambda run: search(run, resume=True), "search 'default' is of .*--force.*--name"),
    "search --worker": (
        lambda run: search(run, study=StudyOptions(worker=True)),
        "search 'default' is of .*--force.*--name",
    ),
    "search --verify": (lambda run: search(run, resume=True, verify=0), "search 'default' is of .*--force"),
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
def test_what_would_mix_weights_is_refused_by_name(retrained: tuple[Run, str, str], verb: str) -> None:
    run, before, after = retrained
    files = contents(run.path)
    call, says = REFUSED[verb]
    with pytest.raises(SubditError, match=says) as refused:
        call(run)
    assert before in str(refused.value) and str(refused.value).endswith(".")
    assert contents(run.path) == files


def model(pick: str, inside: str) -> Callable[[Run], object]:
    return lambda run: sample(pick_folder(run, pick) / inside, ["a handwritten two"], steps=1)


NAMED: dict[str, Callable[[Run], object]] = {
    "sample of an export": model("balanced", "exports/dit.onnx"),
    "sample of an undistilled export": model("best", "exports/dit.onnx"),
    "sample of what is distilled": model("balanced", "distilled"),
    "export by a search's pick": lambda run: export(run.path, pick=HALF),
    "report": lambda run: report(run.path, force=True),
    "proxies": lambda run: measure_proxies(run.path, front=0, **TRUTH),
}


@pytest.mark.parametrize("verb", NAMED)
def test_what_is_used_all_the_same_is_named(retrained: tuple[Run, str, str], verb: str) -> None:
    run, before, after = retrained
    with pytest.warns(UserWarning, match=f"{before}|{after}"):
        NAMED[verb](run)


def test_a_model_outside_of_a_run_is_its_own(retrained: tuple[Run, str, str], tmp_path: Path) -> None:
    run, before, _ = retrained
    copy = Path(shutil.copytree(pick_folder(run, "best") / "exports", tmp_path / "elsewhere"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(copy / "dit.onnx", ["a handwritten two"], steps=1)
    assert json.loads((copy / "dit.json").read_text())["supernet"] == before, "and says what it is of"


def test_a_search_of_other_weights_is_replaced_or_made_under_another_name(retrained: tuple[Run, str, str]) -> None:
    run, _, after = retrained
    assert search(run, name="new").config["supernet"] == after
    assert search(run, force=True).config["supernet"] == after


def test_the_specs_of_the_picks_differ(made: Run) -> None:
    specs = {SubDiTSpec.from_dict(read_pick(made, pick)["spec"]) for pick in ("fastest", "balanced", "best")}
    assert len(specs) == 3, "else the tests above would not be about three picks"
