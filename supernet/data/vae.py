"""Latents of the autoencoders of diffusers, normalised by each one's own constants.

Conventions differ: `scaling_factor` and `shift_factor` (Stable Diffusion, SD3, Flux), per-channel `latents_mean` and
`latents_std` (Qwen-Image, and some of SDXL's), latents that need nothing (AutoencoderTiny). All are one affine map
here: normalised = (latents - mean) / std.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn

from subdit.core.errors import DataError
from subdit.core.errors import SubditError
from subdit.core.errors import reason
from supernet.data.latents import Latents
from supernet.data.latents import listed
from supernet.data.picture import Pixels
from supernet.data.picture import to_pixels
from supernet.data.picture import to_unit_range
from supernet.data.saved_model import refuse_config_file
from supernet.data.saved_model import refuse_numbers
from supernet.data.saved_model import refuse_size
from supernet.data.saved_model import weight_sizes

VAE_TRAINING = "subdit_vae.json"
"""Beside an autoencoder that `data train-vae` made: what it was trained on."""

PROBE_PIXELS = 64
"""Side of the picture that finds an autoencoder's factor; a multiple of every factor that diffusers has."""


@dataclass(frozen=True)
class LatentConstants:
    """Per channel what is subtracted from an autoencoder's latents, and what they are then divided by.

    Raises `DataError` where these are no numbers to do that with in float32.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        with np.errstate(over="ignore", under="ignore"):
            mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise DataError(
                f"Latents cannot be normalised by mean {listed(self.mean)} and deviation {listed(self.std)}; mend the "
                "scaling_factor and shift_factor, or the latents_mean and latents_std, in the VAE's config.json."
            )

    @classmethod
    def of(cls, config: Any, channels: int) -> LatentConstants:
        """Those that an autoencoder's configuration states, by diffusers' conventions."""
        try:
            mean, std = _stated(config, channels)
        except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise DataError(
                f"The constants in the VAE's config.json are no numbers to normalise latents by ({error}); mend them."
            ) from error
        if not len(mean) == len(std) == channels:
            raise DataError(
                f"The VAE states {len(mean)} means and {len(std)} deviations of its {channels} channels; mend "
                "latents_mean and latents_std in its config.json."
            )
        return cls(mean, std)


def _stated(config: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = _number(config, "scaling_factor", 1.0)
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return _flat(config["latents_mean"]), tuple(value / scale for value in _flat(config["latents_std"]))
    return (_number(config, "shift_factor", 0.0),) * channels, (1 / scale,) * channels


def _number(config: Any, name: str, absent: float) -> float:
    value = config.get(name)
    return absent if value is None else float(value)


def _flat(values: Any) -> tuple[float, ...]:
    return tuple(np.asarray(values, dtype=np.float64).ravel().tolist())


class VaeCodec:
    """A diffusers autoencoder as a `LatentCodec`: the mode of its posterior, computed in float32."""

    def __init__(
        self, vae: nn.Module, *, path: Path, device: torch.device, constants: LatentConstants | None = None
    ) -> None:
        self.vae = vae.eval().requires_grad_(False).to(device)
        self.path = path
        self.device = device
        config: Any = vae.config
        self.picture_channels = int(config.get("in_channels") or config.get("input_channels") or 3)
        probe = self._raw(torch.zeros(1, self.picture_channels, PROBE_PIXELS, PROBE_PIXELS))
        self.latent_channels = probe.shape[1]
        self.factor = PROBE_PIXELS // probe.shape[-1]
        self._constants = constants
        self._weights = module_digest(vae)

    @property
    def key(self) -> dict[str, Any]:
        return {
            "class": type(self.vae).__name__,
            "weights": self._weights,
            "mean": list(self.constants.mean),
            "std": list(self.constants.std),
            "posterior": "mode",
        }

    @property
    def constants(self) -> LatentConstants:
        """Those that were given, or else the configuration's; raises `DataError` where these are no numbers for it."""
        if self._constants is None:
            self._constants = LatentConstants.of(self.vae.config, self.latent_channels)
        return self._constants

    @constants.setter
    def constants(self, given: LatentConstants) -> None:
        self._constants = given

    def encode(self, pixels: Pixels) -> Latents:
        raw = self._raw(torch.from_numpy(to_unit_range(pixels)))
        return np.asarray(((raw - self._channels("mean")) / self._channels("std")).cpu().numpy(), dtype=np.float32)

    @torch.no_grad()
    def decode(self, latents: Latents) -> Pixels:
        raw = torch.from_numpy(latents).to(self.device) * self._channels("std") + self._channels("mean")
        video = _is_video(self.vae)
        decoded = self.vae.decode(raw[:, :, None] if video else raw, return_dict=False)[0]  # type: ignore[operator]
        return to_pixels((decoded[:, :, 0] if video else decoded).float().cpu().numpy())

    @torch.no_grad()
    def _raw(self, values: Tensor) -> Tensor:
        """Latents as the autoencoder gives them, of values (count, channels, size, size) from -1 to 1."""
        values = values.to(self.device)
        video = _is_video(self.vae)
        # A picture is a video of one frame.
        latents = raw_latents(self.vae, values[:, :, None] if video else values)
        return (latents[:, :, 0] if video else latents).float()

    def _channels(self, name: str) -> Tensor:
        return torch.tensor(getattr(self.constants, name), device=self.device)[:, None, None]


def raw_latents(vae: nn.Module, values: Tensor) -> Tensor:
    """The mode of the posterior, or the latents of an autoencoder that has none."""
    encoded = vae.encode(values)  # type: ignore[operator]
    if hasattr(encoded, "latent_dist"):
        return encoded.latent_dist.mode()
    for name in ("latent", "latents"):
        if hasattr(encoded, name):
            return getattr(encoded, name)
    raise DataError(f"The VAE {type(vae).__name__} gives no latents that are known here; use another class.")


def _is_video(vae: nn.Module) -> bool:
    """Whether the first layer is one over time, too, as of Qwen-Image and Wan."""
    return any(isinstance(module, nn.Conv3d) for module in vae.modules())


def vae_folder(path: Path) -> Path:
    """Where an autoencoder lies: at the path, or in the folder `vae` of a pipeline there."""
    return path / "vae" if (path / "vae" / "config.json").exists() else path


def load_vae(
    path: Path,
    *,
    device: torch.device,
    scaling_factor: float | None = None,
    shift_factor: float | None = None,
) -> VaeCodec:
    """An autoencoder that diffusers saved in a folder, or in the folder `vae` of a pipeline.

    Where `scaling_factor` or `shift_factor` is given, they replace all constants of its configuration.

    Raises:
        DataError: the folder has no autoencoder, or its files are damaged or not safetensors.
    """
    import diffusers

    folder = vae_folder(path)
    name = _class_name(folder)
    vae_class = getattr(diffusers, name, None) if name.startswith("Autoencoder") else None
    if vae_class is None:
        raise DataError(f"The model at {folder} is of class {name!r}, which is no autoencoder of diffusers; name one.")
    tensors, elements = weight_sizes(folder)
    try:
        with _silence():
            config = vae_class.load_config(str(folder), local_files_only=True)
            refuse_numbers(config, folder, tensors=tensors)
            refuse_size(lambda: vae_class.from_config(config), folder, elements=elements)
            # Weights in pickles would run what they say.
            vae, told = vae_class.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except SubditError:
        raise
    # Files of a stranger may make anything raise anything.
    except Exception as error:
        raise DataError(
            f"The VAE at {folder} cannot be loaded ({reason(error)}); name a folder of diffusers."
        ) from error
    if told["missing_keys"]:
        raise DataError(f"The VAE at {folder} lacks the weights {told['missing_keys'][0]!r}; name a whole one.")
    try:
        codec = VaeCodec(vae, path=folder.resolve(), device=device)
    except SubditError:
        raise
    # A picture of zeros is encoded there, which autoencoders of sound, say, cannot do.
    except Exception as error:
        said = reason(error)
        raise DataError(f"The {name} at {folder} does not encode pictures ({said}); name another VAE.") from error
    if scaling_factor is not None or shift_factor is not None:
        given = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
        codec.constants = LatentConstants.of(given, codec.latent_channels)
    return codec


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what diffusers says on its own, as of entries that it wrote into a configuration, or of missing files."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _class_name(folder: Path) -> str:
    from subdit.core.files import read_json

    if not (folder / "config.json").is_file():
        raise DataError(f"There is no VAE at {folder} (no config.json); name a folder that diffusers saved.")
    refuse_config_file(folder)
    config = read_json(folder / "config.json", "VAE's config.json")
    return str(config.get("_class_name", "")) if isinstance(config, dict) else ""


def module_digest(module: nn.Module, *, without: str | None = None) -> str:
    """Sixteen hexadecimal digits of a module's weights; how they are divided into files changes nothing.

    Weights whose name begins with `without` are left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if without and name.startswith(without):
            continue
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # As bytes: numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
