"""The results of searches: one schema of trials, front and picks, as files and as pandas DataFrames.

`nas` writes them, `reports` and other programs read them; neither torch nor optuna is needed.
"""

from subdit.results._earlier_names import upgrade_config
from subdit.results._earlier_names import upgrade_notes
from subdit.results._search import PICK_NAMES
from subdit.results._search import SEARCH_FORMAT
from subdit.results._search import Pick
from subdit.results._search import SearchResult
from subdit.results._search import load_search
from subdit.results._search import write_search
from subdit.results._trials import Trial
from subdit.results._trials import read_trials
from subdit.results._trials import trials_to_frame
from subdit.results._trials import write_frame
from subdit.results._trials import write_trials

__all__ = [
    "PICK_NAMES",
    "SEARCH_FORMAT",
    "Pick",
    "SearchResult",
    "Trial",
    "load_search",
    "read_trials",
    "trials_to_frame",
    "upgrade_config",
    "upgrade_notes",
    "write_frame",
    "write_search",
    "write_trials",
]
