"""Where a study is kept: addresses that fail, and what they must not cost."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas._loop import run_search
from nas.study._database import retry_on_conflict
from nas.study._location import StudyLocation
from nas.study._location import StudyOptions
from nas.study._storage import open_storage
from nas.study._url import redact
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.results import SearchResult
from tests.nas import analytic
from tests.nas import postgres

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
    going_on = {key: rest.get(key, False) for key in ("resume", "force")}
    options = StudyOptions(storage=storage, study_name=study_name, worker=worker)
    location = StudyLocation.of(run, name, options, **going_on)
    losses = [rest.pop("loss", None) or analytic.Loss(TABLES.space)]
    problem = analytic.problem(losses=losses, seed=seed, trials=trials)
    return run_search(run, name, problem, location=location, **rest)


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
    with pytest.raises(SearchError, match="of another search"):
        ask(run, name="b", storage=shared, study_name="s", seed=1)
    assert ask(run, name="b", seed=1).config["seed"] == 1


def test_the_address_of_the_folders_own_file_is_not_swept_away(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    own = run.search("default").resolve() / "study.journal"
    assert ask(run, storage=f"journal://{own}").config["trials"] == 8
    size = own.stat().st_size
    assert size and ask(run, storage=f"journal://{own}", trials=12).config["trials"] == 12
    assert own.stat().st_size > size


def kept(run: Run) -> dict[str, str | None]:
    config: dict[str, Any] = json.loads((run.search("default") / "search.json").read_text())
    told: dict[str, str | None] = config["study"]
    return told


def copied(run: Run, path: Path) -> Run:
    shutil.copytree(run.path, path)
    return Run(path)


@pytest.mark.parametrize("scheme", ["journal://", "sqlite:///"])
def test_resuming_finds_the_storage_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    run = new_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    ask(run, storage="sqlite:///shared" if scheme == "sqlite:///" else f"journal://{tmp_path}/x/../shared")
    assert (kept(run)["storage"], kept(run)["study_name"]) == (f"{scheme}{tmp_path}/shared", "run-default")
    # From elsewhere, and after the run was given another name.
    monkeypatch.chdir("/")
    run.path.rename(tmp_path / "renamed")
    run = Run(tmp_path / "renamed")
    loss = analytic.Loss(TABLES.space, data_hash="feed")
    assert ask(run, trials=12, resume=True, loss=loss).config["trials"] == 12
    assert len(loss.asked) == 4 and not (run.search("default") / "study.journal").exists()
    assert ask(run, trials=14, worker=True).config["trials"] == 14
    # The file went elsewhere; that is the same study, and where it was is not begun anew.
    (tmp_path / "shared").rename(tmp_path / "moved")
    assert ask(run, trials=14, resume=True).config["trials"] == 14
    with pytest.raises(RunError, match="which is not there any more; say with --storage where it is"):
        ask(run, trials=16, resume=True)
    assert ask(run, trials=16, resume=True, storage=f"{scheme}{tmp_path}/moved").config["trials"] == 16
    assert kept(run)["storage"] == f"{scheme}{tmp_path}/moved" and not (tmp_path / "shared").exists()


def test_another_storage_or_name_than_the_studys_is_refused(tmp_path: Path) -> None:
    one, other = new_run(tmp_path / "one"), new_run(tmp_path / "other")
    first, second = (f"journal://{tmp_path}/{file}.journal" for file in ("first", "second"))
    ask(one, storage=first)
    ask(other)
    before = contents(one.search("default")), contents(other.search("default"))
    for trials in (8, 12):
        for run, options, says in (
            (one, {"storage": second}, f"at {first}, and it is not in {second}"),
            (one, {"storage": second, "worker": True}, "leave out --storage"),
            (one, {"study_name": "mine"}, "under the name 'one-default', not 'mine'"),
            (one, {"storage": first, "study_name": "mine"}, "under the name 'one-default', not 'mine'"),
            (other, {"storage": second}, "in a file of its own folder, and it is not in"),
            (other, {"study_name": "mine"}, "under the name 'default', not 'mine'"),
        ):
            with pytest.raises(SearchError, match=says):
                ask(run, trials=trials, resume=True, **options)  # type: ignore[arg-type]
    # A study of the same name about another question is another study.
    ask(new_run(tmp_path / "third"), storage=second, study_name="one-default", seed=1)
    with pytest.raises(SearchError, match="it is not in"):
        ask(one, storage=second, resume=True)
    # One about the same question is the same study, wherever it is.
    ask(new_run(tmp_path / "fourth"), storage=second, study_name="four")
    assert (contents(one.search("default")), contents(other.search("default"))) == before
    assert ask(other, storage=second, study_name="four", resume=True).config["study"]["storage"] is None
    # To begin anew it may be where one likes.
    assert ask(one, storage=second, study_name="new", force=True).config["study"]["storage"] == second


def test_a_search_of_an_earlier_version_goes_on_where_it_is_told_to(tmp_path: Path) -> None:
    run, address = new_run(tmp_path / "run"), f"journal://{tmp_path}/shared.journal"
    config = dict(ask(run, storage=address).config)
    del config["study"]
    (run.search("default") / "search.json").write_text(json.dumps(config))
    assert ask(run, storage=address, trials=12).config["trials"] == 12
    assert kept(run)["storage"] == address


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("study.db", "is no address"),
        ("grpc://somewhere", "no grpc://HOST:PORT"),
        ("nonsense://x", "no address that SQLAlchemy reads"),
        ("postgresql+nonsense://me:secret@db/x", "no address that SQLAlchemy reads"),
        ("journal://tmp/x", "three slashes, as in journal:///tmp/x,"),
        ("journal:///", "three slashes"),
        ("postgresql://me:secret@localhost:notaport/x", "a port that is no number"),
        ("postgresql://me:secret", "a port that is no number"),
        ("postgresql://me:secret@localhost:99999/x", "the port 99999"),
        ("postgresql://me:sec@secret@localhost/x", "write that as %40"),
        ("postgresql://me:sec@secret/x@localhost/x", "write that as %40"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_addresses_that_are_none(storage: str, says: str) -> None:
    with pytest.raises(SearchError, match=says) as caught:
        open_storage(storage)
    assert "secret" not in str(caught.value) and "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("postgresql://me:secret@db/optuna", "postgresql://me:***@db/optuna"),
        ("postgresql://me:sec/r@e?t@db:5432/optuna", "postgresql://me:***@db:5432/optuna"),
        ("postgresql://me@db:5432/optuna", "postgresql://me@db:5432/optuna"),
        ("postgresql://db:5432", "postgresql://db:5432"),
        ("postgresql://me:secret", "postgresql://***"),
        ("postgresql://db/x?user=me&password=secret&a=b", "postgresql://db/x?a=b&password=***&user=me"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("grpc://proxy:13000", "grpc://proxy:13000"),
        ("journal:////tmp/a:b@c", "journal:////tmp/a:b@c"),
    ],
)
def test_passwords_are_not_shown(address: str, printed: str) -> None:
    assert redact(address) == printed


def test_files_that_are_no_storage_stay_as_they_are(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("not a database\n" * 40 + "and no line feed at its end")
    before = thesis.read_bytes()
    for scheme, says in (("sqlite", "no database of SQLite's"), ("journal", "no journal of Optuna's")):
        with pytest.raises(RunError, match=says):
            open_storage(f"{scheme}:///{thesis}".replace("journal:///", "journal://"))
    assert thesis.read_bytes() == before
    for address, says in (
        (f"sqlite:///{tmp_path}", "is a folder"),
        (f"sqlite:///{tmp_path}/absent/x.db", "in a folder that is not there"),
        (f"sqlite:///{tmp_path}/x.db?timeout=soon", "an option that its driver does not take"),
        (f"journal://{tmp_path}", "No journal can be kept at .*directory"),
        (f"journal://{thesis}/x", "No journal can be kept at"),
    ):
        with pytest.raises((RunError, SearchError), match=says):
            open_storage(address)


def test_a_study_at_an_address_keeps_a_search_in_sqlite(tmp_path: Path) -> None:
    """Braces and all: Optuna takes addresses for templates."""
    run = new_run(tmp_path / "run")
    address = f"sqlite:///{tmp_path}/a{{b}}.db"
    ask(run, storage=address)
    assert ask(run, storage=address, trials=12).config["trials"] == 12 and (tmp_path / "a{b}.db").exists()


def test_only_what_two_workers_can_do_at_once_is_tried_again(tmp_path: Path) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db")
    tried: list[str] = []

    def act(statement: str) -> None:
        tried.append(statement)
        with engine.begin() as connection:
            # The other worker is done by the third time.
            connection.execute(sqlalchemy.text(statement if len(tried) < 3 else "SELECT 1"))

    act("CREATE TABLE studies (id INTEGER UNIQUE)")
    act("INSERT INTO studies VALUES (1)")
    for statement, times in (
        ("CREATE TABLE studies (id INTEGER)", 3),
        ("INSERT INTO studies VALUES (1)", 3),
        ("SELECT nothing FROM nowhere", 1),
    ):
        tried.clear()
        with contextlib.suppress(sqlalchemy.exc.OperationalError):
            retry_on_conflict(lambda statement=statement: act(statement))  # type: ignore[misc]
        assert len(tried) == times, statement


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    postgres.require()
    with postgres.server() as address:
        yield address


def on(address: str, *statements: str) -> None:
    """Statements on a server, as its owner."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_role_that_may_make_no_tables_is_told_so_at_once(tmp_path: Path, server: str) -> None:
    import psycopg

    run = new_run(tmp_path / "run")
    before = contents(ask(run).folder)
    on(server, "CREATE ROLE poor LOGIN", "CREATE DATABASE reserved")
    poor = server.replace("subdit@", "poor@")
    with pytest.raises(RunError, match="may not keep a study there .permission denied for schema public.*GRANT CREATE"):
        ask(run, storage=poor, force=True)
    # As PostgreSQL itself says it, it is tried once.
    tried = []

    def act() -> None:
        tried.append(1)
        import sqlalchemy

        with sqlalchemy.create_engine(poor.replace("postgresql:", "postgresql+psycopg:")).begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE studies (id INTEGER)"))

    with pytest.raises(Exception, match="permission denied") as caught:
        retry_on_conflict(act)
    assert len(tried) == 1 and isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege)
    # Tables are there, made by another role: what may not be read, and what may be read but not written.
    reserved = server.rsplit("/", 1)[0] + "/reserved"
    open_storage(reserved)
    with pytest.raises(RunError, match="may not keep a study there .permission denied for table"):
        ask(run, storage=reserved.replace("subdit@", "poor@"), force=True)
    on(reserved, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor")
    with pytest.raises(RunError, match="may not keep a study there .permission denied for"):
        ask(run, storage=reserved.replace("subdit@", "poor@"), force=True)
    assert contents(run.search("default")) == before


def test_a_database_of_something_else_is_told_so(server: str) -> None:
    foreign = server.rsplit("/", 1)[0] + "/foreign_tables"
    on(server, "CREATE DATABASE foreign_tables")
    on(foreign, "CREATE TABLE studies (id INTEGER)")
    with pytest.raises(RunError, match="cannot keep a study .*give that of an empty database"):
        open_storage(foreign)


def test_a_server_that_answers_says_what_is_missing(server: str) -> None:
    on(server, "CREATE ROLE shut LOGIN CONNECTION LIMIT 0")
    for address, says in (
        (server.rsplit("/", 1)[0] + "/absent", 'answers at .*database "absent" does not exist; create it'),
        (server.replace("subdit@", "ghost:secret@"), 'lets nobody in .role "ghost" does not exist'),
        (server.replace("subdit@", "shut:secret@"), "lets nobody in .too many connections"),
    ):
        with pytest.raises(RunError, match=says) as caught:
            open_storage(address)
        assert "secret" not in str(caught.value) and "No database answers" not in str(caught.value)


def test_tables_of_another_optuna_are_told_so(server: str) -> None:
    old = server.rsplit("/", 1)[0] + "/old"
    on(server, "CREATE DATABASE old")
    open_storage(old)
    on(old, "UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(RunError, match="another version of Optuna"):
        open_storage(old)


def test_machines_may_call_one_server_by_many_names(tmp_path: Path, server: str) -> None:
    here, there = new_run(tmp_path / "run"), new_run(tmp_path / "there" / "run")
    by_name = server.replace("127.0.0.1", "localhost")
    ask(here, storage=server)
    # A machine with a folder of its own, and one with a copy of this folder, its searches and all.
    assert ask(there, storage=by_name, worker=True, trials=12).config["trials"] == 12
    copy = copied(here, tmp_path / "copy" / "run")
    assert ask(copy, storage=by_name, worker=True, trials=14).config["trials"] == 14
    assert [kept(run)["storage"] for run in (here, there, copy)] == [server, by_name, by_name]
    # Where no password is needed, the address is not either.
    assert ask(here, resume=True, trials=16).config["trials"] == 16
    on(server, "CREATE DATABASE elsewhere")
    with pytest.raises(SearchError, match="it is not in"):
        ask(here, storage=server.replace("/postgres", "/elsewhere"), resume=True)


def test_a_password_is_kept_nowhere_and_asked_for(tmp_path: Path, server: str) -> None:
    run = new_run(tmp_path / "run")
    with_password = server.replace("subdit@", "subdit:secret@")
    ask(run, storage=with_password, study_name="guarded")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(b"secret" in path.read_bytes() for path in files)
    for options in ({"resume": True}, {"worker": True}):
        with pytest.raises(SearchError, match=r"at postgresql://subdit:\*\*\*@.*whole address with --storage"):
            ask(run, trials=12, **options)  # type: ignore[arg-type]
    assert ask(run, trials=12, resume=True, storage=with_password).config["trials"] == 12
    # One that is not in the address any more, as it stands in ~/.pgpass now.
    assert ask(run, trials=14, resume=True, storage=server).config["trials"] == 14
    assert ask(run, trials=16, resume=True).config["trials"] == 16


def test_a_server_that_ends_meanwhile_is_told_so_and_the_search_goes_on_later(tmp_path: Path, server: str) -> None:
    run = new_run(tmp_path / "run")
    on(server, "CREATE DATABASE passing")
    passing = server.rsplit("/", 1)[0] + "/passing"

    class Ending(analytic.Loss):
        def evaluate(self, spec):  # type: ignore[no-untyped-def]
            if len(self.asked) == 4:
                on(server, "DROP DATABASE passing WITH (FORCE)")
            return super().evaluate(spec)

    with pytest.raises(RunError, match="No database answers at|does not exist"):
        ask(run, storage=passing, loss=Ending(TABLES.space))
