"""Write docs/results.md and the table in README.md from the last results that lie in benchmarks/results.

    python benchmarks/results_page.py           # write both
    python benchmarks/results_page.py --check   # exit 1 where one of them is not up to date
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
MOST_LINES = 40
RUNTIMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


@dataclass(frozen=True)
class Section:
    """One result: its heading, what a reader must know of it, the command that prints it, the files with its last output."""

    heading: str
    said: str
    command: str
    files: tuple[str, ...]


SECTIONS = (
    Section(
        "Quality on digits",
        "FD is the Frechet distance over 64 pixels in [-1, 1] against 898 scans that nothing learned from; lower is better. "
        "NN ratio is the median distance to the nearest training image over that of unseen digits (1 is as new as real). "
        "Recognised is the share that a support-vector classifier, fitted on the training half, takes for the digit asked for.",
        "python benchmarks/quality.py runs/demo",
        ("quality_digits.txt",),
    ),
    Section(
        "Latency of held-out sub-DiTs",
        "Sub-DiTs drawn by a printed seed, none dropped, on one thread; predicted from the table and 30 (`digits`) or 16 "
        "(`mid-256`) whole sub-DiTs of the same rounds. Noise is what a perfect prediction shows. ONNX Runtime on `mid-256` "
        "needed `--budget 900`: after 300 seconds nine of its twelve intervals were wider than 1 %.",
        "python benchmarks/latency_accuracy.py",
        ("latency_accuracy.txt",),
    ),
    Section(
        "Intervals",
        "How often the 95 % interval of a prediction holds the measurement.",
        "python benchmarks/interval_coverage.py",
        ("interval_coverage.txt",),
    ),
    Section(
        "Latency of whole networks on other devices",
        "The four data sets of [HAT](https://arxiv.org/abs/2005.14187), 2,000 transformers each, on devices that changed their "
        "speed meanwhile; the last 200 rows are held out.",
        "python benchmarks/hat.py --data DIR",
        ("hat.txt",),
    ),
    Section(
        "Memory",
        "Computed peak memory against what ONNX Runtime and LiteRT took, eight runs each. The errors of the 20 sub-DiTs of "
        "`mid-256` were printed once before the last fit of the constants.",
        "python benchmarks/memory.py",
        ("memory.txt",),
    ),
    Section(
        "Search",
        "All 12,288 sub-DiTs of `digits` scored once; then 500 evaluations of ten seeds each, as a share of the true front's "
        "hypervolume. Regret is what is lacking in the mean over all 500. subdit knows every latency beforehand.",
        "python benchmarks/search_truth.py",
        ("search_truth.txt",),
    ),
    Section("Hypervolume against random search", "", "python benchmarks/hypervolume.py", ("hypervolume_digits.txt",)),
    Section("Search for a further device", "", "python benchmarks/another_device.py", ("another_device.txt",)),
    Section("Picks of another device", "", "python benchmarks/two_devices.py", ("two_devices_digits.txt",)),
    Section(
        "Quality proxies",
        "Sub-DiTs drawn by a printed seed, each trained on its own for 600 updates from scratch, judged by the flow-matching "
        "loss and the Frechet distance on images that nothing else has seen. First with the demo's supernet, then with one "
        "that was trained for 3,818 steps.",
        "subdit proxies RUN --start scratch --updates 600 --twice 12",
        ("proxies_digits.txt", "proxies_digits_longer_training.txt", "proxy_costs_digits.txt"),
    ),
    Section(
        "ASSA against dense attention",
        "Ideal is the ratio of multiply-adds. Where a result says so, dense attention was timed for one key-value group and "
        "multiplied, because it needs more than 8 GB.",
        "python benchmarks/assa.py",
        ("assa.txt",),
    ),
    Section("The paper's model, run", "", "python benchmarks/mobile_1k.py", ("mobile_1k.txt",)),
    Section(
        "Muon in float32",
        "Before is torch's Muon, which iterates in bfloat16. The AMD EPYC was quiet, the Xeon busy. Capped is the same processor "
        "without its bfloat16 units.",
        "python benchmarks/step_time.py",
        ("step_time_amd_epyc.txt", "step_time_intel_xeon.txt"),
    ),
    Section("Templates of sub-networks", "", "python benchmarks/templates.py", ("templates.txt",)),
    Section("Speed of the estimator", "", "python benchmarks/estimator_speed.py", ("estimator_speed.txt",)),
    Section("Speed of read-only verbs", "", "python benchmarks/verb_times.py", ("verb_times.txt",)),
    Section("A browser against native", "", "python benchmarks/browser.py", ("browser_digits.txt",)),
)


def page() -> str:
    """docs/results.md."""
    parts = [
        "# Results",
        "<!-- Written by `python benchmarks/results_page.py`; edit that file or run the scripts again. -->",
        "Each section is the last output of one script in `benchmarks/`, as it lies in `benchmarks/results/`. A machine is "
        "named where the script's output names it.",
    ]
    for section in SECTIONS:
        parts += [f"## {section.heading}", f"Printed by `{section.command}`.", section.said]
        parts += [_block(RESULTS / file) for file in section.files]
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
        f"| hypervolume of the true front after 500 trials, {label}, median of ten seeds | {methods[name]['median_share']:.2%} |"
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
            print(f"{path.relative_to(ROOT)} is not what benchmarks/results says; run python benchmarks/results_page.py.")
        return 1 if stale else 0
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
