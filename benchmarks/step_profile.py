"""Where the time of an elastic training step goes, against what its arithmetic needs on this processor.

    python benchmarks/step_profile.py [SPACE ...]

The floor of a step is its matrix products alone, those of attention too, forward and backward, of the full network, of
the step's sub-network and of Muon, by shape: each as the fastest bare call found for it, of torch's own (MKL where a
wheel has it) and oneDNN's. Attention counts as the faster of torch's fused kernel and of its six plain products. Norms,
activations, softmax, copies, optimisers' sums and Python have no floor here, so that the ratio says what all of them
take together.

Latents and text are random, so that no data set is needed. Every round measures floor, step and parts in turn, on the
sub-network that this step of a training draws; the first round is dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import torch
from _step_floor import Floor
from _step_floor import Product
from _step_floor import Work
from _step_floor import least_seconds
from _step_floor import muon_work
from _step_floor import network_work
from _step_floor import product_calls
from torch import nn

from profilers import cpu_model
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from subdit.space import SearchSpace
from subdit.space import get_space
from supernet.data.data_set import DataBatch
from supernet.data.data_set import TextBatch
from supernet.data.data_set import space_key
from supernet.model.dit import SubDiT
from supernet.parallel import run_shards
from supernet.parallel import shard_slices
from supernet.training.config import TrainingConfig
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step
from supernet.training.muon import Muon
from supernet.training.trainer import Trainer

if TYPE_CHECKING:
    from supernet.data.shards import Record

RESULTS = Path(__file__).parent / "results"
SPACES = ("digits", "emoji-32")
PARTS = ("full network", "sub-network", "gradients, sums and losses", "clipping", "Muon", "AdamW", "average", "data")


class RandomDataSet:
    """Latents and text that a seed draws, as a data set of any space."""

    name = digest = "random"
    places: Mapping[str, str] = {}

    def __init__(self, space: SearchSpace, rows: int = 256) -> None:
        generator = torch.Generator().manual_seed(0)
        size = space.latent_size
        self.key = {"space": space_key(space), "text": {text.name: "random" for text in space.text_inputs}}
        self.latents = torch.randn(rows, space.latent_channels, size, size, generator=generator)
        self.text = [torch.randn(rows, text.tokens, text.width, generator=generator) for text in space.text_inputs]

    def count(self, split: str) -> int:
        return len(self.latents)

    def read(self, split: str, rows: Sequence[int]) -> DataBatch:
        return DataBatch(tuple(str(row) for row in rows), self.latents[list(rows)], self._text_of(rows))

    def records(self, split: str, rows: Sequence[int]) -> list[Record]:
        raise NotImplementedError("Random latents have no captions.")

    def null_text(self) -> TextBatch:
        return self._text_of([0])

    def _text_of(self, rows: Sequence[int]) -> TextBatch:
        embeddings = tuple(text[list(rows)] for text in self.text)
        return TextBatch(embeddings, torch.ones(len(rows), sum(text.shape[1] for text in embeddings), dtype=torch.bool))


class Timer:
    """Milliseconds by name: wall clock and processor time."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter(), time.process_time()
        result = work()
        ended = time.perf_counter(), time.process_time()
        self.found.setdefault(name, []).append((1000 * (ended[0] - started[0]), 1000 * (ended[1] - started[1])))
        return result


class Rounds:
    """Measures floor, step and parts of one training, round by round."""

    def __init__(self, space: SearchSpace) -> None:
        self.timer = Timer()
        self.floor = Floor()
        self.trainer = Trainer(space, RandomDataSet(space), TrainingConfig(device="cpu"))
        self.muons = [optimizer for optimizer in self.trainer.optimizers if isinstance(optimizer, Muon)]
        self.gigaflops: list[float] = []

    def run(self, number: int) -> None:
        """One round: of the batch and the sub-network that the training draws for that step."""
        trainer, timer, config = self.trainer, self.timer, self.trainer.config
        trainer.begin(number)
        batch, drawn = timer("data", lambda: trainer.draw(next(trainer.batches)))
        spec = drawn.subs[0]
        shards = [part_of(batch, rows) for rows in shard_slices(config.batch_size, trainer.shards)]
        members = {"full network": trainer.supernet.full, "sub-network": trainer.supernet.extract(spec)}
        works = {name: [network_work(member, shard) for shard in shards] for name, member in members.items()}
        self._floor({**works, "Muon": [muon_work(muon) for muon in self.muons]})
        for name, member in members.items():
            timer(name, partial(run_shards, partial(passes, member), shards))
        timer("gradients of both", lambda: elastic_step(trainer.supernet, [spec], batch, shards=trainer.shards))
        timer("clipping", lambda: nn.utils.clip_grad_norm_(trainer.supernet.parameters(), config.max_grad_norm))
        timer("Muon", lambda: run_shards(lambda muon: muon.step(), self.muons))
        timer("AdamW", trainer.optimizers[-1].step)
        timer("average", lambda: trainer.ema.step(trainer.supernet.parameters()))
        trainer.begin(number)
        timer("step", lambda: trainer.train_step(0.5))

    def _floor(self, works: Mapping[str, list[Counter[Work]]]) -> None:
        everything = [work for shared in works.values() for work in shared]
        for work in everything:
            self.floor.prepare(work)
        for name, shared in works.items():
            self.timer(f"floor, {name}", partial(run_shards, self.floor.run, shared))
        self.gigaflops.append(sum(piece.flops * times for work in everything for piece, times in work.items()) / 1e9)


def measure(space_name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per round of the floor, the step and its parts, and what the floor multiplies."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    measured = Rounds(get_space(space_name))
    for number in range(rounds + 1):
        measured.run(number)
    found = {name: np.asarray(pairs[1:]) for name, pairs in measured.timer.found.items()}
    passes_of_both = found["full network"] + found["sub-network"]
    found["gradients, sums and losses"] = found.pop("gradients of both") - passes_of_both
    return {
        "ms": {name: pairs.tolist() for name, pairs in found.items()},
        "gigaflops": measured.gigaflops[1:],
        "peak_gigaflops_per_s": peak_rate(),
    }


def passes(member: SubDiT, batch: Batch) -> None:
    """Forward and backward passes of one network, as a step makes them."""
    velocity = member(batch.latents, 1000 * batch.sigma, *batch.text)
    torch.autograd.grad((velocity - batch.noise).square().mean(), list(member.parameters()))


def part_of(batch: Batch, rows: slice) -> Batch:
    text = tuple(tokens[rows] for tokens in batch.text)
    return Batch(batch.latents[rows], batch.noise[rows], batch.sigma[rows], text)


def peak_rate() -> float:
    """10^9 operations per second of one core in the largest product that its second cache holds."""
    product = Product("x W^T", 1, 256, 256, 256)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rate = product.flops / min(map(least_seconds, product_calls(product))) / 1e9
    torch.set_num_threads(before)
    return rate


def table(measured: dict[str, Any], label: str) -> list[str]:
    """Rows: medians in milliseconds, and the quartiles of step over floor within a round."""
    ms = {name: np.asarray(pairs) for name, pairs in measured["ms"].items()}
    floors = [name for name in ms if name.startswith("floor, ")]
    lines = [f"{label}, median ms", f"  {'':<30}{'wall':>9}{'processor':>11}"]

    def row(name: str, pairs: Any) -> str:
        return f"  {name:<30}{np.median(pairs[:, 0]):>9.1f}{np.median(pairs[:, 1]):>11.1f}"

    total = np.sum([ms[name] for name in floors], axis=0)
    lines += [row(name, ms[name]) for name in floors] + [row("floor", total)]
    lines += [row(name, ms[name]) for name in PARTS] + [row("step", ms["step"])]
    for clock, name in enumerate(("wall", "processor")):
        low, middle, high = np.percentile(ms["step"][:, clock] / total[:, clock], [25, 50, 75])
        lines.append(f"  step / floor, {name:<10} {middle:>6.2f} ({low:.2f} to {high:.2f})")
    work, rate = np.median(measured["gigaflops"]), measured["peak_gigaflops_per_s"]
    lines.append(f"  {work:.1f} GFLOP in products; at {rate:.0f} GFLOP/s of one core {1000 * work / rate:.1f} ms of it")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=list(SPACES), help="names of spaces, or space files")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--child", action="store_true", help="measure in this process and print JSON")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.spaces[0], options.threads[0], options.rounds)))
        return
    lines = [
        f"Elastic steps of batch {TrainingConfig().batch_size} against their matrix products, {options.rounds} rounds",
        f"machine: {cpu_model()}, {os.cpu_count()} cores; torch {torch.__version__}",
        f"load average before: {os.getloadavg()[0]:.1f}",
    ]
    everything: dict[str, Any] = {}
    for space in options.spaces:
        for threads in options.threads:
            command = [sys.executable, __file__, space, "--child", "--threads", str(threads)]
            done = subprocess.run(
                [*command, "--rounds", str(options.rounds)], stdout=subprocess.PIPE, text=True, check=True
            )
            label = f"{get_space(space).name}, {threads} thread{'s' if threads > 1 else ''}"
            everything[label] = json.loads(done.stdout)
            lines += ["", *table(everything[label], label)]
    print("\n".join(lines))
    if not options.no_write:
        # One result per kind of processor, whose libraries decide the ratio.
        words = re.findall(r"[a-z]{2,}", re.sub(r"\(r\)|processor|cpu", "", cpu_model().lower()))
        name = "_".join(["step_profile", *words[:2]])
        RESULTS.mkdir(exist_ok=True)
        write_atomic(RESULTS / f"{name}.txt", "\n".join(lines) + "\n")
        write_json(RESULTS / f"{name}.json", {"machine": cpu_model(), "measured": everything})


if __name__ == "__main__":
    main()
