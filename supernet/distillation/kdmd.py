"""K-DMD: distribution matching and distillation from a few-step teacher, together (SnapGen++, section 4, Eq. 10).

The real-score teacher is the full network with its few-step adapter off; the few-step teacher is the same network with
the adapter on. The student is an extracted sub-DiT. The critic starts as a copy of the student and learns the score of
the student's samples. Student and critic alternate. As in the paper both are a LoRA, on one frozen network; below width
256 all their weights are trained, because a LoRA of the paper's rank 64 would be about as large.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import ConfigError
from subdit.core.errors import RunError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.training_record import TrainingRecord
from supernet.data.data_set import DataSet
from supernet.distillation.backward_simulation import simulate
from supernet.distillation.conversions import velocity_to_x0
from supernet.distillation.losses import dmd_loss
from supernet.distillation.losses import feature_loss
from supernet.distillation.losses import output_loss
from supernet.flow_matching import add_noise
from supernet.flow_matching import guided_velocity
from supernet.flow_matching import mean_squared_error
from supernet.flow_matching import shift_sigma
from supernet.flow_matching import velocity
from supernet.lora import add_lora
from supernet.lora import merge_lora
from supernet.lora import sharing_copy
from supernet.model.dit import SubDiT
from supernet.model.placement import device_of
from supernet.parallel import run_shards
from supernet.parallel import shard_count
from supernet.parallel import shard_slices
from supernet.parallel import sharded_backward
from supernet.recipe import FEW_STEPS
from supernet.recipe import SamplingRecipe
from supernet.sampling import euler_sigmas
from supernet.training.ema import moving_average
from supernet.training.resume_state import ResumeState
from supernet.training.resume_state import resume_facts
from supernet.training.resume_state import trainable
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_budget import record
from supernet.training.step_loop import run_steps

DATA, SIMULATED = "data", "simulated"
AUTO, FULL, LORA = "auto", "full", "lora"
FULL_BELOW_WIDTH = 256
_SIMULATION = 1 << 40
"""Between the seeds of data and of simulations, which no number of iterations bridges."""


@dataclass(frozen=True)
class KDMDConfig:
    """How a student is distilled.

    The paper sums its three terms unweighted, at the scales of its big teacher. Here the teacher is close to the
    student, so L_out is the smallest term by far, and counts four times.

    Attributes:
        steps: iterations; the learning rate is a function of them alone.
        ceiling_s: seconds after which the distillation is cut short and cooled down, None for never.
        student_every: iterations per update of the student; the others update the critic (paper: 5).
        batch_size: images per iteration.
        learning_rate: of student and critic at the start (paper: 1e-4 at its size); falls to zero by the end.
        guidance_scale: guidance of the real score; None takes the best of `guidance_choices` on validation images.
        guidance_choices: scales that are tried then.
        dmd_weight, output_weight, feature_weight: weights of L_DMD, L_out, L_feat; 0 leaves a term out.
        ema_decay: decay of the average of the student's weights, which is the result.
        seed: seed of batches, noise and sigmas.
        x_t: where the student's inputs come from: "data", noised pictures, or "simulated", its own steps from noise.
        trained: "full" trains all weights of student and critic, "lora" a LoRA on each; "auto" is full below width 256.
        lora_rank, lora_alpha: of these LoRAs (paper: 64 and 128).
    """

    steps: int = 2000
    ceiling_s: float | None = None
    student_every: int = 2
    batch_size: int = 64
    learning_rate: float = 1e-3
    guidance_scale: float | None = None
    guidance_choices: tuple[float, ...] = (1.0, 1.5, 2.0)
    dmd_weight: float = 1.0
    output_weight: float = 4.0
    feature_weight: float = 1.0
    ema_decay: float = 0.99
    seed: int = 0
    x_t: str = DATA
    trained: str = AUTO
    lora_rank: int = 64
    lora_alpha: float = 128.0

    def __post_init__(self) -> None:
        if self.trained not in (AUTO, FULL, LORA):
            raise ConfigError(f"K-DMD cannot train {self.trained!r}; choose {AUTO}, {FULL} or {LORA}.")
        if self.x_t not in (DATA, SIMULATED):
            raise ConfigError(f"There is no x_t {self.x_t!r} in K-DMD; choose {DATA} or {SIMULATED}.")

    def trained_of(self, student: SubDiT) -> str:
        """What is trained of a student: "full" or "lora"."""
        if self.trained != AUTO:
            return self.trained
        return FULL if student.config["width"] < FULL_BELOW_WIDTH else LORA


@dataclass(frozen=True)
class Scores:
    """The frozen networks: velocities of both teachers, and the few-step teacher's last tokens."""

    teacher: SubDiT

    def real(
        self, x: Tensor, sigma: Tensor, text: tuple[Tensor, ...], empty: tuple[Tensor, ...], scale: float
    ) -> Tensor:
        """The many-step teacher's velocity with classifier-free guidance."""
        self.teacher.disable_adapters()
        with torch.no_grad():
            conditional = self.teacher(x, 1000 * sigma, *text)
            if scale == 1:
                return conditional
            unconditional = self.teacher(x, 1000 * sigma, *(tokens.expand(len(x), -1, -1) for tokens in empty))
            return guided_velocity(conditional, unconditional, scale)

    def few_step(self, x: Tensor, sigma: Tensor, text: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The few-step teacher's velocity and final-layer tokens."""
        self.teacher.enable_adapters()
        with torch.no_grad():
            tokens, modulation = self.teacher.features(x, 1000 * sigma, *text)
            return self.teacher.final_layer(tokens, modulation[:, 6:8]), tokens


class Student(nn.Module):
    """The student and its projector phi from its width to the teacher's (Eq. 7)."""

    def __init__(self, model: SubDiT, teacher_width: int) -> None:
        super().__init__()
        self.model = model
        width = model.config["width"]
        self.phi = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, teacher_width))

    def forward(self, x: Tensor, sigma: Tensor, text: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Velocity, and tokens projected to the teacher's width."""
        tokens, modulation = self.model.features(x, 1000 * sigma, *text)
        return self.model.final_layer(tokens, modulation[:, 6:8]), self.phi(tokens)


@dataclass(frozen=True)
class KDMDBatch:
    """Noised data x_t at sigmas of the few-step schedule, with fresh noise and sigmas tau for the scores."""

    x_t: Tensor
    sigma: Tensor
    tau: Tensor
    noise: Tensor
    text: tuple[Tensor, ...]

    def take(self, rows: slice) -> KDMDBatch:
        """A slice of its rows."""
        text = tuple(tokens[rows] for tokens in self.text)
        return KDMDBatch(self.x_t[rows], self.sigma[rows], self.tau[rows], self.noise[rows], text)


def student_loss(
    student: Student,
    critic: SubDiT,
    scores: Scores,
    batch: KDMDBatch,
    empty: tuple[Tensor, ...],
    config: KDMDConfig,
    guidance_scale: float,
    targets: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """L_DMD + L_out + L_feat (Eq. 10); only the student and its projector receive gradient.

    `targets` are `scores.few_step` of the batch, if they are computed already.
    """
    predicted, projected = student(batch.x_t, batch.sigma, batch.text)
    loss = predicted.new_zeros(())
    if config.dmd_weight:
        x0 = velocity_to_x0(batch.x_t, predicted, batch.sigma)
        noised = add_noise(x0.detach(), batch.noise, batch.tau)
        with torch.no_grad():
            fake = velocity_to_x0(noised, critic(noised, 1000 * batch.tau, *batch.text), batch.tau)
        real = velocity_to_x0(noised, scores.real(noised, batch.tau, batch.text, empty, guidance_scale), batch.tau)
        loss = loss + config.dmd_weight * dmd_loss(x0, fake, real)
    if config.output_weight or config.feature_weight:
        target, tokens = targets or scores.few_step(batch.x_t, batch.sigma, batch.text)
        loss = loss + config.output_weight * output_loss(predicted, target)
        loss = loss + config.feature_weight * feature_loss(projected, tokens)
    return loss


def critic_loss(student: Student, critic: SubDiT, batch: KDMDBatch) -> Tensor:
    """Flow-matching loss of the critic on the student's samples; only the critic receives gradient."""
    with torch.no_grad():
        predicted, _ = student(batch.x_t, batch.sigma, batch.text)
        x0 = velocity_to_x0(batch.x_t, predicted, batch.sigma)
    noised = add_noise(x0, batch.noise, batch.tau)
    return mean_squared_error(critic(noised, 1000 * batch.tau, *batch.text), velocity(x0, batch.noise))


def distill_kdmd(
    student_model: SubDiT,
    teacher: SubDiT,
    data: DataSet,
    state_path: Path,
    *,
    config: KDMDConfig,
    guidance_scale: float,
    recipe: SamplingRecipe = FEW_STEPS,
    progress: ProgressCallback = no_progress,
) -> TrainingRecord:
    """Distil the student in place to few steps, leave it with its EMA weights, and return how far the training came.

    Resumes from `state_path`. `teacher` is the full network with its few-step adapter for the same recipe.

    Raises:
        CheckpointError: the state is damaged.
        RunError: the state is of another number of iterations or sampling steps, of another x_t, or of other trained
            weights; or a ceiling cut it and there is none now.
    """
    budget = StepBudget(config.steps, config.ceiling_s)
    device = device_of(student_model)
    empty = data.null_text().tensors(device)
    scores = Scores(teacher.requires_grad_(False).eval())
    trained = config.trained_of(student_model)
    critic = _critic(student_model, trained, config)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = Student(student_model, teacher.config["width"]).to(device).train()
    critic.train()
    learned, critic_learned = trainable(student), trainable(critic)
    rate = config.learning_rate
    student_optimizer = torch.optim.Adam(learned, lr=rate, betas=(0.0, 0.99))
    critic_optimizer = torch.optim.Adam(critic_learned, lr=rate, betas=(0.0, 0.99))
    ema = moving_average(learned, decay=config.ema_decay)
    members: dict[str, tuple[nn.Module, list[torch.optim.Optimizer]]] = {
        "student": (student, [student_optimizer]),
        "critic": (critic, [critic_optimizer]),
    }
    facts = {"sampling_steps": str(recipe.steps), "x_t": config.x_t, "trained": trained}
    if trained == LORA:
        facts |= {"lora_rank": str(config.lora_rank), "lora_alpha": f"{config.lora_alpha:g}"}
    kept = ResumeState(state_path, members, {"student": ema}, facts=facts)
    _check_begun(state_path, facts)

    def work(state: StepState) -> str:
        step = state.step
        seed = config.seed * 1_000_003 + step
        batch = draw_batch(data, config.batch_size, seed=seed, device=device, recipe=recipe)
        slices = shard_slices(config.batch_size, shard_count(), device)
        if config.x_t == SIMULATED:
            batch = _simulated(student, batch, recipe, slices, seed=seed)
        for optimizer in (student_optimizer, critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate * learning_rate_share(budget, state, cosine_decay)
        needs_critic = config.dmd_weight > 0
        if not needs_critic or step % config.student_every == config.student_every - 1:
            # Both teachers are one network with a switch, so they run one after the other, never side by side.
            parts = run_shards(partial(_few_step, scores, batch), slices)
            target, tokens = (torch.cat([part[index] for part in parts]) for index in (0, 1))
            teacher.disable_adapters()

            def loss_of(rows: slice) -> Tensor:
                near = target[rows], tokens[rows]
                part = batch.take(rows)
                return student_loss(student, critic, scores, part, empty, config, guidance_scale, near)

            sharded_backward(loss_of, learned, config.batch_size)
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            student_optimizer.step()
            ema.step(learned)
        else:
            sharded_backward(
                lambda rows: critic_loss(student, critic, batch.take(rows)),
                critic_learned,
                config.batch_size,
            )
            torch.nn.utils.clip_grad_norm_(critic_learned, 1.0)
            critic_optimizer.step()
        return f"{ema.optimization_step} of the student"

    reached = run_steps(budget, kept.load(budget), kept, work, progress=progress)
    ema.copy_to(learned)
    if trained == LORA:
        merge_lora(student_model)
    student_model.eval()
    return record(budget, reached)


def _critic(student: SubDiT, trained: str, config: KDMDConfig) -> SubDiT:
    """A critic that equals the student; with LoRAs on both, they share the network beneath, which is frozen."""
    if trained == FULL:
        return copy.deepcopy(student)
    critic = sharing_copy(student)
    for seed, (model, name) in enumerate(((student, "student"), (critic, "critic"))):
        add_lora(model, name, rank=config.lora_rank, alpha=config.lora_alpha, seed=2 * config.seed + seed)
    return critic


def cosine_decay(share: float) -> float:
    """Share of the peak learning rate at a share of the distillation: a cosine from 1 to 0."""
    return float((1 + np.cos(np.pi * share)) / 2)


def _few_step(scores: Scores, batch: KDMDBatch, rows: slice) -> tuple[Tensor, Tensor]:
    part = batch.take(rows)
    return scores.few_step(part.x_t, part.sigma, part.text)


def _simulated(
    student: Student, batch: KDMDBatch, recipe: SamplingRecipe, slices: list[slice], *, seed: int
) -> KDMDBatch:
    """The batch with x_t from the student's own steps; the captions, sigmas and later noise stay."""
    # A stream of its own: noise that a batch of data has already would tie x_t to it.
    generator = torch.Generator().manual_seed(seed + _SIMULATION)
    noise = torch.randn(batch.x_t.shape, generator=generator).to(batch.x_t)

    def part(rows: slice) -> Tensor:
        near = batch.take(rows)
        return simulate(student, noise[rows], near.sigma, near.text, recipe)

    return replace(batch, x_t=torch.cat(run_shards(part, slices)))


def _check_begun(state_path: Path, facts: dict[str, str]) -> None:
    """Raise `RunError` where a begun distillation is of other facts; earlier versions had one kind alone."""
    begun = resume_facts(state_path)
    if begun:
        begun = {"sampling_steps": str(FEW_STEPS.steps), "x_t": DATA, "trained": FULL} | begun
    for name, wanted in facts.items():
        if begun.get(name, wanted) != wanted:
            raise RunError(
                f"The distillation begun in {state_path} has {name} {begun[name]}, not {wanted}; ask for the same, or "
                "delete that file to start over."
            )


def draw_batch(
    data: DataSet,
    count: int,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    recipe: SamplingRecipe = FEW_STEPS,
) -> KDMDBatch:
    """Noised rows of the split train at random sigmas of the few-step schedule, with a tau for each.

    tau is uniform, shifted as the schedule is and kept in [.02, .98]. The CPU draws the random numbers for any device.
    """
    generator = torch.Generator().manual_seed(seed)
    read = data.read("train", torch.randint(data.count("train"), (count,), generator=generator).tolist())
    schedule = torch.from_numpy(euler_sigmas(recipe.steps, shift=recipe.shift)[:-1]).float()
    sigma = schedule[torch.randint(recipe.steps, (count,), generator=generator)].to(device)
    x0 = read.latents.to(device)
    tau = shift_sigma(torch.rand(count, generator=generator), recipe.shift).clamp(0.02, 0.98).to(device)
    first, second = (torch.randn(x0.shape, generator=generator).to(device) for _ in range(2))
    return KDMDBatch(
        x_t=add_noise(x0, first, sigma),
        sigma=sigma,
        tau=tau,
        noise=second,
        text=read.text.tensors(device),
    )
