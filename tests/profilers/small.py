"""A space of fifteen components, so that kits are made in seconds, also in processes that a test kills."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

import profilers
from profilers.kits import export_kit
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space


def small_space() -> SearchSpace:
    """Width 32 of the digits space, one FFN ratio, one kind of attention, two depths per stage."""
    spec = SubDiTSpec("digits", 32, (1, 2, 1), (1, 1, 1), (4, 4), (1, 1), 2)
    return dataclasses.replace(
        get_space("digits"),
        widths=(32,),
        full_heads=get_space("digits").heads(32),
        depths=((1, 2), (2, 4), (1, 2)),
        ffn_ratios=((1,), (1,), (1,)),
        bna_blocks=(4,),
        bna_radii=(1,),
        kv_compressions=(2,),
        named={"only": spec},
    )


def use_small_space() -> None:
    """Let this process make kits of no other space; a kit keeps the content of its own."""
    export_kit.get_space = lambda name: small_space()  # type: ignore[assignment]


class Doubling:
    """A session that doubles its input, or an imitation of one; counts its runs."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        self.runs = 0

    def run(self, times: int = 1) -> None:
        self.runs += times

    def output(self) -> np.ndarray:
        return np.asarray([2 * self.value])


def kill_after(calls: int) -> object:
    """A progress callback that kills its process, as no handler can prevent, at that call."""
    import os
    import signal

    left = calls

    def callback(done: float, total: float, note: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return callback


if __name__ == "__main__":
    # python -m tests.profilers.small kit|profile FOLDER CALLS
    use_small_space()
    folder, progress = Path(sys.argv[2]), kill_after(int(sys.argv[3]))
    if sys.argv[1] == "kit":
        profilers.kit("digits", folder, whole=2, progress=progress)  # type: ignore[arg-type]
    else:
        out = folder.parent / "profile.json"
        profilers.profile(folder, device="bench", out=out, budget_s=2.0, progress=progress)  # type: ignore[arg-type]
