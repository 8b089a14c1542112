"""Quality proxies: a cheap number that ranks sub-DiTs, and the store that never asks for the same one twice."""

from nas.proxies._proxy import QualityProxy
from nas.proxies._store import QualityStore
from nas.proxies._validation_loss import ValidationLoss

__all__ = ["QualityProxy", "QualityStore", "ValidationLoss"]
