"""How a supernet is trained, or a sub-DiT on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from subdit.core.errors import ConfigError
from subdit.core.settings import check_settings
from subdit.core.settings import setting

OPTIMIZERS = ("muon", "adamw")
BALANCES = ("tensor", "global", "none")
SUB_SAMPLINGS = ("uniform", "sandwich", "near")
SHORT_STEPS = 1235
"""Steps up to which the highest learning rates are stable: with them the loss of a longer training of `emoji-32` rose
from step 800 on, and the norm of its gradients sevenfold (docs/results.md)."""
PRECISIONS = ("auto", "fp32", "bf16")
LOGS = ("auto", "jsonl", "tensorboard")


@dataclass(frozen=True)
class TrainingConfig:
    """How a supernet is trained. What each field means stands beside it.

    Raises:
        ConfigError: a value that cannot be, or two that contradict each other.
    """

    # Length
    steps: int = setting(
        SHORT_STEPS,
        "Steps of the optimisers; the learning rate is a function of them alone, and falls to zero by the last.",
        minimum=1,
        maximum=10**9,
    )
    ceiling_s: float | None = setting(
        None,
        "Seconds after which the training is cut short and cooled down, where there are any; while they do not bind, "
        "the result depends on seed and threads alone.",
        above=0,
    )
    # Batches
    batch_size: int = setting(
        64, "Images per step, seen by the full network and by one sub-network.", minimum=1, maximum=2**20
    )
    accumulation: int = setting(
        1, "Parts that a batch goes through in, one after the other; more take less memory.", minimum=1, maximum=2**20
    )
    workers: int = setting(0, "Processes that read the data ahead, 0 for none.", minimum=0, maximum=256)
    seed: int = setting(0, "Of weights, batches, noise and sampled sub-networks.", minimum=0, maximum=2**32 - 1)
    # Machine
    device: str = setting("auto", "Where to train: cpu, cuda, mps; auto takes CUDA or MPS where there is one.")
    precision: str = setting(
        "auto",
        "Of products in forward and backward passes: fp32, or bf16 by autocast with weights and sums in fp32; auto "
        "takes bf16 on CUDA. A resumed training keeps the one that it began with.",
        choices=PRECISIONS,
    )
    gradient_checkpointing: bool = setting(
        False, "Whether blocks run again in the backward pass, which takes less memory and more time."
    )
    # Optimisers
    optimizer: str = setting(
        "muon",
        "Muon for the matrices inside blocks and AdamW for everything else, or adamw for all.",
        choices=OPTIMIZERS,
    )
    learning_rate: float | None = setting(
        None,
        "Peak of AdamW's learning rate; without one 5e-3 up to 1,235 steps, and lower for more, by the root of their "
        "number.",
        above=0,
    )
    muon_learning_rate: float | None = setting(
        None,
        "Peak of Muon's, which is scaled to AdamW's update size; without one 1e-2, and lower for more steps, too.",
        above=0,
    )
    muon_dtype: str = setting(
        "auto",
        "Of Muon's Newton-Schulz iterations; auto: bfloat16 on CUDA, float32 on a processor, many of which emulate "
        "bfloat16. A resumed training keeps the one that it began with.",
        choices=("auto", "float32", "bfloat16"),
    )
    weight_decay: float = setting(0.01, "Of both optimisers.", minimum=0)
    warmup: float = setting(0.05, "Share of the training in which the learning rate rises.", minimum=0, below=1)
    max_grad_norm: float = setting(1.0, "Where gradients are clipped.", above=0)
    ema_decay: float = setting(0.99, "Of the moving average of the weights, which is saved.", minimum=0, below=1)
    # Members of a step
    sub_networks: int = setting(
        1,
        "Sub-networks of a step, beside the full network; more take more time, and 0 trains the full network alone.",
        minimum=0,
        maximum=64,
    )
    sub_sampling: str = setting(
        "uniform",
        "How they are drawn: each uniformly from the space, as in the paper; sandwich has the smallest in every step; "
        "near has those that are next to the first in FLOPs, of a number drawn.",
        choices=SUB_SAMPLINGS,
    )
    draw_full_bna: bool = setting(
        False, "Whether the full network's strips and radius of attention are drawn at each step, too."
    )
    balance: str = setting(
        "tensor",
        "How sub-networks' gradients are scaled to at most the full network's norm: each tensor by itself, all by one "
        "factor (global), or not at all (none).",
        choices=BALANCES,
    )
    # Data
    augmentation: float = setting(
        0.0,
        "How much pictures are moved, stretched and turned at most, each in each step in its own way: 0.1 is a "
        "twentieth of the side and a tenth of the size; for latents that are pixels.",
        minimum=0,
        below=1,
    )
    # Losses
    sigma_shift: float | None = setting(
        None,
        "Shift of the noise levels towards noise; without one by the space's resolution: 1 up to 256 tokens, 3 at "
        "4,096. The supernet is sampled with the same.",
        above=0,
    )
    text_drop: float = setting(
        0.1, "Share of captions replaced by the empty prompt, so that guidance is possible.", minimum=0, maximum=1
    )
    encoder_drop: float = setting(
        0.1,
        "Chance of each text encoder to be left out, where there are several, so that a phone can go without the "
        "larger one.",
        minimum=0,
        below=1,
    )
    sub_weight: float = setting(1.0, "Weight of the sub-network's losses.", minimum=0)
    distill_weight: float = setting(
        1.0, "Weight, within those, of the distance to the full network's output.", minimum=0
    )
    # Beginning
    start_from: Path | None = setting(
        None, "Folder of a supernet, or of a sub-DiT of the full network's shape, whose weights to begin with."
    )
    # What is kept and looked at
    save_every_s: float = setting(10.0, "Seconds between resume states.", minimum=0)
    validate_every: int = setting(
        0,
        "Steps between validations of the named points, on the same pictures, noise and timesteps; 0 for none.",
        minimum=0,
        maximum=10**9,
    )
    keep_checkpoints: int = setting(
        0,
        "Checkpoints of the averaged weights that are kept, the last ones; each validation writes one, and the best "
        "stays as well.",
        minimum=0,
        maximum=10**9,
    )
    sample_every: int = setting(
        0, "Steps between pictures of the same prompts and noise; 0 for none.", minimum=0, maximum=10**9
    )
    sample_prompts: tuple[str, ...] = setting((), "Their prompts; none for the example prompt of the space.")
    log: str = setting(
        "auto",
        "Where metrics go beside metrics.jsonl: tensorboard, jsonl for nowhere; auto takes TensorBoard where it is "
        "installed.",
        choices=LOGS,
    )

    @property
    def adamw_peak(self) -> float:
        """AdamW's peak learning rate: the one that is set, or the one for this number of steps."""
        return self.learning_rate or 5e-3 * self._length_factor

    @property
    def muon_peak(self) -> float:
        """Muon's, in the same way."""
        return self.muon_learning_rate or 1e-2 * self._length_factor

    @property
    def _length_factor(self) -> float:
        return min(1.0, (SHORT_STEPS / self.steps) ** 0.5)

    def __post_init__(self) -> None:
        if isinstance(self.sample_prompts, list):
            object.__setattr__(self, "sample_prompts", tuple(self.sample_prompts))
        check_settings(self)
        if self.accumulation > self.batch_size:
            raise ConfigError(
                f"A batch of {self.batch_size} images does not go through in {self.accumulation} parts; give a lower "
                "accumulation or a larger batch_size."
            )
        if self.sub_sampling != "uniform" and self.sub_networks < 2:
            raise ConfigError(
                f"sub_sampling {self.sub_sampling} is of several sub-networks in a step; give sub_networks 2 or more."
            )
        if self.keep_checkpoints and not self.validate_every:
            raise ConfigError("Checkpoints are written by validations, of which there are none; give validate_every.")
