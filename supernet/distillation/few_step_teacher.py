"""The few-step teacher: the full network with a LoRA that makes four Euler steps land where its 28 steps do.

The paper switches a published 4-step LoRA on and off on one big teacher. Here the full network draws trajectories of
its own, and a LoRA learns, from each trajectory's points, the mean velocity of the segment that follows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file
from torch import Tensor
from torch import nn

from subdit.errors import CheckpointError
from subdit.progress import ProgressCallback
from subdit.progress import no_progress
from subdit.run import replacing
from supernet.data import CaptionedLatents
from supernet.dit import SubDiT
from supernet.flow_matching import mean_squared_error
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.parallel import shard_slices
from supernet.parallel import sharded_backward
from supernet.resume_state import ResumeState
from supernet.resume_state import trainable
from supernet.sampling import euler_sigmas
from supernet.validation import text_tensors

STEPS = 4
SHIFT = 3.0
ADAPTER = "few_step"


@dataclass(frozen=True)
class FewStepConfig:
    """How the few-step teacher is made.

    Attributes:
        budget_s: seconds in all.
        trajectory_share: share of them that may go into drawing trajectories.
        trajectories: trajectories at most.
        substeps: Euler steps within each of the four segments; 7 gives 28 in all.
        rank: of the LoRA.
        learning_rate: peak of Adam's; falls to zero by the end of the budget.
        batch_size: trajectory points per step.
        steps: training steps instead of seconds, where given.
        seed: of noise, captions and batches.
    """

    budget_s: float = 100.0
    trajectory_share: float = 0.4
    trajectories: int = 2048
    substeps: int = 7
    rank: int = 32
    learning_rate: float = 5e-3
    batch_size: int = 64
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trajectories:
    """Points (count, segments + 1, channels, size, size) at segment ends, and the data row that captions each."""

    points: Tensor
    rows: Tensor


def segment_sigmas(substeps: int) -> list[float]:
    """The sigmas of the 4-step schedule with `substeps` equal steps inside each segment, from 1 to 0."""
    ends = euler_sigmas(STEPS, shift=SHIFT)
    inner = [np.linspace(high, low, substeps + 1)[:-1] for high, low in zip(ends[:-1], ends[1:], strict=True)]
    return [*np.concatenate(inner).tolist(), 0.0]


def draw_trajectories(
    teacher: nn.Module, text: tuple[Tensor, ...], rows: Tensor, shape: tuple[int, ...], *, substeps: int, seed: int
) -> Trajectories:
    """Euler trajectories from noise, conditioned without guidance on the captions of `rows`, kept at segment ends."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(rows), *shape, generator=generator)
    sigmas = segment_sigmas(substeps)

    def draw(part: slice) -> Tensor:
        x = noise[part]
        conditions = tuple(tokens[rows[part]] for tokens in text)
        points = [x]
        with torch.no_grad():
            for at, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True), start=1):
                x = x + (following - sigma) * teacher(x, torch.full((len(x),), 1000 * sigma), *conditions)
                if at % substeps == 0:
                    points.append(x)
        return torch.stack(points, dim=1)

    return Trajectories(torch.cat(run_shards(draw, shard_slices(len(rows), shard_count()))), rows)


def add_few_step_adapter(teacher: SubDiT, *, rank: int, seed: int = 0) -> None:
    """Put a LoRA on every linear of the teacher, freeze the rest; with the adapter off the teacher is what it was."""
    from peft import LoraConfig

    targets = [name for name, module in teacher.named_modules() if isinstance(module, nn.Linear)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        teacher.requires_grad_(False)
        teacher.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), adapter_name=ADAPTER)
    # Without an optimiser step the adapter is an identity; both modes share one set of base weights.


def train_few_step_teacher(
    teacher: SubDiT,
    data: CaptionedLatents,
    folder: Path,
    *,
    config: FewStepConfig,
    progress: ProgressCallback = no_progress,
) -> None:
    """Give the teacher (the full network, in place) its few-step adapter, trained or loaded from the folder.

    Resumes from what the folder holds. Raises `CheckpointError` where that is damaged.
    """
    adapter = folder / "few_step_lora.safetensors"
    if not adapter.exists():
        text = text_tensors(teacher.spec.space, data.captions)
        started = time.perf_counter()
        drawn = _trajectories(teacher, text, data, folder, config, progress)
        drawing_s = min(time.perf_counter() - started, config.trajectory_share * config.budget_s)
        add_few_step_adapter(teacher, rank=config.rank, seed=config.seed)
        _train(teacher, text, drawn, folder, config, drawing_s, progress)
        with replacing(adapter) as temporary:
            save_file(_adapter_tensors(teacher), str(temporary))
        (folder / "state.safetensors").unlink(missing_ok=True)
    else:
        try:
            saved = load_file(str(adapter))
            rank = saved[next(name for name in saved if "lora_A" in name)].shape[0]
            add_few_step_adapter(teacher, rank=rank, seed=config.seed)
            for name, parameter in _adapter_tensors(teacher).items():
                parameter.copy_(saved[name])
        except (OSError, SafetensorError, KeyError, RuntimeError, StopIteration) as error:
            raise CheckpointError(
                f"The few-step LoRA {adapter} is damaged ({error}); delete it to make it anew."
            ) from error
    teacher.requires_grad_(False).eval()


def _adapter_tensors(teacher: SubDiT) -> dict[str, Tensor]:
    return {name: value.data for name, value in teacher.named_parameters() if f".{ADAPTER}." in name}


def _trajectories(
    teacher: SubDiT,
    text: tuple[Tensor, ...],
    data: CaptionedLatents,
    folder: Path,
    config: FewStepConfig,
    progress: ProgressCallback,
) -> Trajectories:
    kept = folder / "trajectories.safetensors"
    if kept.exists():
        try:
            return Trajectories(**load_file(str(kept)))
        except (OSError, SafetensorError, TypeError) as error:
            raise CheckpointError(f"The trajectories {kept} are damaged ({error}); delete the file.") from error
    teacher.eval()
    rng = np.random.default_rng([config.seed, 1])
    chunk, started = min(256, config.trajectories), time.perf_counter()
    parts: list[Trajectories] = []
    budget_s = config.trajectory_share * config.budget_s
    while sum(len(part.rows) for part in parts) < config.trajectories:
        if parts and config.steps is None and time.perf_counter() - started > budget_s:
            break
        rows = torch.from_numpy(rng.integers(0, len(data), chunk))
        shape = data.latents.shape[1:]
        seed = int(rng.integers(2**31))
        parts.append(draw_trajectories(teacher, text, rows, shape, substeps=config.substeps, seed=seed))
        count = sum(len(part.rows) for part in parts)
        progress(min(time.perf_counter() - started, budget_s), config.budget_s, f"{count} trajectories")
    drawn = Trajectories(torch.cat([part.points for part in parts]), torch.cat([part.rows for part in parts]))
    with replacing(kept) as temporary:
        save_file({"points": drawn.points, "rows": drawn.rows}, str(temporary))
    return drawn


def _train(
    teacher: SubDiT,
    text: tuple[Tensor, ...],
    drawn: Trajectories,
    folder: Path,
    config: FewStepConfig,
    drawing_s: float,
    progress: ProgressCallback,
) -> None:
    learned = trainable(teacher)
    optimizer = torch.optim.Adam(learned, lr=config.learning_rate, betas=(0.9, 0.99))
    ema = EMAModel(learned, decay=0.99, use_ema_warmup=True, power=0.75)
    state = ResumeState(folder / "state.safetensors", {"teacher": (teacher, [optimizer])}, {"teacher": ema})
    step, elapsed_s = state.load()
    saved_s = elapsed_s
    ends = torch.from_numpy(euler_sigmas(STEPS, shift=SHIFT)).float()
    budget_s = config.budget_s - drawing_s
    teacher.train()
    while (share := elapsed_s / budget_s if config.steps is None else step / config.steps) < 1:
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        picked = torch.randint(len(drawn.rows), (config.batch_size,), generator=generator)
        segment = torch.randint(STEPS, (config.batch_size,), generator=generator)
        x, following = drawn.points[picked, segment], drawn.points[picked, segment + 1]
        target = (following - x) / (ends[segment + 1] - ends[segment]).reshape(-1, 1, 1, 1)
        at, conditions = ends[segment], tuple(tokens[drawn.rows[picked]] for tokens in text)

        def loss_of(part: slice) -> Tensor:
            predicted = teacher(x[part], 1000 * at[part], *(tokens[part] for tokens in conditions))  # noqa: B023
            return mean_squared_error(predicted, target[part])  # noqa: B023

        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, share / 0.05 + 0.01) * (1 + np.cos(np.pi * share)) / 2
        loss = sharded_backward(loss_of, learned, config.batch_size)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        ema.step(learned)
        step, elapsed_s = step + 1, elapsed_s + time.perf_counter() - started
        if elapsed_s - saved_s > 10:
            saved_s = elapsed_s
            state.save(step=step, elapsed_s=elapsed_s)
        progress(drawing_s + share * budget_s, config.budget_s, f"step {step}, loss {loss:.4f}")
    ema.copy_to(learned)
