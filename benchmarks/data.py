"""Encoding of captioned pictures and reading them back: time, memory, exactness when killed, share of a training step.

    python -m benchmarks.data --pictures 20000

Pictures of 64 pixels are drawn here; latents are of an untrained AutoencoderTiny of factor 4, and text of a BERT of
MiniLM's size with random weights, 24 tokens, which takes as long as a trained one. The encoding is run whole, and again
with five kills at random moments; both must leave the same bytes. Reading is timed in this process, one batch of 64
after the other in the order of training, against elastic steps of the digits' network on these latents.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from subdit.space import SearchSpace
from subdit.space import TextInput
from subdit.space import get_space
from subdit.space import register_space

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
NAME = "pictures-64"
BATCH = 64
KILLS = 5


def space() -> SearchSpace:
    """The digits' network on latents of 16x16x4 with a sentence encoder's text."""
    digits = get_space("digits")
    named = {name: replace(spec, space=NAME) for name, spec in digits.named.items()}
    text = (TextInput("bert", 384, 24),)
    return register_space(replace(digits, name=NAME, latent_size=16, latent_channels=4, text_inputs=text, named=named))


def make_models(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderTiny
    from transformers import BertConfig
    from transformers import BertModel

    from tests.supernet.data.tiny_models import save_tokenizer

    torch.manual_seed(0)
    blocks = {"encoder_block_out_channels": (32,) * 3, "decoder_block_out_channels": (32,) * 3}
    counts = {"num_encoder_blocks": (1, 2, 2), "num_decoder_blocks": (2, 2, 1)}
    AutoencoderTiny(latent_channels=4, **blocks, **counts).save_pretrained(str(folder / "vae"))
    save_tokenizer(folder / "bert", begin="[CLS]", end="[SEP]", pad="[PAD]")
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(str(folder / "bert"))


def encode(folder: Path, out: Path, kill_after_s: float | None = None) -> None:
    from supernet.data.encoding import encode as encode_pictures
    from supernet.data.encoding_config import EncodingConfig

    began = time.perf_counter()

    def progress(done: float, total: float, note: str) -> None:
        if kill_after_s is not None and time.perf_counter() - began > kill_after_s:
            os.kill(os.getpid(), signal.SIGKILL)

    config = EncodingConfig(device="cpu", statistics_bound=100.0)
    text = {"bert": str(folder / "bert")}
    encode_pictures(
        folder / "pictures", out, space=space(), text=text, vae=folder / "vae", config=config, progress=progress
    )
    if kill_after_s is None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        facts = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s, "peak_mb": used.ru_maxrss / 1024}
        print(json.dumps(facts))


def child(folder: Path, out: Path, kill_after_s: float | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, "--child", str(folder), str(out)]
    command += [] if kill_after_s is None else ["--kill-after-s", str(kill_after_s)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)


def content(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((out / "shards").iterdir())}


def loading(out: Path, steps: int) -> dict[str, float]:
    """Median milliseconds of reading a batch, and of an elastic step on it."""
    import torch

    from supernet.data.encoded_data_set import EncodedDataSet
    from supernet.data.loader import BatchOrder
    from supernet.model.elastic import ElasticDiT
    from supernet.training.elastic_step import Batch
    from supernet.training.elastic_step import elastic_step

    data_set = EncodedDataSet(out)
    order = BatchOrder(data_set.count("train"), BATCH)
    supernet = ElasticDiT(space=space().name)
    specs = space().decode(space().sample(np.random.default_rng(0), steps))
    times: dict[str, list[float]] = {"read": [], "step": []}
    for step, spec in enumerate(specs):
        began = time.perf_counter()
        read = data_set.read("train", order.rows(step).tolist())
        done = time.perf_counter()
        noise, sigma = torch.randn_like(read.latents), torch.rand(BATCH)
        elastic_step(supernet, [spec], Batch(read.latents, noise, sigma, read.text.embeddings, read.text.mask))
        times["read"].append(1000 * (done - began))
        times["step"].append(1000 * (time.perf_counter() - done))
    # The first steps open files and warm up.
    return {f"{name}_ms": float(np.median(values[2:])) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=30, help="of training, that reading is compared with")
    parser.add_argument("--child", nargs=2, type=Path, help="encode in this process, and print JSON")
    parser.add_argument("--kill-after-s", type=float)
    options = parser.parse_args()
    if options.child:
        encode(*options.child, kill_after_s=options.kill_after_s)
        return
    from profilers import cpu_model
    from subdit.core.files import write_atomic
    from subdit.core.files import write_json
    from tests.supernet.data.pictures import write_folder

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = write_folder(folder / "pictures", options.pictures, (64, 64))
        for number, file in enumerate(sorted(pictures.glob("*.txt"))):
            # All captions differ, as those of photographs do.
            words = " ".join(f"word{number // 30**place % 30}" for place in range(3))
            file.write_text(f"{file.read_text()} on white {words}")
        make_models(folder)
        whole = json.loads(child(folder, folder / "whole").stdout)
        rng = random.Random(0)
        moments = [rng.uniform(0.02, 0.25) * whole["wall_s"] for _ in range(KILLS)]
        killed = sum(child(folder, folder / "killed", moment).returncode == -signal.SIGKILL for moment in moments)
        child(folder, folder / "killed")
        exact = content(folder / "killed") == content(folder / "whole")
        stored_mb = sum(map(len, content(folder / "whole").values())) / 1e6
        reading = loading(folder / "whole", options.steps)
    share = reading["read_ms"] / (reading["read_ms"] + reading["step_ms"])
    lines = [
        f"{options.pictures:,} pictures of 64 pixels, latents of 16x16x4, text of 24 tokens of 384",
        f"machine: {cpu_model()}, {os.cpu_count()} cores; load average before: {load:.1f}",
        f"encoding: {whole['wall_s'] / 60:.1f} minutes, {whole['cpu_s'] / 60:.1f} of processors, "
        f"peak memory {whole['peak_mb']:,.0f} MB, {stored_mb:,.0f} MB stored",
        f"killed {killed} times and gone on with: {'the same bytes' if exact else 'OTHER BYTES'}",
        f"reading a batch of {BATCH}: {reading['read_ms']:.1f} ms, {share:.1%} of a step ({reading['step_ms']:.0f} ms)",
    ]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    write_atomic(RESULTS / "data.txt", "\n".join(lines) + "\n")
    facts = {"machine": cpu_model(), "pictures": options.pictures, "killed": killed, "exact": exact}
    write_json(RESULTS / "data.json", facts | {"encoding": whole, "reading": reading})


if __name__ == "__main__":
    main()
