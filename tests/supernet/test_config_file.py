"""Training files: nothing of one is lost, and what it may not say is refused in one sentence."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from subdit.core.errors import ConfigError
from subdit.core.settings import Setting
from subdit.core.settings import settings_of
from supernet.training.config import TrainingConfig
from supernet.training.config_file import TrainingFile
from supernet.training.config_file import is_training_file
from supernet.training.config_file import read_training_config
from supernet.training.config_file import training_config_to_yaml

STATED = settings_of(TrainingConfig)
names = st.text(string.ascii_letters + string.digits + "_- é", min_size=1).filter(lambda name: name.strip())
paths = names.map(lambda name: Path("/nowhere") / name)


def values(stated: Setting) -> st.SearchStrategy[Any]:
    """Anything that a setting may be."""
    drawn: st.SearchStrategy[Any]
    if stated.kind is bool:
        drawn = st.booleans()
    elif stated.kind is str:
        drawn = st.sampled_from(stated.choices) if stated.choices else names
    elif stated.kind is Path:
        drawn = paths
    elif stated.kind is tuple:
        drawn = st.lists(st.text(), max_size=3).map(tuple)
    elif stated.kind is int:
        low, high = (None if bound is None else int(bound) for bound in (stated.minimum, stated.maximum))
        drawn = st.integers(low, high)
    else:
        low = stated.minimum if stated.above is None else stated.above
        high = stated.maximum if stated.below is None else stated.below
        drawn = st.floats(
            low,
            high,
            exclude_min=stated.above is not None,
            exclude_max=stated.below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    return st.none() | drawn if stated.optional else drawn


@st.composite
def configs(draw: st.DrawFn) -> TrainingConfig:
    drawn = {name: draw(values(stated)) for name, stated in STATED.items()}
    drawn["accumulation"] = min(drawn["accumulation"], drawn["batch_size"])
    drawn["keep_checkpoints"] = drawn["keep_checkpoints"] if drawn["validate_every"] else 0
    drawn["sub_sampling"] = drawn["sub_sampling"] if drawn["sub_networks"] > 1 else "uniform"
    return TrainingConfig(**drawn)


def written(folder: Path, text: str) -> Path:
    path = folder / "it.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("prompt", ["a\x85cat", "\x85", "a\u2028cat", "a\u2029cat", "élan\x85"])
def test_a_prompt_with_a_line_break_of_unicode_is_read_as_it_was(tmp_path: Path, prompt: str) -> None:
    training = TrainingFile("digits", config=TrainingConfig(sample_prompts=(prompt,)))
    assert read_training_config(written(tmp_path, training_config_to_yaml(training))) == training


@given(configs(), st.none() | paths, st.sampled_from([None, "digits", "/nowhere/data"]), st.text(max_size=80))
def test_a_written_file_is_read_as_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, config: TrainingConfig, run: Path | None, data: str | None, header: str
) -> None:
    training = TrainingFile("digits", data, run, config)
    printable = "".join(character for character in header if character.isprintable())
    text = training_config_to_yaml(training, header=printable)
    assert read_training_config(written(tmp_path_factory.mktemp("file"), text)) == training
    assert max(map(len, training_config_to_yaml(TrainingFile("digits")).splitlines())) <= 120


def test_paths_begin_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    text = "space: ../my.yaml\ndata: ../data/mine\nrun: runs/mine\ntraining: {start_from: ../other}\n"
    found = read_training_config(written(tmp_path / "inner", text))
    assert found.space == str(tmp_path / "my.yaml") and found.data == str(tmp_path / "data" / "mine")
    assert found.run == tmp_path / "inner" / "runs" / "mine" and found.config.start_from == tmp_path / "other"
    named = read_training_config(written(tmp_path, "space: mid-256\ndata: digits\n"))
    assert named == TrainingFile("mid-256", "digits"), "names are no paths"


def test_a_file_of_an_earlier_version_is_one(tmp_path: Path) -> None:
    """What trainings wrote before this format."""
    training = {"steps": 5, "ceiling_s": None, "batch_size": 2, "muon_dtype": "float32", "save_every_s": 0}
    found = read_training_config(written(tmp_path, yaml.safe_dump({"space": "digits", "training": training})))
    config = TrainingConfig(steps=5, ceiling_s=None, batch_size=2, muon_dtype="float32", save_every_s=0)
    assert found == TrainingFile("digits", config=config)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = (
        "space: digits\ntraining:\n  learning_rate: 1e-3\n  muon_learning_rate: 2E-2\n  ceiling_s: 1.0e3\n  warmup: 0\n"
    )
    config = read_training_config(written(tmp_path, text)).config
    assert (config.learning_rate, config.muon_learning_rate, config.ceiling_s, config.warmup) == (1e-3, 2e-2, 1e3, 0)


def test_files_of_spaces_are_told_apart(tmp_path: Path) -> None:
    assert is_training_file(written(tmp_path, "space: digits\n"))
    assert is_training_file(written(tmp_path, "training: {steps: 3}\n"))
    for text in ("name: mine\nlatent_size: 8\n", "", "[1]", "7"):
        assert not is_training_file(written(tmp_path, text))


BASE = "space: digits\ndata: digits\ntraining:\n  steps: 5\n  batch_size: 4\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size: 4", "batchsize: 4", "at 'training', has an unknown key 'batchsize'; the nearest is 'batch_size'"),
        ("batch_size: 4", "colour: 4", "unknown key 'colour'; the keys are steps, ceiling_s"),
        ("data: digits", "dta: digits", "unknown key 'dta'; the nearest is 'data'"),
        ("data: digits", "seed: 4", "unknown key 'seed'; write it under 'training'"),
        ("data: digits", "3: 4", "unknown key 3; the keys are space, data, run, training"),
        ("space: digits\n", "", "has no 'space'; add it"),
        ("space: digits", "space: [digits]", "has the space .'digits'.; give a text"),
        ("space: digits", "space: ''", "has the space ''; give a text"),
        ("data: digits", "data: 7", "has the data 7; give a text"),
        ("steps: 5", "steps: 5.5", "cannot be: The setting steps is 5.5; give a whole number from 1"),
        ("steps: 5", "steps: many", "The setting steps is 'many'"),
        ("steps: 5", "steps: -5", "The setting steps is -5"),
        ("steps: 5", "steps: true", "The setting steps is true"),
        ("steps: 5", "ceiling_s: 8 min", "The setting ceiling_s is '8 min'; give a number of seconds above 0, or null"),
        ("steps: 5", "ceiling_s: 8:15", "has the number '8:15' in line 4; write plain digits"),
        ("steps: 5", "steps: 010", "has the number '010' in line 4; write plain digits"),
        ("steps: 5", f"ceiling_s: 1{'0' * 400}", "The setting ceiling_s is 1000"),
        ("steps: 5", "learning_rate: .inf", "The setting learning_rate is inf"),
        ("steps: 5", "start_from: 3", "The setting start_from is 3; give a path, or null"),
        ("steps: 5", "sample_prompts: a cat", "The setting sample_prompts is 'a cat'; give a list of texts"),
        ("steps: 5", "optimizer: no", "The setting optimizer is false; give one of muon, adamw"),
        ("steps: 5", "accumulation: 9", "A batch of 4 images does not go through in 9 parts"),
        ("steps: 5", "steps: 5\n  steps: 6", "the key 'steps' twice"),
        ("steps: 5", "steps: !!int 5", "YAML tag"),
        ("steps: 5", "steps: &five 5", "anchor or alias in line 4"),
        ("training:\n  steps: 5\n  batch_size: 4\n", "training: 5\n", "at 'training', has no names with values, but 5"),
        (
            BASE,
            "- 1\n",
            "has no names with values, but .1.; look at what 'subdit train digits --write-config FILE' writes",
        ),
        (BASE, "[", "is not YAML .line"),
    ],
)
def test_what_a_file_may_not_say_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert BASE.count(old) == 1
    path = written(tmp_path, BASE.replace(old, new))
    with pytest.raises(ConfigError, match=said) as refused:
        read_training_config(path)
    assert "\n" not in str(refused.value) and str(refused.value).startswith(f"The training file {path}")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 700


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no training file .*; make one with 'subdit train digits --write-config FILE'"
    ):
        read_training_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_training_config(tmp_path)
    (tmp_path / "it.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text in UTF-8"):
        read_training_config(tmp_path / "it.yaml")


@given(st.text(max_size=200))
def test_any_text_is_a_training_or_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.mktemp("file"), text)
    with pytest.raises(ConfigError) as refused:
        read_training_config(path)
    assert str(refused.value).isprintable()
