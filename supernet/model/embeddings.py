"""Patch, time and text embeddings, which turn a DiT's inputs into tokens and modulation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor
from torch import nn

from subdit.core.errors import SpecError
from supernet.model.linear import Linear


class PatchEmbed(nn.Module):
    """Latent (batch, channels, size, size) to tokens (batch, grid * grid, width)."""

    def __init__(self, *, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, latent: Tensor) -> Tensor:
        return self.proj(latent).flatten(2).transpose(1, 2)


class TimeEmbed(nn.Module):
    """Timestep (batch,), 1000 * sigma, to modulation (batch, 8, width) (adaLN-single, PixArt-alpha).

    Of the eight, three are for the attention and three for the FFN of every block, and two for the final layer.
    """

    def __init__(self, *, time_width: int, width: int) -> None:
        super().__init__()
        self.time_width = time_width
        self.width = width
        self.mlp = nn.Sequential(Linear(time_width, time_width), nn.SiLU(), Linear(time_width, time_width), nn.SiLU())
        self.modulation = Linear(time_width, 8 * width)

    def forward(self, timestep: Tensor) -> Tensor:
        waves = get_timestep_embedding(timestep, self.time_width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return self.modulation(self.mlp(waves.to(self.modulation.weight.dtype))).unflatten(-1, (8, self.width))


class TextProjection(nn.Module):
    """Each text encoder's embeddings (batch, tokens, its width), normed and projected, concatenated token-wise."""

    def __init__(self, *, text_inputs: Sequence[tuple[str, int, int]], text_width: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(width), Linear(width, text_width)) for name, width, _ in text_inputs}
        )

    def forward(self, *encoder_hidden_states: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """One tensor per encoder, or None to leave it out; `mask` (batch, text tokens given) as in `SubDiT`.

        The values of masked tokens, NaN too, do not change the result.

        Raises:
            SpecError: not one entry per encoder, none of them given, or a mask of another shape.
        """
        self._check(encoder_hidden_states, mask)
        projected, offset = [], 0
        for project, text in zip(self.encoders.values(), encoder_hidden_states, strict=True):
            if text is None:
                continue
            if mask is not None:
                text = text.masked_fill(~mask[:, offset : offset + text.shape[1], None], 0.0)
                offset += text.shape[1]
            projected.append(project(text))
        return torch.cat(projected, dim=1)

    def _check(self, texts: Sequence[Tensor | None], mask: Tensor | None) -> None:
        names = ", ".join(self.encoders)
        if len(texts) != len(self.encoders):
            raise SpecError(f"{len(texts)} text embeddings were given; pass one, or None, for each of {names}.")
        given = [text for text in texts if text is not None]
        if not given:
            raise SpecError(f"Every text encoder was left out; pass the embeddings of at least one of {names}.")
        shape = (len(given[0]), sum(text.shape[1] for text in given))
        if mask is not None and tuple(mask.shape) != shape:
            raise SpecError(f"The text mask has shape {tuple(mask.shape)}; the embeddings given need {shape}.")


def checked_mask(mask: Tensor) -> Tensor:
    """The mask as booleans; raises `SpecError` if it hides every token of a sample, except while a graph is traced."""
    mask = mask.bool()
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined]  # public, though not in its __all__
    traced = tracing or torch.compiler.is_compiling() or mask.is_meta
    if not traced and not mask.any(dim=-1).all():
        raise SpecError("The text mask hides every token of a sample; pass the empty prompt to go without text.")
    return mask
