"""Reports of finished searches: one HTML page, a picture of the front, a table, Markdown. Works without torch."""

from reports._report import ReportPaths
from reports._report import report

__all__ = ["ReportPaths", "report"]
