"""What the report says is what the run folder holds, and nothing else."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from device_profiles import save_profile
from reports import ReportPaths
from reports import report
from reports._figures import quality_lines
from reports._results import ReportedPick
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from tests.reports.run_folder import DEVICE
from tests.reports.run_folder import PICKS
from tests.reports.run_folder import make_profile
from tests.reports.run_folder import make_run
from tests.test_commands import commands
from tests.test_commands import problem


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's registry, with the profile of the fixture run in it."""
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    save_profile(make_profile())
    return tmp_path / "home"


@pytest.fixture
def run(tmp_path: Path, registry: Path) -> Path:
    return make_run(tmp_path / "run", trials=120, limit_ms=1.1)


def read(paths: ReportPaths) -> str:
    """The page as text, without the drawing and the pictures."""
    page = paths.html.read_text(encoding="utf-8")
    page = re.sub(r"<(svg|style).*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", page))


def trials(run: Path) -> list[dict[str, str]]:
    with (run / "searches" / "default" / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def picks(run: Path) -> dict[str, dict[str, object]]:
    stored: dict[str, dict[str, object]] = json.loads((run / "searches" / "default" / "picks.json").read_text())
    return stored


def test_page_shows_every_point_of_the_front_and_every_pick(run: Path) -> None:
    page = read(report(run))
    for row in trials(run):
        assert (row["spec_hash"] in page) == (row["on_front"] == "true")
    for name in PICKS:
        assert f"Because it is the {name} <of all>." in page
    assert DEVICE in page
    assert "at most 1.1 ms" in page


def test_ways_of_sampling_of_every_student_have_a_row(run: Path) -> None:
    """Of students of any number of steps, in falling order, after those that the paper has."""
    quality = {
        name: {"fd_mean": 2.0}
        for name in ("distilled_1_step", "plain_2_steps", "distilled_12_steps", "distilled_2_steps", "4_steps", "judge")
    }
    pick = ReportedPick(("balanced",), ("",), None, quality=quality)  # type: ignore[arg-type]
    assert [line.heading for line in quality_lines([pick])] == [
        "28 steps",
        "4 steps, distilled",
        "12 steps, distilled to as many",
        "2 steps, distilled to as many",
        "2 steps, plain Euler",
        "1 step, distilled to as many",
    ]


def change(run: Path, **settings: object) -> None:
    """Let the search have been another one."""
    file = run / "searches" / "default" / "search.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_every_limit_is_named(run: Path) -> None:
    limits = {"file_mb": 1.5, "memory_mb": 20.0, "gflops": 0.25, "validation_loss": 0.5}
    change(run, constraints=limits | {"pipeline_ms": 30.0, "latency_ms@tablet/litert/fp32/t1": 4.0})
    paths = report(run)
    for shown in (read(paths), paths.markdown.read_text()):
        assert (
            "at most 1.5 MB of file size; at most 20 MB of peak memory; at most 0.25 GFLOP of work of a step; "
            "at most 0.5 of validation loss; at most 30 ms of latency of a picture; "
            "at most 4 ms of latency on tablet/litert/fp32/t1"
        ) in shown
    change(run, constraints={"latency_ms": 1.1, "params": 90000})
    assert "at most 1.1 ms of latency; at most 90,000 parameters" in read(report(run, force=True))
    change(run, constraints={})
    assert "limits\n\nnone" in read(report(run, force=True)).replace("\n\n\n", "\n\n")


def test_what_the_front_is_of_is_named(run: Path) -> None:
    assert "beats in both predicted latency and validation loss." in read(report(run))
    change(run, objectives=["latency_ms", "latency_ms@tablet", "file_mb", "validation_loss", "few_step_distance"])
    assert (
        "beats in all of predicted latency, predicted latency on tablet, file size, validation loss and few step "
        "distance."
    ) in read(report(run, force=True))


def test_page_shows_measurements_as_they_are_stored(run: Path) -> None:
    page = read(report(run))
    for pick in picks(run).values():
        measured = json.loads((run / "picks" / str(pick["spec_hash"]) / "measured.json").read_text())
        assert f"{measured['latency_ms']:.3f}" in page
        error = 100 * (float(str(pick["latency_ms"])) / measured["latency_ms"] - 1)
        assert f"{error:+.1f} %" in page
    for figure in ("0.503 ± 0.012", "1.532 ± 0.012", "0.777 ± 0.012", "1.234 ± 0.012", "1.06", "98.7 %", "1.23 MB"):
        assert figure in page


def test_page_shows_the_device_and_its_errors(run: Path) -> None:
    page = read(report(run))
    for said in ("Test CPU <2> & co", "1.32.0", "2026-11-23T08:00:00Z", "1.9 %", "9.3 %", "4.1 %", "factor+fixed"):
        assert said in page


def test_what_was_not_measured_is_said_so_and_never_filled_in(tmp_path: Path, registry: Path) -> None:
    paths = report(make_run(tmp_path / "bare", trials=60, measured=False))
    page = read(paths)
    assert page.count("not measured") >= len(PICKS) + 1
    assert page.count("not exported") == len(PICKS)
    assert "prediction off by" not in page
    assert "Fréchet" not in page
    assert "pick, measured" not in paths.html.read_text()
    with paths.csv.open(newline="") as file:
        assert {row["measured_ms"] + row["file_bytes"] + row["fd_28_steps"] for row in csv.DictReader(file)} == {""}


def test_an_unknown_profile_is_named_and_nothing_is_said_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "empty"))
    page = read(report(make_run(tmp_path / "run", trials=60)))
    assert f"The profile {DEVICE} is not in this machine's registry" in page
    assert "mean absolute error" not in page
    assert "Test CPU" not in page


def test_a_profile_measured_again_since_the_search_is_marked(run: Path) -> None:
    assert "not the one that the search went by" not in read(report(run))
    profile = make_profile()
    slower = {
        name: dataclasses.replace(latency, latency_ms=1.001 * latency.latency_ms, high_ms=2 * latency.high_ms)
        for name, latency in profile.components.items()
    }
    save_profile(dataclasses.replace(profile, components=slower), force=True)
    assert "not the one that the search went by" in read(report(run, force=True))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"provenance": "measured", "noisy": True}, "too noisy"),
        ({"provenance": "estimated", "noisy": False}, "none was measured on this device"),
        ({"provenance": "reported", "noisy": False}, "reported by another tool"),
    ],
)
def test_doubtful_latencies_are_marked(run: Path, facts: dict[str, object], said: str) -> None:
    file = run / "searches" / "default" / "search.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"device_facts": facts}))
    paths = report(run)
    assert said in read(paths)
    assert said in paths.markdown.read_text()
    assert f"latencies {facts['provenance']}" in read(paths)


def test_an_accelerator_that_took_nothing_is_a_warning_in_the_report(run: Path) -> None:
    assert "took nothing" not in read(report(run))
    save_profile(
        dataclasses.replace(make_profile(), source="measured with a tool; gpu asked for, ran nothing"), force=True
    )
    paths = report(run, force=True)
    said = "Latencies are of a mixture: gpu was asked for and took nothing: all ran on the processor."
    assert said in read(paths) and said in paths.markdown.read_text()
    assert "ran where" in read(paths)


@pytest.mark.parametrize("provenance", ["estimated", "reported"])
def test_what_was_not_measured_is_marked_everywhere(run: Path, provenance: str) -> None:
    """In the page's text and picture, in Markdown, in every row of the table, and in the picture by itself."""
    plain = report(run)
    before = plain.png.read_bytes()
    with plain.csv.open(newline="") as file:
        assert {row["provenance"] for row in csv.DictReader(file)} == {"measured latency"}
    file = run / "searches" / "default" / "search.json"
    facts = {"device_facts": {"provenance": provenance, "noisy": False}}
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    paths = report(run, force=True)
    mark = f"{provenance} latency, not measured"
    page = paths.html.read_text()
    assert page.count(mark) >= 2 and mark.upper() in page[page.index("<svg") : page.index("</svg>")]
    assert mark.upper() in paths.markdown.read_text()
    with paths.csv.open(newline="") as table:
        assert all(row["provenance"].startswith(mark) for row in csv.DictReader(table))
    assert paths.png.read_bytes() != before


class Loads(HTMLParser):
    """Collects every address that a browser would load something from."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"src", "href", "xlink:href", "data", "srcset"}
        self.addresses += [value or "" for key, value in attrs if key in loading]


def test_page_is_one_file_that_loads_nothing(run: Path) -> None:
    page = report(run).html.read_text(encoding="utf-8")
    parser = Loads()
    parser.feed(page)
    assert parser.addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in parser.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(parser.tags)
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page


def test_samples_are_in_the_page_byte_for_byte(run: Path) -> None:
    page = report(run).html.read_text()
    embedded = {base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)}
    assert {path.read_bytes() for path in run.glob("picks/*/samples.png")} <= embedded


def test_drawing_takes_its_colours_from_the_page(run: Path) -> None:
    page = report(run).html.read_text()
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert "var(--front)" in svg
    # Black is matplotlib's own default for what is drawn invisibly; no other fixed colour may be left.
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#000000"}


def test_drawing_has_a_point_for_each_trial(run: Path) -> None:
    page = report(run).html.read_text()
    svg = page[page.index("<svg") : page.index("</svg>")]
    collections = re.findall(r'<g id="PathCollection_\d+">(.*?)</g>\s*</g>', svg, flags=re.DOTALL)
    drawn = sum(collection.count("<use") for collection in collections)
    shown = [row for row in trials(run) if row["on_front"] == "false"]
    assert drawn == len(shown)
    assert "outside the limits" in svg
    assert "limit 1.1 ms" in svg


def test_picture_is_a_png_of_some_content(run: Path) -> None:
    from matplotlib.image import imread

    pixels = np.asarray(imread(report(run).png))
    assert pixels.shape[0] > 900
    assert pixels.shape[1] > 1300
    assert 0.02 < float(np.mean(pixels[..., :3].min(axis=-1) < 0.9)) < 0.5


def test_table_is_the_front_with_what_was_measured_beside_it(run: Path) -> None:
    with report(run).csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    front = [row for row in trials(run) if row["on_front"] == "true"]
    expected = sorted(front, key=lambda row: float(row["latency_ms"]))
    assert [{key: row[key] for key in expected[0]} for row in rows] == expected
    by_hash = {row["spec_hash"]: row for row in rows}
    for pick in picks(run).values():
        measured = json.loads((run / "picks" / str(pick["spec_hash"]) / "measured.json").read_text())
        assert float(by_hash[str(pick["spec_hash"])]["measured_ms"]) == measured["latency_ms"]
    assert sum(row["measured_ms"] != "" for row in rows) == len(PICKS)


def test_same_run_gives_the_same_bytes(run: Path) -> None:
    first = report(run)
    before = [path.read_bytes() for path in (first.html, first.png, first.csv, first.markdown)]
    again = report(run, force=True)
    assert [path.read_bytes() for path in (again.html, again.png, again.csv, again.markdown)] == before


def test_one_point_that_is_every_pick(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path / "run", trials=30, measured=False)
    home = run / "searches" / "default"
    best = picks(run)["best"]
    (home / "picks.json").write_text(json.dumps(dict.fromkeys(PICKS, best)))
    rows = [row | {"on_front": str(row["spec_hash"] == best["spec_hash"]).lower()} for row in trials(run)]
    with (home / "trials.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert "fastest = balanced = best" in read(report(run))


def test_nothing_is_overwritten_without_force(run: Path) -> None:
    paths = report(run)
    paths.html.write_text("kept")
    with pytest.raises(RunError, match="already; replace it with --force"):
        report(run)
    assert paths.html.read_text() == "kept"
    report(run, force=True)
    assert paths.html.read_text() != "kept"


def test_a_report_cut_short_is_written_again(run: Path) -> None:
    report(run).html.unlink()
    report(run)


def damage(run: Path, case: str) -> None:
    home = run / "searches" / "default"
    pick = run / "picks" / str(picks(run)["best"]["spec_hash"])
    if case == "no manifest":
        (run / "manifest.json").unlink()
    elif case == "no search":
        (home / "search.json").rename(home.parent / "search.json")
    elif case == "unfinished":
        config = json.loads((home / "search.json").read_text())
        (home / "search.json").write_text(json.dumps(config | {"state": "running"}))
    elif case == "search not JSON":
        (home / "search.json").write_text("{")
    elif case == "trials cut":
        text = (home / "trials.csv").read_text()
        (home / "trials.csv").write_text(text[: len(text) - 60])
    elif case == "spec altered":
        text = (home / "trials.csv").read_text()
        (home / "trials.csv").write_text(text.replace(str(picks(run)["best"]["spec_hash"]), "0123456789"))
    elif case == "pick not on front":
        text = (home / "picks.json").read_text()
        (home / "picks.json").write_text(text.replace(str(picks(run)["best"]["spec_hash"]), "0123456789"))
    elif case == "measurement cut":
        (pick / "measured.json").write_text('{"latency_ms": 1.0}')
    elif case == "samples no picture":
        (pick / "samples.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no manifest", "is not a run"),
        ("no search", "has no search 'default'"),
        ("unfinished", "is not finished"),
        ("search not JSON", "is damaged"),
        ("trials cut", "table of trials is damaged"),
        ("spec altered", "is not that of its dimensions"),
        ("pick not on front", "no points of the front"),
        ("measurement cut", "measured.json is damaged"),
        ("samples no picture", "is damaged"),
    ],
)
def test_damage_is_named_in_one_sentence_and_leaves_no_report(run: Path, case: str, said: str) -> None:
    damage(run, case)
    with pytest.raises((RunError, SearchError), match=said) as caught:
        report(run)
    assert str(caught.value).endswith(".")
    assert not (run / "reports").exists()


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder at"):
        report(tmp_path / "nowhere")


REFUSE_HEAVY = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        refused = {"torch", "optuna", "onnx", "onnxruntime", "onnxscript", "diffusers", "sklearn"}
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"refused {name}", name=name)

sys.meta_path.insert(0, Refuse())
import device_profiles
import reports
reports.report(sys.argv[1])
"""


def test_report_is_drawn_in_an_environment_without_torch(run: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", REFUSE_HEAVY, str(run)], check=True, cwd=root)
    assert (run / "reports" / "default" / "report.html").is_file()


# Commands -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [(), ("balanced",), PICKS])
def test_commands_suit_what_was_distilled_and_exported(run: Path, done: tuple[str, ...], tmp_path: Path) -> None:
    """A verb refuses to make again what is there."""
    run = run.rename(tmp_path / "it's a run")
    hashes = {name: str(pick["spec_hash"]) for name, pick in picks(run).items()}
    for name in done:
        for made in ("distilled/config.json", "exports/dit.onnx"):
            (run / "picks" / hashes[name] / made).parent.mkdir()
            (run / "picks" / hashes[name] / made).touch()
    written = report(run)
    printed = list(commands(written.markdown.read_text(encoding="utf-8")))
    assert [problem(command) for command in printed] == [""] * len(printed)
    assert all(command in html.unescape(written.html.read_text(encoding="utf-8")) for command in printed)
    asked = [shlex.split(command)[1:] for command in printed]
    name = "fastest" if done == ("balanced",) else "balanced"
    distilled = [] if done == PICKS else [["distill", str(run), "--pick", name]]
    assert asked == [
        *distilled,
        ["export", str(run), "--pick", name, *(["--force"] if name in done else [])],
        ["sample", str(run / "picks" / hashes[name] / "exports/dit.onnx"), "--prompt", "a handwritten seven"],
        ["report", str(run), "--force"],
    ]
