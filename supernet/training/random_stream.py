"""Random numbers that are a function of seed and step, so that a resumed training draws what it would have drawn."""

from __future__ import annotations

import numpy as np
import torch


def random_stream(*entropy: int) -> torch.Generator:
    """A generator on the processor whose draws depend on these numbers alone: a seed, a step, and a stream's own."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1)
