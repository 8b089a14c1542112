"""How well a device profile predicts whole sub-DiTs that its calibration has not seen.

Draws held-out sub-DiTs uniformly over the space by a printed seed, none dropped, exports them, measures them until the
95 % interval of each is within 1.5 %, and compares.

    python benchmarks/latency_accuracy.py                        measures a profile of digits in the same rounds
    python benchmarks/latency_accuracy.py --profile my-laptop    takes one that is there

In the same rounds, what is judged is the table and its calibration. With a profile of another hour the machine's own
change since then is in the error too: the first form prints that beside it, by measuring the same files once more.

Prints the result, and writes it to benchmarks/results/latency_accuracy_SPACE.txt and .json. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles import DeviceProfile
from device_profiles import ErrorReport
from device_profiles import LatencyEstimator
from device_profiles import load_profile
from device_profiles import summarize_errors
from nas.cli._progress import progress_bar
from profilers import Measurement
from profilers import calibration_specs
from profilers import kit
from profilers import measure_models
from profilers import profile_beside
from profilers._conditions import read_conditions
from profilers._kit import DEFAULT_WHOLE
from subdit.errors import SubditError
from subdit.run import write_atomic
from subdit.run import write_json
from supernet.space import SearchSpace
from supernet.space import SubDiTSpec
from supernet.space import get_space

RESULTS = Path(__file__).parent / "results"
SEED = 4711
LIMIT = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where the mean error with calibration is above 5 %, or an interval stayed too wide."""
    options = _parser().parse_args(arguments)
    try:
        space = get_space(options.space)
        with tempfile.TemporaryDirectory(prefix="subdit-") as folder:
            used = load_profile(options.profile, space=space.name) if options.profile else None
            seen = used.calibration.whole if used and used.calibration else ()
            calibrated_on = [one.spec for one in seen] if used else calibration_specs(space, DEFAULT_WHOLE)
            specs = held_out(space, calibrated_on, seed=options.seed, count=options.count)
            paths = _export(space, specs, Path(folder) / "models")
            beside = None
            if used is None:
                used, beside = _profile_beside(options, space, paths, Path(folder))
            with progress_bar("Measuring held-out sub-DiTs") as progress:
                apart = measure_models(
                    paths,
                    threads=used.threads,
                    budget_s=options.budget / 3 if beside else options.budget,
                    relative_ci=options.ci,
                    progress=progress,
                )
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    result = compare(space, used, specs, beside or apart, seed=options.seed, relative_ci=options.ci)
    result["same_rounds"] = beside is not None
    if beside:
        again = compare(space, used, specs, apart, seed=options.seed, relative_ci=options.ci)
        result["measured_again"] = {key: again[key] for key in ("calibrated", "machine_speed")}
    text = as_text(result)
    print(text)
    if not options.no_write:
        write_json(RESULTS / f"latency_accuracy_{space.name}.json", result)
        write_atomic(RESULTS / f"latency_accuracy_{space.name}.txt", text + "\n")
    too_wide = [entry for entry in result["held_out"] if entry["relative_ci"] > options.ci]
    return int(result["calibrated"]["mean"] > LIMIT or bool(too_wide))


def held_out(space: SearchSpace, calibrated_on: Sequence[SubDiTSpec], *, seed: int, count: int) -> list[SubDiTSpec]:
    """Uniform draws without repetition; one that the profile is calibrated on is drawn again: it is not held out."""
    seen = set(calibrated_on)
    rng = np.random.default_rng(seed)
    specs: list[SubDiTSpec] = []
    while len(specs) < count:
        spec = space.decode(space.sample(rng, 1))[0]
        if spec not in seen:
            specs.append(spec)
            seen.add(spec)
    return specs


def compare(
    space: SearchSpace,
    used: DeviceProfile,
    specs: Sequence[SubDiTSpec],
    measured: dict[str, Measurement],
    *,
    seed: int,
    relative_ci: float,
) -> dict[str, Any]:
    """Everything that is printed and written."""
    estimator = LatencyEstimator(used, space)
    encoded = space.encode(specs)
    estimate = estimator.estimate(encoded)
    plain = estimator.estimate_uncalibrated(encoded)
    taken = [measured[spec.hash] for spec in specs]
    # The machine changes its speed from minute to minute; latencies are compared at the speed that the profile's own
    # reference kernel had. The comparison as timed stands beside it.
    speed = [used.conditions.reference_ms / one.reference_ms if used.conditions.reference_ms else 1.0 for one in taken]
    as_timed = np.asarray([one.latency_ms for one in taken])
    actual = as_timed * np.asarray(speed)
    rows = [
        {
            "spec": spec.to_dict(),
            "spec_hash": spec.hash,
            "measured_ms": float(actual[at]),
            "as_timed_ms": one.latency_ms,
            "relative_ci": one.relative_ci,
            "split": one.split,
            "rounds": one.rounds,
            "predicted_ms": float(estimate.latency_ms[at]),
            "predicted_low_ms": float(estimate.low_ms[at]),
            "predicted_high_ms": float(estimate.high_ms[at]),
            "uncalibrated_ms": float(plain[at]),
        }
        for at, (spec, one) in enumerate(zip(specs, taken, strict=True))
    ]
    covered = (estimate.low_ms <= actual) & (actual <= estimate.high_ms)
    return {
        "space": space.name,
        "profile": used.id,
        "profile_noisy": used.noisy,
        "profile_noise": dataclasses.asdict(used.noise) if used.noise else None,
        "calibration_form": used.calibration.form if used.calibration else None,
        "calibration_whole": len(used.calibration.whole) if used.calibration else 0,
        "conditions": dataclasses.asdict(read_conditions(used.conditions.runtime_version, reference_ms=None)),
        "seed": seed,
        "relative_ci": relative_ci,
        "calibrated": dataclasses.asdict(summarize_errors(estimate.latency_ms, actual)),
        "uncalibrated": dataclasses.asdict(summarize_errors(plain, actual)),
        "as_timed": dataclasses.asdict(summarize_errors(estimate.latency_ms, as_timed)),
        "machine_speed": float(np.mean(speed)),
        "interval_coverage": float(covered.mean()),
        "held_out": rows,
    }


def as_text(result: dict[str, Any]) -> str:
    """The result for people."""
    conditions = result["conditions"]
    rows = result["held_out"]
    lines = [
        f"Latency of {len(rows)} held-out sub-DiTs of {result['space']}, uniform by seed {result['seed']}",
        f"profile    {result['profile']}{' (noisy)' if result['profile_noisy'] else ''}, calibrated on "
        f"{result['calibration_whole']} whole sub-DiTs ({result['calibration_form']})",
        f"machine    {conditions['machine']}, {conditions['cpu']}, {conditions['cores']} cores, {conditions['os']}",
        f"measured   {conditions['measured_at']}, load average {conditions['load_average']}, "
        + ("in the same rounds as the profile" if result["same_rounds"] else "apart from the profile"),
        f"noise      95 % intervals at most +-{100 * max(row['relative_ci'] for row in rows):.2f} % "
        f"(asked: {100 * result['relative_ci']:.1f} %), halves of the rounds differ by at most "
        f"{100 * max(row['split'] for row in rows):.2f} %",
        "",
        f"{'':<22}{'mean':>8}{'worst':>8}{'bias':>8}{'<= 5 %':>8}{'<= 10 %':>9}{'tau':>7}",
        _error_line("with calibration", ErrorReport(**result["calibrated"])),
        _error_line("without calibration", ErrorReport(**result["uncalibrated"])),
        *_apart_lines(result),
        f"measured latency inside the predicted 95 % interval: {100 * result['interval_coverage']:.0f} %",
        "",
        f"{'spec':<52}{'measured':>10}{'+-':>7}{'predicted':>11}{'error':>8}{'plain sum':>11}{'error':>8}",
    ]
    for row in rows:
        spec = str(SubDiTSpec.from_dict(row["spec"]))
        errors = [row[key] / row["measured_ms"] - 1 for key in ("predicted_ms", "uncalibrated_ms")]
        lines.append(
            f"{spec:<52}{row['measured_ms']:>10.4f}{100 * row['relative_ci']:>6.2f}%{row['predicted_ms']:>11.4f}"
            f"{100 * errors[0]:>+7.1f}%{row['uncalibrated_ms']:>11.4f}{100 * errors[1]:>+7.1f}%"
        )
    return "\n".join([*lines, "latencies in milliseconds"])


def _apart_lines(result: dict[str, Any]) -> list[str]:
    """What a profile of another time is worth: with the machine's change as it is, and at the profile's speed."""
    note = "reference kernel {:+.1f} % against the time of the profile; {}"
    if not result["same_rounds"]:
        speed = 100 * (result["machine_speed"] - 1)
        as_timed = _error_line("with, as timed", ErrorReport(**result["as_timed"]))
        return [as_timed, note.format(speed, "all but 'as timed' is at the profile's speed")]
    again = result["measured_again"]
    line = _error_line("with, measured again", ErrorReport(**again["calibrated"]))
    return [line, "  " + note.format(100 * (again["machine_speed"] - 1), "the same files, alone, right afterwards")]


def _error_line(label: str, error: ErrorReport) -> str:
    shares = f"{100 * error.within_5_percent:>6.0f} %{100 * error.within_10_percent:>7.0f} %"
    sizes = f"{100 * error.mean:>6.2f} %{100 * error.worst:>6.2f} %{100 * error.bias:>+6.2f} %"
    return f"{label:<22}{sizes}{shares}{error.kendall_tau:>7.3f}"


def _profile_beside(
    options: argparse.Namespace, space: SearchSpace, paths: dict[str, Path], folder: Path
) -> tuple[DeviceProfile, dict[str, Measurement]]:
    with progress_bar("Exporting a kit") as progress:
        made = kit(space.name, folder / "kit", progress=progress)
    with progress_bar("Measuring the kit and held-out sub-DiTs") as progress:
        return profile_beside(
            made,
            paths,
            out=folder / "profile.json",
            budget_s=options.budget,
            relative_ci=options.ci / 2,
            progress=progress,
        )


def _export(space: SearchSpace, specs: Sequence[SubDiTSpec], folder: Path) -> dict[str, Path]:
    import torch

    from supernet.dit import SubDiT
    from supernet.dit import example_inputs
    from supernet.dit import redraw_
    from supernet.export import export_onnx

    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    paths: dict[str, Path] = {}
    with progress_bar("Exporting held-out sub-DiTs") as progress:
        for done, spec in enumerate(specs):
            progress(done, len(specs), str(spec))
            model = redraw_(SubDiT.from_spec(space, spec), seed=done).eval()
            paths[spec.hash] = export_onnx(model, example_inputs(space), folder / f"{spec.hash}.onnx")
    return paths


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", help="profile id, start of one, or file; by default one is measured first")
    parser.add_argument("--space", default="digits")
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out sub-DiTs")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--ci", type=float, default=0.015, help="half the 95 %% interval that each must reach")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds for measuring, per attempt")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
