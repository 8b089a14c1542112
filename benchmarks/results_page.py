"""Write docs/results.md and the table in README.md from the last results that lie in benchmarks/results.

python benchmarks/results_page.py           # write both
python benchmarks/results_page.py --check   # exit 1 where one of them is not up to date
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
SECTIONS = ROOT / "benchmarks" / "results_page.toml"
MOST_LINES = 40
RUNTIMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


@dataclass(frozen=True)
class Section:
    """One result: heading, what a reader must know, the command that prints it, the files with its last output."""

    heading: str
    said: str
    command: str
    files: Sequence[str]
    pictures: Sequence[str] = ()


def page() -> str:
    """docs/results.md."""
    parts = [
        "# Results",
        "<!-- Written by `python benchmarks/results_page.py`; edit that file or run the scripts again. -->",
        "Each section is the last output of one script, as it lies in `benchmarks/results/`. It is of the code of its "
        "day: `git log -1 -- benchmarks/results/FILE` tells which. Search, hypervolume, picks of another device and "
        "quality proxies rest on a supernet that was trained when Muon iterated in bfloat16 and batches were drawn "
        "with replacement.",
    ]
    for given in tomllib.loads(SECTIONS.read_text(encoding="utf-8"))["section"]:
        section = Section(**given)
        parts += [f"## {section.heading}", f"Printed by `{section.command}`.", section.said]
        parts += [_block(RESULTS / file) for file in section.files]
        # From the folder of this script, as the page sees them from docs/.
        parts += [f"![{section.heading}](../benchmarks/{picture})" for picture in section.pictures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(file: Path) -> str:
    lines = [line.rstrip() for line in file.read_text(encoding="utf-8").rstrip().splitlines()]
    more = ""
    if len(lines) > MOST_LINES:
        more = f"\n\n[{len(lines) - MOST_LINES} more lines](../benchmarks/results/{file.name})"
        lines = lines[:MOST_LINES]
    return "```text\n" + "\n".join(lines) + "\n```" + more


def table() -> str:
    """README's results: ten rows at most."""
    quality = json.loads((RESULTS / "quality_digits.json").read_text(encoding="utf-8"))
    rows = [
        f"On {quality['machine']}; lower Frechet distance (FD) is better.",
        "",
        "| result | figure |",
        "|---|---|",
    ]
    judged = quality["judgements"]
    for label, name in (
        ("FD of the full network, 28 steps", "full, 28 steps"),
        ("FD of the balanced pick, 28 steps", "balanced, 28 steps"),
        ("FD of the balanced pick, 4 steps without distillation", "balanced, plain 4 steps, shift 1"),
        ("FD of the balanced pick, 4 steps with K-DMD", "balanced, K-DMD, 4 steps"),
    ):
        rows.append(f"| {label} | {judged[name]['fd_mean']:.3f} |")
    for runtime, space in (("onnxruntime", "digits"), ("onnxruntime", "mid-256"), ("litert", "mid-256")):
        stored = json.loads((RESULTS / f"latency_accuracy_{runtime}_{space}.json").read_text(encoding="utf-8"))
        rows.append(_latency_row(runtime, space, stored))
    rows.append(_coverage_row(json.loads((RESULTS / "interval_coverage.json").read_text(encoding="utf-8"))))
    rows += _search_rows()
    return "\n".join(rows)


def _latency_row(runtime: str, space: str, stored: dict[str, object]) -> str:
    judged = stored["calibrated"]
    assert isinstance(judged, dict)
    label = f"error of predicted latency, {judged['samples']} held-out sub-DiTs of `{space}`, {RUNTIMES[runtime]}"
    return f"| {label} | mean {judged['mean']:.1%}, worst {judged['worst']:.1%} |"


def _coverage_row(stored: dict[str, object]) -> str:
    coverage = stored["coverage"]
    assert isinstance(coverage, dict)
    last = coverage["held out, with whole measurements"][-1]
    return f"| 95 % intervals of predictions that held, with whole measurements | {last['held']} of {last['count']} |"


def _search_rows() -> list[str]:
    methods = json.loads((RESULTS / "search_truth.json").read_text(encoding="utf-8"))["methods"]
    return [
        f"| hypervolume of the true front after 500 trials, {label}, median of ten seeds "
        f"| {methods[name]['median_share']:.2%} |"
        for label, name in (("subdit", "subdit"), ("Optuna TPE, multivariate", "optuna TPE, multivariate"))
    ]


def _with_table(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    readme = README.read_text(encoding="utf-8")
    made = {PAGE: page(), README: _with_table(readme)}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} shows other results; run python benchmarks/results_page.py.")
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
