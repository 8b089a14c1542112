"""An import-linter contract: the floors of ARCHITECTURE.md.

import-linter's own layers cannot say that supernet.space stands below the rest of supernet, so this one goes by the
longest matching name instead.
"""

from __future__ import annotations

import re

from grimp import ImportGraph
from importlinter import Contract
from importlinter import ContractCheck
from importlinter import fields
from importlinter import output


class FloorsContract(Contract):
    """Every direct import goes down, or stays on its floor.

    Configuration: `floors`, lines such as "0: supernet.space subdit.errors" and "5: reports -> 0 1"; the floors after
    the arrow are all that those modules see besides their own.
    """

    type_name = "floors"
    floors = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        floor_of, sees = parse_floors(self.floors)  # type: ignore[arg-type]
        broken = []
        for importer in sorted(graph.modules):
            here = floor(importer, floor_of)
            for imported in sorted(graph.find_modules_directly_imported_by(importer)) if here is not None else ():
                there = floor(imported, floor_of)
                if there is not None and there != here and there not in sees[here]:
                    broken.append(f"{importer} (floor {here}) imports {imported} (floor {there})")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)


def parse_floors(lines: list[str]) -> tuple[dict[str, int], dict[int, set[int]]]:
    """Floor of each named module, and the floors that each floor sees."""
    floor_of: dict[str, int] = {}
    sees: dict[int, set[int]] = {}
    for line in lines:
        match = re.fullmatch(r"(\d+): ([\w. ]+?)(?: -> ([\d ]+))?", line)
        if match is None:
            raise ValueError(f"{line!r} is no floor; write '0: supernet.space subdit.errors' or '5: reports -> 0 1'")
        here = int(match[1])
        floor_of |= dict.fromkeys(match[2].split(), here)
        sees[here] = set(range(here)) if match[3] is None else set(map(int, match[3].split()))
    return floor_of, sees


def floor(module: str, floor_of: dict[str, int]) -> int | None:
    """Floor of the longest name that `module` is or is inside of; None for packages of others."""
    parts = module.split(".")
    found = (floor_of.get(".".join(parts[:length])) for length in range(len(parts), 0, -1))
    return next((here for here in found if here is not None), None)
