"""Rented phones: LiteRT-CLI runs a kit's .tflite files on Google's Developer Device Platform."""

from profilers.rented.plan import SESSIONS
from profilers.rented.plan import Plan
from profilers.rented.plan import make_plan
from profilers.rented.profile import by_hand
from profilers.rented.profile import profile_rented

__all__ = [
    "SESSIONS",
    "Plan",
    "by_hand",
    "make_plan",
    "profile_rented",
]
