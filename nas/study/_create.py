"""Creating a study and preparing its folder, in an order that loses nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from nas.study._database import retry_on_conflict
from nas.study._identity import SearchIdentity
from nas.study._location import STUDY_FILE
from nas.study._location import StudyLocation
from nas.study._storage import silence_optuna
from nas.study._trials import SubDiTSampler
from nas.study._trials import open_study
from nas.study._trials import settle_identity
from nas.study._url import local_file

_FILES = ("search.json", "verify.json", "picks.json", "front.csv", "trials.csv", STUDY_FILE)
"""search.json first: without it the others are what a killed creation left behind."""


def create_study(
    folder: Path,
    location: StudyLocation,
    storage: BaseStorage | None,
    sampler: SubDiTSampler,
    identity: SearchIdentity,
    *,
    new: bool,
    force: bool,
) -> Study:
    """Open a search's study and write its identity into it; `new` clears the folder.

    A study at an address, whose `storage` is open already, comes before the folder: where a database refuses to delete
    or to create a study, or has one of another search, earlier results stay. A study in the folder is cleared with it.
    """
    if new and storage is None:
        _clear(folder)
    if force and storage is not None:
        with silence_optuna(), contextlib.suppress(KeyError):
            optuna.delete_study(study_name=location.study_name, storage=storage)
    study = open_study(location.where, location.study_name, sampler, identity.settings["objectives"], storage=storage)
    retry_on_conflict(lambda: settle_identity(study, identity))
    if new and storage is not None:
        # An address may name the very file that a study in the folder has.
        _clear(folder, but=STUDY_FILE if local_file(str(location.where)) == (folder / STUDY_FILE).resolve() else None)
    return study


def _clear(folder: Path, *, but: str | None = None) -> None:
    for file in _FILES:
        if file != but:
            (folder / file).unlink(missing_ok=True)
