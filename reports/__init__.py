"""Reports of finished searches: one HTML page, a picture of the front, a table, Markdown. Works without torch."""

from reports._other_devices import OtherDevice
from reports._other_devices import OtherPick
from reports._other_devices import compare_searches
from reports._report import ReportPaths
from reports._report import report
from reports._results import Results
from reports._results import read_results

__all__ = ["OtherDevice", "OtherPick", "ReportPaths", "Results", "compare_searches", "read_results", "report"]
