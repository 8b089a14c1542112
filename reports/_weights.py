"""Which weights a report is of: what it says where the run has other weights now, and what it leaves out."""

from __future__ import annotations

from reports._results import Results
from subdit.core.origin import Freshness
from subdit.core.origin import freshness
from subdit.core.origin import origin
from subdit.core.origin import stale_sentence

STALE_MARK = "of weights trained again since"
"""On pictures and tables."""


def weight_warnings(results: Results) -> list[str]:
    """Sentences for the top of the page; none where all that it shows is known to be of the run's weights."""
    said = []
    if results.stale:
        remedy = "search and report again for what holds now"
        said.append(stale_sentence("This report", results.made_from, results.digest, remedy))
    if apart := _searches_of_others(results):
        said.append(
            f"Searches of other weights than this one's are not compared with it here: {', '.join(apart)}; search "
            "again under those names for a comparison."
        )
    unknown = []
    for pick in results.picks:
        unknown += [f"{name} of pick {pick.title}" for name in pick.unknown]
        for digest in dict.fromkeys(pick.left_out.values()):
            names = ", ".join(name for name, of in pick.left_out.items() if of == digest)
            said.append(
                f"This report leaves out {names} of the pick {pick.title}, which was made from the supernet {digest} "
                f"and not from that of the page, {results.made_from or results.digest}; search again for a page of all."
            )
    if unknown:
        said.append(
            f"An earlier version made some figures without a note of their supernet ({'; '.join(unknown)}); make them "
            "again to be sure."
        )
    return said


def _searches_of_others(results: Results) -> list[str]:
    """The run's other searches that are of another supernet than this one."""
    if not results.made_from:
        return []
    names = sorted(path.parent.name for path in results.run.path.glob("searches/*/search.json"))
    origins = {name: origin(results.run.search(name)) for name in names if name != results.search}
    return [name for name, of in origins.items() if of and freshness(of, results.made_from) is Freshness.STALE]
