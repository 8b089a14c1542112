"""What a worker on a search has at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from nas._config import Budget
from nas._config import Question
from nas._costs import CostTable
from nas.proxies import QualityStore
from subdit.core.progress import ProgressCallback

if TYPE_CHECKING:
    from optuna.study import Study


@dataclass
class SearchState:
    """What a worker has at hand."""

    tables: CostTable
    stores: Mapping[str, QualityStore]
    question: Question
    study: Study
    sampler: Any
    goal: int
    budget: Budget
    started: float
    progress: ProgressCallback
    finished: int = field(default=0)
