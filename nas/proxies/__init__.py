"""Quality proxies: cheap numbers that rank sub-DiTs, and the store that keeps each evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nas.proxies._few_step_distance import FewStepDistance
from nas.proxies._first_losses import FirstLosses
from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from nas.proxies._proxy import QualityProxy
from nas.proxies._sizes import Flops
from nas.proxies._sizes import Parameters
from nas.proxies._store import QualityStore
from nas.proxies._training_free import ActivationCodes
from nas.proxies._training_free import SynapticDiversity
from nas.proxies._validation_loss import QUARTERS
from nas.proxies._validation_loss import QuarterLoss
from nas.proxies._validation_loss import ValidationLoss
from nas.proxies._velocity_distance import VelocityDistance
from subdit.core.errors import SearchError

PROXIES: dict[str, Callable[[Path, str], QualityProxy]] = {
    "validation_loss": ValidationLoss,
    "velocity_distance": VelocityDistance,
    "few_step_distance": FewStepDistance,
    "parameters": Parameters,
    "flop_count": Flops,
    "activation_codes": ActivationCodes,
    "synaptic_diversity": SynapticDiversity,
    **{f"validation_loss_quarter_{number}": partial(QuarterLoss, quarter=number) for number in range(1, QUARTERS + 1)},
    "first_losses_50": partial(FirstLosses, updates=50),
    "first_losses_100": partial(FirstLosses, updates=100),
}
"""By id a function that makes a proxy from a supernet's folder and the name of its space; add your own to it."""

TRAINED_PROXIES = ("first_losses_50", "first_losses_100")
"""Those that train, and take seconds to minutes for each sub-DiT; they are asked only where they are named."""
DEAR_PROXIES = ("few_step_distance", *TRAINED_PROXIES)
"""Those that take much longer than one pass over the validation images."""


def untrained_proxies() -> list[str]:
    """Ids of the proxies that train nothing."""
    return [name for name in PROXIES if name not in TRAINED_PROXIES]


def cheap_proxies() -> list[str]:
    """Ids of the proxies that take no longer than one pass over the validation images."""
    return [name for name in PROXIES if name not in DEAR_PROXIES]


def make_proxy(name: str, supernet: Path, space_name: str) -> QualityProxy:
    """The proxy of that id; raises `SearchError` with the ids there are, `CheckpointError` on a damaged supernet."""
    if name not in PROXIES:
        raise SearchError(f"There is no quality proxy {name!r}; there is {', '.join(PROXIES)}.")
    return PROXIES[name](supernet, space_name)


__all__ = [
    "DEAR_PROXIES",
    "PROXIES",
    "TRAINED_PROXIES",
    "ActivationCodes",
    "Evaluation",
    "FewStepDistance",
    "FirstLosses",
    "Flops",
    "Inherited",
    "Parameters",
    "QualityProxy",
    "QualityStore",
    "QuarterLoss",
    "SynapticDiversity",
    "ValidationLoss",
    "VelocityDistance",
    "cheap_proxies",
    "make_proxy",
    "untrained_proxies",
]
