"""The warning of a training that its ceiling in seconds cut short."""

from __future__ import annotations

from reports._results import Results
from subdit.core.training_record import STUDENT
from subdit.core.training_record import cut_sentence
from subdit.core.training_record import training_records


def training_warning(results: Results) -> str:
    """The sentence about supernet, few-step teacher and distilled picks that were cut; empty where none was."""
    records = training_records(results.run)
    for pick in results.picks:
        of_pick = training_records(results.run, pick.trial.spec.hash)
        if STUDENT in of_pick:
            records[f"{STUDENT} of {pick.title}"] = of_pick[STUDENT]
    return cut_sentence(records, space=str(results.config["space"]))
