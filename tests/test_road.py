"""The whole road at its smallest, and what every verb says of bad input, on the run that the road left."""

from __future__ import annotations

import html
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from click.testing import Result

from subdit.cli import group
from tests.waiting import DEADLINE_S

SMALLEST = (
    *("demo", "--quick", "--train-steps", "8", "--teacher-steps", "4", "--kdmd-steps", "6"),
    *("--profile-s", "2", "--trials", "16", "--measure-s", "1"),
)
SEARCH = ("search", "{run}", "--device", "{run}/device.json", "--allow-noisy")


def subdit(*arguments: str, timeout: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "subdit", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )


def subdit_here(*arguments: str) -> Result:
    """The same in this process, which has imported everything already; raises what would have been a traceback."""
    return CliRunner().invoke(group, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("road") / "run"
    done = subdit(*SMALLEST, "--run", str(run), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["picks"]) == {"fastest", "balanced", "best"}
    return run


def hash_of(run: Path, pick: str) -> str:
    picks = json.loads((run / "searches/default/picks.json").read_text())
    return str(picks[pick]["spec_hash"])


def test_the_road_leaves_what_it_says(road: Path) -> None:
    balanced = road / "picks" / hash_of(road, "balanced")
    for file in (
        road / "supernet/diffusion_pytorch_model.safetensors",
        road / "device.json",
        road / "searches/default/front.csv",
        road / "reports/default/report.html",
        road / "reports/default/pareto.png",
        balanced / "distilled/config.json",
        balanced / "exports/dit.onnx",
        balanced / "samples.png",
    ):
        assert file.stat().st_size > 0, file
    quality = json.loads((balanced / "quality.json").read_text())
    assert {"28_steps", "plain_4_steps", "4_steps", "2_steps", "1_step"} <= set(quality)
    measured = json.loads((balanced / "measured.json").read_text())
    assert 0 < measured["low_ms"] <= measured["latency_ms"] <= measured["high_ms"]
    card = json.loads((balanced / "exports/dit.json").read_text())
    assert card["deviation_from_torch"] <= 1e-4 and card["steps"] == 4


def test_the_road_walked_again_makes_nothing_anew(road: Path) -> None:
    watched = [
        *road.glob("supernet/*"),
        road / "device.json",
        *road.glob("picks/*/exports/*"),
        *road.glob("kit/*.json"),
    ]
    before = {path: path.stat().st_mtime_ns for path in watched}
    done = subdit(*SMALLEST, "--run", str(road))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in watched} == before


SHORTER = {"distill": ("--iterations", "2"), "search": ("--trials", "8")}
"""What is added to a printed command, so that it does not take as long as it would."""


def run_printed(text: str, cwd: Path) -> list[str]:
    """Run every command that is printed on a line of its own, in order; returns their verbs."""
    printed = re.findall(r"^\s*(subdit .*)$", text, flags=re.MULTILINE)
    cwd.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        for command in printed:
            verb, *arguments = shlex.split(command)[1:]
            done = subdit_here(verb, *arguments, *SHORTER.get(verb, ()))
            assert done.exit_code == 0, f"{command}\n{done.stderr}"
    return [shlex.split(command)[1] for command in printed]


def test_every_command_that_the_demo_and_its_report_print_runs(road: Path, tmp_path: Path) -> None:
    """On copies in a folder whose name needs quotes, since what one command makes is in another's way."""
    run, again = tmp_path / "a run", tmp_path / "again"
    shutil.copytree(road, run, ignore=shutil.ignore_patterns("kit"))
    told = subdit_here(*SMALLEST, "--run", str(run))
    assert told.exit_code == 0, told.stderr
    report = (run / "reports/default/report.md").read_text()
    page = html.unescape((run / "reports/default/report.html").read_text())
    written = set(re.findall(r"^\s*(subdit .*)$", report, flags=re.MULTILINE))
    assert len(written) >= 3 and all(command in page for command in written)
    # In so small a demo the three picks may be one, and that is distilled.
    plain = ["distill"] if len({hash_of(run, pick) for pick in ("fastest", "balanced", "best")}) > 1 else []
    shutil.copytree(run, again)
    assert run_printed(report, tmp_path / "1") == [*plain, "export", "sample", "report"]
    shutil.rmtree(run)
    again.rename(run)
    assert run_printed(told.stdout, tmp_path / "2") == ["sample", "search", *plain]
    assert (tmp_path / "2" / "samples.png").exists()


def test_exported_model_samples_without_torch(road: Path, tmp_path: Path) -> None:
    model = road / "picks" / hash_of(road, "balanced") / "exports/dit.onnx"
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'diffusers', 'optuna'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from pathlib import Path\n"
        "from supernet.sampling import sample\n"
        f"print(sample(Path({str(model)!r}), ['a handwritten seven', '']).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 1, 8, 8)", done.stderr


def damaged(road: Path, tmp_path: Path, file: str) -> Path:
    """A copy of the run in which one file is cut in half."""
    copy = tmp_path / "copy"
    shutil.copytree(road, copy, ignore=shutil.ignore_patterns("kit"))
    target = copy / file
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    return copy


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train", "mars", "--run", "{tmp}/new"), "mars"),
        (("spaces", "show", "mars"), "mars"),
        (("kit", "mars", "--out", "{tmp}/kit"), "mars"),
        (("search", "{run}", "--device", "nokia-3310", "--name", "x"), "nokia-3310"),
        ((*SEARCH, "--name", "x", "--limit", "latency_ms=0.0001"), "tightest"),
        (("search", "{run}", "--device", "{run}/device.json", "--allow-noisy"), "default"),
        (("search", "{tmp}/nothing", "--device", "{run}/device.json"), "nothing"),
        (("report", "{tmp}/nothing"), "nothing"),
        (("report", "{run}"), "--force"),
        (("distill", "{run}", "--pick", "prettiest"), "prettiest"),
        (("distill", "{run}"), "--force"),
        (("export", "{run}"), "--force"),
        (("train", "digits", "--run", "{run}"), "--force"),
        (("sample", "{run}/supernet", "--prompt", "a handwritten elephant", "--out", "{tmp}/x.png"), "elephant"),
        (("sample", "{tmp}/nothing.onnx", "--prompt", "a handwritten one", "--out", "{tmp}/x.png"), "nothing.onnx"),
        (("profile", "{tmp}/nothing"), "nothing"),
        (("devices", "show", "nokia-3310"), "nokia-3310"),
        (("demo", "--quick", "--run", "{run}"), "other options"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)  # fmt: skip
def test_bad_input_gets_one_sentence_and_exit_code_2(
    road: Path, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    before = sorted(path for path in road.rglob("*"))
    done = subdit_here(*(part.format(run=road, tmp=tmp_path) for part in arguments))
    assert_refused(done, named)
    assert sorted(path for path in road.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [("devices", "show", "mars"), ("search", "{run}", "--device", "{run}/device.json")]
)
def test_a_process_of_its_own_says_and_exits_alike(road: Path, arguments: tuple[str, ...]) -> None:
    filled = [part.format(run=road) for part in arguments]
    here, alone = subdit_here(*filled), subdit(*filled)
    assert alone.returncode == here.exit_code == 2
    assert (alone.stdout, alone.stderr) == (here.stdout, here.stderr)


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("supernet/diffusion_pytorch_model.safetensors", ("sample", "{run}/supernet", "--prompt", "a digit")),
        ("supernet/config.json", ("search", "{run}", "--device", "{run}/device.json", "--name", "x", "--allow-noisy")),
        ("device.json", ("search", "{run}", "--device", "{run}/device.json", "--name", "x", "--allow-noisy")),
        ("manifest.json", ("report", "{run}", "--force")),
        ("searches/default/picks.json", ("distill", "{run}", "--force")),
        ("searches/default/trials.csv", ("report", "{run}", "--force")),
        ("teacher/few_step_lora.safetensors", ("distill", "{run}", "--force", "--iterations", "1")),
    ],
)
def test_damage_is_named(road: Path, tmp_path: Path, file: str, arguments: tuple[str, ...]) -> None:
    copy = damaged(road, tmp_path, file)
    assert_refused(subdit_here(*(part.format(run=copy) for part in arguments)), "")


def assert_refused(done: Result, named: str) -> None:
    assert done.exit_code == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and named in errors[0], done.stderr


@pytest.mark.slow
def test_a_kit_that_was_not_measured_yet_is_used(road: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(road, run)
    (run / "device.json").unlink()
    before = (run / "kit/kit.json").stat().st_mtime_ns
    done = subdit(*SMALLEST, "--run", str(run))
    assert done.returncode == 0, done.stderr
    assert (run / "device.json").exists() and (run / "kit/kit.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_road_walked_again_with_other_weights_makes_anew_what_was_of_the_old_ones(
    road: Path, tmp_path: Path
) -> None:
    run = tmp_path / "copy"
    shutil.copytree(road, run)
    before = json.loads((run / "searches/default/search.json").read_text())["supernet"]
    done = subdit("train", "digits", "--run", str(run), "--steps", "3", "--seed", "7", "--force")
    assert done.returncode == 0 and f"makes stale what is of the supernet {before}" in done.stderr, done.stderr
    done = subdit(*SMALLEST, "--run", str(run), "--json")
    assert done.returncode == 0, done.stderr
    assert f"The search is of the supernet {before}" in done.stderr
    config = json.loads((run / "searches/default/search.json").read_text())
    assert config["supernet"] != before
    for pick in json.loads(done.stdout)["picks"].values():
        for name in ("exports/dit.json", "measured.json", "quality.json"):
            assert json.loads((Path(pick["folder"]) / name).read_text())["supernet"] == config["supernet"], name
    assert "trained again" not in (run / "reports/default/report.html").read_text()
    for name in ("searches/default/picks.json", "reports/default/report.html", "teacher/few_step_lora.safetensors"):
        assert (run / "stale" / before / name).exists(), name
    assert list((run / "stale" / before).glob("picks/*/distilled/config.json"))


@pytest.mark.slow
def test_road_killed_at_random_moments_arrives(tmp_path: Path) -> None:
    run, rng = tmp_path / "run", random.Random(20261123)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-m", "subdit", *SMALLEST, "--run", str(run)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(rng.uniform(4, 30))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subdit(*SMALLEST, "--run", str(run), "--json")
    assert done.returncode == 0, done.stderr
    for pick in json.loads(done.stdout)["picks"].values():
        assert (Path(pick["folder"]) / "exports/dit.onnx").exists()
