"""`subdit train`: every setting is an option, and a file says all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from click.testing import Result

from subdit.cli import group
from subdit.cli._train import command
from subdit.core.run import Run
from subdit.core.settings import settings_of
from subdit.core.weights import WEIGHTS
from subdit.space import get_space
from subdit.space import rename_space
from subdit.space import space_to_yaml
from supernet.training.config import TrainingConfig
from supernet.training.config_file import read_training_config

QUICK = ("--steps", "2", "--no-ceiling", "--batch-size", "2", "--save-every-s", "0")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["train", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    said = result.output.strip().splitlines()[-1]
    assert said.startswith("Error: ") and "Traceback" not in result.output
    return said


def weights(folder: Path) -> bytes:
    return (Run(folder).supernet / WEIGHTS).read_bytes()


def test_every_setting_is_an_option_with_its_default_and_text() -> None:
    options = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}
    for name, stated in settings_of(TrainingConfig).items():
        if name == "ceiling_s":
            continue
        option = options[name]
        assert option.opts[0] == f"--{name.replace('_', '-')}"
        assert option.default == stated.default, name
        assert option.help is not None and option.help.startswith(stated.help)


def test_a_written_file_has_what_the_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-space.yaml").write_text(space_to_yaml(rename_space(get_space("digits"), "of-the-command")))
    options = [
        "--steps",
        7,
        "--no-ceiling",
        "--learning-rate",
        "1e-4",
        "--gradient-checkpointing",
        "--precision",
        "bf16",
    ]
    options += ["--sigma-shift", 2, "--start-from", "other", "--sample-prompts", "a cat", "--sample-prompts", "a dog"]
    written = done("my-space.yaml", "--data", "data/mine", "--run", "runs/it", *options, "--write-config", "it.yaml")
    assert written == "it.yaml" and not Path("runs").exists()
    found = read_training_config(Path("it.yaml"))
    assert (found.space, found.data) == (str(tmp_path / "my-space.yaml"), str(tmp_path / "data" / "mine"))
    assert found.run == tmp_path / "runs" / "it"
    assert found.config == TrainingConfig(
        steps=7,
        ceiling_s=None,
        learning_rate=1e-4,
        gradient_checkpointing=True,
        precision="bf16",
        sigma_shift=2.0,
        start_from=tmp_path / "other",
        sample_prompts=("a cat", "a dog"),
    )
    assert "file at it.yaml already" in refused("digits", "--write-config", "it.yaml")
    done("it.yaml", "--seed", 5, "--ceiling-s", 90, "--no-gradient-checkpointing", "--write-config", "other.yaml")
    other = read_training_config(Path("other.yaml"))
    changed = replace(found.config, seed=5, ceiling_s=90.0, gradient_checkpointing=False)
    assert other == replace(found, config=changed), "what is given replaces what the file says, and nothing else does"


def test_a_file_trains_what_it_says_and_the_run_has_one_that_does_so_again(tmp_path: Path) -> None:
    done("digits", "--run", tmp_path / "first", *QUICK, "--optimizer", "adamw", "--learning-rate", "1e-3")
    again = tmp_path / "again.yaml"
    done(Run(tmp_path / "first").config, "--run", tmp_path / "second")
    done(Run(tmp_path / "first").config, "--run", "runs/third", "--write-config", again)
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    again.write_text(again.read_text().replace(str(Path("runs/third").resolve()), "third"))
    assert done(again) == str(tmp_path / "third" / "supernet")
    assert weights(tmp_path / "third") == weights(tmp_path / "first")


def test_what_goes_on_does_so_as_it_was_begun(tmp_path: Path) -> None:
    """Options that it was begun with need not be given again, and what its state depends on must not be others."""
    folder = tmp_path / "run"
    done("digits", "--run", tmp_path / "whole", *QUICK, "--seed", 4)
    # Stopped by what is no number, in its second step: the state of the first one is there.
    rates = ("--optimizer", "adamw", "--learning-rate", "1e18", "--warmup", "0.9")
    said = refused("digits", "--run", folder, "--steps", 9, "--no-ceiling", "--batch-size", 2, *rates)
    assert "go on with --resume and a lower --learning-rate" in said
    assert "pass --resume to go on or --force" in refused("digits", "--run", folder)
    assert "has batch_size 2, not 4; leave out --batch-size" in refused(
        "digits", "--run", folder, "--resume", "--batch-size", 4
    )
    assert "steps, not 5" in refused("digits", "--run", folder, "--resume", "--steps", 5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits",), "Name the run folder to write with --run."),
        (("digits", "--run", "r", "--steps", "0"), "'--steps': 0 is not in the range"),
        (("digits", "--run", "r", "--learning-rate", "nan"), "'--learning-rate': 'nan' is not a finite number"),
        (("digits", "--run", "r", "--precision", "fp16"), "'fp16' is not one of 'auto', 'fp32', 'bf16'"),
        (("digits", "--run", "r", "--accumulation", "99"), "64 images does not go through in 99 parts"),
        (("digits", "--run", "r", "--keep-checkpoints", "2"), "give validate_every"),
        (("digits", "--run", "r", "--device", "tpu"), "no device 'tpu' here"),
        (("digits", "--run", "r", "--start-from", "none"), "no weights at none"),
        (("none.yaml", "--run", "r"), "no space file none.yaml"),
        (("bad.yaml", "--run", "r"), "The training file bad.yaml, at 'training', has an unknown key 'step'"),
        (("broken.yaml", "--run", "r"), "broken.yaml is not YAML"),
        (("list.yaml", "--run", "r"), "The space file list.yaml is no mapping"),
        (("no-space.yaml", "--run", "r"), "no-space.yaml has no 'space'; add it"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("space: digits\ntraining: {step: 3}\n")
    Path("broken.yaml").write_text("space: [")
    Path("list.yaml").write_text("- 1\n")
    Path("no-space.yaml").write_text("training: {steps: 3}\n")
    assert said in refused(*arguments)
