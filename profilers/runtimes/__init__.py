"""Runtimes on this machine, one object each, how one session is timed, and what is exported for it.

Adding a runtime is one file with a subclass of `Runtime` and an entry point of the group `subdit.runtimes`.
"""

from profilers.runtimes._reference_kernel import reference_inputs
from profilers.runtimes._registry import DEFAULT_RUNTIME
from profilers.runtimes._registry import get_runtime
from profilers.runtimes._registry import runtime_class
from profilers.runtimes._registry import runtime_names
from profilers.runtimes._runtime import Array
from profilers.runtimes._runtime import Runtime
from profilers.runtimes._runtime import RuntimeCosts
from profilers.runtimes._runtime import Session
from profilers.runtimes._source_model import SourceModel
from profilers.runtimes._source_model import described_model
from profilers.runtimes._source_model import source_model
from profilers.runtimes._source_model import sub_dit_model
from profilers.runtimes.timing import Timing
from profilers.runtimes.timing import time_runs

__all__ = [
    "DEFAULT_RUNTIME",
    "Array",
    "Runtime",
    "RuntimeCosts",
    "Session",
    "SourceModel",
    "Timing",
    "described_model",
    "get_runtime",
    "reference_inputs",
    "runtime_class",
    "runtime_names",
    "source_model",
    "sub_dit_model",
    "time_runs",
]
