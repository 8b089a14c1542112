"""`subdit evaluate`: figures that stand for themselves, resumed, of these weights alone."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from subdit import evaluate
from subdit.cli import group
from subdit.core.errors import EvaluationError
from subdit.core.errors import RunError
from subdit.core.errors import SpaceError
from subdit.core.errors import SubditError
from subdit.core.files import write_json
from subdit.core.origin import origin
from subdit.core.retraining import stale_after_training
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.core.weights import supernet_digest
from subdit.space import get_space
from subdit.space import rename_space
from subdit.space import space_to_yaml
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import load_supernet
from supernet.checkpoints import save_model
from supernet.data.digits import digits
from supernet.evaluation import evaluate as module
from supernet.evaluation import samples as samples_module
from supernet.evaluation.feature_spaces import PIXELS
from supernet.evaluation.figures import Conditions
from supernet.evaluation.figures import Evaluation
from supernet.evaluation.figures import Evaluations
from supernet.evaluation.figures import read_evaluation
from supernet.evaluation.figures import write_evaluation
from supernet.evaluation.judge import Judge
from supernet.evaluation.plot import figure_title
from supernet.evaluation.samples import generate
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.recipe import FEW_STEPS
from tests.supernet.digit_data import condition_on
from tests.supernet.digit_data import digit_reference

SPACE = get_space("digits")
TINY, SMALL, FULL = (SPACE.named_spec(name) for name in ("tiny", "small", "full"))
OTHER = replace(TINY, bna_radius=(2, 0))
FAST: dict[str, Any] = {"steps": 2, "samples": 12}


class KilledError(BaseException):
    """As if the process had been killed."""


def save(run: Run, seed: int) -> str:
    model = ElasticDiT(space="digits").eval()
    redraw_(model, seed=seed)
    save_model(model, run.supernet)
    return supernet_digest(run.supernet)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("made") / "run")
    start_manifest(run, space="digits")
    save(run, 3)
    write_json(run.search("default") / "picks.json", {"best": {"spec": SMALL.to_dict(), "spec_hash": SMALL.hash}})
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(made.path, tmp_path / "run"))


def files(run: Run) -> set[str]:
    return {path.name for path in run.evaluation.iterdir()}


def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be drawn again")

    monkeypatch.setattr(module, "generate", refuse)


# Figures --------------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_samples_against_real_images(run: Run) -> None:
    found = evaluate(run.path, points=["tiny"], steps=3, shift=2.0, guidance_scale=1.5, samples=20, seeds=[4])
    (one,) = found.models
    reference = digit_reference()
    prompts = reference.draw_prompts(20, seed=4)
    drawn = generate(
        load_supernet(run.supernet).extract(TINY),
        "digits",
        reference.condition(prompts),
        steps=3,
        shift=2.0,
        seed=4,
        guidance_scale=1.5,
    )
    judge = Judge(reference, PIXELS)
    assert one.figures == judge.figures(drawn, prompts.labels)
    assert one.conditions == Conditions(20, 4, "", 3, 2.0, 1.5, "pixels", PIXELS.hash, reference.hash)
    assert (one.point, one.spec, one.supernet) == ("tiny", TINY, supernet_digest(run.supernet))
    (real,) = found.real
    assert real.figures == judge.real_figures(20, seed=4) and real.spec is None and real.supernet == ""
    assert real.conditions == replace(one.conditions, steps=None, shift=None, guidance_scale=None)


def test_points_specs_and_picks_in_the_order_they_were_named(run: Run) -> None:
    found = evaluate(run.path, points=["tiny"], specs=[OTHER], picks=["best"], seeds=[0, 1], **FAST)
    named = [(each.point, each.conditions.seed) for each in found.models]
    assert named == [("tiny", 0), ("tiny", 1), (OTHER.hash, 0), (OTHER.hash, 1), ("best", 0), ("best", 1)]
    assert [each.spec for each in found.models][::2] == [TINY, OTHER, SMALL]
    assert len({json.dumps(dict(each.figures)) for each in found}) == 8
    assert len(files(run)) == 6 + 2 + 1


def test_all_named_points_where_none_is_named(run: Run) -> None:
    assert [each.point for each in evaluate(run.path, **FAST).models] == list(SPACE.named)


def test_as_many_samples_as_judge_images_and_a_real_half_of_at_most_all(run: Run) -> None:
    found = evaluate(run.path, points=["tiny"], steps=1)
    assert found.models[0].conditions.samples == found.real[0].conditions.samples == 898
    more = evaluate(run.path, points=["tiny"], steps=1, samples=905)
    assert more.models[0].conditions.samples == 905 and more.real[0].conditions.samples == 899


def test_samples_do_not_depend_on_how_many_are_drawn_at_once(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_supernet(made.supernet).extract(TINY)
    text = condition_on(digits().judge.captions[:11])
    seen: list[tuple[float, float]] = []

    def drawn() -> np.ndarray:
        return generate(model, "digits", text, steps=2, progress=lambda done, total, _: seen.append((done, total)))

    whole = drawn()
    monkeypatch.setattr(samples_module, "TOKENS_AT_ONCE", 3 * SPACE.tokens)
    seen.clear()
    np.testing.assert_allclose(drawn(), whole, rtol=1e-4, atol=1e-4)
    assert seen == [(done, 11) for done in (1.5, 3, 4.5, 6, 7.5, 9, 10, 11)]


def test_progress_grows_to_the_end(run: Run) -> None:
    seen: list[tuple[float, float, str]] = []
    evaluate(run.path, points=["tiny", "full"], progress=lambda *told: seen.append(told), **FAST)
    done = [each for each, _, _ in seen]
    assert done == sorted(done) and done[-1] == 24 and {total for _, total, _ in seen} == {24}
    assert [*dict.fromkeys(note for _, _, note in seen)] == ["pixels features", "tiny", "full"]


def distil(run: Run, made_from: str | None, seed: int = 7) -> Path:
    """A student of the pick `best`, as `subdit distill` leaves it."""
    model = SubDiT.from_spec(SPACE, SMALL)
    redraw_(model, seed=seed)
    folder = save_model(model, run.pick(SMALL.hash) / "distilled", recipe=FEW_STEPS)
    write_json(folder.with_suffix(".json"), {} if made_from is None else {"supernet": made_from})
    return folder


def test_a_distilled_pick_stands_beside_the_pick(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = distil(run, supernet_digest(run.supernet))
    pick, student = evaluate(run.path, picks=["best"], distilled=["best"], samples=12).models
    assert (pick.point, pick.conditions.steps, pick.conditions.shift) == ("best", 28, 1.0)
    assert (student.point, student.conditions.steps, student.conditions.shift) == ("best distilled", 4, 3.0)
    reference = digit_reference()
    prompts = reference.draw_prompts(12, seed=0)
    drawn = generate(load_sub_dit(folder), "digits", reference.condition(prompts), steps=4, shift=3.0, seed=0)
    assert student.figures == Judge(reference, PIXELS).figures(drawn, prompts.labels)
    assert student.conditions.weights == supernet_digest(folder) and student.supernet == pick.supernet
    with monkeypatch.context() as patch:
        no_drawing(patch)
        assert evaluate(run.path, distilled=["best"], samples=12).models == (student,)
    distil(run, supernet_digest(run.supernet), seed=8)
    assert evaluate(run.path, distilled=["best"], samples=12).models[0].figures != student.figures
    shown = called(run.path, "--pick", "best", "--distilled", "best", "--samples", 12)
    assert "4, shift 3" in shown.stdout


def test_a_student_that_is_not_there_or_of_other_weights_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match="pick 'best' is not distilled; .*--pick best"):
        evaluate(run.path, distilled=["best"], **FAST)
    distil(run, "0123abcd")
    with pytest.raises(RunError, match="distilled sub-DiT.* is of the supernet 0123abcd.*'subdit distill'"):
        evaluate(run.path, distilled=["best"], **FAST)
    distil(run, None)
    with pytest.warns(UserWarning, match="does not say which supernet"):
        evaluate(run.path, distilled=["best"], **FAST)


# Kept and resumed -----------------------------------------------------------------------------------------------------


def test_what_is_evaluated_is_read_whatever_it_is_called(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(run.path, points=["small"], **FAST)
    before = {path.name: path.read_bytes() for path in run.evaluation.glob("*.json")}
    no_drawing(monkeypatch)
    again = evaluate(run.path, picks=["best"], **FAST)
    assert again.models[0] == replace(first.models[0], point="best") and again.real == first.real
    assert {path.name: path.read_bytes() for path in run.evaluation.glob("*.json")} == before


def test_other_conditions_are_other_evaluations(run: Run) -> None:
    for options in ({}, {"steps": 1}, {"samples": 13}, {"seeds": [1]}, {"shift": 2.0}, {"guidance_scale": 2.0}):
        evaluate(run.path, points=["tiny"], **{**FAST, **options})
    evaluate(run.path, points=["tiny"], features="latents", **FAST)
    assert len(list(run.evaluation.glob(f"{TINY.hash}-*.json"))) == 7


@pytest.mark.parametrize("survived", [*(pytest.param(survived, marks=pytest.mark.slow) for survived in (0, 1, 3)), 2])
def test_killed_it_goes_on_and_gives_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    whole = evaluate(Path(shutil.copytree(run.path, tmp_path / "whole")), seeds=[0], **FAST)
    left = survived
    drawn: list[str] = []

    def dying(model: Any, *arguments: Any, **options: Any) -> np.ndarray:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1
        drawn.append(model.spec.hash)
        return generate(model, *arguments, **options)

    monkeypatch.setattr(module, "generate", dying)
    if survived < 3:
        with pytest.raises(KilledError):
            evaluate(run.path, **FAST)
        assert len(list(run.evaluation.glob("*.json")) if run.evaluation.exists() else []) == survived
    left = 3
    assert evaluate(run.path, **FAST) == whole
    assert sorted(drawn) == sorted(spec.hash for spec in SPACE.named.values()), "each is drawn once"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("frechet_distance", "Frechet distance"),
        ("gaussian_kernel_distance", "Gaussian kernel distance"),
        ("nn_ratio", "Nearest-neighbour ratio"),
        ("accuracy_digit", "Accuracy of digit"),
    ],
)
def test_panels_have_headings_in_words(name: str, title: str) -> None:
    assert figure_title(name) == title


def test_figures_of_other_weights_are_named_set_aside_and_made_again(run: Run) -> None:
    before = supernet_digest(run.supernet)
    old = evaluate(run.path, points=["tiny", "full"], **FAST)
    content = {path.name: path.read_bytes() for path in run.evaluation.glob("*.json")}
    assert "2 evaluations" in stale_after_training(run)
    after = save(run, 4)
    with pytest.warns(UserWarning, match=f"evaluation of 'tiny' at .* is of the supernet {before}, and .* {after}"):
        new = evaluate(run.path, points=["tiny"], **FAST)
    assert new.models[0].supernet == after and new.models[0].figures != old.models[0].figures
    assert new.real == old.real, "no supernet had a part in those"
    assert origin(run.evaluation / "evaluation.png") == after
    aside = run.path / "stale" / before / "evaluation" / new.models[0].file_name
    assert aside.read_bytes() == content[aside.name]
    assert read_evaluation(run.evaluation / old.models[1].file_name) == old.models[1], "not met, so not moved"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(run.path, points=["tiny"], **FAST)


def test_weights_that_change_meanwhile_are_not_mixed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = module.supernet_digest

    def then_trained(path: Path) -> str:
        found = digest(path)
        save(run, 5)
        return found

    monkeypatch.setattr(module, "supernet_digest", then_trained)
    with pytest.raises(SubditError, match="trained anew meanwhile|trained again meanwhile"):
        evaluate(run.path, points=["tiny"], **FAST)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"spec": null}', "null"])
def test_a_damaged_evaluation_is_refused(run: Run, content: str) -> None:
    (one,) = evaluate(run.path, points=["tiny"], **FAST).models
    (run.evaluation / one.file_name).write_text(content)
    with pytest.raises(RunError, match=f"{one.file_name} is damaged .*; delete it"):
        evaluate(run.path, points=["tiny"], **FAST)


def evaluation(**figures: float | None) -> Evaluation:
    return Evaluation("mine", OTHER, "abcd1234", Conditions(9, 1, "", 4, 3.0, 1.5, "pixels", "ab", "cd"), figures)


def test_an_evaluation_comes_back_from_its_file(tmp_path: Path) -> None:
    one = evaluation(frechet_distance=0.123456789012345, kernel_distance=-1e-9, nn_ratio=None)
    path = write_evaluation(one, tmp_path)
    assert read_evaluation(path) == one and origin(path) == "abcd1234"
    assert path.name.startswith(OTHER.hash)
    real = replace(one, spec=None, supernet="")
    assert read_evaluation(write_evaluation(real, tmp_path)) == real and real.file_name.startswith("real-")


def test_every_condition_makes_another_file() -> None:
    has = evaluation().conditions
    changed = [
        replace(has, **{name: "ef" if isinstance(value, str) else value + 1}) for name, value in asdict(has).items()
    ]
    assert len({has.hash, *(each.hash for each in changed)}) == 1 + 9


def test_a_table_has_every_figure_with_its_conditions() -> None:
    one, real = evaluation(frechet_distance=0.5, nn_ratio=None), replace(evaluation(coverage=0.75), spec=None)
    frame = Evaluations((one,), (real,)).to_frame()
    assert frame.loc[0, "spec_hash"] == OTHER.hash and frame["spec_hash"].isna().tolist() == [False, True]
    assert frame.loc[0, "frechet_distance"] == 0.5 and frame.loc[1, "coverage"] == 0.75
    for name, value in asdict(one.conditions).items():
        assert frame.loc[0, name] == value
    assert frame.isna()["nn_ratio"].all() and frame.loc[0, "supernet"] == "abcd1234"


# The command line -----------------------------------------------------------------------------------------------------


def called(*arguments: object) -> Any:
    return CliRunner().invoke(group, ["evaluate", *map(str, arguments)])


def test_the_table_and_the_json_say_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.json").write_text(OTHER.to_json())
    arguments = [run.path, "--point", "tiny", "--pick", "best", "--steps", 2, "--samples", 12]
    arguments += ["--spec", tmp_path / "spec.json", "--spec", replace(OTHER, bna_radius=(0, 2)).to_json()]
    shown = called(*arguments)
    assert shown.exit_code == 0, shown.output
    for name in ("tiny", "best", OTHER.hash, "real", "Frechet", "coverage", "12 samples each", "evaluation.png"):
        assert name in shown.stdout
    no_drawing(monkeypatch)
    stored = json.loads(called(*arguments, "--json").stdout)
    found = [Evaluation.from_dict(each) for each in (*stored["models"], *stored["real"])]
    assert [each.point for each in found] == [
        "tiny",
        OTHER.hash,
        replace(OTHER, bna_radius=(0, 2)).hash,
        "best",
        "real",
    ]
    for each in found:
        assert f"{each.figures['frechet_distance']:.4f}" in shown.stdout


def test_large_images_are_compared_by_learned_features(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.evaluation.convolutional.STEPS", 2)
    for large, features in ((65, "pixels"), (64, "convolutional")):
        monkeypatch.setattr("supernet.evaluation.run_reference.LARGE_IMAGE", large)
        assert evaluate(run.path, points=["tiny"], **FAST).models[0].conditions.feature_space == features


def test_learned_features_are_a_name_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.evaluation.convolutional.STEPS", 2)
    stored = json.loads(called(run.path, "--steps", 1, "--samples", 9, "--features", "convolutional", "--json").stdout)
    assert {each["conditions"]["feature_space"] for each in stored["models"]} == {"convolutional"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--point", "huge"], "no point named 'huge'; it has tiny, small, full"),
        (["--pick", "worst"], "no pick 'worst'; it has best"),
        (["--pick", "best", "--search", "none"], "no finished search 'none'"),
        (
            ["--features", "inception"],
            "no feature space 'inception'; choose from convolutional, .*latents, pixels",
        ),
        (["--spec", "{"], "The spec is not JSON"),
        (["--spec", "nowhere.json"], "There is no spec at nowhere.json"),
        (["--spec", replace(TINY, width=1).to_json()], "no width 1; it has 48"),
        (["--spec", replace(TINY, space="mid-256").to_json()], "of space 'mid-256', not of 'digits'"),
        (["--seed", "1", "--seed", "1"], "seeds .* cannot be used"),
        (["--samples", "1"], "--samples"),
        (["--steps", "0"], "--steps"),
        (["--guidance", "-1"], "--guidance"),
        (["--shift", "nan"], "'--shift': 'nan' is not a finite number"),
        (["--guidance-scale", "inf"], "'inf' is not a finite number"),
    ],
)
def test_bad_input_gets_one_sentence(run: Run, arguments: list[str], said: str) -> None:
    shown = called(run.path, *arguments)
    assert shown.exit_code == 2 and "Traceback" not in shown.output
    assert re.search(said, shown.stderr), shown.stderr
    assert not run.evaluation.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"steps": 0}, "0 steps"), ({"samples": 1}, "by 1 samples"), ({"seeds": []}, "at least one"), ({"shift": 0}, "0")],
)
def test_functions_refuse_what_the_command_line_refuses(run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        evaluate(run.path, **options)


def test_a_run_without_weights_data_or_sense_is_named(run: Run, tmp_path: Path) -> None:
    assert "no run folder" in called(tmp_path / "none").stderr
    shutil.rmtree(run.supernet)
    shown = called(run.path)
    assert shown.exit_code == 2 and "no weights at" in shown.stderr


def test_broken_weights_have_no_figures(run: Run) -> None:
    model = load_supernet(run.supernet)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    save_model(model, run.supernet)
    shown = called(run.path, "--point", "tiny", "--steps", 1, "--samples", 4)
    assert shown.exit_code == 2 and "not finite, so the weights are broken" in shown.stderr
    assert not run.evaluation.exists()


def test_the_name_in_a_manifest_reads_no_file(tmp_path: Path) -> None:
    file = tmp_path / "letters.yaml"
    file.write_text(space_to_yaml(rename_space(SPACE, "letters")))
    run = Run(tmp_path / "run")
    start_manifest(run, space=str(file))
    with pytest.raises(SpaceError):
        evaluate(run.path)
