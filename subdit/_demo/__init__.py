"""`demo`: the whole road on real handwriting, with this machine as the device. It only strings the verbs together."""

from subdit._demo._budget import CEILING_S
from subdit._demo._budget import QUICK
from subdit._demo._budget import DemoBudget
from subdit._demo._budget import ceiling_of
from subdit._demo._budget import duration_lines
from subdit._demo._context import SPACE
from subdit._demo._demo import DemoResult
from subdit._demo._demo import demo

__all__ = ["CEILING_S", "QUICK", "SPACE", "DemoBudget", "DemoResult", "ceiling_of", "demo", "duration_lines"]
