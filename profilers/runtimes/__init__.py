"""Runtimes on this machine, one module each, and the protocol that they follow; none is imported before it is made."""

from profilers.runtimes._registry import RUNTIMES
from profilers.runtimes._registry import get_runtime
from profilers.runtimes._runtime import Array
from profilers.runtimes._runtime import Runtime
from profilers.runtimes._runtime import Session
from profilers.runtimes._runtime import Timing
from profilers.runtimes._runtime import time_runs

__all__ = ["RUNTIMES", "Array", "Runtime", "Session", "Timing", "get_runtime", "time_runs"]
