"""How well a profile made in a browser ranks components, and how well it predicts whole sub-DiTs there.

Measures the kit of a space twice on this machine: with ONNX Runtime, and by `subdit profile --serve` with
onnxruntime-web in a headless Chromium that opens the page over plain http, as a phone would.

    python benchmarks/browser.py                          makes the kit of digits first
    python benchmarks/browser.py --kit kits/digits --https --threads 2

Compares the rank of the components between the two, and the browser's sums of parts with the whole sub-DiTs that it
measured in the same rounds, each left out of the calibration in turn. Prints the result, and writes it to
benchmarks/results/browser_SPACE.txt and .json. Run it on a machine that does nothing else; needs chromium, and
`make setup-web`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_profiles import Comparison
from device_profiles import DeviceProfile
from device_profiles import compare_profiles
from device_profiles import read_profile
from profilers import kit
from profilers import open_kit
from profilers import profile
from subdit.cli._progress import progress_bar
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError
from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json

RESULTS = Path(__file__).parent / "results"
SPEARMAN = 0.9
ERROR = 0.1
CHROMIUM = ("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where components rank differently, or a calibrated sum of parts is more than 10 % off."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
            at = options.kit
            if at is None:
                with progress_bar("Exporting the kit") as progress:
                    at = kit(options.space, Path(folder) / "kit", progress=progress)
            with progress_bar("Measuring with ONNX Runtime") as progress:
                native = profile(
                    at,
                    device="native",
                    out=Path(folder) / "native.json",
                    budget_s=options.budget_s,
                    progress=progress,
                    force=True,
                )
            browser = measure_in_chromium(at, Path(folder), options)
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    result = judge(native, browser)
    text = describe(result)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"browser_{native.space}.json", result)
    write_atomic(RESULTS / f"browser_{native.space}.txt", text + "\n")
    return 0 if result["holds"] else 1


def measure_in_chromium(at: Path, folder: Path, options: argparse.Namespace) -> DeviceProfile:
    """The profile of the phase that was asked for last, by the command and the page themselves."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise MissingExtraError("Chromium is not installed; install it (apt install chromium).")
    command = [sys.executable, "-m", "subdit", "profile", str(at), "--serve", "--device", "chromium", "--force"]
    # Calibrated on all, whatever else would predict better.
    command += [
        "--calibrate",
        str(len(open_kit(at).whole)),
        "--budget-s",
        str(options.budget_s),
        "--threads",
        str(options.threads),
    ]
    command += ["--https"] if options.https else []
    command += ["--ort-web", str(options.ort_web)] if options.ort_web else []
    with (
        (folder / "served.json").open("w") as out,
        subprocess.Popen([*command, "--json"], stdout=out, stderr=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        try:
            url = _address(server)
            started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
            page = started.new_context(ignore_https_errors=True).new_page()
            page.goto(url)
            page.wait_for_selector("#form:not([hidden])")
            page.click("#form button")
            assert server.stderr is not None
            for line in server.stderr:
                print(line, end="", file=sys.stderr)
            started.close()
            if server.wait() != 0:
                raise ProfileError("The server ended without a profile; see what it said.")
        finally:
            server.kill()
    made = json.loads((folder / "served.json").read_text(encoding="utf-8"))
    write_json(folder / "browser.json", made[-1])
    return read_profile(folder / "browser.json")


def judge(native: DeviceProfile, browser: DeviceProfile) -> dict[str, Any]:
    """What was found, and whether it holds."""
    found: Comparison = compare_profiles(native, browser)
    calibration = browser.calibration
    if calibration is None:
        raise ProfileError("The kit has too few whole sub-DiTs to calibrate on; make one with more.")
    error = calibration.error
    return {
        "space": native.space,
        "native": native.id,
        "browser": browser.id,
        "browser_version": browser.conditions.browser,
        "runtime_version": browser.conditions.runtime_version,
        "components": found.components,
        "times_as_long": found.ratio,
        "spearman": found.spearman,
        "kendall_tau": found.kendall_tau,
        "whole": error.samples,
        "form": calibration.form,
        "error": {"mean": error.mean, "worst": error.worst, "kendall_tau": error.kendall_tau},
        "uncalibrated": {
            "mean": calibration.uncalibrated_error.mean,
            "worst": calibration.uncalibrated_error.worst,
        },
        "noise": {
            one.runtime: {
                "noisy": one.noisy,
                "component_ci": one.noise.component_ci,
                "whole_ci": one.noise.whole_ci,
                "split": one.noise.split,
                "attempts": one.noise.attempts,
            }
            for one in (native, browser)
            if one.noise
        },
        "holds": found.spearman >= SPEARMAN and error.worst <= ERROR,
    }


def describe(result: dict[str, Any]) -> str:
    """The result for people."""
    noise = [
        f"  {name:<16} components +-{100 * one['component_ci']:.1f} %, whole +-{100 * one['whole_ci']:.1f} %, halves "
        f"differ by {100 * one['split']:.1f} %, {one['attempts']} attempts{', noisy' if one['noisy'] else ''}"
        for name, one in result["noise"].items()
    ]
    return "\n".join(
        [
            f"{result['browser']} ({result['browser_version']}, {result['runtime_version']}) and {result['native']}, "
            f"space {result['space']}",
            f"{result['components']} components, {result['times_as_long']:.2f} times as long in the browser (median): "
            f"Spearman {result['spearman']:.3f}, Kendall tau {result['kendall_tau']:.3f} (asked: Spearman {SPEARMAN})",
            f"{result['whole']} whole sub-DiTs in the browser, each left out of the calibration ({result['form']}) in "
            f"turn: mean error {100 * result['error']['mean']:.1f} %, worst {100 * result['error']['worst']:.1f} % "
            f"(asked: {100 * ERROR:.0f} %), tau {result['error']['kendall_tau']:.2f}",
            f"without calibration: mean {100 * result['uncalibrated']['mean']:.1f} %, worst "
            f"{100 * result['uncalibrated']['worst']:.1f} %",
            "noise:",
            *noise,
            "holds" if result["holds"] else "does not hold",
        ]
    )


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    url = ""
    for line in server.stderr:
        print(line, end="", file=sys.stderr)
        if found := re.search(r"https?://\S+/", line):
            url = found.group()
        if line.startswith("Waiting"):
            return url
    raise ProfileError("The server did not start; see what it said.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="digits", help="space of the kit that is made")
    parser.add_argument("--kit", type=Path, help="a kit that is there")
    parser.add_argument("--budget-s", type=float, default=60.0, help="seconds per measurement")
    parser.add_argument("--threads", type=int, default=1, help="the last phase's threads; more than one needs --https")
    parser.add_argument("--https", action="store_true", help="with the self-made certificate, and so a finer clock")
    parser.add_argument("--ort-web", type=Path, help="folder of onnxruntime-web")
    return parser


if __name__ == "__main__":
    sys.exit(main())
