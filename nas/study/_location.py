"""Where a search's study lies, as options and search.json say, and whether another URL is that of the same study."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from nas.study._url import HIDDEN
from nas.study._url import canonical_url
from nas.study._url import checked_url
from nas.study._url import local_file
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run

STUDY_FILE = "study.journal"
_MARK = "folder:"


@dataclass(frozen=True)
class StudyRecord:
    """Where a study is kept.

    Attributes:
        address: of its storage, without a password, and files by their whole path; None for the folder's own file,
            which moves with the folder.
        study_name: its name there.
        mark: what the folder wrote into a study at an address, to know it again when its server goes by another name.
    """

    address: str | None
    study_name: str
    mark: str | None = None

    @property
    def attribute(self) -> str:
        """Of the study, where the mark stands; one for each folder, so that none writes over another's."""
        return f"{_MARK}{self.mark}"

    def to_dict(self) -> dict[str, str | None]:
        return {"storage": self.address, "study_name": self.study_name, "mark": self.mark}

    def to_reopen(self, name: str) -> str | None:
        """The address to go on at; raises `SearchError` where it is not to be had without a password."""
        if self.address is not None and HIDDEN in self.address:
            raise SearchError(
                f"The search {name!r} keeps its study at {self.address}, and its password is kept nowhere; give the "
                "whole address with --storage."
            )
        return self.address


def read_record(folder: Path) -> StudyRecord | None:
    """What search.json tells; None where there is none, or one of an earlier version, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / "search.json").read_text(encoding="utf-8"))["study"]
        address, study_name, mark = told["storage"], told["study_name"], told["mark"]
        if isinstance(study_name, str) and all(text is None or isinstance(text, str) for text in (address, mark)):
            return StudyRecord(address, study_name, mark)
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
    stale_s: float = 60.0


@dataclass(frozen=True)
class StudyLocation:
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
        cls, run: Run, name: str, options: StudyOptions, *, resume: bool = False, force: bool = False
    ) -> StudyLocation:
        """As the options say, and where they say nothing, as the search that is resumed has it.

        Raises `SearchError` where `storage` is no address, or is needed for its password.
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


def current_record(folder: Path, location: StudyLocation, *, new: bool) -> StudyRecord:
    """What search.json shall tell of a location's study, with the mark that the folder has already."""
    if isinstance(location.where, Path):
        return StudyRecord(None, location.study_name)
    known = None if new else read_record(folder)
    mark = None if known is None else known.mark
    return StudyRecord(canonical_url(location.where), location.study_name, mark or uuid.uuid4().hex[:12])


def check_same_study(folder: Path, location: StudyLocation, name: str) -> None:
    """Raises `SearchError` where the location's study is not the one that the search has worked on.

    One server has many names: what another machine calls it is looked up by the folder's mark in the study.
    """
    known, now = read_record(folder), current_record(folder, location, new=False)
    if known is None or (known.address, known.study_name) == (now.address, now.study_name):
        return
    if _has_mark(location, known):
        return
    other = "leave out --storage and --study-name to go on with it, or give another --name"
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
    if known is None or known.address is None or not isinstance(location.where, str):
        return
    file = local_file(location.where)
    if file is not None and not file.exists():
        raise RunError(
            f"The search {name!r} keeps its study in {file}, which is not there any more; say with --storage where it "
            "is now, or begin anew with --force."
        )


def _has_mark(location: StudyLocation, known: StudyRecord) -> bool:
    if known.mark is None or isinstance(location.where, Path):
        return False
    file = local_file(location.where)
    if file is not None and not file.exists():
        # Not to be made by looking for it.
        return False
    from nas.study._database import translate_errors
    from nas.study._storage import open_storage

    with translate_errors(location.where), contextlib.suppress(KeyError):
        storage = open_storage(location.where)
        return known.attribute in storage.get_study_user_attrs(storage.get_study_id_from_name(location.study_name))
    return False
