"""`SubDiT`: a plain diffusion transformer of the paper's three stages, with no trace of elasticity (SnapGen++, Fig. 2).

Down and Up work on the full grid with adaptive sparse self-attention, Middle on half of it with full self-attention and
U-ViT skips from its first half to its second.

    latent -> patch embedding -> Down -> downsample -> Middle -> upsample -> Up -> final layer -> velocity
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch import nn

from supernet.assa import AdaptiveSparseSelfAttention
from supernet.attention import CrossAttention
from supernet.attention import Modulated
from supernet.attention import SelfAttention
from supernet.space import SearchSpace
from supernet.space import SubDiTSpec

# Embedding layers ---------------------------------------------------------------------------------------------------


class PatchEmbed(nn.Module):
    """Latent (batch, channels, size, size) to tokens (batch, grid * grid, width)."""

    def __init__(self, *, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, latent: Tensor) -> Tensor:
        return self.proj(latent).flatten(2).transpose(1, 2)


class TimeEmbed(nn.Module):
    """Timestep (batch,), in thousandths of sigma, to modulation (batch, 8, width): three for the attention and three
    for the FFN of every block, two for the final layer (adaLN-single, PixArt-alpha)."""

    def __init__(self, *, time_width: int, width: int) -> None:
        super().__init__()
        self.time_width = time_width
        self.width = width
        self.mlp = nn.Sequential(
            nn.Linear(time_width, time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU()
        )
        self.modulation = nn.Linear(time_width, 8 * width)

    def forward(self, timestep: Tensor) -> Tensor:
        waves = get_timestep_embedding(timestep, self.time_width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return self.modulation(self.mlp(waves.to(self.modulation.weight.dtype))).unflatten(-1, (8, self.width))


class TextProjection(nn.Module):
    """Each text encoder's embeddings (batch, tokens, its width), normed and projected, concatenated token-wise."""

    def __init__(self, *, text_inputs: Sequence[tuple[str, int, int]], text_width: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, text_width)) for name, width, _ in text_inputs}
        )

    def forward(self, *encoder_hidden_states: Tensor) -> Tensor:
        projected = [project(text) for project, text in zip(self.encoders.values(), encoder_hidden_states, strict=True)]
        return torch.cat(projected, dim=1)


# The block's last branch, and the layers between stages -------------------------------------------------------------


class FeedForward(Modulated):
    """Two linears with a tanh GELU between them (PixArt-alpha)."""

    def __init__(self, *, width: int, ratio: int) -> None:
        super().__init__(width)
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        """Tokens (batch, tokens, width) and modulation (batch, 3, width) to tokens."""
        h, gate = self.modulated(hidden_states, modulation)
        return hidden_states + gate * self.fc2(F.gelu(self.fc1(h), approximate="tanh"))


class Downsample(nn.Module):
    """Tokens of a grid to tokens of half the grid: space-to-depth and a bias-free linear, as one convolution."""

    def __init__(self, *, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.Conv2d(width, width, 2, stride=2, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        image = hidden_states.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        return self.proj(image).flatten(2).transpose(1, 2)


class Upsample(nn.Module):
    """Tokens of a grid to tokens of twice the grid: a bias-free linear and depth-to-space, as one convolution.

    With `down_up_skip` the tokens that left Down are mixed in by a learned factor (Hourglass DiT).
    """

    def __init__(self, *, width: int, grid: int, down_up_skip: bool) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.ConvTranspose2d(width, width, 2, stride=2, bias=False)
        self.skip_factor = nn.Parameter(torch.full((1,), 0.5)) if down_up_skip else None

    def forward(self, hidden_states: Tensor, skip: Tensor | None = None) -> Tensor:
        image = hidden_states.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        if self.skip_factor is None or skip is None:
            return tokens
        return skip + self.skip_factor * (tokens - skip)


class SkipFusion(nn.Module):
    """U-ViT's long skip: concatenate, then a linear that lets the main path through unchanged at the start."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * width, width)

    def forward(self, hidden_states: Tensor, skip: Tensor) -> Tensor:
        return self.proj(torch.cat([hidden_states, skip], dim=-1))


class FinalLayer(nn.Module):
    """Tokens (batch, tokens, width) and modulation (batch, 2, width) to the velocity (batch, channels, size, size)."""

    def __init__(self, *, width: int, grid: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.scale_shift_table = nn.Parameter(torch.zeros(2, width))
        self.proj = nn.Linear(width, patch_size**2 * channels)

    def forward(self, hidden_states: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + modulation).chunk(2, dim=1)
        patches = self.proj(self.norm(hidden_states) * (1 + scale) + shift)
        image = patches.transpose(1, 2).unflatten(-1, (self.grid, self.grid))
        return F.pixel_shuffle(image, self.patch_size) if self.patch_size > 1 else image


class Block(nn.Module):
    """Self-attention (full or ASSA), cross-attention to text, feed-forward; with a long skip into it where given."""

    def __init__(
        self, *, attn: SelfAttention, cross_attn: CrossAttention, ffn: FeedForward, skip: SkipFusion | None
    ) -> None:
        super().__init__()
        self.skip = skip
        self.attn = attn
        self.cross_attn = cross_attn
        self.ffn = ffn

    def forward(self, x: Tensor, modulation: Tensor, text: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.skip is not None:
            x = self.skip(x, skip)
        x = self.attn(x, modulation[:, 0:3])
        x = self.cross_attn(x, text)
        return self.ffn(x, modulation[:, 3:6])


# The model ----------------------------------------------------------------------------------------------------------


class SubDiT(ModelMixin, PeftAdapterMixin, ConfigMixin):
    """One sub-DiT with weights of its own; predicts the rectified-flow velocity eps - x0.

    Saved and loaded in the diffusers layout (`save_pretrained`, `from_pretrained`); build one with `from_spec`.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        *,
        space: str,
        latent_size: int,
        latent_channels: int,
        patch_size: int,
        width: int,
        depth: tuple[int, int, int],
        ffn_ratio: tuple[int, int, int],
        bna_blocks: tuple[int, int],
        bna_radius: tuple[int, int],
        kv_compression: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        text_inputs: tuple[tuple[str, int, int], ...],
        text_width: int,
        time_width: int,
        rope_theta: float,
        down_up_skip: bool,
    ) -> None:
        super().__init__()
        grid = latent_size // patch_size
        self.patch_embed = PatchEmbed(channels=latent_channels, patch_size=patch_size, width=width)
        self.time_embed = TimeEmbed(time_width=time_width, width=width)
        self.text_projection = TextProjection(text_inputs=text_inputs, text_width=text_width)
        heads_of: dict[str, Any] = {"width": width, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}

        def block(stage: int, *, skip: bool = False) -> Block:
            attn: SelfAttention
            if stage == 1:
                attn = SelfAttention(grid=grid // 2, rope_theta=rope_theta, rope_stride=2, **heads_of)
            else:
                attn = AdaptiveSparseSelfAttention(
                    grid=grid,
                    rope_theta=rope_theta,
                    blocks=bna_blocks[stage // 2],
                    radius=bna_radius[stage // 2],
                    kv_compression=kv_compression,
                    **heads_of,
                )
            return Block(
                attn=attn,
                cross_attn=CrossAttention(text_width=text_width, **heads_of),
                ffn=FeedForward(width=width, ratio=ffn_ratio[stage]),
                skip=SkipFusion(width=width) if skip else None,
            )

        self.down = nn.ModuleList(block(0) for _ in range(depth[0]))
        self.downsample = Downsample(width=width, grid=grid)
        self.middle = nn.ModuleList(block(1, skip=at >= depth[1] // 2) for at in range(depth[1]))
        self.upsample = Upsample(width=width, grid=grid // 2, down_up_skip=down_up_skip)
        self.up = nn.ModuleList(block(2) for _ in range(depth[2]))
        self.final_layer = FinalLayer(width=width, grid=grid, channels=latent_channels, patch_size=patch_size)
        self.initialize_weights()

    def initialize_weights(self) -> None:
        """Xavier for linears; zero where a residual branch or the output should start silent (adaLN-Zero, PixArt)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.time_embed.modulation.weight)
        nn.init.zeros_(self.final_layer.proj.weight)
        for module in self.modules():
            if isinstance(module, CrossAttention):
                nn.init.zeros_(module.to_out.weight)
            elif isinstance(module, AdaptiveSparseSelfAttention):
                nn.init.zeros_(module.branch_gate.weight)
            elif isinstance(module, SkipFusion):
                width = module.proj.out_features
                with torch.no_grad():
                    module.proj.weight.copy_(torch.eye(width, 2 * width))

    def features(
        self, hidden_states: Tensor, timestep: Tensor, *encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens after the last block (batch, grid * grid, width), and the modulation (batch, 8, width)."""
        modulation = self.time_embed(timestep)
        text = self.text_projection(*encoder_hidden_states)
        x = self.patch_embed(hidden_states)
        for block in self.down:
            x = block(x, modulation, text)
        left_down = x
        x = self.downsample(x)
        half = len(self.middle) // 2
        skips: list[Tensor] = []
        for at, block in enumerate(self.middle):
            x = block(x, modulation, text, skips.pop() if at >= half else None)
            if at < half:
                skips.append(x)
        x = self.upsample(x, left_down)
        for block in self.up:
            x = block(x, modulation, text)
        return x, modulation

    def forward(self, hidden_states: Tensor, timestep: Tensor, *encoder_hidden_states: Tensor) -> Tensor:
        """The velocity.

        Args:
            hidden_states: noisy latent x_t = (1 - sigma) x0 + sigma eps, (batch, channels, size, size).
            timestep: 1000 * sigma, (batch,).
            encoder_hidden_states: per text encoder (batch, its tokens, its width).

        Returns:
            (batch, channels, size, size).
        """
        x, modulation = self.features(hidden_states, timestep, *encoder_hidden_states)
        return self.final_layer(x, modulation[:, 6:8])

    @classmethod
    def from_spec(cls, space: SearchSpace, spec: SubDiTSpec) -> SubDiT:
        """A freshly initialised sub-DiT; raises `SpecError` on a spec that is not of the space."""
        space.check(spec)
        return cls(
            space=space.name,
            latent_size=space.latent_size,
            latent_channels=space.latent_channels,
            patch_size=space.patch_size,
            width=spec.width,
            depth=spec.depth,
            ffn_ratio=spec.ffn_ratio,
            bna_blocks=spec.bna_blocks,
            bna_radius=spec.bna_radius,
            kv_compression=spec.kv_compression,
            heads=space.heads(spec.width),
            kv_heads=space.kv_heads,
            head_dim=space.head_dim,
            text_inputs=tuple((text.name, text.width, text.tokens) for text in space.text_inputs),
            text_width=space.text_width,
            time_width=space.time_width,
            rope_theta=space.rope_theta,
            down_up_skip=space.down_up_skip,
        )

    @property
    def spec(self) -> SubDiTSpec:
        """The point of the search space that this model is."""
        keys = ("space", "width", "depth", "ffn_ratio", "bna_blocks", "bna_radius", "kv_compression")
        return SubDiTSpec.from_dict({key: self.config[key] for key in keys})


def example_inputs(space: SearchSpace, *, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of a whole sub-DiT by name, in the order of `SubDiT.forward`, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        "hidden_states": torch.randn(
            batch, space.latent_channels, space.latent_size, space.latent_size, generator=generator
        ),
        "timestep": torch.rand(batch, generator=generator) * 1000,
    }
    for text in space.text_inputs:
        inputs[f"encoder_hidden_states_{text.name}"] = torch.randn(batch, text.tokens, text.width, generator=generator)
    return inputs


@torch.no_grad()
def redraw_(module: nn.Module, seed: int) -> nn.Module:
    """Redraw every parameter, the zero-initialised ones too, so that each takes part in the output.

    An untrained DiT outputs zero whatever its blocks compute; tests and kits use redrawn weights instead.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.ndim > 1 and "table" not in name:
            drawn = noise / parameter[0].numel() ** 0.5
        else:
            drawn = 0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        parameter.copy_(drawn)
    return module
