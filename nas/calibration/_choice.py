"""Which sub-DiTs are trained on their own to calibrate a search: the front's corners, then those that teach most."""

from __future__ import annotations

import numpy as np

from subdit.results import SearchResult
from subdit.results import Trial
from subdit.space import SearchSpace
from subdit.space import spec_features


def most_telling(result: SearchResult, space: SearchSpace, count: int) -> list[Trial]:
    """`count` trials, or all of fewer: picks and ends of the front, then every other one from the front alone.

    Each further one is the trial of which the linear model of those chosen knows least: with the largest x A^-1 x',
    where A is the identity and x'x summed over those chosen (greedy D-optimal design). By turns it is taken from the
    front, where the search decides, and from all feasible trials, from which a slope is learned.
    """
    trials = [trial for trial in result.trials if trial.feasible]
    features = spec_features(space, space.encode([trial.spec for trial in trials])).astype(np.float64)
    features -= features.mean(axis=0)
    corners = {pick.spec for pick in result.picks.values()} | {result.front[0].spec, result.front[-1].spec}
    chosen = [row for row, trial in enumerate(trials) if trial.spec in corners][:count]
    known = np.eye(features.shape[1]) + features[chosen].T @ features[chosen]
    while len(chosen) < min(count, len(trials)):
        left = [row for row in range(len(trials)) if row not in chosen]
        front = [row for row in left if trials[row].on_front]
        rows = front if front and len(chosen) % 2 == 0 else left
        unknown = np.einsum("ij,jk,ik->i", features[rows], np.linalg.inv(known), features[rows])
        best = rows[int(np.argmax(unknown))]
        chosen.append(best)
        known += np.outer(features[best], features[best])
    return [trials[row] for row in chosen]
