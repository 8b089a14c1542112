"""Truth tables of known truth, made without training."""

from __future__ import annotations

import numpy as np

from nas.truth_table import ProxyScores
from nas.truth_table import TrainedAlone
from nas.truth_table import TruthRecipe
from nas.truth_table import TruthRow
from nas.truth_table import TruthTable
from nas.truth_table._order import draw_specs
from subdit.space import count_flops
from subdit.space import get_space
from subdit.space import space_hash
from subdit.space import spec_features

SPACE = get_space("digits")
RECIPE = TruthRecipe(
    space="digits",
    space_hash=space_hash(SPACE),
    data="0" * 16,
    seed=5,
    updates=4,
    common_noise=True,
    training={"batch_size": 64},
    features="pixels",
    feature_hash="0" * 10,
    reference_hash="0" * 10,
    samples=10,
    sample_steps=4,
    sample_shift=1.0,
)


def quality_of(count: int, *, architecture: float = 1.0, size: float = 1.0, seed: int = 5) -> np.ndarray:
    """True losses (count,): less with size, and by a linear function of the architecture beside it."""
    encoded = SPACE.encode(draw_specs(SPACE, count, seed))
    features = spec_features(SPACE, encoded).astype(np.float64)
    weights = np.random.default_rng(0).standard_normal(features.shape[1])
    return 3.0 - size * 0.1 * np.log(count_flops(SPACE, encoded)) + architecture * 0.02 * features @ weights


def made_table(
    quality: np.ndarray, noise: float, *, twice: int, scores: dict[str, np.ndarray] | None = None
) -> TruthTable:
    """A table of sub-DiTs with these true losses (n,), the first `twice` trained twice; and of proxies' scores."""
    rng = np.random.default_rng(7)
    specs = draw_specs(SPACE, len(quality), RECIPE.seed)

    def training(true: float, number: int) -> TrainedAlone:
        loss = float(true + noise * rng.standard_normal())
        curve = {1: loss + 0.01 * float(rng.standard_normal()), 4: loss}
        return TrainedAlone(number, 1, {"loss": loss, "accuracy_label": -loss}, curve, "0" * 10, 1.0, 1)

    rows = tuple(
        TruthRow(spec, tuple(training(true, number) for number in range(2 if index < twice else 1)))
        for index, (spec, true) in enumerate(zip(specs, quality, strict=True))
    )
    made = tuple(
        ProxyScores(
            name, name, "ab" * 5, "none", 0.1, {spec.hash: float(v) for spec, v in zip(specs, values, strict=True)}
        )
        for name, values in (scores or {}).items()
    )
    return TruthTable(RECIPE, rows, made)
