"""How the sub-DiTs of a truth table are trained and judged: what has to be equal for its figures to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.space import run_space
from subdit.space import space_hash

if TYPE_CHECKING:
    from supernet.evaluation.judge import Judge
    from supernet.training.config import TrainingConfig

_TRAINING = (
    "batch_size",
    "optimizer",
    "weight_decay",
    "warmup",
    "max_grad_norm",
    "ema_decay",
    "augmentation",
    "sigma_shift",
)
"""Settings of the supernet's training that a training alone has, too. Learning rates follow from its own length."""

MOST_SAMPLES = 900


@dataclass(frozen=True)
class TruthRecipe:
    """How each sub-DiT is trained and judged.

    Attributes:
        space, space_hash: of the sub-DiTs.
        data: digest of the data set; training sees its split train, and the split judge judges.
        seed: of the draw of sub-DiTs, and of all trainings.
        updates: of each training.
        common_noise: whether all sub-DiTs see the same batches, noise levels and noise (common random numbers), or each
            its own; second trainings have others in either case, and initial weights are always a sub-DiT's own.
        training: settings by name, as `supernet.training.TrainingConfig` has them.
        features, feature_hash, reference_hash: what samples are judged by.
        samples: per sub-DiT, for prompts of the judge split.
        sample_steps, sample_shift: of the sampling.
    """

    space: str
    space_hash: str
    data: str
    seed: int
    updates: int
    common_noise: bool
    training: Mapping[str, Any]
    features: str
    feature_hash: str
    reference_hash: str
    samples: int
    sample_steps: int
    sample_shift: float


@dataclass(frozen=True)
class TruthOptions:
    """What a user asks of a truth table. Raises `SearchError` where a number cannot be.

    Attributes:
        count: sub-DiTs.
        twice: the first ones that are trained twice; may grow later, as `count` may.
        updates, common_noise, seed: see `TruthRecipe`.
        samples: None for `MOST_SAMPLES`, or as many as there are judge images; 0 for the loss alone.
        sample_steps: None for as many as the supernet is sampled with.
        features: name of the feature space, None for the data's default.
    """

    count: int = 100
    twice: int = 40
    updates: int = 600
    common_noise: bool = False
    seed: int = 20260131
    samples: int | None = None
    sample_steps: int | None = None
    features: str | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise SearchError(f"A rank correlation needs at least 2 specs, not {self.count}; give --specs more.")
        if self.twice > self.count:
            raise SearchError(
                f"Of {self.count} specs {self.twice} cannot be trained twice; give --twice at most {self.count}."
            )
        for option, number, least in (
            ("twice", self.twice, 0),
            ("updates", self.updates, 1),
            ("seed", self.seed, 0),
            ("samples", self.samples, 0),
            ("sample-steps", self.sample_steps, 1),
        ):
            if number is not None and number < least:
                raise SearchError(f"The option --{option} is {number}; it must be at least {least}.")
        if self.samples == 1:
            raise SearchError("A distribution cannot be compared by 1 sample; give --samples more, or 0 for none.")


def make_recipe(run: Run, options: TruthOptions, judge: Judge | None, data_digest: str) -> TruthRecipe:
    """The recipe of a run's truth table; `judge` is None where samples are not judged."""
    from supernet.recipe import read_recipe

    space = run_space(run)
    sampling, _ = read_recipe(run.supernet)
    config = run_training(run)
    return TruthRecipe(
        space=space.name,
        space_hash=space_hash(space),
        data=data_digest,
        seed=options.seed,
        updates=options.updates,
        common_noise=options.common_noise,
        training={name: getattr(config, name) for name in _TRAINING},
        features=judge.space.id if judge else "",
        feature_hash=judge.space.hash if judge else "",
        reference_hash=judge.reference.hash if judge else "",
        samples=sample_count(options, judge),
        sample_steps=options.sample_steps or sampling.steps,
        sample_shift=sampling.shift,
    )


def sample_count(options: TruthOptions, judge: Judge | None) -> int:
    """Samples per sub-DiT: as many as are asked for, else `MOST_SAMPLES` or as many as there are judge images."""
    if judge is None:
        return 0
    return min(MOST_SAMPLES, len(judge.reference.judge)) if options.samples is None else options.samples


def run_training(run: Run) -> TrainingConfig:
    """The settings of the run's own training; the defaults where the run does not say them."""
    from supernet.training.config import TrainingConfig
    from supernet.training.config_file import read_training_config

    return read_training_config(run.config).config if run.config.exists() else TrainingConfig()


def training_config(recipe: TruthRecipe) -> TrainingConfig:
    """The settings of each training on its own."""
    from supernet.training.config import TrainingConfig

    return TrainingConfig(steps=recipe.updates, **recipe.training)
