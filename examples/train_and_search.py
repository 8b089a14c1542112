"""Train a supernet, search it for a device that somebody else measured, and write the report.

    python examples/train_and_search.py runs/example --steps 1235

The default of 20 steps takes seconds and shows the road; its front means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import subdit
from supernet.training.trainer import TrainingConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    given = parser.parse_args()

    subdit.train("digits", given.run, config=TrainingConfig(steps=given.steps, ceiling_s=None), resume=True)
    found = subdit.search(
        given.run,
        device="linux-amd-epyc/onnxruntime/fp32/t1",
        constraints={"latency_ms": 0.3, "file_mb": 2.0},
        trials=given.trials,
        resume=True,
    )
    print(found.to_frame()[["spec_hash", "width", "latency_ms", "validation_loss", "params"]].to_string(index=False))
    for name, pick in found.picks.items():
        print(f"{name}: {pick.why}")
    print(subdit.report(given.run, force=True).html)


if __name__ == "__main__":
    main()
