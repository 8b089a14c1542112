"""Measuring: rounds and sessions, statistics of raw timings, conditions, and the profile that they make."""
