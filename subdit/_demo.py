"""`demo`: the whole road on real handwriting, with this machine as the device. It only strings the verbs together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subdit._demo_budget import CEILING_S
from subdit._demo_budget import QUICK
from subdit._demo_budget import DemoBudget
from subdit._demo_budget import ceiling_of
from subdit._demo_budget import duration_lines
from subdit.core.errors import RunError
from subdit.core.origin import KEY
from subdit.core.origin import Standing
from subdit.core.origin import of_others
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import set_aside
from subdit.core.origin import standing
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.core.run import record_step
from subdit.core.run import start_manifest
from subdit.core.stale import set_aside_of_pick
from subdit.core.training_record import STUDENT
from subdit.core.training_record import SUPERNET
from subdit.core.training_record import TEACHER
from subdit.core.training_record import TrainingRecord
from subdit.core.training_record import cut_sentence
from subdit.core.training_record import training_records

SPACE = "digits"
PICKS = ("fastest", "balanced", "best")


@dataclass(frozen=True)
class DemoResult:
    """What the demo made: per pick what was predicted and what was measured, and where everything lies.

    `speed` is how fast the machine was while the picks were measured, over how fast it was while the kit was. `trained`
    says how far supernet, few-step teacher and K-DMD came; `cut` is the sentence about those that the ceiling cut
    short, empty where none was.
    """

    run: Path
    picks: dict[str, dict[str, Any]]
    teacher: dict[str, Any]
    noisy: bool
    speed: float
    trained: dict[str, TrainingRecord]
    cut: str
    report: Path
    samples: Path


Bar = Callable[[str], AbstractContextManager[ProgressCallback]]


class _Silence(AbstractContextManager[ProgressCallback]):
    def __enter__(self) -> ProgressCallback:
        return no_progress

    def __exit__(self, *_: object) -> None:
        return None


def demo(
    run_path: Path = Path("runs/demo"),
    *,
    budget: DemoBudget | None = None,
    seed: int = 0,
    ceiling_s: float | None = CEILING_S,
    max_latency_ms: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    bar: Bar = lambda title: _Silence(),
) -> DemoResult:
    """Data, supernet, device profile, search, K-DMD, export, measured picks, report; goes on where it was killed.

    `ceiling_s` is of all training together and no part of what the demo is: until something is cut short, it may be
    another one each time, or None.

    Raises:
        RunError: the folder holds a demo of other budgets, another seed or an earlier version, or one that was cut
            short, and there is to be no ceiling.
        SubditError: whatever a step raises.
    """
    budget = DemoBudget() if budget is None else budget
    run = Run(run_path)
    start_manifest(run, space=SPACE)
    _same_demo(run, {"budget": asdict(budget), "seed": seed, "max_latency_ms": max_latency_ms})
    _refuse_cut(run, ceiling_s)
    _tell_data(say)
    _tell_duration(run, budget, ceiling_s, say)
    _train(run, budget, seed, ceiling_s, say, bar)
    _leave_other_weights(run, say)
    profile_file = run.path / "device.json"
    noisy = _profile(run, profile_file, budget, say, bar)
    _search(run, profile_file, budget, seed, max_latency_ms, say, bar)
    _distill(run, budget, seed, ceiling_s, say, bar)
    exports = _export(run, say, bar)
    _measure(run, exports, budget, say, bar)
    samples = _sample(run, exports["balanced"], say, bar)
    qualities, teacher = _judge(run, budget, say, bar)
    say("Report: one page for the team, a picture, a table")
    from reports import report

    written = report(run.path, force=True)
    trained = _records(run)
    return DemoResult(
        run=run.path,
        picks=_closing_rows(run, exports, qualities),
        teacher=teacher,
        noisy=noisy,
        speed=_speed(profile_file, exports["balanced"]),
        trained=trained,
        cut=cut_sentence(trained, space=SPACE),
        report=written.html,
        samples=samples,
    )


def _same_demo(run: Run, wanted: dict[str, Any]) -> None:
    steps = read_manifest(run)["steps"]
    if "demo" not in steps:
        if steps or run.supernet.exists():
            raise RunError(f"The run {run.path} was not begun by 'subdit demo'; name another folder with --run.")
        record_step(run, "demo", wanted)
    elif "train_s" in steps["demo"].get("budget", {}):
        raise RunError(
            f"The demo in {run.path} is an earlier version's, whose budgets in seconds came to more or less training "
            "with the machine's speed; its run can be searched and reported as before, begin another demo with --run."
        )
    elif steps["demo"] != wanted:
        raise RunError(
            f"The run {run.path} is a demo with other options; repeat those or name another folder with --run."
        )


def _tell_data(say: Callable[[str], None]) -> None:
    from supernet.data.digits import SPLIT_SEED
    from supernet.data.digits import load_data

    data = load_data(SPACE)
    say(
        f"Data: {len(data.train)} scans of real handwritten digits to train on, {len(data.validation)} to choose by, "
        f"{len(data.judge)} kept apart to judge by (split seed {SPLIT_SEED})"
    )


def _records(run: Run) -> dict[str, TrainingRecord]:
    from subdit.core.run import read_pick

    found = (run.search("default") / "picks.json").exists()
    return training_records(run, read_pick(run, "balanced")["spec_hash"] if found else None)


def _refuse_cut(run: Run, ceiling_s: float | None) -> None:
    if ceiling_s is None and any(record.cut_step is not None for record in _records(run).values()):
        raise RunError(
            f"The training of the demo in {run.path} was cut short, and all that came after rests on that; begin "
            "another without a ceiling in a new folder, with --run."
        )


def _tell_duration(run: Run, budget: DemoBudget, ceiling_s: float | None, say: Callable[[str], None]) -> None:
    """Measure a few steps of each training, and say how long everything takes; nothing where all is trained."""
    if "distill" in read_manifest(run)["steps"]:
        return
    from supernet.step_times import measure_step_times

    for line in duration_lines(budget, ceiling_s, measure_step_times(SPACE)):
        say(f"  {line}")


def _train(
    run: Run, budget: DemoBudget, seed: int, ceiling_s: float | None, say: Callable[[str], None], bar: Bar
) -> None:
    from subdit.space import get_space
    from supernet.training.trainer import TrainingConfig
    from supernet.training.trainer import train

    say(f"Supernet: {get_space(SPACE).size:,} sub-DiTs in one set of weights, full network plus one sub-network a step")
    if "train" not in read_manifest(run)["steps"]:
        with bar("Training the supernet") as progress:
            config = TrainingConfig(steps=budget.train_steps, ceiling_s=ceiling_of(SUPERNET, ceiling_s), seed=seed)
            train(SPACE, run.path, config=config, resume=True, progress=progress)


def _leave_other_weights(run: Run, say: Callable[[str], None]) -> None:
    """Set aside what was made from other weights than the run's, so that the steps that made it are walked anew."""
    digest = run_digest(run)
    search, report = run.search("default"), run.report("default")
    for what, made, carrier in (("search", search, search), ("report", report, report / "report.html")):
        made_from = origin(carrier)
        if made.exists() and standing(made_from, digest) is Standing.STALE:
            folder = set_aside(run, made_from, made)
            say(f"  {of_others(f'The {what}', made_from, digest, f'it now lies in {folder}, and is made anew')}")
    for folder in sorted(path for path in run.path.glob("picks/*") if path.is_dir()):
        for made_from, names in set_aside_of_pick(run, folder, digest, but=Standing.UNKNOWN).items():
            what = f"What was made of the sub-DiT {folder.name} ({', '.join(names)})"
            lies = run.path / "stale" / str(made_from)
            say(f"  {of_others(what, made_from, digest, f'it now lies in {lies}')}")


def _profile(run: Run, target: Path, budget: DemoBudget, say: Callable[[str], None], bar: Bar) -> bool:
    from device_profiles import load_profile
    from profilers import is_kit
    from profilers import kit
    from profilers import profile

    say("Device: this machine, ONNX Runtime on one thread, every component of the space in interleaved rounds")
    if not target.exists():
        folder = run.path / "kit"
        if not is_kit(folder):
            with bar("Exporting the kit") as progress:
                kit(SPACE, folder, whole=budget.whole, progress=progress)
        with bar("Measuring the kit") as progress:
            profile(folder, out=target, budget_s=budget.profile_s, progress=progress)
    measured = load_profile(str(target), space=SPACE)
    if measured.noisy:
        say("  This machine is too noisy to rank close sub-DiTs: three attempts were made, and the profile is marked.")
    return measured.noisy


def _search(
    run: Run,
    device: Path,
    budget: DemoBudget,
    seed: int,
    max_latency_ms: float | None,
    say: Callable[[str], None],
    bar: Bar,
) -> None:
    from nas import SearchConfig
    from nas import search

    say("Search: NSGA-II over latency from that profile and validation loss of the inherited weights")
    if "search" not in read_manifest(run)["steps"] or not (run.search("default") / "search.json").exists():
        with bar("Searching") as progress:
            config = SearchConfig(
                devices=(str(device),),
                constraints={} if max_latency_ms is None else {"latency_ms": max_latency_ms},
                trials=budget.trials,
                seed=seed,
                allow_noisy=True,
            )
            result = search(run.path, config, resume=run.search("default").exists(), progress=progress)
        record_step(run, "search", {"front": len(result.front)})


def _distill(
    run: Run, budget: DemoBudget, seed: int, ceiling_s: float | None, say: Callable[[str], None], bar: Bar
) -> None:
    from supernet.distillation import FewStepConfig
    from supernet.distillation import KDMDConfig
    from supernet.distillation import distill

    say("K-DMD: the balanced pick learns to draw in 4 steps, from the score of the full network and its few-step LoRA")
    if "distill" not in read_manifest(run)["steps"] or not _distilled(run):
        few_step = FewStepConfig(
            steps=budget.teacher_steps,
            trajectories=budget.trajectories,
            ceiling_s=ceiling_of(TEACHER, ceiling_s),
            seed=seed,
        )
        kdmd = KDMDConfig(
            steps=budget.kdmd_steps,
            ceiling_s=ceiling_of(STUDENT, ceiling_s),
            seed=seed,
            guidance_scale=budget.guidance_scale,
        )
        with bar("Distilling") as progress:
            distill(run.path, pick="balanced", few_step=few_step, kdmd=kdmd, force=_distilled(run), progress=progress)
        record_step(run, "distill", {"pick": "balanced"})


def _distilled(run: Run) -> bool:
    from subdit.core.run import read_pick

    return (run.pick(read_pick(run, "balanced")["spec_hash"]) / "distilled").exists()


def _export(run: Run, say: Callable[[str], None], bar: Bar) -> dict[str, Path]:
    from subdit.core.run import read_pick
    from supernet.export.exporter import export

    say("Export: the three picks to ONNX, each compared with torch")
    paths = {name: run.pick(read_pick(run, name)["spec_hash"]) / "exports" / "dit.onnx" for name in PICKS}
    with bar("Exporting the picks") as progress:
        for at, (name, path) in enumerate(paths.items()):
            progress(at, len(paths), name)
            if not (path.exists() and path.with_suffix(".json").exists()):
                export(run.path, pick=name, force=True)
    return paths


def _measure(run: Run, exports: dict[str, Path], budget: DemoBudget, say: Callable[[str], None], bar: Bar) -> None:
    from profilers import measure_models
    from subdit.core.files import write_json
    from subdit.core.run import read_pick

    say("Verification: the picks' own latency, measured")
    missing = {name: path for name, path in exports.items() if not _measured(path).exists()}
    if missing:
        with bar("Measuring the picks") as progress:
            found = measure_models(missing, budget_s=budget.measure_s, progress=progress)
        for name, path in missing.items():
            facts = {key: value for key, value in asdict(found[name]).items()}
            predicted = {"predicted_ms": read_pick(run, name)["latency_ms"], "file_bytes": path.stat().st_size}
            predicted |= {KEY: origin(path)}
            write_json(_measured(path), {**facts, "runtime": "onnxruntime", "threads": 1, **predicted})


def _speed(profile_file: Path, export: Path) -> float:
    from device_profiles import load_profile
    from subdit.core.files import read_json

    before = load_profile(str(profile_file)).conditions.reference_ms
    meanwhile = float(read_json(_measured(export), "measured pick")["reference_ms"])
    return before / meanwhile if before else 1.0


def _measured(export: Path) -> Path:
    return export.parent.parent / "measured.json"


def _sample(run: Run, model: Path, say: Callable[[str], None], bar: Bar) -> Path:
    from supernet.data.digits import digit_caption
    from supernet.pictures import save_contact_sheet
    from supernet.sampling import sample

    say("Samples: 100 digits through ONNX Runtime alone, 4 steps each")
    target = model.parent.parent / "samples.png"
    if not target.exists():
        with bar("Drawing digits") as progress:
            drawn = sample(model, [digit_caption(digit) for _ in range(10) for digit in range(10)], progress=progress)
        save_contact_sheet(drawn, target, supernet=origin(model))
    return target


def _judge(
    run: Run, budget: DemoBudget, say: Callable[[str], None], bar: Bar
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    from supernet.evaluation.picks import judge_pick
    from supernet.evaluation.picks import judge_teacher

    say(f"Judgement: Frechet distance of {10 * budget.per_class} samples to the digits that nothing learned from")
    how: dict[str, Any] = {"seeds": budget.seeds, "per_class": budget.per_class}
    qualities = {}
    for name in PICKS:
        with bar(f"Judging the {name} pick") as progress:
            qualities[name] = judge_pick(run.path, pick=name, progress=progress, **how)
    with bar("Judging the few-step teacher") as progress:
        teacher = judge_teacher(run.path, progress=progress, **how)
    return qualities, teacher


def _closing_rows(
    run: Run, exports: dict[str, Path], qualities: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    from subdit.core.files import read_json
    from subdit.core.run import read_pick

    rows = {}
    for name, path in exports.items():
        pick, measured = read_pick(run, name), read_json(_measured(path), "measured pick")
        rows[name] = {
            "spec": pick["spec"],
            "predicted_ms": pick["latency_ms"],
            "measured_ms": measured["latency_ms"],
            "params": pick["params"],
            "file_bytes": measured["file_bytes"],
            "quality": qualities[name],
            "folder": str(path.parent.parent),
        }
    return rows


__all__ = ["CEILING_S", "QUICK", "DemoBudget", "DemoResult", "demo"]
