"""The run folder: its paths, a lock, and a manifest of finished steps.

Layout (see ARCHITECTURE.md)::

    runs/NAME/
      config.yaml            how it was trained, as a training file
      space.yaml             the search space
      supernet/              config.json, diffusion_pytorch_model.safetensors: EMA weights
      training/              resume state, metrics.jsonl, checkpoints/, samples/, tensorboard/
      evaluation/            figures of sub-DiTs against real images, one file per sub-DiT and way of sampling
      quality/               quality evaluations, one store per supernet checkpoint
      proxies/               sub-DiTs trained on their own, and how well each quality proxy ranks them
      searches/NAME/         study storage, config, trials.csv, front.csv, picks.json
      teacher/               the few-step LoRA of the full network; of other steps than four in 2_steps/ and so on
      picks/SPEC_HASH/       spec.json, distilled/, distilled_2_steps/ and so on, exports/, samples.png
      reports/NAME/          report.html, pareto.png, front.csv, report.md
      stale/DIGEST/          what was made from other weights, where something new took its place
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_json


@dataclass(frozen=True)
class Run:
    """A run folder, by its path; nothing is created until something is written."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def space(self) -> Path:
        """The space file of what the run was made of."""
        return self.path / "space.yaml"

    @property
    def supernet(self) -> Path:
        return self.path / "supernet"

    @property
    def training(self) -> Path:
        return self.path / "training"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation"

    @property
    def quality(self) -> Path:
        return self.path / "quality"

    @property
    def proxies(self) -> Path:
        return self.path / "proxies"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def teacher(self) -> Path:
        """The few-step teacher's LoRA, shared by all picks."""
        return self.path / "teacher"

    def search(self, name: str) -> Path:
        return self.path / "searches" / name

    def pick(self, spec_hash: str) -> Path:
        return self.path / "picks" / spec_hash

    def report(self, name: str) -> Path:
        return self.path / "reports" / name

    def require(self) -> Run:
        """Return the run if it exists; raises `RunError` otherwise."""
        if not self.path.is_dir():
            raise RunError(f"There is no run folder at {self.path}; make one with 'subdit train' or 'subdit demo'.")
        if not self.manifest.is_file():
            raise RunError(f"The folder {self.path} is not a run (it has no manifest.json); name a run folder.")
        read_manifest(self)
        return self

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; raises `RunError` where another process holds it. Vanishes with the process."""
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(
                    f"The run {self.path} is in use by another subdit; wait for it or name another folder."
                ) from None
            yield


def read_manifest(run: Run) -> dict[str, Any]:
    """The run's manifest: subdit version, space, and what each finished step left; raises `RunError`."""
    manifest = read_json(run.manifest, "run manifest")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("steps"), dict):
        raise RunError(
            f"The run manifest at {run.manifest} is damaged (no 'steps'); delete the folder and start again."
        )
    return manifest


def start_manifest(run: Run, *, space: str, space_hash: str | None = None) -> dict[str, Any]:
    """Read the manifest or begin one; raises `RunError` where the run is of a space of another name.

    With `space_hash` the run has the space's content; `subdit.space.start_run` is what commands begin a run with.
    """
    if not run.manifest.exists():
        told = {} if space_hash is None else {"space_hash": space_hash}
        write_json(run.manifest, {"subdit_run": 1, "space": space, **told, "steps": {}})
    manifest = read_manifest(run)
    if manifest.get("space") != space:
        raise RunError(f"The run {run.path} is of space {manifest.get('space')!r}, not {space!r}; name another folder.")
    return manifest


def record_step(run: Run, step: str, result: dict[str, Any]) -> None:
    """Note in the manifest that a step is finished and what it left."""
    manifest = read_manifest(run)
    manifest["steps"][step] = result
    write_json(run.manifest, manifest)


def read_pick(run: Run, pick: str, *, search: str = "default") -> dict[str, Any]:
    """What a finished search says of a pick; raises `RunError` with the names there are."""
    run.require()
    picks = read_json(run.search(search) / "picks.json", f"finished search {search!r}")
    if not isinstance(picks, dict) or pick not in picks:
        names = ", ".join(picks) if isinstance(picks, dict) else "none"
        raise RunError(f"The search {search!r} of {run.path} has no pick {pick!r}; it has {names}.")
    found: dict[str, Any] = picks[pick]
    return found
