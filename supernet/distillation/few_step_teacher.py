"""The few-step teacher: the full network with a LoRA that makes few Euler steps land where its 28 steps do.

The paper switches a published 4-step LoRA on and off on one big teacher. Here the full network draws its own
trajectories. At each of their points, a LoRA learns the mean velocity of the next segment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file
from torch import Tensor
from torch import nn

from subdit.core.errors import CheckpointError
from subdit.core.files import replacing
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.training_record import TEACHER_FILE
from subdit.core.training_record import TrainingRecord
from supernet.data.data_set import DataSet
from supernet.few_step_adapter import ADAPTER_FILE
from supernet.few_step_adapter import adapter_tensors
from supernet.few_step_adapter import add_few_step_adapter
from supernet.few_step_adapter import load_few_step_adapter
from supernet.flow_matching import mean_squared_error
from supernet.model.dit import SubDiT
from supernet.model.placement import device_of
from supernet.model.placement import full_precision
from supernet.model.placement import model_inputs
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.parallel import shard_slices
from supernet.parallel import sharded_backward
from supernet.recipe import FEW_STEPS
from supernet.recipe import MANY_STEPS
from supernet.recipe import SamplingRecipe
from supernet.sampling import euler_sigmas
from supernet.training.ema import moving_average
from supernet.training.resume_state import ResumeState
from supernet.training.resume_state import trainable
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_budget import record
from supernet.training.step_loop import run_steps

CHUNK = 256
"""Trajectories that are drawn at once, and saved before the next ones."""


@dataclass(frozen=True)
class FewStepConfig:
    """How the few-step teacher is made.

    Attributes:
        steps: training steps; the learning rate is a function of them alone.
        ceiling_s: seconds after which the training is cut short and cooled down, None for never. Drawing trajectories
            does not count.
        trajectories: number of trajectories, which are drawn before training.
        substeps: Euler steps within each segment, one of the few steps; None for 28 in all, or a little more.
        rank: rank of the LoRA.
        learning_rate: peak of Adam's learning rate; falls to zero by the last step.
        batch_size: trajectory points per step.
        seed: seed of noise, captions and batches.
    """

    steps: int = 320
    ceiling_s: float | None = None
    trajectories: int = 2048
    substeps: int | None = None
    rank: int = 32
    learning_rate: float = 5e-3
    batch_size: int = 64
    seed: int = 0

    def segment_substeps(self, recipe: SamplingRecipe) -> int:
        """Euler steps within each segment of a recipe."""
        return self.substeps or math.ceil(MANY_STEPS.steps / recipe.steps)

    def drawing_steps(self, recipe: SamplingRecipe) -> int:
        """Training steps that take about as long as drawing: a forward pass is a third of a step's work."""
        return round(self.trajectories * recipe.steps * self.segment_substeps(recipe) / (3 * self.batch_size))


@dataclass(frozen=True)
class Trajectories:
    """Points (count, segments + 1, channels, size, size) at segment ends, and the data rows of their captions."""

    points: Tensor
    rows: Tensor


def segment_sigmas(substeps: int, recipe: SamplingRecipe = FEW_STEPS) -> list[float]:
    """The sigmas of a few-step schedule with `substeps` equal steps inside each segment, from 1 to 0."""
    ends = euler_sigmas(recipe.steps, shift=recipe.shift)
    inner = [np.linspace(high, low, substeps + 1)[:-1] for high, low in zip(ends[:-1], ends[1:], strict=True)]
    return [*np.concatenate(inner).tolist(), 0.0]


def draw_trajectories(
    teacher: nn.Module, data: DataSet, rows: Tensor, *, substeps: int, seed: int, recipe: SamplingRecipe = FEW_STEPS
) -> Trajectories:
    """Euler trajectories from noise, conditioned without guidance on the captions of `rows` of the split train.

    Only their points at segment ends are kept. The teacher's device computes them; the result is on the CPU.
    """
    device, generator = device_of(teacher), torch.Generator().manual_seed(seed)
    read = data.read("train", rows.tolist())
    noise = torch.randn(read.latents.shape, generator=generator).to(device)
    sigmas = segment_sigmas(substeps, recipe)

    def draw(part: slice) -> Tensor:
        x = noise[part]
        conditions = tuple(tokens[part] for tokens in read.text.embeddings)
        points = [x]
        with torch.no_grad():
            for step, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True), start=1):
                inputs = model_inputs(teacher, x, x.new_full((len(x),), 1000 * sigma), conditions)
                x = x + (following - sigma) * full_precision(teacher(*inputs))
                if step % substeps == 0:
                    points.append(x)
        return torch.stack(points, dim=1)

    parts = run_shards(draw, shard_slices(len(rows), shard_count(), device))
    return Trajectories(torch.cat(parts).cpu(), rows)


def train_few_step_teacher(
    teacher: SubDiT,
    data: DataSet,
    folder: Path,
    *,
    config: FewStepConfig,
    recipe: SamplingRecipe = FEW_STEPS,
    progress: ProgressCallback = no_progress,
) -> None:
    """Give the teacher (the full network, in place) its few-step adapter, trained or loaded from the folder.

    `recipe` says for which few steps. Resumes from the files in the folder, which belongs to that recipe, and records
    there how far the training came.

    Raises:
        CheckpointError: a file in the folder is damaged.
        RunError: a begun training has another number of steps, or a ceiling cut it and there is none now.
    """
    adapter = folder / ADAPTER_FILE
    if not adapter.exists():
        drawn = _trajectories(teacher, data, folder, config, recipe, progress)
        add_few_step_adapter(teacher, rank=config.rank, seed=config.seed)
        made = _train(teacher, data, drawn, folder, config, recipe, progress)
        write_json(folder / TEACHER_FILE, made.to_dict())
        with replacing(adapter) as temporary:
            save_file(adapter_tensors(teacher), str(temporary))
        (folder / "state.safetensors").unlink(missing_ok=True)
    else:
        load_few_step_adapter(teacher, adapter)
    teacher.requires_grad_(False).eval()


def _trajectories(
    teacher: SubDiT,
    data: DataSet,
    folder: Path,
    config: FewStepConfig,
    recipe: SamplingRecipe,
    progress: ProgressCallback,
) -> Trajectories:
    substeps, drawing_steps = config.segment_substeps(recipe), config.drawing_steps(recipe)
    kept = folder / "trajectories.safetensors"
    parts: list[Trajectories] = []
    if kept.exists():
        try:
            parts = [Trajectories(**load_file(str(kept)))]
        except (OSError, SafetensorError, TypeError) as error:
            raise CheckpointError(f"The trajectories {kept} are damaged ({error}); delete the file.") from error
    teacher.eval()
    rng = np.random.default_rng([config.seed, 1])
    chunk, count = min(CHUNK, config.trajectories), 0
    there = sum(len(part.rows) for part in parts)
    while max(count, there) < config.trajectories:
        # Trajectories of a killed process are not drawn again, but their random numbers are, to reach the same state.
        rows, seed = torch.from_numpy(rng.integers(0, data.count("train"), chunk)), int(rng.integers(2**31))
        count += chunk
        if count <= there:
            continue
        parts.append(draw_trajectories(teacher, data, rows, substeps=substeps, seed=seed, recipe=recipe))
        there = count
        drawn = Trajectories(torch.cat([part.points for part in parts]), torch.cat([part.rows for part in parts]))
        with replacing(kept) as temporary:
            save_file({"points": drawn.points, "rows": drawn.rows}, str(temporary))
        done = drawing_steps * min(1.0, there / config.trajectories)
        progress(done, drawing_steps + config.steps, f"{there:,} of {config.trajectories:,} trajectories")
    return Trajectories(torch.cat([part.points for part in parts]), torch.cat([part.rows for part in parts]))


def _train(
    teacher: SubDiT,
    data: DataSet,
    drawn: Trajectories,
    folder: Path,
    config: FewStepConfig,
    recipe: SamplingRecipe,
    progress: ProgressCallback,
) -> TrainingRecord:
    budget = StepBudget(config.steps, config.ceiling_s)
    learned = trainable(teacher)
    optimizer = torch.optim.Adam(learned, lr=config.learning_rate, betas=(0.9, 0.99))
    ema = moving_average(learned, decay=0.99)
    kept = ResumeState(folder / "state.safetensors", {"teacher": (teacher, [optimizer])}, {"teacher": ema})
    begun = kept.load(budget)
    device = device_of(teacher)
    ends = torch.from_numpy(euler_sigmas(recipe.steps, shift=recipe.shift)).float().to(device)
    points = drawn.points.to(device)
    drawing_steps = config.drawing_steps(recipe)
    teacher.train()

    def work(state: StepState) -> str:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        picked = torch.randint(len(drawn.rows), (config.batch_size,), generator=generator)
        segment = torch.randint(recipe.steps, (config.batch_size,), generator=generator)
        x, following = points[picked, segment], points[picked, segment + 1]
        target = (following - x) / (ends[segment + 1] - ends[segment]).reshape(-1, 1, 1, 1)
        sigma, conditions = ends[segment], data.read("train", drawn.rows[picked].tolist()).text.tensors(device)

        def loss_of(part: slice) -> Tensor:
            predicted = teacher(x[part], 1000 * sigma[part], *(tokens[part] for tokens in conditions))
            return mean_squared_error(predicted, target[part])

        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_share(budget, state, warmup_and_cosine)
        loss = sharded_backward(loss_of, learned, config.batch_size)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        ema.step(learned)
        return f"loss {loss:.4f}"

    def after_drawing(done: float, total: float, note: str) -> None:
        progress(drawing_steps + done, drawing_steps + total, note)

    reached = run_steps(budget, begun, kept, work, progress=after_drawing)
    ema.copy_to(learned)
    return record(budget, reached)


def warmup_and_cosine(share: float) -> float:
    """Share of the peak learning rate at a share of the training: a warm-up of one twentieth, then a cosine to 0."""
    return float(min(1.0, share / 0.05 + 0.01) * (1 + np.cos(np.pi * share)) / 2)
