"""`data train-vae`: a small autoencoder of diffusers, trained on the split train of captioned pictures.

Latent diffusion then runs from a folder of pictures to samples without any download. Its latents are normalised by
constants that are measured on the split train and stand in its configuration, as diffusers' own have them.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.space import SearchSpace
from supernet.data.latents import LatentStatistics
from supernet.data.loader import BatchOrder
from supernet.data.manifest import key_difference
from supernet.data.picture import PictureRule
from supernet.data.picture import to_unit_range
from supernet.data.preparation import KEPT
from supernet.data.preparation import SplitPixels
from supernet.data.preparation import write_split_pixels
from supernet.data.seen_pictures import SEEN_PICTURES
from supernet.data.source import DEFAULT_CAPTION_COLUMN
from supernet.data.source import Source
from supernet.data.source import require_outside
from supernet.data.sources import open_source
from supernet.data.splits import SplitRule
from supernet.data.vae import VAE_TRAINING
from supernet.data.vae import raw_latents
from supernet.model.placement import torch_device
from supernet.training.optimizers import schedule
from supernet.training.random_stream import random_stream
from supernet.training.resume_state import ResumeState
from supernet.training.step_budget import StepBudget
from supernet.training.step_budget import StepState
from supernet.training.step_budget import learning_rate_share
from supernet.training.step_loop import run_steps

WORK = "work"
"""In the autoencoder's folder while it is trained: decoded pictures, resume state, what it is trained by."""
SAVED = KEPT
"""In `WORK`: the trained autoencoder, before its files are moved into its folder."""

REPLACING = {"replacing": True}
"""Stands for what is begun while another autoencoder is removed, which a process that comes later goes on with."""

KL_WEIGHT = 1e-6
STATISTICS_WEIGHT = 0.05
"""Of the distance of each channel's mean and deviation from 0 and 1; one scale and shift then fit all channels."""

WARMUP = 0.02
PICTURE_CHANNELS = 3
MEASURED_PICTURES = 2048
"""Of the split train at most, that constants are measured on; and of the split validation that the error is of."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """How an autoencoder is made and trained.

    Attributes:
        kind: "tiny" for AutoencoderTiny, "kl" for AutoencoderKL.
        factor: pixels per latent element and side, a power of two.
        width: channels of its layers.
        steps: of AdamW.
        batch_size: pictures per step.
        learning_rate: its peak.
        seed: of weights, order and posterior.
        save_every_s: seconds between resume states.
        caption_column: as in `EncodingConfig`, with those that follow.

    Raises:
        DataError: there is no such kind, the factor is no power of two, or a number is out of its range.
    """

    kind: str = "tiny"
    factor: int = 8
    width: int = 32
    steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 0
    save_every_s: float = 10.0
    caption_column: str = DEFAULT_CAPTION_COLUMN
    split: SplitRule = field(default_factory=SplitRule)
    background: tuple[int, int, int] = (255, 255, 255)
    upscale: bool = False
    max_megapixels: float = 64.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.kind not in ("tiny", "kl"):
            raise DataError(f"There is no autoencoder kind {self.kind!r}; choose tiny or kl.")
        if self.factor < 2 or self.factor & (self.factor - 1):
            raise DataError(f"A factor of {self.factor} is no power of two from 2 on; choose 2, 4, 8, 16 or 32.")
        if self.width < 8 or self.width % 8:
            raise DataError(f"A width of {self.width} channels is no multiple of 8; choose one.")
        for name in ("steps", "batch_size", "learning_rate", "max_megapixels"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name} is {getattr(self, name)}; give a positive number.")


def train_autoencoder(
    source: Path | Source,
    out: Path,
    *,
    space: SearchSpace,
    config: AutoencoderConfig | None = None,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Train an autoencoder into a folder, going on where an earlier process was stopped; returns its record.

    Pictures of the split train are decoded into a file in the folder first, which is deleted at the end.

    Raises:
        DataError: the source cannot be used; the folder holds an autoencoder, or one begun with other settings.
        RunError: another process trains into the folder.
        CheckpointError: the resume state is damaged.
    """
    if isinstance(source, Path):
        source = open_source(source, caption_column=(config or AutoencoderConfig()).caption_column)
    config = AutoencoderConfig(split=source.default_split) if config is None else config
    require_outside(out, source)
    rule = PictureRule(
        size=space.latent_size * config.factor,
        channels=PICTURE_CHANNELS,
        background=config.background,
        upscale=config.upscale,
        max_pixels=int(config.max_megapixels * 1e6),
    )
    facts = {
        "source": {"kind": source.kind, "fingerprint": source.fingerprint()},
        "split": asdict(config.split),
        "picture": asdict(rule) | {"background": list(rule.background)},
        "training": {"kind": config.kind, "width": config.width, "steps": config.steps}
        | {"batch_size": config.batch_size, "learning_rate": config.learning_rate, "seed": config.seed}
        | {"latent_channels": space.latent_channels, "factor": config.factor},
    }
    work = out / WORK
    with Run(out).lock():
        _begin(out, facts, force=force)
        pictures = write_split_pixels(source, rule, config.split, work, progress=progress)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = make_autoencoder(config, latent_channels=space.latent_channels)
        model.to(torch_device(config.device))
        _train(model, pictures, config, work, progress)
        found = _normalise(model, pictures)
        counts = {"train": len(pictures.train), "validation": len(pictures.validation)}
        record = facts | {"pictures": counts, "latents": found, "validation_psnr_db": _psnr_db(model, pictures)}
        model.save_pretrained(str(work / SAVED))
        write_json(out / VAE_TRAINING, record)
        # The configuration says that all else is there.
        for file in sorted((work / SAVED).iterdir(), key=lambda file: file.name == "config.json"):
            file.replace(out / file.name)
        shutil.rmtree(work)
    return record


def _begin(out: Path, facts: dict[str, Any], *, force: bool) -> None:
    """Leave in the folder what a training of these facts began, or nothing; raises `DataError` on anything else."""
    record = out / WORK / VAE_TRAINING
    begun = _begun(record, force=force)
    # What was said to be replaced is, whether the one who goes on says so again or not.
    force = force or begun == REPLACING
    # Earlier versions wrote the configuration before the record; killed between, they left one to go on with.
    unfinished = begun is not None and not (out / VAE_TRAINING).exists()
    finished = (out / "config.json").exists() and not unfinished
    if finished and not force:
        raise DataError(f"The folder {out} holds an autoencoder; name another, or pass --force to replace it.")
    if force and (finished or begun is None or key_difference(begun, facts)):
        _remove(out, ours=begun is not None or (out / VAE_TRAINING).exists())
    elif begun is not None and (difference := key_difference(begun, facts)):
        raise DataError(f"The autoencoder begun in {out} is another one: {difference}; pass --force to start again.")
    write_json(record, facts)


def _begun(record: Path, *, force: bool) -> Any:
    """What a training is begun with; None where there is none, or its record is damaged and `force` replaces it."""
    if not record.exists():
        return None
    try:
        begun = read_json(record, "begun autoencoder")
        if not isinstance(begun, dict):
            raise RunError(f"The begun autoencoder at {record} is damaged; pass --force to start again.")
    except RunError:
        if force:
            return None
        raise
    return begun


def _remove(out: Path, *, ours: bool) -> None:
    """Remove an autoencoder, its configuration first, and what a training began; of others' folders no more."""
    if ours:
        write_json(out / WORK / VAE_TRAINING, REPLACING)
    for name in ("config.json", VAE_TRAINING, SEEN_PICTURES):
        (out / name).unlink(missing_ok=True)
    for file in sorted((out / WORK).glob("*")) if ours else ():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name != VAE_TRAINING:
            file.unlink()


def make_autoencoder(config: AutoencoderConfig, *, latent_channels: int) -> Any:
    """An untrained autoencoder of diffusers of RGB pictures."""
    import diffusers

    levels = config.factor.bit_length()
    if config.kind == "tiny":
        return diffusers.AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=(config.width,) * levels,
            decoder_block_out_channels=(config.width,) * levels,
            num_encoder_blocks=(1, *(2,) * (levels - 1)),
            num_decoder_blocks=(*(2,) * (levels - 1), 1),
        )
    return diffusers.AutoencoderKL(
        latent_channels=latent_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(config.width,) * levels,
        layers_per_block=1,
        norm_num_groups=8,
    )


def reconstruction_loss(model: Any, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of absolute and squared error of pictures (batch, 3, size, size) from -1 to 1 that come back.

    Added with small weights: how far the latents of a batch are off mean 0 and deviation 1 per channel, and of
    AutoencoderKL, whose posterior is sampled, its distance to the normal distribution (latent diffusion, arXiv
    2112.10752).
    """
    encoded = model.encode(pictures)
    penalty = pictures.new_zeros(())
    if hasattr(encoded, "latent_dist"):
        posterior = encoded.latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(pictures.device)
        latents = posterior.mean + posterior.std * noise
        penalty = KL_WEIGHT * posterior.kl().mean()
    else:
        latents = encoded.latents
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    penalty = penalty + STATISTICS_WEIGHT * (mean.square() + (std - 1).square()).mean()
    error = model.decode(latents, return_dict=False)[0] - pictures
    return error.abs().mean() + error.square().mean() + penalty


def _train(
    model: Any, pictures: SplitPixels, config: AutoencoderConfig, work: Path, progress: ProgressCallback
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    order = BatchOrder(len(pictures.train), config.batch_size, seed=config.seed)
    budget = StepBudget(config.steps)
    kept = ResumeState(work / "state.safetensors", {"vae": (model, [optimizer])}, {})
    begun = kept.load(budget)
    device = next(model.parameters()).device
    model.train()

    def step(state: StepState) -> str:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_share(
                budget, state, lambda share: schedule(share, warmup=WARMUP)
            )
        batch = torch.from_numpy(to_unit_range(pictures.train[order.rows(state.step)])).to(device)
        loss = reconstruction_loss(model, batch, random_stream(config.seed, state.step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return f"loss {loss.item():.3f}"

    run_steps(budget, begun, kept, step, progress=progress, save_every_s=config.save_every_s)
    model.eval()


@torch.no_grad()
def _normalise(model: Any, pictures: SplitPixels) -> dict[str, float]:
    """Write into the configuration the constants with which latents of the split train have mean 0 and deviation 1."""
    rows = len(pictures.train)
    chosen = pictures.train[:: -(-rows // MEASURED_PICTURES)]
    found = LatentStatistics()
    for batch in _batches(chosen, model):
        found += LatentStatistics.of(raw_latents(model, batch).float().cpu().numpy())
    if not (math.isfinite(found.std) and found.std > 1e-6):
        raise DataError("The autoencoder's latents are all alike, or not finite; train longer, or at a lower rate.")
    model.register_to_config(scaling_factor=1 / found.std, shift_factor=found.mean)
    return {"mean": found.mean, "std": found.std}


@torch.no_grad()
def _psnr_db(model: Any, pictures: SplitPixels) -> float:
    """Peak signal-to-noise ratio of validation pictures that come back, in decibels; of the split train without any."""
    chosen = (pictures.validation if len(pictures.validation) else pictures.train)[:MEASURED_PICTURES]
    squares = count = 0.0
    for batch in _batches(chosen, model):
        back = model.decode(raw_latents(model, batch), return_dict=False)[0].clamp(-1, 1)
        squares += float((back - batch).square().sum())
        count += batch.numel()
    return 10 * math.log10(4 / max(squares / count, 1e-12))


def _batches(pixels: Any, model: nn.Module) -> Any:
    device = next(model.parameters()).device
    for start in range(0, len(pixels), 32):
        yield torch.from_numpy(to_unit_range(np.asarray(pixels[start : start + 32]))).to(device)
