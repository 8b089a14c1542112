"""`SubDiT`: a plain diffusion transformer of the paper's three stages, without elasticity (SnapGen++, Fig. 2).

Down and Up work on the full grid with adaptive sparse self-attention. Middle works on half the grid with full
self-attention and U-ViT skips from its first half to its second.

    latent -> patch embedding -> Down -> downsample -> Middle -> upsample -> Up -> final layer -> velocity
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  a pipeline looks for it beside its transformer
from torch import Tensor
from torch import nn

from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import space_record
from subdit.space import spec_columns
from supernet.model.assa import AdaptiveSparseSelfAttention
from supernet.model.attention import CrossAttention
from supernet.model.attention import SelfAttention
from supernet.model.attention import share_tables
from supernet.model.config_checks import check_config
from supernet.model.diffusers_model import DiffusersModel
from supernet.model.diffusers_model import strict_config
from supernet.model.embeddings import PatchEmbed
from supernet.model.embeddings import TextProjection
from supernet.model.embeddings import TimeEmbed
from supernet.model.embeddings import checked_mask
from supernet.model.layers import Block
from supernet.model.layers import Downsample
from supernet.model.layers import FeedForward
from supernet.model.layers import FinalLayer
from supernet.model.layers import SkipFusion
from supernet.model.layers import Upsample


class SubDiT(DiffusersModel, PeftAdapterMixin):
    """One sub-DiT with weights of its own; predicts the rectified-flow velocity eps - x0.

    It is saved and loaded in the diffusers layout (`save_pretrained`, `from_pretrained`); the config holds everything,
    so loading needs no search space. `from_spec` builds one. It serves as the `transformer` of a diffusers pipeline
    with `FlowMatchEulerDiscreteScheduler` (`supernet.pipeline`).
    """

    _supports_gradient_checkpointing = True

    @strict_config
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
        attention: tuple[str, str, str] = ("assa", "full", "assa"),
        middle_skips: bool = True,
        three_stages: bool = True,
        cross_kv_heads: int | None = None,
        space_hash: str | None = None,
        space_definition: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises `SpecError`, which names the values, on an impossible config.

        The options are those of `SearchSpace` and `SubDiTSpec`, and four for ablations that no space has:

        Args:
            attention: per stage "assa" or "full"; ASSA in Middle takes Down's B and r.
            middle_skips: U-ViT skips within Middle.
            three_stages: False keeps all blocks in Middle, on the full grid, without down- and upsampling.
            cross_kv_heads: key-value heads of cross-attention; by default `kv_heads`.
            space_hash, space_definition: what the config records of its space, see `subdit.space.space_record`.
        """
        super().__init__()
        check_config(self.config)
        grid = latent_size // patch_size
        self.gradient_checkpointing = False
        self.patch_embed = PatchEmbed(channels=latent_channels, patch_size=patch_size, width=width)
        self.time_embed = TimeEmbed(time_width=time_width, width=width)
        self.text_projection = TextProjection(text_inputs=text_inputs, text_width=text_width)
        middle_stride = 2 if three_stages else 1
        heads_of: dict[str, Any] = {"width": width, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
        across = {**heads_of, "kv_heads": cross_kv_heads or kv_heads, "text_width": text_width}

        def block(stage: int, *, skip: bool = False) -> Block:
            stride = middle_stride if stage == 1 else 1
            within: dict[str, Any] = {
                **heads_of,
                "grid": grid // stride,
                "rope_theta": rope_theta,
                "rope_stride": stride,
            }
            attn: SelfAttention
            if attention[stage] == "full":
                attn = SelfAttention(**within)
            else:
                blocks, radius = bna_blocks[stage // 2], bna_radius[stage // 2]
                attn = AdaptiveSparseSelfAttention(
                    blocks=blocks, radius=radius, kv_compression=kv_compression, **within
                )
            return Block(
                attn=attn,
                cross_attn=CrossAttention(**across),
                ffn=FeedForward(width=width, ratio=ffn_ratio[stage]),
                skip=SkipFusion(width=width) if skip else None,
            )

        self.down = nn.ModuleList(block(0) for _ in range(depth[0]))
        self.downsample = Downsample(width=width, grid=grid) if three_stages else None
        self.middle = nn.ModuleList(block(1, skip=middle_skips and index >= depth[1] // 2) for index in range(depth[1]))
        self.upsample = Upsample(width=width, grid=grid // 2, down_up_skip=down_up_skip) if three_stages else None
        self.up = nn.ModuleList(block(2) for _ in range(depth[2]))
        self.final_layer = FinalLayer(width=width, grid=grid, channels=latent_channels, patch_size=patch_size)
        share_tables(self)
        self.initialize_weights()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SubDiT:
        """As torch's, which `to` and similar methods call; afterwards blocks share one rotary table per grid again."""
        super()._apply(fn, recurse)
        share_tables(self)
        return self

    def initialize_weights(self) -> None:
        """Xavier for linears; zero for branches and outputs that should start silent (adaLN-Zero, PixArt).

        This replaces the linears' own initialisation, except for ASSA's gates, which start at one half.
        """
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
                module.reset_gate()
            elif isinstance(module, SkipFusion):
                width = module.proj.out_features
                with torch.no_grad():
                    module.proj.weight.copy_(torch.eye(width, 2 * width))

    def features(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        *encoder_hidden_states: Tensor | None,
        encoder_attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens after the last block (batch, grid * grid, width), and the modulation (batch, 8, width)."""
        mask = None if encoder_attention_mask is None else checked_mask(encoder_attention_mask)
        modulation = self.time_embed(timestep if timestep.ndim else timestep[None])
        text = self.text_projection(*encoder_hidden_states, mask=mask)
        x = self.patch_embed(hidden_states)
        for block in self.down:
            x = self._run(block, x, modulation, text, mask)
        left_down = x
        if self.downsample is not None:
            x = self.downsample(x)
        half = len(self.middle) // 2
        skips: list[Tensor] = []
        for index, block in enumerate(self.middle):
            x = self._run(block, x, modulation, text, mask, skips.pop() if index >= half and skips else None)
            if index < half and self.config["middle_skips"]:
                skips.append(x)
        if self.upsample is not None:
            x = self.upsample(x, left_down)
        for block in self.up:
            x = self._run(block, x, modulation, text, mask)
        return x, modulation

    def _run(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        *texts: Tensor | None,
        encoder_hidden_states: Tensor | Sequence[Tensor | None] | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """The velocity.

        Args:
            hidden_states: noisy latent x_t = (1 - sigma) x0 + sigma eps, (batch, channels, size, size).
            timestep: 1000 * sigma, (batch,), or one for all of shape () or (1,).
            texts: per text encoder (batch, its tokens, its width), or None to leave it out; at least one is given.
            encoder_hidden_states: the same as one argument, as diffusers pipelines pass it; a tensor for one encoder.
            encoder_attention_mask: (batch, text tokens given), False or 0 for tokens to leave out of a sample: padding,
                or an encoder dropped in training. Such tokens are never read.
            return_dict: None for the plain tensor, True for diffusers' output class, False for a tuple of one.

        Returns:
            (batch, channels, size, size).

        Raises:
            SpecError: no text, text for a wrong number of encoders, or a mask that does not fit or hides all text.
        """
        if encoder_hidden_states is not None:
            single = isinstance(encoder_hidden_states, Tensor)
            texts = (*texts, *((encoder_hidden_states,) if single else encoder_hidden_states))
        x, modulation = self.features(hidden_states, timestep, *texts, encoder_attention_mask=encoder_attention_mask)
        velocity = self.final_layer(x, modulation[:, 6:8])
        if return_dict is None:
            return velocity
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    @classmethod
    def from_spec(cls, space: SearchSpace, spec: SubDiTSpec) -> SubDiT:
        """A freshly initialised sub-DiT; raises `SpecError` if the spec is not of the space."""
        space.check(spec)
        options: dict[str, Any] = {**spec.values, **fixed_options(space)}
        return cls(heads=space.heads(spec.width), **options)

    def example_inputs(self, *, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
        """As the function `example_inputs`, from the model's own config."""
        return drawn_inputs(self.config, batch=batch, seed=seed)

    @property
    def spec(self) -> SubDiTSpec:
        """The model's architecture as a point of its search space."""
        return SubDiTSpec.from_dict({key: self.config[key] for key in ("space", *spec_columns()) if key in self.config})


def example_inputs(space: SearchSpace, *, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of a whole sub-DiT by name, in the order of `SubDiT.forward`, drawn from a seed."""
    return drawn_inputs(fixed_options(space), batch=batch, seed=seed)


def drawn_inputs(config: Mapping[str, Any], *, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """As `example_inputs`, for a config of `SubDiT`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, config["latent_channels"], config["latent_size"], config["latent_size"])
    inputs = {
        "hidden_states": torch.randn(shape, generator=generator),
        "timestep": torch.rand(batch, generator=generator) * 1000,
    }
    for name, width, tokens in config["text_inputs"]:
        inputs[f"encoder_hidden_states_{name}"] = torch.randn(batch, tokens, width, generator=generator)
    return inputs


def fixed_options(space: SearchSpace) -> dict[str, Any]:
    """Options of `SubDiT` that all sub-DiTs of a space have in common."""
    same = ("latent_size", "latent_channels", "patch_size", "kv_heads", "head_dim", "text_width", "time_width")
    return {
        **space_record(space),
        "text_inputs": tuple((text.name, text.width, text.tokens) for text in space.text_inputs),
        **{key: getattr(space, key) for key in (*same, "rope_theta", "down_up_skip")},
    }


@torch.no_grad()
def redraw_(module: nn.Module, seed: int) -> nn.Module:
    """Redraw every parameter, the zero-initialised ones too, so that each affects the output.

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
