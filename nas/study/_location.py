"""Where a search's study lies, as options and search.json say, and whether it is the study of the search."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from nas.study._identity import SearchIdentity
from nas.study._url import HIDDEN
from nas.study._url import canonical_url
from nas.study._url import checked_url
from nas.study._url import local_file
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.results import upgrade_config

STUDY_FILE = "study.journal"
DEAD_AFTER_S = 60.0
"""Seconds without a heartbeat after which a worker counts as dead, unless the options say otherwise."""


@dataclass(frozen=True)
class StudyRecord:
    """Where a study is, as search.json has it.

    Attributes:
        address: URL of its storage, without a password, and files by their whole path; None for the folder's own file,
            which moves with the folder.
        study_name: its name there.
    """

    address: str | None
    study_name: str

    def to_dict(self) -> dict[str, str | None]:
        return {"storage": self.address, "study_name": self.study_name}

    def to_reopen(self, name: str) -> str | None:
        """The URL to resume at; raises `SearchError` where it lacks the password."""
        if self.address is not None and HIDDEN in self.address:
            raise SearchError(
                f"The search {name!r} keeps its study at {self.address}, and its password is kept nowhere; give the "
                "whole address with --storage."
            )
        return self.address


def read_record(folder: Path) -> StudyRecord | None:
    """The record in search.json; None where there is none, or one of an earlier version, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / "search.json").read_text(encoding="utf-8"))["study"]
        address, study_name = told["storage"], told["study_name"]
        if isinstance(study_name, str) and (address is None or isinstance(address, str)):
            return StudyRecord(address, study_name)
    return None


@dataclass(frozen=True)
class StudyOptions:
    """Where a search's study is kept, and who works on it.

    Attributes:
        storage: URL of an Optuna storage, see `nas.study._storage.open_storage`; by default a file in the run, or where
            the search that is resumed keeps it.
        study_name: in that storage; by default the names of run and search, or as the resumed search has it.
        worker: share the search with other workers that are started alike.
        stale_s: seconds without a sign of life after which a worker's trial is given to another.
    """

    storage: str | None = None
    study_name: str | None = None
    worker: bool = False
    stale_s: float = DEAD_AFTER_S


@dataclass(frozen=True)
class StudyLocation:
    """Who works on a study and where it is; raises `SearchError` where `stale_s` is no time.

    Attributes:
        where: a journal file, or the URL of a storage.
        study_name: its name there.
        shared: whether others may work on it at the same time.
        stale_s: seconds without a heartbeat after which a worker's trial goes to another.
    """

    where: Path | str
    study_name: str
    shared: bool = False
    stale_s: float = DEAD_AFTER_S

    def __post_init__(self) -> None:
        # No longer than a thread can wait for.
        if not 0 < self.stale_s < threading.TIMEOUT_MAX:
            raise SearchError(
                f"The option stale_s is {self.stale_s}; give seconds above zero, enough for some signs of life."
            )

    @classmethod
    def of(
        cls, run: Run, name: str, options: StudyOptions, *, resume: bool = False, force: bool = False
    ) -> StudyLocation:
        """From options, and what they leave out from the search that is resumed.

        Raises `SearchError` where `storage` is no URL, or is needed for its password.
        """
        storage = options.storage
        continues = resume or options.worker or (storage is not None and not force)
        known = read_record(run.search(name)) if continues else None
        if storage is not None:
            checked_url(storage)
        elif known is not None:
            storage = known.to_reopen(name)
        # A database holds the studies of many runs.
        by_default = name if storage is None else f"{run.path.resolve().name}-{name}"
        if known is not None and (known.address is None) == (storage is None):
            by_default = known.study_name
        where: Path | str = storage or run.search(name) / STUDY_FILE
        shared = options.worker or storage is not None
        return cls(where, options.study_name or by_default, shared, options.stale_s)

    @property
    def record(self) -> StudyRecord:
        """What search.json shall say of it."""
        return StudyRecord(None if isinstance(self.where, Path) else canonical_url(self.where), self.study_name)


def check_same_study(folder: Path, location: StudyLocation, identity: SearchIdentity, name: str) -> None:
    """Raises `SearchError` where the location's study is not the one that the search has worked on.

    One server has many names, so a study of the same name about the same question is the same study.
    """
    known, now = read_record(folder), location.record
    if known is None or known == now or _is_about(location, identity):
        return
    other = "leave out --storage and --study-name to resume it, or give another --name"
    if known.address == now.address:
        raise SearchError(
            f"The search {name!r} keeps its study under the name {known.study_name!r}, not {now.study_name!r}; {other}."
        )
    place = "in a file of its own folder" if known.address is None else f"at {known.address}"
    there = "that file" if now.address is None else now.address
    raise SearchError(f"The search {name!r} keeps its study {place}, and it is not in {there}; {other}.")


def check_study_exists(folder: Path, location: StudyLocation, name: str) -> None:
    """Raises `RunError` where the file of the study that the search has worked on is gone."""
    known = read_record(folder)
    if known is not None and known.address is not None and (file := _missing_file(location)):
        raise RunError(
            f"The search {name!r} keeps its study in {file}, which is not there any more; say with --storage where it "
            "is now, or start again with --force."
        )


def _missing_file(location: StudyLocation) -> Path | None:
    """The file that the location's URL names, where it does not exist."""
    file = local_file(location.where) if isinstance(location.where, str) else None
    return file if file is not None and not file.exists() else None


def _is_about(location: StudyLocation, identity: SearchIdentity) -> bool:
    """Whether there is a study of this search at the location's URL."""
    # Looking into a file that does not exist would create it.
    if isinstance(location.where, Path) or _missing_file(location):
        return False
    from nas.study._database import translate_errors
    from nas.study._storage import open_storage

    with translate_errors(location.where), contextlib.suppress(KeyError):
        storage = open_storage(location.where)
        study = storage.get_study_id_from_name(location.study_name)
        return not identity.difference(upgrade_config(storage.get_study_user_attrs(study)["question"]))
    return False
