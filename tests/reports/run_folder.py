"""A run folder as a search, distillation and export leave it, with invented figures of the right kind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles import Calibration
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import ErrorReport
from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import Noise
from device_profiles import WholeLatency
from subdit.space import KINDS
from subdit.space import all_components
from subdit.space import get_space

SPACE = get_space("digits")
DEVICE = "test-laptop/onnxruntime/fp32/t1"
PICKS = ("fastest", "balanced", "best")


def make_profile(*, slower: str = "") -> DeviceProfile:
    """A profile with every component; those of the kind `slower` take thrice as long."""
    rng = np.random.default_rng(5)
    names = [component.name for component in all_components(SPACE)]
    sizes = [0.0004 * (1 + component.ffn_ratio) * max(component.width, 10) for component in all_components(SPACE)]
    latencies = (np.asarray(sizes) * rng.uniform(0.7, 1.3, len(names))).tolist()
    factors = [3.0 if slower and name.startswith(slower) else 1.0 for name in names]
    latencies = [ms * factor for ms, factor in zip(latencies, factors, strict=True)]
    components = {name: Latency(ms, 0.99 * ms, 1.01 * ms, 40) for name, ms in zip(names, latencies, strict=True)}
    whole = tuple(
        WholeLatency(spec, Latency(1.0 + at / 10, 0.99 + at / 10, 1.01 + at / 10, 40))
        for at, spec in enumerate(SPACE.decode(SPACE.sample(rng, 6)))
    )
    return DeviceProfile(
        device="test-laptop",
        runtime="onnxruntime",
        precision="fp32",
        threads=1,
        space="digits",
        kit_hash="0123456789abcdef",
        provenance="measured",
        noisy=False,
        components=components,
        conditions=Conditions("x86_64", "Test CPU <2> & co", 2, "Linux 6", "1.32.0", "3.11.7", "2026-11-23T08:00:00Z"),
        noise=Noise(0.05, 0.011, 0.009, 0.008, 0.03, 1),
        calibration=Calibration(
            form="factor+fixed",
            factors=dict.fromkeys(KINDS, 0.91),
            per_run_ms=0.0,
            fixed_ms=0.02,
            relative_error=0.04,
            error=ErrorReport(6, 0.003, 0.0187, 0.0411, 1.0, 1.0, 1.0),
            uncalibrated_error=ErrorReport(6, 0.093, 0.0931, 0.1234, 0.0, 0.667, 1.0),
            whole=whole,
        ),
    )


def make_run(folder: Path, *, trials: int = 300, limit_ms: float | None = None, measured: bool = True) -> Path:
    """A finished run with `trials` evaluated sub-DiTs; with `measured` its picks are exported, judged and sampled."""
    rng = np.random.default_rng(7)
    encoded = np.unique(SPACE.sample(rng, trials), axis=0)
    latency = LatencyEstimator(make_profile(), SPACE).estimate(encoded).latency_ms
    quality = 0.4 + 0.12 / latency + np.abs(rng.normal(0, 0.02, len(latency)))
    feasible = np.ones(len(latency), bool) if limit_ms is None else latency <= limit_ms
    front = slow_front(latency, quality, feasible)
    picks = dict(zip(PICKS, (front[len(front) // 4], front[len(front) // 2], front[-1]), strict=True))
    write_search(folder, encoded, latency, quality, feasible, front, picks, limit_ms)
    if measured:
        for at, (name, index) in enumerate(picks.items()):
            write_pick(folder / "picks" / SPACE.decode(encoded)[index].hash, float(latency[index]), at, name)
    return folder


def slow_front(latency: Any, quality: Any, feasible: Any) -> list[int]:
    """By definition: a feasible trial is on the front if none is at least as good in both and better in one."""
    return sorted(
        (
            a
            for a in range(len(latency))
            if feasible[a]
            and not any(
                feasible[b]
                and latency[b] <= latency[a]
                and quality[b] <= quality[a]
                and (latency[b] < latency[a] or quality[b] < quality[a])
                for b in range(len(latency))
            )
        ),
        key=lambda at: latency[at],
    )


def write_search(
    folder: Path, encoded: Any, latency: Any, quality: Any, feasible: Any, front: list[int], picks: dict[str, int],
    limit_ms: float | None, name: str = "default", device: str = DEVICE,
) -> None:  # fmt: skip
    home = folder / "searches" / name
    home.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"subdit_run": 1, "space": "digits", "steps": {}}))
    config = {
        "subdit_search": 2,
        "subdit_version": "0.1.0",
        "space": "digits",
        "device": device,
        "device_facts": {"provenance": "measured", "noisy": False},
        "constraints": {} if limit_ms is None else {"latency_ms": limit_ms},
        "seed": 0,
        "proxies": {"validation_loss": {"unit": "flow-matching loss on the validation images, inherited weights"}},
        "objectives": ["latency_ms", "validation_loss"],
        "state": "finished",
    }
    (home / "search.json").write_text(json.dumps(config))
    stored = {}
    rows = []
    for at, spec in enumerate(SPACE.decode(encoded)):
        names = [name for name, index in picks.items() if index == at]
        figures = {
            "latency_ms": float(latency[at]),
            "latency_low_ms": float(0.96 * latency[at]),
            "latency_high_ms": float(1.04 * latency[at]),
            "params": int(20_000 + 90 * spec.width * sum(spec.depth)),
            "validation_loss": float(quality[at]),
        }
        for name in names:
            why = f"Because it is the {name} <of all>."
            stored[name] = {"spec": spec.to_dict(), "spec_hash": spec.hash, **figures, "why": why}
        rows.append(
            {
                "number": at,
                "spec_hash": spec.hash,
                **spec.to_cells(),
                **figures,
                "feasible": str(bool(feasible[at])).lower(),
                "on_front": str(at in front).lower(),
                "pick": ";".join(names),
                "tie": "",
            }
        )
    (home / "picks.json").write_text(json.dumps(stored))
    for file, chosen in (("trials.csv", rows), ("front.csv", [rows[at] for at in front])):
        with (home / file).open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(chosen)


def add_search(folder: Path, name: str, *, device: str, slower: str = "", trials: int = 300) -> None:
    """Another finished search over the same sub-DiTs and qualities, where components of the kind `slower` take thrice
    as long."""
    known = {row["spec_hash"]: float(row["validation_loss"]) for row in read_rows(folder / "searches" / "default")}
    rng = np.random.default_rng(7)
    encoded = np.unique(SPACE.sample(rng, trials), axis=0)
    latency = LatencyEstimator(make_profile(slower=slower), SPACE).estimate(encoded).latency_ms
    quality = np.asarray([known[spec.hash] for spec in SPACE.decode(encoded)])
    feasible = np.ones(len(latency), bool)
    front = slow_front(latency, quality, feasible)
    picks = dict(zip(PICKS, (front[0], front[len(front) // 2], front[-1]), strict=True))
    write_search(folder, encoded, latency, quality, feasible, front, picks, None, name, device)


def read_rows(search: Path) -> list[dict[str, str]]:
    with (search / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_pick(folder: Path, predicted_ms: float, at: int, name: str) -> None:
    folder.mkdir(parents=True)
    latency = predicted_ms * (0.97, 1.03, 1.015)[at]
    measured = {
        "latency_ms": latency, "low_ms": 0.992 * latency, "high_ms": 1.008 * latency, "rounds": 60,
        "runtime": "onnxruntime", "threads": 1, "file_bytes": 1_234_567 + at, "predicted_ms": predicted_ms,
    }  # fmt: skip
    (folder / "measured.json").write_text(json.dumps(measured))

    def figures(fd: float) -> dict[str, Any]:
        return {"fd_mean": fd, "fd_spread": 0.012, "nn_ratio": 1.064, "accuracy": 0.987, "seeds": [0, 1, 2]}

    quality: dict[str, Any] = {"28_steps": figures(0.513 - at / 100)}
    if name == "balanced":
        quality |= {"4_steps": figures(0.531), "plain_4_steps": figures(1.532), "2_steps": figures(0.777)}
        quality |= {"1_step": figures(1.234)}
    (folder / "quality.json").write_text(json.dumps(quality))
    write_samples(folder / "samples.png")


def write_samples(path: Path) -> None:
    """A sheet of 10 x 10 tiles, drawn by matplotlib so that the tests need nothing else."""
    from matplotlib.image import imsave

    tiles = np.random.default_rng(3).uniform(0, 1, (100, 100))
    imsave(path, np.kron(tiles, np.ones((2, 2))), cmap="gray")
