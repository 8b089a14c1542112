"""Who works on a study, and what a worker has at hand."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from nas._address import checked_address
from nas._kept import recorded
from nas._limits import Tables
from nas._question import Budget
from nas._question import Question
from nas.proxies import QualityStore
from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.run import Run

if TYPE_CHECKING:
    from optuna.study import Study

STUDY_FILE = "study.journal"


@dataclass(frozen=True)
class Team:
    """Who works on a study and where it is kept; raises `SearchError` where `stale_s` is no time.

    Attributes:
        where: a journal file, or the address of a storage.
        study_name: its name there.
        shared: whether others may work on it at the same time.
        stale_s: seconds without a sign of life after which a worker's trial is given to another.
    """

    where: Path | str
    study_name: str
    shared: bool = False
    stale_s: float = 60.0

    def __post_init__(self) -> None:
        # No longer than a thread can wait for.
        if not 0 < self.stale_s < threading.TIMEOUT_MAX:
            raise SearchError(
                f"The option stale_s is {self.stale_s}; give seconds above zero, enough for some signs of life."
            )

    @classmethod
    def of(
        cls,
        run: Run,
        name: str,
        *,
        storage: str | None,
        study_name: str | None,
        worker: bool,
        stale_s: float | None,
        resume: bool = False,
        force: bool = False,
    ) -> Team:
        """As options say it, and where they do not, as the search that is gone on with was begun.

        Raises `SearchError` where `storage` is no address, or is needed for its password.
        """
        goes_on = resume or worker or (storage is not None and not force)
        known = recorded(run.search(name)) if goes_on else None
        if storage is not None:
            checked_address(storage)
        elif known is not None:
            storage = known.to_reopen(name)
        # A database holds the studies of many runs.
        by_default = name if storage is None else f"{run.path.resolve().name}-{name}"
        if known is not None and (known.address is None) == (storage is None):
            by_default = known.study_name
        where: Path | str = storage or run.search(name) / STUDY_FILE
        shared = worker or storage is not None
        return cls(where, study_name or by_default, shared, 60.0 if stale_s is None else stale_s)


@dataclass
class Job:
    """What a worker has at hand."""

    tables: Tables
    stores: Mapping[str, QualityStore]
    question: Question
    study: Study
    sampler: Any
    goal: int
    budget: Budget
    started: float
    progress: ProgressCallback
    finished: int = field(default=0)
