"""What keeping templates and slices saves in an elastic step and in a search's evaluation.

    python benchmarks/templates.py

Processor time, not time by the clock, so that others' work beside it counts little; the median over sub-DiTs drawn from
the space. "Before" is a template for each shard, built anew at each step, and the slices looked up anew. Writes
benchmarks/results/templates.txt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from profilers import cpu_model
from subdit.core.files import write_atomic
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.data.digits import DigitsDataSet
from supernet.evaluation.validation_loss import predicted_velocities
from supernet.evaluation.validation_loss import validation_set
from supernet.model.dit import example_inputs
from supernet.model.elastic import ElasticDiT
from supernet.model.templates import COPIES
from supernet.model.templates import empty_sub_dit
from supernet.model.templates import structure_copy
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step

RESULTS = Path(__file__).parent / "results"
SHARDS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    # Of more than a thread keeps none would be found again.
    parser.add_argument("--count", type=int, default=7, choices=range(1, COPIES + 1), help="sub-DiTs")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    space = get_space("digits")
    supernet = ElasticDiT(space="digits").train()
    specs = space.decode(space.sample(np.random.default_rng(0), options.count))
    data = validation_set(DigitsDataSet(space))
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(64, 1, 8, 8, generator=generator) for _ in range(2))
    text = tuple(example_inputs(space, batch=64).values())[2:]
    batch = Batch(latents, noise, torch.rand(64, generator=generator), text)
    elastic_step(supernet, [space.named["tiny"]], batch, shards=SHARDS)
    predicted_velocities(supernet, space.named["tiny"], data)

    templates = {spec: empty_sub_dit(space, spec) for spec in specs}
    build = median_ms(lambda spec: empty_sub_dit(space, spec), specs)
    copying = median_ms(lambda spec: structure_copy(templates[spec]), specs)
    first = median_ms(supernet.template, specs)
    kept = median_ms(supernet.template, specs)
    slices = max(0.0, first - build - copying)
    extraction = median_ms(lambda spec: ElasticDiT.extract(supernet, spec), specs)
    step = median_ms(lambda spec: elastic_step(supernet, [spec], batch, shards=SHARDS), specs)
    evaluation = median_ms(lambda spec: predicted_velocities(supernet, spec, data), specs)

    before = SHARDS * build + slices
    new, again = build + slices + SHARDS * copying, SHARDS * kept
    cold = extraction + build + slices
    lines = [
        f"Milliseconds of processor time, median of {len(specs)} sub-DiTs of digits, {cpu_model()}",
        "",
        f"{'a template built':<46}{build:9.2f}",
        f"{'where its slices lie':<46}{slices:9.2f}",
        f"{'a copy for a thread':<46}{copying:9.2f}",
        f"{'a template and its slices that are kept':<46}{kept:9.2f}",
        "",
        f"Of an elastic step, batch 64, {SHARDS} shards, {step:.0f} in all where they are kept:",
        f"{'  before':<46}{before:9.2f}",
        f"{'  a sub-DiT that is new, as in training':<46}{new:9.2f}",
        f"{'  one that is kept':<46}{again:9.2f}",
        "",
        f"An evaluation of a search ({len(data.latents)} triples), extraction included:",
        f"{'  before, and of a sub-DiT that is new':<46}{evaluation + build + slices:9.2f}",
        f"{'  of one that is kept':<46}{evaluation:9.2f}",
        f"{'  extraction alone, new':<46}{cold:9.2f}",
        f"{'  extraction alone, kept':<46}{extraction:9.2f}",
    ]
    print("\n".join(lines))
    if not options.no_write:
        write_atomic(RESULTS / "templates.txt", "\n".join(lines) + "\n")
    return 0


def median_ms(work: Callable[[SubDiTSpec], object], specs: Sequence[SubDiTSpec]) -> float:
    taken = []
    for spec in specs:
        started = time.process_time()
        work(spec)
        taken.append(1000 * (time.process_time() - started))
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
