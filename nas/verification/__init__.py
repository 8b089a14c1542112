"""Measures sub-DiTs of a front on this machine, corrects the latency table by them, and searches again."""
