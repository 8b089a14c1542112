"""Where a search's study is kept, as search.json tells it, and whether another address is that of the same study."""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas._address import HIDDEN
from nas._address import lasting
from nas._address import local_file
from subdit.core.errors import RunError
from subdit.core.errors import SearchError

if TYPE_CHECKING:
    from nas._team import Team

_MARK = "folder:"


@dataclass(frozen=True)
class Kept:
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


def recorded(folder: Path) -> Kept | None:
    """What search.json tells; None where there is none, or one of an earlier version, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / "search.json").read_text(encoding="utf-8"))["study"]
        address, study_name, mark = told["storage"], told["study_name"], told["mark"]
        if isinstance(study_name, str) and all(text is None or isinstance(text, str) for text in (address, mark)):
            return Kept(address, study_name, mark)
    return None


def kept_now(folder: Path, team: Team, *, anew: bool) -> Kept:
    """What search.json shall tell of a team's study, with the mark that the folder has already."""
    if isinstance(team.where, Path):
        return Kept(None, team.study_name)
    known = None if anew else recorded(folder)
    mark = None if known is None else known.mark
    return Kept(lasting(team.where), team.study_name, mark or uuid.uuid4().hex[:12])


def check_is_same(folder: Path, team: Team, name: str) -> None:
    """Raises `SearchError` where the team's study is not the one that the search has worked on.

    One server has many names: what another machine calls it is looked up by the folder's mark in the study.
    """
    known, now = recorded(folder), kept_now(folder, team, anew=False)
    if known is None or (known.address, known.study_name) == (now.address, now.study_name) or _has_mark(team, known):
        return
    other = "leave out --storage and --study-name to go on with it, or give another --name"
    if known.address == now.address:
        raise SearchError(
            f"The search {name!r} keeps its study under the name {known.study_name!r}, not {now.study_name!r}; {other}."
        )
    place = "in a file of its own folder" if known.address is None else f"at {known.address}"
    there = "that file" if now.address is None else now.address
    raise SearchError(f"The search {name!r} keeps its study {place}, and it is not in {there}; {other}.")


def check_is_there(folder: Path, team: Team, name: str) -> None:
    """Raises `RunError` where the file of the study that the search has worked on is gone."""
    known = recorded(folder)
    if known is None or known.address is None or not isinstance(team.where, str):
        return
    file = local_file(team.where)
    if file is not None and not file.exists():
        raise RunError(
            f"The search {name!r} keeps its study in {file}, which is not there any more; say with --storage where it "
            "is now, or begin anew with --force."
        )


def _has_mark(team: Team, known: Kept) -> bool:
    if known.mark is None or isinstance(team.where, Path):
        return False
    file = local_file(team.where)
    if file is not None and not file.exists():
        # Not to be made by looking for it.
        return False
    from nas._database import in_words
    from nas._storage import open_storage

    with in_words(team.where), contextlib.suppress(KeyError):
        storage = open_storage(team.where)
        return known.attribute in storage.get_study_user_attrs(storage.get_study_id_from_name(team.study_name))
    return False
