"""Kits: which models of a space are exported, how they lie on disk, and what making and measuring them takes."""
