"""How a supernet is trained, or a sub-DiT on its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """How a supernet is trained.

    Attributes:
        steps: of the optimisers; the learning rate is a function of them alone, and falls to zero by the last.
        ceiling_s: seconds after which the training is cut short and cooled down, None for never. Where it does not
            bind, the result depends on seed and threads alone.
        batch_size: images per step, seen by the full network and by one sub-network.
        muon_learning_rate: peak of Muon's, for the matrices inside blocks (scaled to AdamW's update size).
        muon_dtype: of Muon's Newton-Schulz iterations, "float32", "bfloat16", or "auto": bfloat16 on CUDA, float32 on
            a processor, many of which emulate bfloat16. A resumed training keeps the one that it began with.
        learning_rate: peak of AdamW's, for everything else.
        weight_decay: of both.
        warmup: share of the training in which the learning rate rises.
        ema_decay: of the weights that are saved.
        max_grad_norm: where gradients are clipped.
        text_drop: share of captions replaced by the empty prompt, so that guidance is possible.
        encoder_drop: chance of each text encoder to be left out, where there are several (paper: each independently,
            rate not given), so that a phone can go without the larger one.
        sub_weight: weight of the sub-network's losses.
        distill_weight: weight, within those, of the distance to the full network's output.
        seed: of weights, batches, noise and sampled sub-networks.
        save_every_s: seconds between resume states.
    """

    steps: int = 1235
    ceiling_s: float | None = 495.0
    batch_size: int = 64
    muon_learning_rate: float = 1e-2
    muon_dtype: str = "auto"
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    ema_decay: float = 0.99
    max_grad_norm: float = 1.0
    text_drop: float = 0.1
    encoder_drop: float = 0.1
    sub_weight: float = 1.0
    distill_weight: float = 1.0
    seed: int = 0
    save_every_s: float = 10.0
