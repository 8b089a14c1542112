"""LiteRT, which writes and runs .tflite files: an extra, so that a machine may be without it."""

from __future__ import annotations

from tests.programs import require_module


def require_litert() -> None:
    """Skip the test or the module where there is no LiteRT."""
    require_module("ai_edge_litert", "pip install 'subdit[litert]'")
