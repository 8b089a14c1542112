"""Checks of the config of a `SubDiT`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subdit.core.errors import SpecError
from subdit.space import STAGES


def check_config(config: Mapping[str, Any]) -> None:
    """Raise `SpecError`, which names the values, on an impossible config; ASSA itself checks B and the stride."""
    positive = ("latent_size", "latent_channels", "patch_size", "width", "heads", "kv_heads", "head_dim", "text_width")
    for key in positive:
        if config[key] < 1:
            raise SpecError(f"The option {key} is {config[key]}; it must be at least 1.")
    depth, grid = tuple(config["depth"]), config["latent_size"] // config["patch_size"]
    if len(depth) != 3 or min(depth) < 0:
        raise SpecError(f"The option depth is {depth}; it must be three numbers of blocks.")
    if config["latent_size"] % config["patch_size"]:
        raise SpecError(
            f"Patches of {config['patch_size']} do not tile a latent of {config['latent_size']}; choose a divisor."
        )
    for key in ("kv_heads", "cross_kv_heads"):
        if config[key] and config["heads"] % config[key]:
            raise SpecError(f"{config['heads']} query heads are not divisible by {key} {config[key]}; change either.")
    if config["head_dim"] % 4:
        raise SpecError(f"The option head_dim is {config['head_dim']}; 2-D rotary embedding needs a multiple of 4.")
    if len(config["attention"]) != 3 or set(config["attention"]) - {"assa", "full"}:
        raise SpecError(f"The option attention is {config['attention']}; say 'assa' or 'full' for each of {STAGES}.")
    if config["middle_skips"] and depth[1] % 2:
        raise SpecError(f"A Middle of {depth[1]} blocks cannot be paired by skips; make it even or leave them out.")
    if config["three_stages"] and grid % 2:
        raise SpecError(f"A grid of {grid}x{grid} tokens cannot be halved for Middle; make it even.")
    if not config["three_stages"] and (depth[0] or depth[2]):
        raise SpecError(f"Without three stages all blocks are in Middle; set the first and last of depth {depth} to 0.")
