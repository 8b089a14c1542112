"""Creation of a search's study and of its folder, in an order that loses nothing when it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from nas._config import Question
from nas.study._database import retry_on_conflict
from nas.study._location import STUDY_FILE
from nas.study._location import StudyLocation
from nas.study._storage import silence_optuna
from nas.study._trials import SubDiTSampler
from nas.study._trials import open_study
from nas.study._trials import settle_question
from nas.study._url import local_file

_FILES = ("search.json", "verify.json", "picks.json", "front.csv", "trials.csv", STUDY_FILE)
"""search.json first: without it the other files are those of a start that was killed."""


def create_study(
    folder: Path,
    location: StudyLocation,
    storage: BaseStorage | None,
    sampler: SubDiTSampler,
    question: Question,
    asked: Mapping[str, Any],
    *,
    anew: bool,
    force: bool,
) -> Study:
    """Open a search's study and write its question into it; `anew` clears its folder.

    A study in a storage at a URL, which is open already, is created before the folder is cleared: where a database
    refuses, or has a study about another question, the former results stay. The folder's own study is cleared with it.
    """
    if anew and storage is None:
        _clear(folder)
    if force and storage is not None:
        with silence_optuna(), contextlib.suppress(KeyError):
            optuna.delete_study(study_name=location.study_name, storage=storage)
    study = open_study(location.where, location.study_name, sampler, question.objectives, storage=storage)
    retry_on_conflict(lambda: settle_question(study, asked))
    if anew and storage is not None:
        # A URL may name the folder's own study file.
        _clear(folder, but=STUDY_FILE if local_file(str(location.where)) == (folder / STUDY_FILE).resolve() else None)
    return study


def _clear(folder: Path, *, but: str | None = None) -> None:
    for file in _FILES:
        if file != but:
            (folder / file).unlink(missing_ok=True)
