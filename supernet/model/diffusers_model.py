"""`DiffusersModel`: what `SubDiT` and `ElasticDiT` add to diffusers' base class of models.

Configs are strict: diffusers ignores an unknown key, with a warning at most, so a misspelt option would silently build
another model. Checkpoints are sharded above 5 GB, so that each file stays within the limits of phones and browsers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterable
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import ConfigMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin

from subdit.core.errors import SpecError

MAX_SHARD_SIZE = "5GB"


def strict_config(init: Callable[..., None]) -> Callable[..., None]:
    """`register_to_config` for keyword-only options that raises `SpecError` on an unknown or a missing one."""
    registered = register_to_config(init)
    options = list(inspect.signature(init).parameters.values())[1:]

    @wraps(init)
    def checked(self: ConfigMixin, **given: Any) -> None:
        _refuse_unknown(type(self).__name__, given, [option.name for option in options])
        for option in options:
            if option.default is option.empty and option.name not in given:
                raise SpecError(f"{type(self).__name__} needs the option {option.name!r}; it has no default.")
        registered(self, **given)

    return checked


def _refuse_unknown(model: str, keys: Iterable[str], options: Iterable[str]) -> None:
    if unknown := sorted(key for key in set(keys) - set(options) if not key.startswith("_")):
        raise SpecError(f"{model} has no option {unknown[0]!r}; choose from {', '.join(options)}.")


class DiffusersModel(ModelMixin, ConfigMixin):
    """A model saved and loaded in the diffusers layout: config.json and safetensors.

    Subclasses decorate `__init__` with `strict_config`.
    """

    config_name = "config.json"

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> tuple[Any, ...]:
        """As diffusers', but raises `SpecError` if a key of the config, or an argument, is no parameter."""
        parameters = list(inspect.signature(cls.__init__).parameters)[1:]
        _refuse_unknown(cls.__name__, {*config_dict, *kwargs} - {"quantization_config", "dtype"}, parameters)
        extracted: tuple[Any, ...] = super().extract_init_dict(config_dict, **kwargs)
        return extracted

    @wraps(ModelMixin.save_pretrained)
    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *args: Any,
        max_shard_size: int | str = MAX_SHARD_SIZE,
        **kwargs: Any,
    ) -> None:
        # Old weights are deleted first. A loaded model may still read them through a memory map, which overwriting
        # would change; and diffusers would trust a stale index.
        for stale in Path(save_directory).glob("diffusion_pytorch_model*.safetensors*"):
            stale.unlink()
        super().save_pretrained(save_directory, *args, max_shard_size=max_shard_size, **kwargs)
