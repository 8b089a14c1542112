"""The demo on emoji: in colour, captioned, and judged by compositions that were never seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from subdit._demo._budget import DemoBudget
from subdit._demo._context import Demo
from subdit.core.run import Run

if TYPE_CHECKING:
    from supernet.data.encoded_data_set import EncodedDataSet

PROMPTS, PROMPT_SEED = 50, 0

EXPORT_STEPS = 100
TRIAL_STEPS = 0.8
JUDGE_STEPS = 12.0
"""As those of digits, of a step that is longer."""


class Emoji:
    """Emoji of five designs, which `make setup-emoji` fetches."""

    name = "emoji"
    space = "emoji-32"
    budget = DemoBudget(train_steps=4000, teacher_steps=320, kdmd_steps=1000, trajectories=1024, per_class=50)
    ceiling_s = 7200.0
    run = Path("runs/emoji")
    guidance_scale = 2.5
    training: Mapping[str, Any] = MappingProxyType({"sigma_shift": 2.0, "weight_decay": 0.1, "ema_decay": 0.995})
    """Those of the training that docs/emoji.md shows."""

    def prepare(self, demo: Demo) -> str:
        from supernet.data.emoji_encoding import encode_emoji
        from supernet.data.manifest import MANIFEST

        folder = _folder(demo.run)
        if not (folder / MANIFEST).exists():
            with demo.bar("Encoding emoji and captions") as progress:
                encode_emoji(folder, space=self.space, progress=progress)
        data = _opened(demo.run)
        demo.say(
            f"Data: {data.count('train'):,} emoji of five designs to train on, {data.count('validation'):,} to choose "
            f"by, {data.count('judge'):,} kept apart to judge by (split seed {data.key['split']['seed']})"
        )
        _draw_real(demo.run, data)
        return str(folder)

    def prompts(self, run: Run) -> list[str]:
        data = _opened(run)
        return [record.caption for record in data.records("judge", _prompt_rows(data))]

    def rest_steps(self, budget: DemoBudget) -> float:
        return EXPORT_STEPS + TRIAL_STEPS * budget.trials + JUDGE_STEPS * budget.per_class


def _folder(run: Run) -> Path:
    return run.path / "data"


def _opened(run: Run) -> EncodedDataSet:
    from supernet.data.encoded_data_set import EncodedDataSet

    return EncodedDataSet(_folder(run))


def _prompt_rows(data: EncodedDataSet) -> list[int]:
    """Rows of the split judge, drawn before any sample is seen."""
    count = data.count("judge")
    drawn = np.random.default_rng(PROMPT_SEED).choice(count, min(PROMPTS, count), replace=False)
    return sorted(drawn.tolist())


def _draw_real(run: Run, data: EncodedDataSet) -> None:
    """The real pictures of the prompts, in the order of the samples, with the prompts beside them."""
    from subdit.core.files import write_atomic
    from supernet.pictures import save_contact_sheet

    rows, target = _prompt_rows(data), run.path / "real.png"
    if not target.exists():
        captions = [record.caption for record in data.records("judge", rows)]
        write_atomic(run.path / "prompts.txt", "".join(f"{caption}\n" for caption in captions))
        save_contact_sheet(data.read("judge", rows).latents.numpy(), target)
