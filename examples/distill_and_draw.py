"""Distil a pick of a searched run to four steps, export it, and draw with ONNX Runtime alone.

    python examples/distill_and_draw.py runs/example --steps 2000

The default of 20 steps takes seconds and shows the road; its pictures mean nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import subdit
from supernet.distillation import FewStepConfig
from supernet.distillation import KDMDConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pick", default="fastest")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trajectories", type=int, default=64)
    given = parser.parse_args()

    subdit.distill(
        given.run,
        pick=given.pick,
        few_step=FewStepConfig(steps=given.steps, trajectories=given.trajectories, ceiling_s=None),
        kdmd=KDMDConfig(steps=given.steps, guidance_scale=1.0, ceiling_s=None),
    )
    model = subdit.export(given.run, pick=given.pick, format="onnx", force=True)
    pictures = subdit.sample(model, ["3", "7"], seed=0)
    print(f"{model}: {len(pictures)} pictures of {pictures[0].shape}")


if __name__ == "__main__":
    main()
