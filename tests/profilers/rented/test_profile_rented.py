"""A kit on a rented phone, of each provider: sessions, their order, what becomes of their folders, what is refused."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result

from device_profiles import check_plausibility
from device_profiles import load_profile
from device_profiles import read_profile
from profilers.rented import DdpRental
from profilers.rented import make_plan
from profilers.rented import profile_rented
from profilers.rented.store import SessionStore
from subdit.cli import group
from subdit.core.errors import DeviceError
from subdit.core.errors import ImportLogError
from subdit.core.errors import RunError
from tests.profilers.rented.fake_cloud import platform
from tests.profilers.rented.fake_cloud import write_gcloud
from tests.profilers.rented.rented import NAMES
from tests.profilers.rented.rented import Desk
from tests.profilers.rented.rented import latencies_ms
from tests.profilers.rented.rented import make_desk
from tests.profilers.rented.rented import make_kit
from tests.waiting import DEADLINE_S
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return make_kit(tmp_path / "a $(touch pwned) 'kit'")


@pytest.fixture(params=["ddp", "ai-hub"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = make_desk(tmp_path / "desk", request.param)
    made.tell(latency_ms=latencies_ms(kit))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


# What the providers share is tested with one of them.
only_ddp = pytest.mark.parametrize("desk", ["ddp"], indirect=True)
only_ai_hub = pytest.mark.parametrize("desk", ["ai-hub"], indirect=True)


def subdit(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["profile", *map(str, arguments)])


def test_the_whole_way(desk: Desk, kit: Path, tmp_path: Path) -> None:
    said = subdit(kit, *desk.flags, "--sessions", "3", "--json")
    assert said.exit_code == 0, said.output
    profile = load_profile(desk.device)
    assert json.loads(said.stdout) == profile.to_dict()
    runtime = {"ddp": "litert", "ai-hub": "aihub"}[desk.provider]
    assert (profile.id, profile.provenance) == (f"{desk.device}/{runtime}/fp32/t1", "measured") and not profile.noisy
    assert "in 3 sessions, which differ by" in profile.source
    expected = latencies_ms(kit)
    assert {name: one.latency_ms for name, one in profile.components.items()} == pytest.approx(
        {name: expected[name] for name in NAMES}, rel=0.02
    )
    assert {one.rounds for one in profile.components.values()} == {3}
    assert not check_plausibility(profile)
    checked = CliRunner().invoke(group, ["devices", "check"])
    assert checked.exit_code == 0, checked.output
    # Interleaved: each round has every model once, in another order.
    starts = desk.starts()
    rounds = [starts[at : at + len(NAMES)] for at in range(0, len(starts), len(NAMES))]
    assert len(rounds) == 3 and all(sorted(one) == sorted(NAMES) for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()
    again = subdit(kit, *desk.flags)
    assert again.exit_code == 2 and "There is a profile at" in again.output
    assert len(desk.starts()) == len(starts)
    # More sessions go on where these ended.
    more = subdit(kit, *desk.flags, "--sessions", "4", "--force")
    assert more.exit_code == 0, more.output
    assert len(desk.starts()) == 4 * len(NAMES)


@only_ddp
def test_the_interval_is_that_between_sessions(desk: Desk, kit: Path, tmp_path: Path) -> None:
    """A phone's runs differ by half a per cent, and its sessions by a tenth: that is what the profile says."""
    desk.tell(spread=0.1)
    made = profile_rented(make_plan(kit, desk.rental(), sessions=3), str(desk.program), out=tmp_path / "made.json")
    wide = sorted(one.relative_ci for one in made.components.values())
    # Of a median of three, by Student's t: 4.30 * 1.25 * 0.1 / 1.73.
    assert 0.15 < wide[len(wide) // 2] < 0.6


@only_ddp
def test_litert_cli_is_given_the_project_and_says_the_runtimes_version(desk: Desk, kit: Path) -> None:
    said = subdit(kit, *desk.flags, "--gcp-project", "mine", "--sessions", "2")
    assert said.exit_code == 0, said.output
    assert load_profile(desk.device).conditions.runtime_version == "2.2.0"
    words = desk.words()[0]
    assert words[0] == "benchmark" and {"--ddp", "--cpu"} <= set(words) and "mine" in words


@only_ai_hub
def test_whole_sub_dits_calibrate(desk: Desk, tmp_path: Path) -> None:
    kit = make_kit(tmp_path / "whole", whole=8)
    desk.tell(latency_ms=latencies_ms(kit), spread=0.001)
    made = profile_rented(make_plan(kit, desk.rental(), sessions=2), str(desk.program), out=tmp_path / "made.json")
    assert made.calibration is not None and made.calibration.error.mean < 0.02
    assert made.calibration.form != "none"


def test_without_the_program_its_commands_are_printed(desk: Desk, kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(desk.folder))
    said = subdit(kit, *desk.flags[:3], "--sessions", "2")
    missing = {"ddp": "LiteRT-CLI is not installed (pip install litert-cli-nightly"}
    missing["ai-hub"] = "qai-hub is not installed (pip install qai-hub"
    assert said.exit_code == 0 and missing[desk.provider] in said.stderr
    lines = said.stdout.splitlines()
    assert len(lines) == 2 * len(NAMES) + 1 and not desk.starts()
    words = [shlex.split(line) for line in lines]
    first = {"ddp": "litert", "ai-hub": "python"}[desk.provider]
    assert all(one[0] == first for one in words[:-1])
    assert Counter(Path(one[2]).stem for one in words[:-1]) == dict.fromkeys(NAMES, 2)
    # What they leave becomes a profile by the last command.
    for one in words[:-1]:
        subprocess.run([desk.program, *one[1:]], check=True, env=dict(desk.environment), capture_output=True)
    folder = Path(words[-1][-1]).expanduser().parent
    assert words[-1][:2] == ["subdit", "import"] and words[-1][-1].endswith("/*")
    imported = CliRunner().invoke(group, [*words[-1][1:-1], *map(str, sorted(folder.iterdir()))])
    assert imported.exit_code == 0, imported.output
    assert {one.rounds for one in load_profile(desk.device).components.values()} == {2}


@only_ai_hub
def test_the_commands_name_the_program_that_is_there(desk: Desk, kit: Path) -> None:
    said = subdit(kit, *desk.flags, "--sessions", "2", "--commands")
    assert said.exit_code == 0 and "not installed" not in said.output and not desk.starts()
    assert shlex.split(said.stdout.splitlines()[0])[0] == str(desk.program)


def test_a_gpu_that_takes_a_part_ends_it_after_one_session(desk: Desk, kit: Path, tmp_path: Path) -> None:
    taken, every, share = {"ddp": (4, 9, "44"), "ai-hub": (69, 71, "97")}[desk.provider]
    desk.tell(taken=taken)
    said = subdit(kit, *desk.flags, "--delegate", "gpu")
    assert said.exit_code == 2 and f"gpu took {taken} of {every} operators" in said.output
    assert "--allow-fallback" in said.output and len(desk.starts()) == 1
    # Again without a word for it: the session that was paid for is looked at, and no other is begun.
    assert subdit(kit, *desk.flags, "--delegate", "gpu").exit_code == 2 and len(desk.starts()) == 1
    allowed = subdit(kit, *desk.flags, "--delegate", "gpu", "--allow-fallback", "--sessions", "2")
    assert allowed.exit_code == 0, allowed.output
    assert len(desk.starts()) == 2 * len(NAMES)
    assert load_profile(desk.device).id.endswith(f"/fp32/t1/gpu-{share}pct")
    assert f"WARNING      gpu took {share}" in allowed.output
    shown = CliRunner().invoke(group, ["devices", "show", desk.device])
    assert f"gpu took {share}" in shown.output


@only_ai_hub
def test_a_gpu_that_takes_nothing_gives_a_profile_of_the_processor_with_a_warning(desk: Desk, kit: Path) -> None:
    desk.tell(taken=0)
    said = subdit(kit, *desk.flags, "--delegate", "gpu", "--sessions", "2")
    assert said.exit_code == 2 and "gpu was asked for and took nothing" in said.output and len(desk.starts()) == 1
    allowed = subdit(kit, *desk.flags, "--delegate", "gpu", "--sessions", "2", "--allow-fallback")
    assert allowed.exit_code == 0 and "WARNING" in allowed.output
    assert load_profile(desk.device).delegate is None


def test_a_session_that_fails_is_named_and_what_was_measured_is_kept(desk: Desk, kit: Path) -> None:
    plan = make_plan(kit, desk.rental(), sessions=2)
    names = [entry.name for _, entry in plan.order()]
    desk.tell(fail=names[5])
    why = {"ddp": r"Job 'cpu-caiman-35': FAILED", "ai-hub": r"job j\w+ ended as FAILED: Profiling timed out"}
    with pytest.raises(DeviceError, match=rf"nothing of {names[5]} on {desk.device} \({why[desk.provider]}\); what"):
        profile_rented(plan, str(desk.program))
    assert desk.starts() == names[:6]
    desk.tell(fail=None)
    profile_rented(plan, str(desk.program))
    assert desk.starts() == [*names[:6], *names[5:]]


def test_what_cannot_be_rented_is_refused_before_anything_is_paid_for(
    desk: Desk, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = make_kit(tmp_path / "onnx")
    manifest = json.loads((onnx / "kit.json").read_text())
    (onnx / "kit.json").write_text(json.dumps(manifest | {"format": "onnx"}))
    flag, _, name, which, _ = desk.flags
    for given, said in (
        ([kit, *desk.flags, "--delegate", "dsp"], "no dsp on rented" if flag == "--ddp" else "no compute unit 'dsp'"),
        ([kit, *desk.flags, "--pin", "0"], "measured in a way of their own; leave --pin out"),
        ([kit, *desk.flags, "--budget-s", "60"], "leave --budget-s out"),
        ([kit, flag], "with --device, such as"),
        ([kit, flag, "--device", "."], "cannot name a device"),
        ([kit, flag, "--device", name, which, tmp_path / "none"], "There is no program at"),
        ([kit, "--sessions", "3"], "--sessions is about rented phones; pass --ddp or --ai-hub with it"),
        ([kit, "--commands"], "--commands is about rented phones; pass --ddp or --ai-hub with it"),
        ([kit, which, "x"], f"is about rented phones; pass {flag} with it"),
        ([kit, "--delegate", "gpu"], "--delegate is for phones; give --adb, --ddp or --ai-hub too"),
        ([kit, flag, "--serve"], "give one of them"),
        ([kit, "--ddp", "--ai-hub"], "give one of them"),
        ([onnx, *desk.flags], "with .tflite files, not onnx"),
    ):
        result = subdit(*given)
        assert result.exit_code == 2 and said in " ".join(result.output.split()), (given, result.output)
    assert not desk.starts()
    missing = {"ddp": ("LITERT_GCP_PROJECT", "Missing GCP project")}
    missing["ai-hub"] = ("AI_HUB_TOKEN", "qai_hub/client.ini not found. Please request access")
    monkeypatch.delenv(missing[desk.provider][0])
    result = subdit(kit, *desk.flags)
    assert result.exit_code == 2 and missing[desk.provider][1] in " ".join(result.output.split())


@only_ddp
def test_litert_cli_measures_on_one_thread_and_no_npu(desk: Desk, kit: Path) -> None:
    for given, said in ((["--threads", "4"], "on one thread"), (["--delegate", "npu"], "measures no npu")):
        result = subdit(kit, *desk.flags, *given)
        assert result.exit_code == 2 and said in " ".join(result.output.split())
    assert not desk.starts()


@only_ddp
def test_sessions_of_another_kit_are_not_mixed_in(desk: Desk, kit: Path) -> None:
    plan = make_plan(kit, desk.rental(), sessions=2)
    profile_rented(plan, str(desk.program))
    manifest = json.loads((kit / "kit.json").read_text())
    (kit / "kit.json").write_text(json.dumps(manifest | {"hash": "f" * 16}))
    with pytest.raises(RunError, match="are of another kit; move them away"):
        profile_rented(make_plan(kit, desk.rental(), sessions=2), str(desk.program), force=True)


@only_ddp
def test_a_model_that_was_changed_on_the_way_is_refused(desk: Desk, kit: Path) -> None:
    plan = make_plan(kit, desk.rental(), sessions=2)
    profile_rented(plan, str(desk.program))
    for record in (kit / "rented").rglob("benchmark_run.txt"):
        record.write_text(record.read_text().replace(f"  ./{NAMES[0]}.tflite", f"0  ./{NAMES[0]}.tflite"))
        lines = record.read_text().splitlines()
        digest = next((line for line in lines if line.endswith(f"./{NAMES[0]}.tflite") and "process" not in line), None)
        if digest is not None:
            record.write_text(record.read_text().replace(digest, f"{'f' * 64}  ./{NAMES[0]}.tflite"))
    with pytest.raises(ImportLogError, match=f"The model {NAMES[0]} that was measured is not that of the kit"):
        profile_rented(plan, str(desk.program), force=True)


def test_the_last_word_of_a_failed_run_is_told() -> None:
    read_output = DdpRental("caiman-35").read_output
    assert read_output("a\n\n  Error: no device  available\n").problem == "no device available"
    assert read_output("Aborted!\n").problem == "Aborted!"
    assert read_output("").problem == "it printed nothing"
    told = read_output("Binary: gs://litert/binaries/2.2.0/android_arm64/x)\nOutput files saved to: /a b/cpu-x\n")
    assert (told.folder, told.runtime_version) == (Path("/a b/cpu-x"), "2.2.0")


def test_what_a_killed_measurement_left_half_done_is_finished(desk: Desk, kit: Path) -> None:
    plan = make_plan(kit, desk.rental(), sessions=2)
    desk.tell(fail=next(plan.order())[1].name)
    with pytest.raises(DeviceError):
        profile_rented(plan, str(desk.program))
    desk.tell(fail=None)
    store = SessionStore.of(plan)
    (first, one), (_, two), *_ = plan.order()
    # Killed while a session was copied.
    half = store.folder / "r01" / f".partial-{one.name}" / "half"
    half.mkdir(parents=True)
    (half / "results.pb").write_bytes(b"half")
    # Killed after a session had ended, before it was copied.
    log = store.begin(first, two)
    command = plan.rental.command(str(desk.program), two.model, store.left)
    ran = subprocess.run(command, capture_output=True, check=True)
    log.write_bytes(ran.stdout)
    made = profile_rented(plan, str(desk.program))
    # The first had failed, and is begun anew.
    assert Counter(desk.starts()) == Counter({name: 2 for name in NAMES} | {one.name: 3})
    assert {latency.rounds for latency in made.components.values()} == {2}
    assert not list(store.folder.rglob(".partial-*")) and not (store.folder / "pending.json").exists()


@only_ddp
def test_two_at_once_are_not_let_in(desk: Desk, kit: Path) -> None:
    plan = make_plan(kit, desk.rental(), sessions=2)
    with SessionStore.of(plan).opened(plan), pytest.raises(RunError, match="Another subdit measures into"):
        profile_rented(plan, str(desk.program))


@only_ddp
@pytest.mark.slow
def test_the_real_program_takes_these_commands_and_leaves_these_folders(
    desk: Desk, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT-CLI itself, which cannot be installed beside subdit, against a stand-in of what it speaks to."""
    program = os.environ.get("SUBDIT_TEST_LITERT") or shutil.which("litert")
    if program is None:
        pytest.skip(
            "SUBDIT_TEST_LITERT names no LiteRT-CLI: pip install litert-cli-nightly in an environment of its own"
        )
    bucket = tmp_path / "bucket"
    write_gcloud(tmp_path / "bin", bucket)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    expected = latencies_ms(kit)
    with platform(bucket, expected) as address:
        monkeypatch.setenv("DEVICE_RUN_ENDPOINT", address)
        made = profile_rented(make_plan(kit, DdpRental("caiman-35")), program, out=tmp_path / "made.json")
    assert {name: one.latency_ms for name, one in made.components.items()} == pytest.approx(
        {name: expected[name] for name in NAMES}, rel=0.02
    )
    assert made.conditions.runtime_version == "2.2.0"
    assert not check_plausibility(made)


def start(desk: Desk, kit: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["profile", str(kit), *map(str, desk.flags), "--sessions", "3", "--out", str(out)]
    command = [sys.executable, "-m", "subdit", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=dict(desk.environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment_it_goes_on(desk: Desk, tmp_path: Path, kit: Path, moment: int) -> None:
    """Killed after a number of starts and a while, with the session that runs left to itself; nothing is paid twice."""
    rng = np.random.default_rng(moment)
    desk.tell(pause_s=0.01, spread=0.001)
    out, total = tmp_path / "profile.json", 3 * len(NAMES)
    process = start(desk, kit, out)
    after = int(rng.integers(1, total))
    wait_until(lambda: len(desk.starts()) >= after or process.poll() is not None)
    # A session takes about as long, so this lies anywhere within one or between two.
    time.sleep(rng.uniform(0.0, 0.2))
    process.send_signal(signal.SIGKILL if moment % 2 else signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)
    assert not out.exists()
    again = start(desk, kit, out)
    said, _ = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, said.decode()
    assert {one.rounds for one in read_profile(out).components.values()} == {3}
    assert len(desk.starts()) == total
    checked = CliRunner().invoke(group, ["devices", "check", str(out)])
    assert checked.exit_code == 0, checked.output
