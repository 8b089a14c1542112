"""A truth table: sub-DiTs of a space trained on their own, what each is worth, and what proxies say of them.

It is one JSON file that needs neither data nor weights to be read, so that a new proxy, or a combination of known ones,
is judged in seconds by what took core-hours to train.
"""

from nas.truth_table._cost import TruthCost
from nas.truth_table._cost import estimate_cost
from nas.truth_table._recipe import TruthOptions
from nas.truth_table._recipe import TruthRecipe
from nas.truth_table._table import ProxyScores
from nas.truth_table._table import TrainedAlone
from nas.truth_table._table import TruthRow
from nas.truth_table._table import TruthTable
from nas.truth_table._table import read_truth_table
from nas.truth_table._table import write_truth_table
from nas.truth_table._worker import STALE_S
from nas.truth_table._worker import TruthWork
from nas.truth_table._worker import truth_work

__all__ = [
    "STALE_S",
    "ProxyScores",
    "TrainedAlone",
    "TruthCost",
    "TruthOptions",
    "TruthRecipe",
    "TruthRow",
    "TruthTable",
    "TruthWork",
    "estimate_cost",
    "read_truth_table",
    "truth_work",
    "write_truth_table",
]
