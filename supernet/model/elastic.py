"""`ElasticDiT`: all sub-DiTs of a search space in one set of weights.

The model is defined once, by the plain `SubDiT`. A supernet is the full `SubDiT` plus rules that give each smaller
sub-DiT its slice of every tensor: `sub_parameters(spec)` returns those slices by the sub-DiT's own parameter names.
Running a sub-network, extracting it and sharing its gradients all use this one look-up.

As in the paper (section 3.3), projections are sliced along the hidden dimension, cross-attention's keys and values are
not sliced, and each width has norms and modulation of its own. Depth, FFN ratio, B, r and KV compression are this
project's extension: depth k keeps the first k blocks in Down and the last k in Up, and removes mirrored pairs from the
centre of Middle, so that every skip keeps its partner.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from subdit.space import STAGES
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import get_space
from subdit.space import recorded_space
from subdit.space import space_record
from supernet.model.attention import share_tables
from supernet.model.diffusers_model import DiffusersModel
from supernet.model.diffusers_model import strict_config
from supernet.model.dit import SubDiT
from supernet.model.templates import Templates

# The kind of each axis of a parameter, by the end of its name: "width", "2 widths" (two concatenated), "heads" (query
# heads, grouped by the key-value head they share), "ffn", or "all", which is never sliced.
_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"patch_embed\.proj\.weight", ("width", "all", "all", "all")),
    (r"patch_embed\.proj\.bias", ("width",)),
    (r"cross_attn\.to_[kv]\.(weight|bias)", ("all", "all")),
    (r"\.to_q\.weight", ("heads", "width")),
    (r"\.to_q\.bias", ("heads",)),
    (r"\.to_[kv]\.weight", ("all", "width")),
    (r"\.to_out\.weight", ("width", "heads")),
    (r"\.to_out\.bias", ("width",)),
    (r"\.branch_gate\.weight", ("heads", "width")),
    (r"\.branch_gate\.bias", ("heads",)),
    (r"\.ffn\.fc1\.weight", ("ffn", "width")),
    (r"\.ffn\.fc1\.bias", ("ffn",)),
    (r"\.ffn\.fc2\.weight", ("width", "ffn")),
    (r"\.ffn\.fc2\.bias", ("width",)),
    (r"\.skip\.proj\.weight", ("width", "2 widths")),
    (r"\.skip\.proj\.bias", ("width",)),
    (r"(down|up)sample\.proj\.weight", ("width", "width", "all", "all")),
    (r"upsample\.skip_factor", ("all",)),
    (r"final_layer\.proj\.weight", ("all", "width")),
    (
        r"(\.to_[kv]\.bias|\.[qkv]_norm\.\w+|final_layer\.proj\.bias|text_projection\..*|time_embed\.mlp\..*)",
        ("all",) * 2,
    ),
    (r"\.compress_[kv]\.conv\.(weight|bias)", ("all",) * 4),
)

# Parameters of exactly the hidden size; each width has its own (paper, section 3.3).
_PER_WIDTH = re.compile(
    r"((attn|ffn|final_layer)\.(norm\.(weight|bias)|scale_shift_table)|time_embed\.modulation\.\w+)$"
)
# Strided convolutions; each KV compression has its own, because their kernels differ in size.
_PER_COMPRESSION = re.compile(r"\.compress_[kv]\.conv\.(weight|bias)$")


@dataclass(frozen=True)
class ParameterSlice:
    """Where a sub-DiT's parameter lies in the supernet.

    Attributes:
        owner: name of the supernet's parameter.
        axes: per axis (groups, kept): the axis is split into `groups` equal parts, and the sub-DiT owns the first
            `kept` entries of each part.
        shape: the sub-DiT's own shape.
    """

    owner: str
    axes: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]

    def view(self, tensor: Tensor) -> Tensor:
        """The slice of the owner as a view, each axis split into (groups, kept)."""
        for axis, (groups, kept) in enumerate(self.axes):
            tensor = tensor.unflatten(2 * axis, (groups, -1)).narrow(2 * axis + 1, 0, kept)
        return tensor

    def read(self, tensor: Tensor) -> Tensor:
        """The slice of the owner in the sub-DiT's own shape."""
        return self.view(tensor).reshape(self.shape)

    def copy(self, tensor: Tensor) -> Tensor:
        """A copy of the slice in the sub-DiT's own shape, copied once."""
        return self.view(tensor).clone(memory_format=torch.contiguous_format).reshape(self.shape)

    def write_view(self, own: Tensor) -> Tensor:
        """A tensor of the sub-DiT's shape, reshaped to that of `view`."""
        return own.reshape([length for groups, kept in self.axes for length in (groups, kept)])


class ElasticDiT(DiffusersModel):
    """The supernet of a search space; saved and loaded in the diffusers layout.

    Gradient checkpointing applies to the full network. A sub-network in `forward` goes without, because its blocks
    would run again when its slices are no longer in place; `elastic_step` checkpoints both.
    """

    _supports_gradient_checkpointing = True

    @strict_config
    def __init__(
        self, *, space: str, space_hash: str | None = None, space_definition: Mapping[str, Any] | None = None
    ) -> None:
        """The supernet of a space, given by its content or, without content, by its name; the config keeps both.

        Raises `SpaceError` if there is no search space of that name, or if that name means another space already.
        """
        super().__init__()
        record = {"space": space, "space_hash": space_hash, "space_definition": space_definition}
        self.space: SearchSpace = get_space(recorded_space(record, "The supernet's config"))
        self.register_to_config(**space_record(self.space))
        self.full = SubDiT.from_spec(self.space, self.full_spec)
        self._templates = Templates(self.space, _slices)
        # Norms, modulation and convolutions of widths and compressions other than the full network's.
        # The attribute's name is part of the names in checkpoints, and so of digests.
        self.apart = nn.ParameterDict()
        for name, start in self.isolated_slices():
            self.apart[name.removeprefix("apart.")] = nn.Parameter(start.detach().clone())
        for stride in self.space.kv_compressions:
            if stride != self.full_spec.kv_compression:
                for name, parameter in self.full.named_parameters():
                    if _PER_COMPRESSION.search(name):
                        shape = (len(parameter), 1, stride, stride) if name.endswith("weight") else parameter.shape
                        start = torch.full(shape, 1 / stride**2 if name.endswith("weight") else 0.0)
                        self.apart[_key(name, f"compression{stride}")] = nn.Parameter(start)

    @classmethod
    def of_space(cls, space: SearchSpace) -> ElasticDiT:
        return cls(**space_record(space))

    def isolated_slices(self) -> Iterator[tuple[str, Tensor]]:
        """Names and initial values of each smaller width's norms and modulation: slices of the full network's."""
        for width in self.space.widths[:-1]:
            for name, parameter in self.full.named_parameters():
                if _PER_WIDTH.search(name):
                    kept = (
                        parameter[..., :width] if "modulation" not in name else self._modulation_slice(parameter, width)
                    )
                    yield f"apart.{_key(name, f'width{width}')}", kept

    @staticmethod
    def _modulation_slice(parameter: Tensor, width: int) -> Tensor:
        return parameter.unflatten(0, (8, -1))[:, :width].flatten(0, 1)

    @property
    def full_spec(self) -> SubDiTSpec:
        """The largest sub-DiT, the paper's full network."""
        return self.space.named_spec("full")

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Callable[..., Any] | None = None) -> None:
        """As diffusers', but by default the second run restores no random state, because it draws no random numbers."""
        super().enable_gradient_checkpointing(gradient_checkpointing_func or _run_again)

    # Sharing --------------------------------------------------------------------------------------------------------

    def slices(self, spec: SubDiTSpec) -> Mapping[str, ParameterSlice]:
        """Where each parameter of the sub-DiT lies; raises `SpecError` if the spec is not of the space."""
        return self._templates.plan(spec)

    def template(self, spec: SubDiTSpec, *, checkpointed: bool = False) -> SubDiT:
        """The sub-DiT to call with `sub_parameters`: its parameters are on meta, its rotary tables the supernet's.

        It belongs to the calling thread, and the next call may return another; raises `SpecError` if the spec is not of
        the space. With `checkpointed`, its blocks run again in the backward pass, which must then happen within the
        functional call.
        """
        template = self._templates.template(spec)
        template.gradient_checkpointing = checkpointed
        template._gradient_checkpointing_func = _run_again
        # At each call, because the supernet may have moved to another device.
        share_tables(template, self.full)
        return template

    def sub_parameters(self, spec: SubDiTSpec) -> dict[str, Tensor]:
        """The sub-DiT's parameters by its own names, as slices through which gradients flow to the supernet."""
        owners = dict(self.named_parameters())
        return {name: part.read(owners[part.owner]) for name, part in self.slices(spec).items()}

    # Running --------------------------------------------------------------------------------------------------------

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        *texts: Tensor | None,
        spec: SubDiTSpec | None = None,
        **options: Any,
    ) -> Any:
        """The velocity of the sub-network `spec`, by default the full network; other arguments as `SubDiT.forward`."""
        inputs = (hidden_states, timestep, *texts)
        if spec is None or spec == self.full_spec:
            return self.full(*inputs, **options)
        return functional_call(self.template(spec), self.sub_parameters(spec), inputs, options)

    @torch.no_grad()
    def extract(self, spec: SubDiTSpec) -> SubDiT:
        """A plain sub-DiT with a copy of its own weights only; raises `SpecError` if the spec is not of the space."""
        made = self._templates.fresh(spec)
        owners = dict(self.named_parameters())
        made.load_state_dict(
            {name: part.copy(owners[part.owner]) for name, part in self.slices(spec).items()}, assign=True
        )
        share_tables(made, self.full)
        return made.train(self.training)


_run_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def _slices(space: SearchSpace, spec: SubDiTSpec, template: SubDiT) -> dict[str, ParameterSlice]:
    """Where each parameter of the sub-DiT lies in the supernet of its space."""
    return {name: _slice(space, spec, name, tuple(own.shape)) for name, own in template.named_parameters()}


def _slice(space: SearchSpace, spec: SubDiTSpec, name: str, shape: tuple[int, ...]) -> ParameterSlice:
    full = space.named_spec("full")
    owner, is_of_width = _name_in_full(space, spec, name), _PER_WIDTH.search(name)
    whole = tuple((1, length) for length in shape)
    if is_of_width and spec.width != full.width:
        return ParameterSlice(f"apart.{_key(owner, f'width{spec.width}')}", whole, shape)
    if _PER_COMPRESSION.search(name) and spec.kv_compression != full.kv_compression:
        return ParameterSlice(f"apart.{_key(owner, f'compression{spec.kv_compression}')}", whole, shape)
    if is_of_width:
        return ParameterSlice(f"full.{owner}", whole, shape)
    groups = {"heads": space.kv_heads, "2 widths": 2}
    axes = tuple(
        (groups.get(kind, 1), length // groups.get(kind, 1))
        for kind, length in zip(_axis_kinds(name), shape, strict=False)
    )
    return ParameterSlice(f"full.{owner}", axes, shape)


def _name_in_full(space: SearchSpace, spec: SubDiTSpec, name: str) -> str:
    """The full network's name of a parameter of the sub-DiT, which numbers its blocks without the dropped ones."""
    stage, _, rest = name.partition(".")
    if stage not in STAGES:
        return name
    number, _, rest = rest.partition(".")
    place, index = STAGES.index(stage), int(number)
    kept, full = spec.depth[place], space.named_spec("full").depth[place]
    from_the_end = stage == "up" or (stage == "middle" and index >= kept // 2)
    return f"{stage}.{index + full - kept if from_the_end else index}.{rest}"


@cache
def _axis_kinds(name: str) -> tuple[str, ...]:
    """The kind of each axis of the parameter of that name."""
    return next(axes for pattern, axes in _AXES if re.search(f"({pattern})$", name))


def _key(name: str, where: str) -> str:
    """A name that a `ParameterDict` accepts."""
    return f"{where}:{name.replace('.', ':')}"
