"""Search with a quality proxy of your own: any number that ranks sub-DiTs, lower is better.

python examples/own_proxy.py runs/example     # a run that was trained, such as runs/demo
"""

from __future__ import annotations

import sys
from pathlib import Path

import subdit
from nas.proxies import QualityProxy
from subdit.core.weights import supernet_digest
from subdit.space import SubDiTSpec


class MissingCapacity:
    """How far a sub-DiT's blocks, weighted by width and FFN ratio, fall short of 100.

    A store of evaluations belongs to the weights and the data that a proxy judges by, so a proxy names both.
    """

    id = "missing_capacity"
    unit = "capacity below 100"
    data_hash = "none"

    def __init__(self, supernet: Path) -> None:
        self.supernet_digest = supernet_digest(supernet)

    def evaluate(self, spec: SubDiTSpec) -> float:
        blocks = sum(depth * (4 + 2 * ratio) for depth, ratio in zip(spec.depth, spec.ffn_ratio, strict=True))
        return 100 - blocks * spec.width / 100


def main(run: Path) -> None:
    proxy: QualityProxy = MissingCapacity(run / "supernet")
    found = subdit.search(
        run,
        device="linux-amd-epyc/litert/fp32/t1",
        objectives=("latency_ms", proxy),
        name="own-proxy",
        trials=60,
        resume=True,
    )
    print(found.to_frame()[["spec_hash", "latency_ms", proxy.id]].to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
