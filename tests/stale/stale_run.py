"""Steps and files of a run whose supernet is trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import subdit
from nas.proxy_benchmark._truth import Training
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.core.run import read_pick
from supernet.distillation.distill_pick import distill
from supernet.distillation.few_step_teacher import FewStepConfig
from supernet.distillation.kdmd import KDMDConfig
from supernet.training import step_loop
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from tests.nas.test_facade import made_profile
from tests.supernet.killed import KilledError
from tests.supernet.small_teacher import leaping_clock

FAST: dict[str, Any] = {
    "few_step": FewStepConfig(steps=2, trajectories=4, substeps=1, rank=2, batch_size=4),
    "kdmd": KDMDConfig(steps=4, batch_size=4, guidance_scale=1.0),
}
TRUTH: dict[str, Any] = {"proxies": ["parameters"], "count": 2, "training": Training(updates=1, per_class=0)}
HALF = "fastest"
"""The pick whose distillation is begun and not ended; balanced is distilled, best is exported undistilled."""
WEIGHTS = "diffusion_pytorch_model.safetensors"


def train_supernet(run: Run, seed: int, **options: Any) -> None:
    train("digits", run.path, config=TrainingConfig(steps=1, batch_size=2, seed=seed), **options)


def search(run: Run, **options: Any) -> Any:
    return subdit.search(run.path, device=made_profile(), trials=8, **options)


def pick_folder(run: Run, pick: str) -> Path:
    return run.pick(read_pick(run, pick)["spec_hash"])


def half_distil(run: Run, pick: str) -> None:
    """Begin a distillation, with a resume state after every step, and let it be killed in the middle."""

    def stop(done: float, total: float, note: str) -> None:
        if note.startswith("step 2 of ") and "of the student" in note:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(step_loop, "time", leaping_clock())
        distill(run.path, pick=pick, progress=stop, **FAST)
    assert list(pick_folder(run, pick).glob("kdmd_state*"))


def write_figures(run: Run, pick: str, digest: str | None, latency_ms: float = 1.25) -> None:
    """What the demo measures, and the samples that it draws, with invented figures."""
    folder = pick_folder(run, pick)
    told = {} if digest is None else {"supernet": digest}
    figures = {"latency_ms": latency_ms, "low_ms": 0.99 * latency_ms, "high_ms": 1.01 * latency_ms, "rounds": 40}
    write_json(folder / "measured.json", figures | told)
    notes = PngInfo()
    for key, text in told.items():
        notes.add_text(key, text)
    Image.new("L", (4, 4)).save(folder / "samples.png", pnginfo=notes)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but for locks and databases' own."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
