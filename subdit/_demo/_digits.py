"""The demo on 8x8 scans of handwritten digits, which scikit-learn brings along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from subdit._demo._budget import CEILING_S
from subdit._demo._budget import DemoBudget
from subdit._demo._context import Demo
from subdit.core.run import Run

EXPORT_STEPS = 250
"""The exports of kit and picks and the samples take roughly as long as so many steps of the supernet: chosen so that
what is said of `--quick` comes to the minute and a half that it takes on two free cores."""

TRIAL_STEPS = 0.55
"""A trial of the search, 160 forward passes of a sub-DiT and the proposal, takes about as long as so many."""

JUDGE_STEPS = 3.4
"""Judging a sample of each class in all ways takes about as long as so many: 1,090 forward passes of the full network
against 320 of a step."""


class Digits:
    """Handwritten digits."""

    name = "digits"
    space = "digits"
    budget = DemoBudget()
    ceiling_s = CEILING_S
    run = Path("runs/demo")
    guidance_scale = 1.0
    training: Mapping[str, Any] = MappingProxyType({})

    def prepare(self, demo: Demo) -> str:
        from supernet.data.digits import SPLIT_SEED
        from supernet.data.digits import digits

        data = digits()
        demo.say(
            f"Data: {len(data.train)} scans of real handwritten digits to train on, {len(data.validation)} to choose "
            f"by, {len(data.judge)} kept apart to judge by (split seed {SPLIT_SEED})"
        )
        return "digits"

    def prompts(self, run: Run) -> list[str]:
        from supernet.data.digits import digit_caption

        return [digit_caption(digit) for _ in range(10) for digit in range(10)]

    def rest_steps(self, budget: DemoBudget) -> float:
        return EXPORT_STEPS + TRIAL_STEPS * budget.trials + JUDGE_STEPS * budget.per_class
