"""Jobs of Qualcomm AI Hub: which Python runs them, what they are asked, and what a killed job's number is good for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_profiles import check_plausibility
from profilers.importers import ai_hub_device
from profilers.importers import read_log
from profilers.rented import AiHubRental
from profilers.rented import find_python
from profilers.rented import make_plan
from profilers.rented import profile_rented
from profilers.rented.store import SessionStore
from subdit.cli import group
from subdit.core.errors import DeviceError
from subdit.core.errors import ImportLogError
from subdit.core.errors import MissingExtraError
from tests.profilers.importers import mutators
from tests.profilers.rented.fake_workbench import workbench
from tests.profilers.rented.rented import NAMES
from tests.profilers.rented.rented import Desk
from tests.profilers.rented.rented import latencies_ms
from tests.profilers.rented.rented import make_desk
from tests.profilers.rented.rented import make_kit
from tests.waiting import wait_until


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return make_kit(tmp_path / "kit")


@pytest.fixture
def desk(tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = make_desk(tmp_path / "desk", "ai-hub")
    made.tell(latency_ms=latencies_ms(kit))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def job(desk: Desk, kit: Path, tmp_path: Path) -> Path:
    """The folder of one job that asked for the NPU."""
    command = desk.rental("npu").command(str(desk.program), kit / "components" / f"{NAMES[0]}.tflite", tmp_path / "out")
    subprocess.run(command, check=True, capture_output=True)
    (folder,) = (tmp_path / "out").iterdir()
    return folder


def test_a_job_is_asked_for_one_unit_and_a_number_of_threads(desk: Desk, kit: Path, tmp_path: Path) -> None:
    rental = AiHubRental("Samsung Galaxy S24", "npu", threads=4)
    model = kit / "components" / f"{NAMES[0]}.tflite"
    subprocess.run(rental.command(str(desk.program), model, tmp_path), check=True, capture_output=True)
    asked = "Samsung Galaxy S24 --compute_unit npu --tflite_options number_of_threads=4"
    assert " ".join(desk.words()[0][1:]) == asked
    (log,) = read_log(next(tmp_path.glob("j*")))
    assert (log.threads, log.delegate, log.delegated_share, log.graph_operators) == (4, "npu", 1.0, 71)


def test_a_jobs_folder_says_what_its_profile_does_not(job: Path, kit: Path) -> None:
    shown = CliRunner().invoke(group, ["import", str(job), "--show"])
    assert shown.exit_code == 0 and "npu ran all 71 operators" in shown.output
    assert "they are in the job" not in shown.output
    (log,) = read_log(job)
    assert (log.model_file, log.device, log.label) == (f"{NAMES[0]}.tflite", "samsung-galaxy-s24", job.name)
    alone = CliRunner().invoke(group, ["import", str(job / "profile.json"), "--show"])
    assert "they are in the job" in " ".join(alone.output.split())


def edit(job: Path, name: str, **changed: object) -> str:
    """Why the job is refused with these values in one of its files, None for none, and digests that fit them."""
    before = {one: (job / one).read_text() for one in ("job.json", "profile.json")}
    values = json.loads(before[name]) | changed
    data = json.dumps({key: value for key, value in values.items() if value is not None})
    stated = json.loads(data if name == "job.json" else before["job.json"])
    if name == "profile.json":
        (job / name).write_text(data)
        stated["profile_sha256"] = hashlib.sha256(data.encode()).hexdigest()
    del stated["check"]
    check = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
    (job / "job.json").write_text(json.dumps(stated | {"check": check}))
    with pytest.raises(ImportLogError) as caught:
        read_log(job)
    for one, text in before.items():
        (job / one).write_text(text)
    return str(caught.value)


def test_a_job_that_is_not_whole_or_contradicts_itself_is_refused(job: Path) -> None:
    profile = json.loads((job / "profile.json").read_text())
    assert "options is missing or no text" in edit(job, "job.json", options=None)
    assert "device is missing" in edit(job, "job.json", device={"name": "x"})
    assert "no text" in edit(job, "job.json", model_file="a\u202eb")
    assert "no record of an AI Hub job" in edit(job, "job.json", subdit_ai_hub_job=2)
    assert "what ran the model" in edit(job, "job.json", options="--compute_unit cpu")
    summary = {key: value for key, value in profile["execution_summary"].items() if not key.startswith("all_")}
    assert "the estimate is the fastest" in edit(job, "profile.json", execution_summary=summary)
    (job / "profile.json").unlink()
    with pytest.raises(ImportLogError, match=r"there is no profile.json beside it"):
        read_log(job)


@pytest.mark.parametrize("name", ["job.json", "profile.json"])
def test_a_jobs_file_that_was_changed_in_any_way_is_refused(job: Path, name: str) -> None:
    """A number of threads, a device or a time that another stands for, and a profile of another job."""
    rng, before = np.random.default_rng(0), (job / name).read_bytes()
    for _ in range(150):
        for change in (mutators.change_byte, mutators.truncate, mutators.no_number):
            (job / name).write_bytes(changed := change(rng, name, before))
            try:
                read_log(job)
            except ImportLogError as error:
                assert f"{job.name}/{name}" in str(error) and str(error).endswith(".")
            else:
                assert json.loads(changed) == json.loads(before) and name == "job.json"


def test_names_of_devices_become_those_of_profiles() -> None:
    assert ai_hub_device("Samsung Galaxy S24 (Family)") == "samsung-galaxy-s24-family"
    assert ai_hub_device("Samsung Galaxy S24+") == "samsung-galaxy-s24-plus"
    assert ai_hub_device("Snapdragon 8 Elite QRD") == "snapdragon-8-elite-qrd"


def test_a_job_that_was_left_alone_is_taken_up_by_its_number(desk: Desk, kit: Path) -> None:
    """The machine went off while a job ran: AI Hub ends it, and it is not submitted again."""
    plan = make_plan(kit, desk.rental(), sessions=2)
    round_, entry = next(plan.order())
    store = SessionStore.of(plan)
    with store.opened(plan):
        log = store.begin(round_, entry)
    desk.tell(pause_s=600)
    with log.open("wb") as output:
        command = plan.rental.command(str(desk.program), entry.model, store.left)
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    wait_until(lambda: "Job: j" in log.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    # While nobody can be asked, nothing is submitted, and the number is kept.
    desk.tell(unreachable=True)
    with pytest.raises(DeviceError, match=r"\(Internal API failure\. Could not connect to Qualcomm AI Hub\); what was"):
        profile_rented(plan, str(desk.program))
    assert desk.starts() == [entry.name]
    (kept,) = (desk.folder / "jobs").iterdir()
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"ends_at_s": time.time()}))
    desk.tell(unreachable=False, pause_s=0.0)
    made = profile_rented(plan, str(desk.program))
    assert len(desk.starts()) == 2 * len(NAMES) and desk.starts()[0] == entry.name
    assert {latency.rounds for latency in made.components.values()} == {2}
    assert (store.session(round_, entry.name) / kept.stem / "job.json").is_file() and not store.left.exists()


def test_a_python_without_the_client_is_named(desk: Desk, kit: Path) -> None:
    with pytest.raises(DeviceError, match=r"measured nothing of .* \(.*python.* has no qai-hub; install it there"):
        profile_rented(make_plan(kit, desk.rental(), sessions=2), sys.executable)
    assert not desk.starts()


def test_the_python_is_found_by_the_command_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python(None) is None
    command = tmp_path / "qai-hub"

    def installed(first_line: str) -> str | None:
        command.write_text(f"{first_line}\n# -*- coding: utf-8 -*-\n")
        command.chmod(0o755)
        return find_python(None)

    assert installed("#!/opt/hub/bin/python3.11") == "/opt/hub/bin/python3.11"
    assert installed("#!/opt/hub/bin/python3 -s") == "/opt/hub/bin/python3"
    with pytest.raises(MissingExtraError, match="does not say which Python has it; give that one with --qai-hub"):
        installed("#!/bin/sh")
    # As where the way to the Python is too long for a first line, and through a link as pipx sets one.
    home = tmp_path / "venv"
    home.mkdir()
    (home / "python").write_text("")
    shutil.move(command, home / "qai-hub")
    command.symlink_to(home / "qai-hub")
    assert find_python(None) == str(home / "python")
    assert find_python(Path(sys.executable)) == str(Path(sys.executable).absolute())
    with pytest.raises(MissingExtraError, match="There is no program at"):
        find_python(tmp_path / "none")


@pytest.mark.slow
def test_the_real_client_takes_these_jobs(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qualcomm's own client, which cannot be installed beside subdit, against a stand-in of AI Hub's server."""
    stated = os.environ.get("SUBDIT_TEST_QAI_HUB")
    python = find_python(None if stated is None else Path(stated))
    if python is None:
        pytest.skip("SUBDIT_TEST_QAI_HUB names no qai-hub: pip install qai-hub in an environment of its own")
    expected = latencies_ms(kit)
    with workbench(python, tmp_path, expected) as settings:
        monkeypatch.setenv("QAIHUB_CLIENT_INI", str(settings))
        plan = make_plan(kit, AiHubRental("Samsung Galaxy S24", "npu"), sessions=2)
        made = profile_rented(plan, python, out=tmp_path / "made.json")
    assert {name: one.latency_ms for name, one in made.components.items()} == pytest.approx(
        {name: expected[name] for name in NAMES}, rel=0.02
    )
    assert made.id == "samsung-galaxy-s24/aihub/fp32/t1/npu" and not check_plausibility(made)
