"""Evaluation: one file per measure of quality, and the qualities of a run's picks."""
