"""From a kit to a profile over the real adb: what is kept, what is refused, and what a phone is left as."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result

from device_profiles import DeviceProfile
from device_profiles import load_profile
from device_profiles import read_profile
from profilers.adb import measure
from profilers.adb import profile as adb_profile
from profilers.adb import profile_over_adb
from profilers.adb.workers import distinct_names
from profilers.measuring import kit_selection
from subdit.cli import group
from subdit.core.errors import DeviceError
from tests.profilers.adb.phones import ROOT
from tests.profilers.adb.phones import Bench
from tests.profilers.adb.phones import make_phone
from tests.profilers.adb.phones import set_states
from tests.profilers.adb.stand_in import write_stand_in
from tests.profilers.litert import require_litert
from tests.waiting import DEADLINE_S
from tests.waiting import wait_until

require_litert()

from tests.profilers.adb import tiny  # noqa: E402 - it imports LiteRT.

NAMES = [component.name for component in tiny.COMPONENTS]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_kit(tmp_path_factory.mktemp("kits") / "a `touch pwned` $(touch pwned); 'kit' \"é\"")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pro grams; `touch pwned`")
    return {layout: write_stand_in(folder / f"{layout} $(touch pwned)", layout) for layout in ("tflite", "litert")}


@pytest.fixture(autouse=True)
def _tiny_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_selection, "components_up_to", kit_selection.components_up_to)
    for name in ("MIN_ROUNDS", "CALL_MS"):
        monkeypatch.setattr(measure, name, getattr(measure, name))
    tiny.use_tiny_space()


def subdit(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["profile", *map(str, arguments), "--cooling-s", "0.01", "--budget-s", "1"])


def test_the_whole_way(desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path) -> None:
    phone = make_phone(tmp_path / "phone")
    desk.plug_in(phone)
    decoder = tmp_path / "$(touch pwned)" / "decoder of 'mine'.tflite"
    tiny.write_chain(decoder, tokens=64, width=96, layers=10, seed=9)
    options = ["--benchmark-model", programs["tflite"], "--also", f"decoder={decoder}"]
    said = subdit(kit, "--adb", *options, "--json")
    assert said.exit_code == 0, said.output
    profile = load_profile("acme-kettle-9")
    assert json.loads(said.stdout) == profile.to_dict()
    assert profile.id == "acme-kettle-9/tflite/fp32/t1" and profile.provenance == "measured"
    assert list(profile.pipeline) == ["decoder"] and profile.pipeline["decoder"].latency_ms > 0
    assert sorted(profile.components) == sorted(NAMES)
    # Twice the layers take longer; nothing here asserts how much.
    assert 0 < profile.latency_ms[NAMES[0]] < profile.latency_ms[NAMES[1]]
    assert all(found.rounds >= 2 for found in profile.components.values())
    conditions = profile.conditions
    assert (conditions.model, conditions.soc, conditions.os) == ("Acme Kettle 9", "Acme A900", "Android 15 (API 35)")
    assert (conditions.affinity, conditions.cores, conditions.temperature_c) == ("80", 8, 29.0)
    assert (conditions.python_version, conditions.load_average) == ("", None)
    assert (conditions.governor, conditions.battery_percent) == ("schedutil, fixed performance mode", 80.0)
    assert conditions.reference_ms is not None and conditions.reference_ms > 0
    assert "TensorFlow Lite benchmark_model" in profile.source and "compared with torch's" in profile.source
    assert "127.0.0.1" not in json.dumps(profile.to_dict())
    # Pinned to the one fastest core, in every call; the clocks were held, and let go again.
    assert set((phone / "masks").read_text().split()) == {"80"}
    assert (phone / "power.log").read_text().split() == ["true", "false"]
    pushed = {path.name for path in (phone / "data/local/tmp/subdit/kits/0123456789abcdef").iterdir()}
    assert pushed == {"reference.tflite", *(f"{name}.tflite" for name in NAMES)}
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()

    again = subdit(kit, "--adb", "--benchmark-model", programs["tflite"])
    assert again.exit_code == 2 and "There is a profile at" in again.output


def test_names_of_several_phones_carry_no_serial() -> None:
    serials = ["R58M123ABCD", "192.168.1.11:5555", "192.168.1.111:5555", "192.168.11.1:5555"]
    names = distinct_names([("acme-kettle-9", serial) for serial in serials])
    assert len(set(names)) == len(serials)
    assert all(re.fullmatch(r"acme-kettle-9-[0-9a-f]{6}", name) for name in names)
    for name, serial in zip(names, serials, strict=True):
        assert re.sub(r"[^a-z0-9]+", "", serial.lower())[-6:] not in name
    # The same the next time, so that an interrupted measurement goes on; and nothing where there is nothing to tell.
    assert distinct_names([("acme-kettle-9", serials[3]), ("acme-kettle-9", serials[0])]) == [names[3], names[0]]
    assert distinct_names([("acme-kettle-9", "a"), ("acme-pot-1", "b")]) == ["acme-kettle-9", "acme-pot-1"]


@pytest.mark.slow
def test_two_phones_at_once_and_one_of_them_fails(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path
) -> None:
    phones = [make_phone(tmp_path / name) for name in ("first", "second", "third")]
    serials = [desk.plug_in(phone) for phone in phones]
    set_states(phones[1], (15, 290, 0))
    options = [word for serial in serials for word in ("--adb", serial)]
    said = subdit(kit, *options, "--benchmark-model", programs["litert"], "--threads", "3")
    assert said.exit_code == 2
    assert f"The battery of the phone {serials[1]} is at 15 %, below 20 %; charge it" in said.output
    # Phones of one model are told apart by hashes of their serials.
    for serial in (serials[0], serials[2]):
        profile = load_profile(f"acme-kettle-9-{sha256(serial.encode()).hexdigest()[:6]}/litert/fp32/t3")
        assert profile.conditions.affinity == "f0" and "outputs not checked" in profile.source
        assert "outputs not checked" in said.output


@pytest.mark.slow
def test_a_phone_lost_in_the_middle_keeps_what_it_measured(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path
) -> None:
    phone = make_phone(tmp_path / "phone")
    serial = desk.plug_in(phone)
    out = tmp_path / "profile.json"

    def unplug(done: float, total: float, note: str) -> None:
        if note.startswith("round 2") and serial in desk.running:
            desk.unplug(serial)

    options = {"benchmark_model": programs["tflite"], "out": out, "cooling_s": 0.01, "budget_s": 1.0}
    with pytest.raises(DeviceError, match=f"{serial} was lost in the middle.*the same command"):
        profile_over_adb(kit, progress=unplug, **options)
    assert not out.exists()
    (log,) = (kit / "timings").glob(f"acme-kettle-9--tflite--fp32--t1--{serial.replace(':', '_')}.jsonl")
    before = log.read_text().splitlines()
    assert len(before) > 4
    port = int(serial.rpartition(":")[2])
    assert desk.plug_in(phone, port) == serial
    (result,) = profile_over_adb(kit, **options)
    after = log.read_text().splitlines()
    assert after[: len(before)] == before and len(after) > len(before) and json.loads(after[-1]) == "finished"
    assert result.profile == read_profile(out)
    # The second `true` is from the second time; the first phone was gone before it could be told `false`.
    assert (phone / "power.log").read_text().split() == ["true", "true", "false"]


def test_a_profile_that_cannot_be_written_costs_no_timing(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path
) -> None:
    serial = desk.plug_in(make_phone(tmp_path / "phone"))
    (tmp_path / "file").touch()
    options = {"benchmark_model": programs["tflite"], "cooling_s": 0.01, "budget_s": 0.1}
    with pytest.raises(OSError, match="file"):
        profile_over_adb(kit, out=tmp_path / "file" / "profile.json", **options)
    (log,) = (kit / "timings").glob(f"*--{serial.replace(':', '_')}.jsonl")
    before = log.read_text()
    profile_over_adb(kit, out=tmp_path / "profile.json", **options)
    assert log.read_text() == before + '"finished"\n' and read_profile(tmp_path / "profile.json").components


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_measurement_goes_on_and_ctrl_c_lets_go_of_the_clocks(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path, ending: signal.Signals
) -> None:
    phone = make_phone(tmp_path / "phone")
    serial = desk.plug_in(phone)
    out = tmp_path / "profile.json"
    command = [sys.executable, "-m", "tests.profilers.adb.tiny", "profile", str(kit), "--adb", "--cooling-s", "0.01"]
    command += ["--benchmark-model", str(programs["tflite"]), "--out", str(out), "--budget-s", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ})
    log = kit / "timings" / f"acme-kettle-9--tflite--fp32--t1--{serial.replace(':', '_')}.jsonl"
    wait_until(lambda: (log.exists() and len(log.read_text().splitlines()) > 4) or process.poll() is not None)
    process.send_signal(ending)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert not out.exists()
    if ending == signal.SIGINT:
        assert process.returncode == 130 and "run the same command again" in err
        assert (phone / "power.log").read_text().split() == ["true", "false"]
    before = log.read_text().splitlines()
    assert len(before) > 4
    assert subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True).returncode == 0
    after = log.read_text().splitlines()
    # A line that the kill tore is dropped.
    assert after[: len(before) - 1] == before[:-1] and len(after) > len(before)
    assert sorted(read_profile(out).components) == sorted(NAMES)
    assert (phone / "power.log").read_text().split()[-2:] == ["true", "false"]


@pytest.mark.slow
def test_a_hot_phone_is_left_to_cool(desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path) -> None:
    phone = make_phone(tmp_path / "phone")
    desk.plug_in(phone)
    set_states(phone, (80, 412, 0), (79, 395, 0), (79, 300, 2), (78, 300, 0))
    notes: list[str] = []
    options = {"benchmark_model": programs["litert"], "out": tmp_path / "profile.json", "cooling_s": 0.2}
    (result,) = profile_over_adb(kit, budget_s=1.0, progress=lambda *at: notes.append(at[2]), **options)
    assert any("cooling, for it has 41.2 C" in note for note in notes)
    assert result.profile is not None
    assert result.profile.conditions.temperature_c == 41.2 and result.profile.conditions.battery_percent == 78
    # The first three were too warm.
    assert (phone / "states").read_text() == "78 300 0\n"


def test_an_accelerator_that_takes_a_part_shows_in_the_id(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path
) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    options: dict[str, Any] = {"benchmark_model": programs["tflite"], "delegate": "gpu", "cooling_s": 0.01}
    options |= {"budget_s": 1.0, "out": tmp_path / "profile.json"}
    with pytest.raises(DeviceError, match=r"takes [\d.]+ % of the operators only, .*; pass --allow-fallback"):
        profile_over_adb(kit, **options)
    assert not (tmp_path / "profile.json").exists()
    (result,) = profile_over_adb(kit, allow_fallback=True, **options)
    profile = result.profile
    assert profile is not None and profile.delegate == "gpu"
    # The stand-in leaves one operator of each model to the processor; each has 2 n - 1.
    operators = [2 * layers - 1 for layers in tiny.LAYERS]
    assert profile.delegated_share == pytest.approx((sum(operators) - 2) / sum(operators))
    assert profile.id == f"acme-kettle-9/tflite/fp32/t1/gpu-{round(100 * profile.delegated_share)}pct"
    assert profile.compute_precision is None


def test_an_accelerator_that_takes_nothing_is_not_measured(desk: Bench, kit: Path, tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    program = write_stand_in(tmp_path / "benchmark_model", "tflite", gpu_takes="none")
    said = subdit(kit, "--adb", "--benchmark-model", program, "--delegate", "gpu", "--out", tmp_path / "profile.json")
    assert said.exit_code == 2 and not (tmp_path / "profile.json").exists()
    assert "took no operator of any model, so all ran on the processor; measure that, without --delegate" in said.output


@pytest.mark.parametrize("layout", ["tflite", "litert"])
def test_a_build_without_percentiles_is_measured(desk: Bench, kit: Path, tmp_path: Path, layout: str) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    program = write_stand_in(tmp_path / "benchmark_model", layout, percentiles="no")
    out = tmp_path / "profile.json"
    profile_over_adb(kit, benchmark_model=program, cooling_s=0.01, budget_s=0.1, out=out)
    assert sorted(read_profile(out).components) == sorted(NAMES)


def test_sub_dits_left_out_decide_what_predicts_as_on_this_machine(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    asked: list[object] = []
    make = adb_profile.build_profile

    def watch(*arguments: Any, **options: Any) -> DeviceProfile:
        asked.append(options["by_whole"])
        return make(*arguments, **options)

    monkeypatch.setattr(adb_profile, "build_profile", watch)
    for at, calibrate in enumerate((None, 0)):
        out = tmp_path / f"{at}.json"
        options = {"cooling_s": 0.01, "budget_s": 0.1, "calibrate": calibrate}
        profile_over_adb(kit, benchmark_model=programs["tflite"], out=out, **options)
    assert asked == [None, False]


def test_wrong_outputs_are_refused_by_name(desk: Bench, programs: dict[str, Path], tmp_path: Path) -> None:
    desk.plug_in(make_phone(tmp_path / "phone"))
    kit = tiny.make_kit(tmp_path / "kit", wrong=NAMES[1])
    threads = threading.active_count()
    with pytest.raises(
        DeviceError, match=f"computes wrong values on the phone .*: {NAMES[1]} in fp32 differs from torch"
    ):
        profile_over_adb(kit, benchmark_model=programs["tflite"], cooling_s=0.01, out=tmp_path / "profile.json")
    assert not (tmp_path / "profile.json").exists()
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adb"], "--adb needs a program to run on the phone; download the android_aarch64 build"),
        (["--adb", "--benchmark-model", "nowhere"], "There is no benchmark_model at nowhere"),
        (["--adb", "--benchmark-model", "PROGRAM", "--runtime", "litert"], "leave --runtime out"),
        (["--adb", "--benchmark-model", "PROGRAM", "--pin", "0"], "give --cores MASK instead of --pin"),
        (
            ["--adb", "--benchmark-model", "PROGRAM", "--precision", "int8"],
            "was made in fp32, not in int8; make another with --precision int8",
        ),
        (["--adb", "--benchmark-model", "PROGRAM", "--delegate", "npu"], "There is no delegate 'npu' over adb"),
        (["--adb", "--benchmark-model", "PROGRAM", "--device", "My Phone"], "cannot name a device"),
        (["--adb", "x; reboot", "--benchmark-model", "PROGRAM"], "adb sees no phone 'x; reboot'; it sees 127.0.0.1"),
        (["--adb", "--benchmark-model", "PROGRAM", "--cores", "f0; reboot"], "'f0; reboot' is no mask of cores"),
        (["--adb", "--benchmark-model", "ELF"], "is built for x86_64 and the phone runs arm64-v8a, armeabi-v7a"),
        (["--adb", "--benchmark-model", "TRUE"], "does not run as benchmark_model on the phone"),
        (["--cores", "f0"], "--cores is for phones over adb; give --adb too"),
        (["--adb", "--serve"], "ways to measure a phone; give one of them"),
        (["--adb", "--benchmark-model", "PROGRAM", "--also", "decoder=ELF"], "is no complete .tflite file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    desk: Bench, kit: Path, programs: dict[str, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    files = {"PROGRAM": programs["tflite"], "ELF": tmp_path / "elf", "TRUE": tmp_path / "true"}
    files["ELF"].write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(40))
    files["TRUE"].write_text("#!/bin/sh\ntrue\n")
    phone = make_phone(tmp_path / "phone")
    desk.plug_in(phone)
    options = [files.get(argument, argument.replace("ELF", str(files["ELF"]))) for argument in arguments]
    result = CliRunner().invoke(group, ["profile", str(kit), *map(str, options)])
    assert result.exit_code == 2 and said in result.output
    assert result.output.strip().splitlines()[-1].startswith("Error: ") and "Traceback" not in result.output
    assert not (phone / "data/local/tmp/subdit/kits").exists()
