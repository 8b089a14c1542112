"""The table that a person fills from Xcode: it has all of a kit's models, and no slip that can be seen passes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import subdit
from device_profiles import check_plausibility
from device_profiles import load_profile
from device_profiles import t_95
from profilers.importers import ImportedLog
from profilers.importers import coreml_template
from profilers.importers import make_log
from profilers.importers import read
from subdit.cli import group
from subdit.core.errors import ImportLogError
from subdit.space import Component
from subdit.space import component_flops
from tests.profilers.importers import coreml_tables
from tests.profilers.importers.coreml_tables import NAMES
from tests.profilers.importers.coreml_tables import SPACE
from tests.profilers.importers.coreml_tables import filled
from tests.profilers.importers.coreml_tables import kit_of
from tests.profilers.importers.coreml_tables import latency_ms

FIRST = next(name for name in NAMES if name.startswith("ffn"))


def understood(text: str) -> tuple[ImportedLog, ...]:
    return read(make_log(text.encode(), "iphone.csv"))


def reason(text: str) -> str:
    with pytest.raises(ImportLogError) as caught:
        understood(text)
    assert str(caught.value).startswith("iphone.csv") and str(caught.value).endswith(".")
    return str(caught.value)


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines(keepends=True) if line.startswith(f"{name}.mlpackage"))


def with_times(text: str, name: str, *times: str) -> str:
    old = line_of(text, name)
    cells = old.rstrip().split(",")
    return text.replace(old, ",".join([*cells[:2], *times, *cells[-2:]]) + "\n")


def scaled(text: str, factor: float) -> str:
    """As if all of it were typed in another unit."""
    times = re.compile(r"(?<=,)\d\.\d{4}(?=,)")
    return times.sub(lambda found: f"{float(found[0]) * factor:.6f}".rstrip("0").rstrip("."), text)


def test_the_template_has_a_row_for_each_model_and_says_how_to_measure_it() -> None:
    kit = kit_of()
    lines = coreml_template(kit, 2).splitlines()
    rows = [line.split(",") for line in lines if ".mlpackage," in line and not line.startswith("Note")]
    assert [row[0] for row in rows] == [f"{entry.name}.mlpackage" for entry in kit.entries]
    assert all(row[2:] == [""] * 4 for row in rows)
    for name, million, *_ in rows[: len(NAMES)]:
        flops = component_flops(SPACE, Component.from_name(name.removesuffix(".mlpackage")))
        assert int(million) == max(1, round(flops / 1e6))
    notes = " ".join(line for line in lines if line.startswith("Note,"))
    assert all(word in notes for word in ("Xcode", "Performance tab", "median of Prediction", "milliseconds"))


def test_an_empty_template_and_an_empty_row_are_refused_by_name() -> None:
    assert "Device is not filled in" in reason(coreml_template(kit_of()))
    only_head = coreml_tables.fill(coreml_template(kit_of()))
    for name in (FIRST, NAMES[-1]):
        only_head = with_times(only_head, name, "0.5", "", "0.5")
    said = reason(only_head)
    assert f"2 of {len(kit_of().entries)} rows are not filled in, the first '{FIRST}.mlpackage'" in said
    unit = filled().replace("Compute units,All", "Compute units,Everything")
    assert "Everything" in reason(unit) and "CPU and Neural Engine" in reason(unit)


def test_a_filled_table_says_what_was_typed_and_no_more() -> None:
    logs = {log.model_file: log for log in understood(filled())}
    assert len(logs) == len(kit_of().entries)
    log = logs[f"{FIRST}.mlpackage"]
    ms = latency_ms(FIRST)
    assert log.median_ms == pytest.approx(1.01 * ms, abs=1e-4)
    assert log.sessions_ms == pytest.approx((ms, 1.01 * ms, 1.02 * ms), abs=1e-4)
    assert (log.mean_ms, log.std_ms, log.count, log.confirmed) == (None, None, None, False)
    assert (log.delegate, log.delegated_share, log.graph_operators) == ("coreml", 1.0, 14)
    assert (log.precision, log.kit_hash, log.runtime_version) == ("fp32", coreml_tables.HASH, "iOS 18.1")
    assert any("iPhone 16 Pro" in warning for warning in log.warnings)


def test_where_it_ran_is_told_and_never_guessed() -> None:
    part = coreml_tables.fill(coreml_template(kit_of()), operations=("14", "7"))
    assert {(log.delegate, log.delegated_share) for log in understood(part)} == {("coreml", 0.5)}
    none = coreml_tables.fill(coreml_template(kit_of()), operations=("14", "14"))
    assert {(log.delegate, log.declined) for log in understood(none)} == {("cpu", "coreml")}
    untold = coreml_tables.fill(coreml_template(kit_of()), operations=("", ""))
    assert {(log.delegate, log.delegated_share) for log in understood(untold)} == {("coreml", None)}
    plain = coreml_tables.HEAD | {"Compute units": "CPU Only"}
    assert {log.delegate for log in understood(coreml_tables.fill(coreml_template(kit_of()), plain))} == {"cpu"}
    assert "15 of 14 operations" in reason(coreml_tables.fill(coreml_template(kit_of()), operations=("14", "15")))
    some = filled().replace(line_of(filled(), FIRST), line_of(filled(), FIRST).replace(",14,0", ",,"))
    assert "Operations is empty here, not everywhere" in reason(some)


def test_rows_that_are_missing_doubled_or_changed_are_refused() -> None:
    text = filled()
    row = line_of(text, FIRST)
    assert "a row is missing or added" in reason(text.replace(row, ""))
    assert "already; give each model once" in reason(text.replace(row, row + row))
    assert "a printed cell was changed" in reason(text.replace(f"{FIRST}.mlpackage", f"{FIRST}0.mlpackage"))
    assert "a printed cell was changed" in reason(text.replace(coreml_tables.HASH, "fedcba9876543210"))
    assert "a printed cell was changed" in reason(text.replace("Kit,digits,fp32", "Kit,digits,fp16"))
    assert "OS is given twice" in reason(text.replace("OS,iOS", "OS,iOS 17\nOS,iOS"))
    assert "'OS' is missing" in reason(text.replace("OS,iOS 18.1\n", ""))
    assert "headings are not those" in reason(text.replace("Report 1 ms", "Report 1 us"))
    assert "as if it had been interrupted" in reason(text[: text.index("End of table")])
    assert "a second table, or something else, follows" in reason(text + text)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("1.2 ms", "0.5", "0.5"), "'1.2 ms' is no time; write the number alone"),
        (("-0.5", "0.5", "0.5"), "'-0.5' is no time"),
        (("nan", "0.5", "0.5"), "'nan' is no time"),
        (("0", "0", "0"), "a latency is 0 ms"),
        (("0.46", "4.6", "0.46"), "the reports of one model say 0.46 and 4.6 ms"),
        (("460", "462", "465"), "462 ms, where models of its kind (ffn) take about 0.5"),
        (("0.0005", "0.0005", "0.0005"), "0.0005 ms, where models of its kind (ffn)"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_line(times: tuple[str, ...], said: str) -> None:
    text = filled()
    found = reason(with_times(text, FIRST, *times))
    assert said in found
    assert f"line {text.splitlines().index(line_of(text, FIRST).rstrip()) + 1}:" in found


def test_a_whole_table_in_another_unit_is_refused() -> None:
    understood(scaled(filled(), 1.0))
    assert "which no device has" in reason(scaled(filled(), 1000.0))
    large = kit_of(tuple(name for name in NAMES if name.startswith("ffn")))
    assert "FLOP/s at the best" in reason(scaled(coreml_tables.fill(coreml_template(large)), 1e-6 / 0.4))


def test_what_spreadsheets_do_to_a_table() -> None:
    text = filled()
    widest = max(line.count(",") for line in text.splitlines())
    padded = "".join(line + "," * (widest - line.count(",")) + "\r\n" for line in text.splitlines())
    assert understood("\ufeff" + padded) == understood(text)
    rows = [line for line in text.splitlines() if ".mlpackage," in line and not line.startswith("Note")]
    head, foot = text[: text.index(rows[0])], text[text.index("End of table") :]
    by_name = understood(head + "\n".join(sorted(rows)) + "\n" + foot)
    assert sorted(map(str, by_name)) == sorted(map(str, understood(text)))
    assert "commas, not semicolons" in reason(text.replace(",", ";"))


def test_a_table_becomes_a_profile_of_its_kit_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit_of(hash_=folder.name))
    path = tmp_path / "iphone.csv.gz"
    path.write_bytes(gzip.compress(filled().encode()))
    with pytest.raises(ImportLogError, match=rf"of the kit {coreml_tables.HASH}, and .* is fedcba9876543210"):
        subdit.import_logs([path], device="iphone-16-pro", kit=Path("fedcba9876543210"), threads=1)
    made = subdit.import_logs([path], device="iphone-16-pro", kit=Path(coreml_tables.HASH), threads=1)
    assert made.id == "iphone-16-pro/coreml/fp32/t1/coreml" and load_profile("iphone-16-pro", space="digits") == made
    assert set(made.components) == set(NAMES) and "in 3 sessions" in made.source
    assert not [one for one in check_plausibility(made) if one.rule == "gap"]
    one = made.components[FIRST]
    times = np.asarray([latency_ms(FIRST) * factor for factor in (1, 1.01, 1.02)])
    half = t_95(2) * 1.2533 * times.std(ddof=1) / np.sqrt(3)
    assert (one.rounds, (one.high_ms - one.low_ms) / 2) == (3, pytest.approx(half, rel=0.02))


def test_reports_that_agree_are_no_surer_than_what_xcode_rounds_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))
    monkeypatch.setattr("profilers.importers.profile.open_kit", lambda folder: kit_of())
    text = re.sub(r"(?<=,)(\d\.\d\d)\d\d,[\d.]+,[\d.]+(?=,)", r"\1,\1,\1", filled())
    path = tmp_path / "iphone.csv"
    path.write_text(text)
    made = subdit.import_logs([path], device="iphone", kit=tmp_path, threads=1)
    assert {round(one.high_ms - one.low_ms, 9) for one in made.components.values()} == {0.01}


def test_the_verb_writes_the_table_of_a_kit_and_keeps_one_that_may_be_filled(
    tmp_path: Path, only_small_space: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    kit, out = tmp_path / "kit", tmp_path / "iphone.csv"
    subdit.kit("digits", out=kit, runtime="torch", whole=0)
    arguments = ["devices", "template", "--from-kit", str(kit), "--out", str(out)]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0 and f"subdit import {out} --device NAME --kit {kit}" in result.output
    out.write_text(coreml_tables.fill(out.read_text()))
    kept = CliRunner().invoke(group, arguments)
    assert kept.exit_code == 2 and "may be filled in" in kept.output and "iPhone" in out.read_text()
    imported = CliRunner().invoke(
        group, ["import", str(out), "--device", "iphone-16-pro", "--kit", str(kit), "--threads", "1"]
    )
    assert imported.exit_code == 0, imported.output
    assert "iphone-16-pro/coreml/fp32/t1/coreml" in imported.output
    missing = CliRunner().invoke(group, ["devices", "template", "--from-kit", str(tmp_path / "none")])
    assert missing.exit_code == 2 and "There is no kit at" in missing.output
