"""The noise levels of a training."""

from __future__ import annotations

from subdit.space import SearchSpace
from supernet.flow_matching import resolution_shift
from supernet.training.config import TrainingConfig


def noise_shift(config: TrainingConfig, space: SearchSpace) -> float:
    """By how much noise levels are shifted: as the configuration says, or else by the space's resolution."""
    return resolution_shift(space.tokens) if config.sigma_shift is None else config.sigma_shift
