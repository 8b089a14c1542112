"""Phones by the session: LiteRT-CLI and Qualcomm AI Hub's client run a kit's .tflite files on phones of others."""

from profilers.rented.ai_hub import AiHubRental
from profilers.rented.ai_hub import find_python
from profilers.rented.litert_cli import DdpRental
from profilers.rented.litert_cli import find_litert
from profilers.rented.plan import SESSIONS
from profilers.rented.plan import Plan
from profilers.rented.plan import make_plan
from profilers.rented.profile import by_hand
from profilers.rented.profile import profile_rented
from profilers.rented.rental import Rental

__all__ = [
    "SESSIONS",
    "AiHubRental",
    "DdpRental",
    "Plan",
    "Rental",
    "by_hand",
    "find_litert",
    "find_python",
    "make_plan",
    "profile_rented",
]
