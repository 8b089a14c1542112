"""Quality proxies: cheap numbers that rank sub-DiTs, and the store that keeps each evaluation."""

from collections.abc import Callable
from pathlib import Path

from nas.proxies._few_step_distance import FewStepDistance
from nas.proxies._inherited import Inherited
from nas.proxies._proxy import Evaluation
from nas.proxies._proxy import QualityProxy
from nas.proxies._sizes import Flops
from nas.proxies._sizes import Parameters
from nas.proxies._store import QualityStore
from nas.proxies._training_free import ActivationCodes
from nas.proxies._training_free import SynapticDiversity
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
}
"""By id a function that makes a proxy from a supernet's folder and the name of its space; add your own to it."""


def make_proxy(name: str, supernet: Path, space_name: str) -> QualityProxy:
    """The proxy of that id; raises `SearchError` with the ids there are, `CheckpointError` on a damaged supernet."""
    if name not in PROXIES:
        raise SearchError(f"There is no quality proxy {name!r}; there is {', '.join(PROXIES)}.")
    return PROXIES[name](supernet, space_name)


__all__ = [
    "PROXIES",
    "ActivationCodes",
    "Evaluation",
    "FewStepDistance",
    "Flops",
    "Inherited",
    "Parameters",
    "QualityProxy",
    "QualityStore",
    "SynapticDiversity",
    "ValidationLoss",
    "VelocityDistance",
    "make_proxy",
]
