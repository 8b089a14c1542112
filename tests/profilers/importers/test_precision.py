"""The precision of an imported profile: what the kit, the logs and the user say of it, and never two things."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import subdit
from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from profilers.kits.kit import Kit
from profilers.kits.kit import KitEntry
from subdit.cli import group
from subdit.core.errors import ImportLogError
from subdit.space import all_components
from subdit.space import get_space
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

NAMES = [component.name for component in all_components(get_space("digits"))]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


def minibench(folder: Path, quantization: str, names: list[str]) -> Path:
    """One file of minibench with an entry for each component."""
    (metric,) = [one for one in json.loads(FILES["executorch_minibench.json"]) if "avg_inference" in one["metric"]]
    model = metric["benchmarkModel"] | {"quantization": quantization}
    path = folder / f"{quantization}-{len(names)}.json"
    path.write_text(json.dumps([metric | {"benchmarkModel": model | {"name": name}} for name in names]))
    return path


@pytest.mark.parametrize(
    ("stated", "meant"),
    [("q8", "int8"), ("fp32", "fp32"), ("FP16", "fp16"), ("8da4w", "8da4w"), ("spin quant", "spin_quant"), ("", None)],
)
def test_minibench_states_the_weights(stated: str, meant: str | None) -> None:
    text = FILES["executorch_minibench.json"].decode().replace('"q8"', f'"{stated}"')
    (log,) = read(make_log(text.encode(), "x"))
    assert log.precision == meant


def test_a_perf_yaml_states_the_weights_of_each_measurement() -> None:
    logs = read_log(GOLDEN / "aihub_perf.yaml")
    assert {(log.label or "").partition("/")[0]: log.precision for log in logs} == {"float": "fp32", "w8a8": "int8"}
    other = FILES["aihub_perf.yaml"].decode().replace("w8a8:", "w8a16:")
    assert {log.precision for log in read(make_log(other.encode(), "x"))} == {"fp32", "w8a16"}


def test_the_precision_of_the_logs_is_that_of_the_profile(tmp_path: Path) -> None:
    logs = [minibench(tmp_path, "q8", NAMES)]
    assert subdit.import_logs(logs, device="phone", threads=4).id == "phone/executorch/int8/t4/xnnpack"
    assert subdit.import_logs(logs, device="tablet", threads=4, precision="int8").precision == "int8"
    with pytest.raises(ImportLogError, match="say that the models are in int8, not in fp32; leave --precision out"):
        subdit.import_logs(logs, device="watch", threads=4, precision="fp32")
    silent = [minibench(tmp_path, "", NAMES)]
    assert subdit.import_logs(silent, device="phone", threads=4, precision="fp16").precision == "fp16"
    mixed = [minibench(tmp_path, "q8", NAMES[:4]), minibench(tmp_path, "fp32", NAMES[4:])]
    with pytest.raises(ImportLogError, match=r"different precisions \(fp32, int8\)"):
        subdit.import_logs(mixed, device="watch", threads=4)


def test_a_kit_of_another_precision_is_not_the_one_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = tuple(KitEntry(name, tmp_path, tmp_path) for name in NAMES)
    kit = Kit(tmp_path, "digits", "onnxruntime", "fp32", "0123456789abcdef", entries, ())
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit)
    logs = [minibench(tmp_path, "q8", NAMES)]
    with pytest.raises(
        ImportLogError, match="models are in int8, and the kit .* was made in fp32; name the kit that was"
    ):
        subdit.import_logs(logs, device="phone", kit=tmp_path, threads=4)
    kit = dataclasses.replace(kit, precision="int8")
    assert subdit.import_logs(logs, device="phone", kit=tmp_path, threads=4).precision == "int8"


@pytest.mark.parametrize("word", ["FP 32/banana", "fp16-in-fp32", "../x", "", "fp32\n"])
def test_a_precision_that_is_no_word_is_refused_before_anything_is_read(word: str, tmp_path: Path) -> None:
    arguments = ["import", str(tmp_path / "nowhere"), "--device", "phone", "--precision", word]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 2
    assert f"Error: {word!r} cannot name a precision; use fp32, fp16 or int8" in result.output
    assert not list(tmp_path.iterdir())
