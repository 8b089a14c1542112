"""Where a study is kept: addresses that fail, and what they must not cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas._question import Budget
from nas._question import Question
from nas._results import SearchResult
from nas._team import Team
from nas._work import run_search
from subdit.errors import RunError
from subdit.errors import SearchError
from subdit.run import Run
from subdit.run import start_manifest
from tests.nas import analytic

NOBODY = "postgresql://nobody@localhost:1/x"
TABLES = analytic.tables()


def new_run(path: Path) -> Run:
    run = Run(path)
    start_manifest(run, space="digits")
    return run


def ask(
    run: Run, *, name: str = "default", trials: int = 8, seed: int = 0, storage: str | None = None,
    study_name: str | None = None, worker: bool = False, **rest: Any,
) -> SearchResult:  # fmt: skip
    team = Team.of(run, name, storage=storage, study_name=study_name, worker=worker, stale_s=None)
    question = Question("analytic", seed=seed)
    return run_search(run, name, TABLES, analytic.Loss(TABLES.space), question, Budget(trials), team=team, **rest)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_address_where_nothing_answers_costs_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    folder = ask(run).folder
    before = contents(folder)
    with pytest.raises(RunError, match="No database answers"):
        ask(run, storage=NOBODY, force=True)
    assert contents(folder) == before
    with pytest.raises(RunError, match="No database answers"):
        ask(run, name="new", storage=NOBODY)
    assert not run.search("new").exists() and ask(run, name="new").config["trials"] == 8


def test_a_study_about_another_question_costs_nothing_either(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    shared = f"journal://{tmp_path}/shared.journal"
    ask(run, name="a", storage=shared, study_name="s")
    with pytest.raises(SearchError, match="another question"):
        ask(run, name="b", storage=shared, study_name="s", seed=1)
    assert ask(run, name="b", seed=1).config["seed"] == 1


def test_the_address_of_the_folders_own_file_is_not_swept_away(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    own = run.search("default").resolve() / "study.journal"
    assert ask(run, storage=f"journal://{own}").config["trials"] == 8
    size = own.stat().st_size
    assert size and ask(run, storage=f"journal://{own}", trials=12).config["trials"] == 12
    assert own.stat().st_size > size
