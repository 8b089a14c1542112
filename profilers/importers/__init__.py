"""Importers of other tools' logs: one module per family of formats, found by content; numpy only, no torch.

`read_log` says what any model's log holds; `import_logs` makes a device profile from logs of a kit's components.
"""

from profilers.importers.ai_hub_session import ai_hub_device
from profilers.importers.coreml_table import template as coreml_template
from profilers.importers.delegation import delegated_share
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import OperatorRow
from profilers.importers.log import MAX_BYTES
from profilers.importers.log import make_log
from profilers.importers.profile import import_logs
from profilers.importers.ran_where import compare_runs
from profilers.importers.ran_where import fallback
from profilers.importers.ran_where import ran_where
from profilers.importers.registry import IMPORTERS
from profilers.importers.registry import Importer
from profilers.importers.registry import ReadOptions
from profilers.importers.registry import read
from profilers.importers.registry import read_log
from profilers.importers.registry import read_logs

__all__ = [
    "IMPORTERS",
    "MAX_BYTES",
    "UNCONFIRMED",
    "ImportedLog",
    "Importer",
    "OperatorRow",
    "ReadOptions",
    "ai_hub_device",
    "compare_runs",
    "coreml_template",
    "delegated_share",
    "fallback",
    "import_logs",
    "make_log",
    "ran_where",
    "read",
    "read_log",
    "read_logs",
]
