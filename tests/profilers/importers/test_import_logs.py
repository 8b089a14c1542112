"""`subdit import`: what it shows, and profiles from logs of a space's components."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result
from scipy import stats

import subdit
from device_profiles import LatencyEstimator
from device_profiles import check_plausibility
from device_profiles import load_profile
from device_profiles import profile_from_dict
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from subdit.cli import group
from subdit.core.errors import ImportLogError
from subdit.core.errors import RunError
from subdit.space import all_components
from subdit.space import component_counts
from subdit.space import components
from subdit.space import components_up_to
from subdit.space import count_params
from subdit.space import get_space
from tests.device_profiles.made_up import component_ms
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN
from tests.profilers.litert import require_litert

SPACE = get_space("digits")
NAMES = [component.name for component in all_components(SPACE)]
LATENCY_MS = {name: round(ms, 2) for name, ms in zip(NAMES, (100 * component_ms()).tolist(), strict=True)}
WriteLogs = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def write_logs(tmp_path: Path) -> WriteLogs:
    """Logs of litert-benchmark, one for each name, with a relative standard deviation and other changes."""

    def write(latency_ms: dict[str, float], *, spread: float = 0.02, **changes: object) -> list[Path]:
        paths = []
        for at, (name, value) in enumerate(latency_ms.items()):
            log = json.loads(FILES["litert.json"])
            times = {
                "avg": 1.0,
                "median": 1.0,
                "min": 1 - spread,
                "max": 1 + 3 * spread,
                "p5": 1 - spread / 2,
                "p95": 1 + spread,
            }
            made = {f"{key}_ms": value * factor for key, factor in times.items()} | {"std_ms": value * spread}
            # As the tool writes them.
            log["latency"] |= {key: round(ms, 2) for key, ms in made.items()}
            log |= {"model": f"/kit/components/{name}.tflite", **changes}
            paths.append(tmp_path / f"{at}.json")
            paths[-1].write_text(json.dumps(log))
        return paths

    return write


@pytest.fixture
def write_gpu_logs(tmp_path: Path) -> Callable[[dict[str, str]], list[Path]]:
    """Logs of TensorFlow Lite's benchmark_model on the GPU, with what the delegate says of each model."""

    def write(said: dict[str, str]) -> list[Path]:
        paths = []
        text = FILES["tflite_gpu.txt"].decode()
        complete = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate."
        assert complete in text and "ffn-w64-g16-f3" in text
        for at, (name, line) in enumerate(said.items()):
            paths.append(tmp_path / f"{at}.txt")
            paths[-1].write_text(text.replace("ffn-w64-g16-f3", name).replace(complete, line or complete))
        return paths

    return write


@pytest.fixture
def write_cpp_logs(tmp_path: Path) -> Callable[..., list[Path]]:
    """Logs of LiteRT's C++ program, whose results do not say what ran."""

    def write(first: str = "") -> list[Path]:
        paths = [tmp_path / f"{name}.txt" for name in NAMES]
        for path in paths:
            path.write_text((first if path == paths[0] else "") + FILES["litert_cpp.txt"].decode())
        return paths

    return write


def split(gpu: int, rest: int) -> str:
    return f"{gpu} operations will run on the GPU, and the remaining {rest} operations will run on the CPU."


def call(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["import", *map(str, arguments)])


@pytest.mark.parametrize("name", FILES)
def test_show_prints_what_was_understood_and_writes_nothing(name: str, tmp_path: Path) -> None:
    options = mutators.OPTIONS.get(name)
    runs = ["--runs", options.runs] if options is not None else []
    shown = json.loads(call(GOLDEN / name, "--show", "--json", *runs).stdout)
    facts = {"format", "tool", "model_file", "count", "mean_ms", "median_ms", "percentiles_ms", "operators"}
    assert all(facts | {"peak_memory_bytes", "delegate", "confirmed"} <= set(one) for one in shown)
    text = call(GOLDEN / name, "--show", *runs)
    assert text.exit_code == 0 and shown[0]["format"] in text.stdout
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path) -> None:
    assert "--device" in call(GOLDEN / "litert.json").output
    for arguments in ([tmp_path / "nowhere", "--show"], [GOLDEN / "litert.json", "--device", "phone"]):
        result = call(*arguments)
        assert result.exit_code == 2
        assert result.output.strip().splitlines()[-1].startswith("Error: ")


def test_complete_logs_become_a_profile(write_logs: WriteLogs) -> None:
    result = call(*write_logs(LATENCY_MS), "--device", "phone", "--json")
    assert result.exit_code == 0, result.output
    profile = load_profile("phone", space="digits")
    assert profile.to_dict() == json.loads(result.stdout)
    assert profile.id == "phone/litert/fp32/t1"
    assert (profile.provenance, profile.noisy) == ("measured", False)
    assert "litert-benchmark" in profile.source and "litert" not in profile.conditions.runtime_version
    assert profile.latency_ms == pytest.approx(LATENCY_MS)
    spec = next(iter(SPACE.named.values()))
    by_hand = sum(count * LATENCY_MS[one.name] for one, count in components(SPACE, spec).items())
    estimate = LatencyEstimator(profile, SPACE).estimate(SPACE.encode([spec]))
    assert estimate.latency_ms[0] == pytest.approx(by_hand)
    # 95 % of a median of 30 runs with a standard deviation of 2 %, which the tool rounds.
    half_ms = stats.t.ppf(0.975, 29) * 1.2533 * round(LATENCY_MS[NAMES[0]] * 0.02, 2) / np.sqrt(30)
    assert profile.components[NAMES[0]].relative_ci == pytest.approx(half_ms / LATENCY_MS[NAMES[0]], rel=1e-3)


@pytest.mark.parametrize("packed", [False, True])
def test_one_log_of_all_components_becomes_a_profile(packed: bool, tmp_path: Path) -> None:
    settings = "loop_count = 8\nnum_threads = 4\npowersave = 2\ngpu_device = -1\ncooling_down = 1\n"
    times = {name: 10 + round(ms, 2) for name, ms in LATENCY_MS.items()}
    rows = [f"{name}.param  min = {ms - 1:7.2f}  max = {ms + 1:7.2f}  avg = {ms:7.2f}\n" for name, ms in times.items()]
    text = (settings + "".join(rows)).encode()
    path = tmp_path / "logs" / ("bench.txt.gz" if packed else "bench.txt")
    path.parent.mkdir()
    path.write_bytes(gzip.compress(text) if packed else text)
    profile = subdit.import_logs([path.parent], device="phone")
    assert (profile.id, profile.noisy) == ("phone/ncnn/fp32/t4", True)
    assert profile.latency_ms == pytest.approx(times)


def test_gaps_are_named(write_logs: WriteLogs) -> None:
    logs = write_logs(LATENCY_MS)
    with pytest.raises(ImportLogError, match=f"no log of {NAMES[3]}; measure"):
        subdit.import_logs([*logs[:3], *logs[4:]], device="phone")
    with pytest.raises(ImportLogError, match="a second log of"):
        subdit.import_logs([*logs, logs[0]], device="phone")


def test_a_latency_of_zero_is_not_one_that_is_missing(write_logs: WriteLogs, tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match=r"0\.json states a latency of 0 ms, which no model has; litert-bench"):
        subdit.import_logs(write_logs(LATENCY_MS | {NAMES[0]: 0.0}), device="phone")
    text = (
        FILES["tflite_gpu.txt"]
        .decode()
        .replace("curr=2012", "curr=0")
        .replace("Inference (avg): 2012", "Inference (avg): 0")
    )
    (tmp_path / "zero.txt").write_text(text.split("Profiling Info")[0].replace("Enable op profiling: [1]", ""))
    with pytest.raises(ImportLogError, match=r"zero\.txt states a latency of 0 ms, which no model has; measure larger"):
        subdit.import_logs([tmp_path / "zero.txt"], device="phone")
    with pytest.raises(ImportLogError, match="states no latency of a whole model"):
        subdit.import_logs([GOLDEN / "tflite_ops.csv"], device="phone")


def test_logs_that_vary_make_a_noisy_profile(write_logs: WriteLogs) -> None:
    assert subdit.import_logs(write_logs(LATENCY_MS, spread=0.2), device="phone").noisy


def test_logs_of_two_settings_are_refused(write_logs: WriteLogs) -> None:
    half = dict(list(LATENCY_MS.items())[:5])
    first = [path.rename(path.with_suffix(".txt")) for path in write_logs(half, num_threads=4)]
    rest = write_logs({name: ms for name, ms in LATENCY_MS.items() if name not in half})
    with pytest.raises(ImportLogError, match=r"different threads \(1, 4\)"):
        subdit.import_logs([*first, *rest], device="phone")


def test_where_logs_do_not_say_what_ran_the_user_must(write_cpp_logs: Callable[..., list[Path]]) -> None:
    arguments = (*write_cpp_logs(), "--device", "phone", "--threads", 1)
    assert call(*arguments[: len(NAMES)], "--show").exit_code == 0
    refused = call(*arguments)
    assert refused.exit_code == 2
    assert "The logs do not say what ran the models; pass --delegate with" in refused.output
    for given, last in (("none", "t1"), ("gpu", "t1/gpu")):
        made = call(*arguments, "--delegate", given, "--json")
        assert made.exit_code == 0, made.output
        assert json.loads(made.stdout)["id"] == f"phone/litert/fp32/{last}"
    odd = call(*arguments, "--delegate", "GPU/0")
    assert (odd.exit_code, "'GPU/0' cannot name a delegate; use lower-case" in odd.output) == (2, True)
    # One that says it speaks for all.
    said = subdit.import_logs(write_cpp_logs("Use gpu: [1]\n"), device="tablet", threads=1)
    assert said.delegate == "gpu"


def test_what_logs_say_of_the_accelerator_cannot_be_contradicted(
    write_logs: WriteLogs, write_gpu_logs: Callable[[dict[str, str]], list[Path]]
) -> None:
    plain = write_logs(LATENCY_MS)
    with pytest.raises(ImportLogError, match="the plain CPU path ran the models, not gpu; leave --delegate out"):
        subdit.import_logs(plain, device="phone", delegate="gpu")
    assert subdit.import_logs(plain, device="phone", delegate="none").delegate is None
    accelerated = write_gpu_logs(dict.fromkeys(NAMES, ""))
    with pytest.raises(ImportLogError, match="say that gpu ran the models, not none; leave --delegate out"):
        subdit.import_logs(accelerated, device="phone", delegate="none")
    assert subdit.import_logs(accelerated, device="phone", delegate="gpu").id == "phone/tflite/fp32/t4/gpu"


def test_quiet_logs_of_a_whole_space_make_a_profile_that_can_be_true(write_logs: WriteLogs, tmp_path: Path) -> None:
    shipped = load_profile("linux-amd-epyc/litert/fp32/t1", space="digits")
    rng = np.random.default_rng(5)
    # Medians of 30 runs that vary by 0.5 %, so that the intervals of the logs are true of them.
    off = 1 + 1.2533 * 0.005 / np.sqrt(30) * rng.standard_normal(len(NAMES))
    # A slow phone's, as the tool rounds to 0.01 ms.
    true_ms = {name: 100 * shipped.latency_ms[name] for name in NAMES}
    latency_ms = {name: true_ms[name] * factor for name, factor in zip(NAMES, off.tolist(), strict=True)}
    out = tmp_path / "phone.json"
    made = subdit.import_logs(write_logs(latency_ms, spread=0.005), device="phone", out=out)
    assert not made.noisy and made.noise is None and made.source == "measured with litert-benchmark"
    assert profile_from_dict(json.loads(out.read_text()), "phone.json") == made
    for latency in made.components.values():
        assert latency.low_ms < latency.latency_ms < latency.high_ms and latency.rounds == 30
    covered = [one.low_ms <= true_ms[name] <= one.high_ms for name, one in made.components.items()]
    assert sum(covered) >= 0.9 * len(NAMES)
    assert not check_plausibility(made)


def test_runs_that_are_all_equal_are_so_to_half_of_what_the_tool_rounds_to(write_logs: WriteLogs) -> None:
    made = subdit.import_logs(write_logs(LATENCY_MS, spread=0.0), device="phone")
    assert not made.noisy
    for latency in made.components.values():
        assert latency.high_ms - latency.low_ms == pytest.approx(0.01)
    assert not [one for one in check_plausibility(made) if one.rule == "noise"]


def test_a_model_of_a_few_steps_of_the_tool_is_known_to_half_a_step_however_often_it_ran(
    write_logs: WriteLogs, tmp_path: Path
) -> None:
    """As the components of emoji-32 on a server, which litert-benchmark has as 0.01 ms: nothing is quiet about that."""
    logs = write_logs(dict.fromkeys(NAMES, 0.02), spread=0.1)
    made = subdit.import_logs(logs, device="phone")
    assert made.noisy
    assert {(one.low_ms, one.high_ms) for one in made.components.values()} == {(0.015, 0.025)}
    shown = CliRunner().invoke(group, ["import", str(logs[0]), "--show"])
    assert "the tool rounds to 0.01 ms: this latency is known to within 25 % only" in shown.output
    exact = subdit.import_logs(write_logs(dict.fromkeys(NAMES, 2.0), spread=0.01), device="phone", force=True)
    assert "rounds to" not in CliRunner().invoke(group, ["import", str(logs[0]), "--show"]).output
    assert not exact.noisy


def test_nothing_is_overwritten_without_force(write_logs: WriteLogs, tmp_path: Path) -> None:
    logs, out = write_logs(LATENCY_MS), tmp_path / "phone.json"
    subdit.import_logs(logs, device="phone", out=out)
    with pytest.raises(RunError, match="--force"):
        subdit.import_logs(logs, device="phone", out=out)
    subdit.import_logs(logs, device="phone", out=out, force=True)


def test_whole_sub_dits_of_the_kit_calibrate(
    write_logs: WriteLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = SPACE.sample(np.random.default_rng(3), 8)
    specs = SPACE.decode(encoded)
    whole_ms = 1.2 * component_counts(SPACE, encoded).astype(float) @ np.asarray(list(LATENCY_MS.values()))
    entries = [KitEntry(name, tmp_path, tmp_path) for name in NAMES]
    wholes = [KitEntry(spec.hash, tmp_path, tmp_path, spec) for spec in specs]
    kit = Kit(tmp_path, "digits", "litert", "int8", "0123456789abcdef", tuple(entries), tuple(wholes))
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit)
    latency_ms = LATENCY_MS | {spec.hash: ms for spec, ms in zip(specs, whole_ms.tolist(), strict=True)}
    with pytest.raises(ImportLogError, match="made in int8, not in fp32"):
        subdit.import_logs(write_logs(latency_ms), device="phone", kit=tmp_path, precision="fp32")
    profile = subdit.import_logs(write_logs(latency_ms), device="phone", kit=tmp_path)
    assert (profile.precision, profile.kit_hash) == ("int8", kit.hash)
    assert profile.calibration is not None and profile.calibration.error.mean < 0.005
    estimate = LatencyEstimator(profile, SPACE).estimate(encoded)
    assert estimate.latency_ms == pytest.approx(whole_ms, rel=0.01)


def test_a_restricted_kit_needs_the_logs_of_its_components_alone(
    write_logs: WriteLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = int(np.quantile(count_params(SPACE, SPACE.enumerate()), 0.02))
    names = [component.name for component in components_up_to(SPACE, limit)]
    assert len(names) < len(NAMES)
    entries = tuple(KitEntry(name, tmp_path, tmp_path) for name in names)
    kit = Kit(tmp_path, "digits", "litert", "fp32", "0123456789abcdef", entries, (), "tflite", limit)
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit)
    logs = write_logs({name: LATENCY_MS[name] for name in names})
    profile = subdit.import_logs(logs, device="phone", kit=tmp_path)
    assert profile.max_params == limit and set(profile.components) == set(names)
    assert not [one for one in check_plausibility(profile) if one.rule == "gap"]
    (smallest,) = SPACE.decode(SPACE.enumerate(0, 1))
    by_hand = sum(count * LATENCY_MS[one.name] for one, count in components(SPACE, smallest).items())
    estimate = LatencyEstimator(profile, SPACE).estimate(SPACE.encode([smallest]))
    assert estimate.latency_ms[0] == pytest.approx(by_hand)


def test_logs_of_whole_sub_dits_alone_make_a_profile(
    write_logs: WriteLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = SPACE.decode(SPACE.sample(np.random.default_rng(3), 10))
    entries = tuple(KitEntry(spec.hash, tmp_path, tmp_path, spec) for spec in specs)
    kit = Kit(tmp_path, "digits", "litert", "fp32", "0123456789abcdef", (), entries, "tflite")
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit)
    latency_ms = {spec.hash: 1.0 + at for at, spec in enumerate(specs)}
    logs = write_logs(latency_ms)
    profile = subdit.import_logs(logs, device="phone", kit=tmp_path)
    assert profile.components == {} and not profile.noisy
    assert {entry.spec.hash: entry.latency.latency_ms for entry in profile.whole} == pytest.approx(latency_ms)
    with pytest.raises(ImportLogError, match=f"no log of {specs[4].hash}"):
        subdit.import_logs(logs[:4] + logs[5:], device="tablet", kit=tmp_path)


def test_the_share_of_an_accelerator_is_weighed_by_operators(
    write_gpu_logs: Callable[[dict[str, str]], list[Path]], tmp_path: Path
) -> None:
    (shown,) = json.loads(call(*write_gpu_logs({"x": split(82, 55)}), "--show", "--json").stdout)
    assert (shown["delegated_share"], shown["graph_operators"]) == (82 / 137, 137)
    same = subdit.import_logs(write_gpu_logs(dict.fromkeys(NAMES, split(82, 55))), device="phone", allow_fallback=True)
    assert (same.id, same.delegated_share) == ("phone/tflite/fp32/t4/gpu-60pct", 82 / 137)
    whole = subdit.import_logs(write_gpu_logs(dict.fromkeys(NAMES, "")), device="phone")
    assert (whole.id, whole.delegated_share) == ("phone/tflite/fp32/t4/gpu", 1.0)
    # A large model that was taken whole, and many small ones of which nearly nothing was.
    said = dict.fromkeys(NAMES, split(1, 9)) | {NAMES[0]: split(500, 0)}
    mixed = subdit.import_logs(write_gpu_logs(said), device="tablet", allow_fallback=True)
    assert mixed.delegated_share == pytest.approx((500 + len(NAMES) - 1) / (500 + 10 * (len(NAMES) - 1)))
    # Of one that was taken whole, a log does not say how many operators it has.
    with pytest.raises(ImportLogError, match="not all logs say of how many operators; name the --kit"):
        subdit.import_logs(write_gpu_logs(said | {NAMES[0]: ""}), device="watch", allow_fallback=True)
    untold = subdit.import_logs(write_gpu_logs(said | {NAMES[0]: "Nothing."}), device="watch", allow_fallback=True)
    assert (untold.id, untold.delegated_share) == ("watch/tflite/fp32/t4/gpu", None)


def test_the_kit_says_how_many_operators_its_models_have(
    write_gpu_logs: Callable[[dict[str, str]], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_litert()
    from tests.profilers.adb.models import write_chain

    limit = int(np.quantile(count_params(SPACE, SPACE.enumerate()), 0.02))
    names = [component.name for component in components_up_to(SPACE, limit)]
    operators = [2 * layers - 1 for layers in range(1, len(names) + 1)]
    for layers, name in enumerate(names, 1):
        write_chain(tmp_path / f"{name}.tflite", tokens=1, width=2, layers=layers, seed=0)
    entries = tuple(KitEntry(name, tmp_path / f"{name}.tflite", tmp_path) for name in names)
    kit = Kit(tmp_path, "digits", "litert", "fp32", "0123456789abcdef", entries, (), "tflite", limit)
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit)
    made = subdit.import_logs(
        write_gpu_logs(dict.fromkeys(names, split(1, 3)) | {names[-1]: ""}),
        device="phone",
        kit=tmp_path,
        allow_fallback=True,
    )
    assert made.delegated_share == pytest.approx((sum(operators[:-1]) / 4 + operators[-1]) / sum(operators))
