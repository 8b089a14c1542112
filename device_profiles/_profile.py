"""`DeviceProfile`: component latencies of one space on one device, with everything needed to judge them.

The file format is `schema.json` beside this module; the dataclasses have its fields under its names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

from device_profiles._schema import check_profile
from device_profiles._schema import profile_id
from subdit.core.errors import ProfileError
from subdit.core.errors import SpaceError
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import built_in_space
from subdit.space import models_id
from subdit.space import recorded_space

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1

NOISE_LIMIT = 0.03
"""A profile is noisy where the median half-width of its intervals, or what the halves of its rounds differ by, is more.

Relative to the latency.
"""


@dataclass(frozen=True)
class Latency:
    """Latency of one run, in milliseconds, with its 95 % confidence interval.

    Attributes:
        rounds: interleaved timings behind it; 0 where it was reported by another tool or estimated.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int = 0

    @property
    def relative_ci(self) -> float:
        """Half the width of the interval over the latency."""
        return (self.high_ms - self.low_ms) / (2 * self.latency_ms)


@dataclass(frozen=True)
class WholeLatency:
    """A whole sub-DiT that was measured in the same interleaved rounds as the components."""

    spec: SubDiTSpec
    latency: Latency


@dataclass(frozen=True)
class ErrorReport:
    """How far predictions are from measurements; errors are relative, (predicted - measured) / measured.

    Attributes:
        samples: how many whole sub-DiTs were compared.
        bias: mean error; above zero where predictions are too slow.
        mean: mean absolute error.
        worst: largest absolute error.
        within_5_percent: fraction of the sub-DiTs predicted within 5 %.
        within_10_percent: fraction of the sub-DiTs predicted within 10 %.
        kendall_tau: rank agreement, 1 for the same order.
        noise_floor: mean absolute error that a perfect prediction would show, because measurements do not repeat
            exactly; None where that is not known.
    """

    samples: int
    bias: float
    mean: float
    worst: float
    within_5_percent: float
    within_10_percent: float
    kendall_tau: float
    noise_floor: float | None = None


@dataclass(frozen=True)
class Calibration:
    """What turns a sum of component latencies into the latency of a whole sub-DiT; still additive.

        latency = fixed_ms + sum over components of count * (
            factors[kind] * component latency + per_run_ms + per_million_params_ms * parameters / 1e6
        )

    Attributes:
        form: which form was chosen, such as "factor+fixed".
        factors: per component kind what its latencies are multiplied with.
        per_run_ms: added per component; below zero where starting a run costs what a whole sub-DiT pays only once.
        fixed_ms: added per sub-DiT.
        per_million_params_ms: added per million parameters of a component, for fetching weights that no cache holds.
        relative_error: half the width of the 95 % interval of a prediction, over the prediction, from the errors that
            the calibration makes on sub-DiTs that it was not fitted on, those that it had to extrapolate to among
            them. `LatencyEstimator` makes narrower ones of the same errors, see `PredictionInterval`.
        error: errors of the calibrated estimates, each sub-DiT left out of the fit in turn.
        uncalibrated_error: errors of the plain sums of component latencies.
        whole: the sub-DiTs it was fitted on.
    """

    form: str
    factors: Mapping[str, float]
    per_run_ms: float
    fixed_ms: float
    relative_error: float
    error: ErrorReport
    uncalibrated_error: ErrorReport
    whole: tuple[WholeLatency, ...]
    per_million_params_ms: float = 0.0


@dataclass(frozen=True)
class Noise:
    """How quiet the machine was.

    Attributes:
        drift: spread of the reference kernel's time over the rounds, as interquartile range over median; removed.
        component_ci: median over components of half the 95 % interval over the latency.
        whole_ci: the same for the whole sub-DiTs.
        split: disagreement between the first and the second half of the rounds, half the difference over the latency;
            root mean square over the whole sub-DiTs and the sum of all components. One standard deviation of what all
            rounds together would differ by if they were measured again; no half-width.
        limit: what none of `component_ci`, `whole_ci` and `split` may exceed.
        attempts: how often everything was measured; the quietest attempt is kept.
    """

    drift: float
    component_ci: float
    whole_ci: float
    split: float
    limit: float
    attempts: int


@dataclass(frozen=True)
class Conditions:
    """Under which conditions the latencies were measured; an empty text or None where it could not be read.

    Attributes:
        model, soc: of the device, such as a phone's model and its system on chip.
        affinity: cores that the runtime was pinned to; empty where it was not.
        temperature_c: highest temperature seen meanwhile.
        battery_percent: lowest charge seen meanwhile.
        browser: that the runtime ran in, with its version.
    """

    machine: str
    cpu: str
    cores: int
    os: str
    runtime_version: str
    python_version: str
    measured_at: str
    governor: str = ""
    load_average: float | None = None
    reference_ms: float | None = None
    subdit_version: str = ""
    model: str = ""
    soc: str = ""
    affinity: str = ""
    temperature_c: float | None = None
    battery_percent: float | None = None
    browser: str = ""

    def __post_init__(self) -> None:
        # Devices have what they like in their firmware and properties; a profile holds printable text only.
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, str) and not value.isprintable():
                shown = "".join(character if character.isprintable() else " " for character in value)
                object.__setattr__(self, entry.name, " ".join(shown.split()))


@dataclass(frozen=True)
class DeviceProfile:
    """Latencies of a space's components on one device; see `LatencyEstimator` for those of sub-DiTs.

    Attributes:
        device: the device's name, lower case, no spaces.
        runtime: such as "onnxruntime".
        precision: of the weights, such as "fp32".
        threads: how many the runtime may use.
        delegate: accelerator of the runtime, None for its plain CPU path.
        space: name of the search space.
        space_hash, space_definition: of that space; None in profiles of earlier versions, which have its name alone.
        kit_hash: hash of the kit whose components were measured.
        provenance: "measured" (on the device, by subdit or by the tool that `source` names), "reported" (published by
            others, not checked) or "estimated" (computed by the model that `source` names).
        noisy: whether the machine was too noisy, after all attempts.
        components: component name to latency.
        conditions: of the measurement.
        noise: None where nothing is known of it.
        calibration: None where no whole sub-DiT was measured.
        compute_precision: numbers that products are computed in; None where they are those of the weights.
        delegated_share: fraction of the operators that ran on the delegate; None where it is not known.
        partitions: stretches of all models together in which the delegate, or XNNPACK, and the rest take turns; None
            where that is not known.
        max_params: the table covers the components of sub-DiTs with at most this number of parameters; None for all.
        source: where the numbers are from, where subdit did not measure them.
        pipeline: what else a picture takes, "text_encoder" and "decoder", per run.
        whole: whole sub-DiTs that latencies are predicted from instead of, or beside, the table (`fit_whole`), or that
            were reported; in the order in which they were measured.
    """

    device: str
    runtime: str
    precision: str
    threads: int
    space: str
    kit_hash: str
    provenance: str
    noisy: bool
    components: Mapping[str, Latency]
    conditions: Conditions
    noise: Noise | None = None
    calibration: Calibration | None = None
    delegate: str | None = None
    compute_precision: str | None = None
    delegated_share: float | None = None
    max_params: int | None = None
    source: str = ""
    pipeline: Mapping[str, Latency] = field(default_factory=dict)
    whole: tuple[WholeLatency, ...] = ()
    space_hash: str | None = None
    space_definition: Mapping[str, Any] | None = None
    partitions: int | None = None
    schema_version: int = field(default=SCHEMA_VERSION)

    @cached_property
    def search_space(self) -> SearchSpace:
        """The space that was measured; raises `SpaceError` where the profile has the name of an unknown one alone."""
        return recorded_space(vars(self), f"The profile {self.id}")

    def is_of(self, space: SearchSpace) -> bool:
        """Whether what was measured are sub-DiTs of this space: of its name and with its content."""
        if self.space_definition is None and built_in_space(self.space) is None:
            # Of a space that only this process knew when it was measured, by an earlier version.
            return self.space == space.name
        return self.space_id == models_id(space)

    def require_space(self, space: SearchSpace) -> None:
        """Raises `ProfileError` that says what to do where the profile is of another space."""
        if self.space != space.name:
            raise ProfileError(
                f"The profile {self.id} was made for space {self.space!r}, not for {space.name!r}; "
                f"measure a kit of {space.name!r}."
            )
        if not self.is_of(space):
            raise ProfileError(
                f"The profile {self.id} was measured on another space that is named {space.name!r} too "
                f"({self.space_id} instead of {models_id(space)}); measure a kit of this one."
            )

    @property
    def space_id(self) -> str:
        """What profiles of one space share: its name, and a hash of its content where it is not built in.

        A name alone, which earlier versions wrote, means the built-in space of that name.
        """
        return self.space if self.space_definition is None else models_id(self.search_space)

    @property
    def id(self) -> str:
        """device/runtime/precision/tN, with /delegate where there is one.

        Where products are computed in other numbers than the weights', precision is such as "fp16-in-fp32"; where only
        a part of the operators ran on the delegate, it is such as "gpu-87pct".
        """
        identity = (self.device, self.runtime, self.precision, self.compute_precision, self.threads)
        return profile_id(*identity, self.delegate, self.delegated_share)

    @cached_property
    def latency_ms(self) -> Mapping[str, float]:
        """Component name to its latency in milliseconds."""
        return {name: latency.latency_ms for name, latency in self.components.items()}

    def to_frame(self) -> DataFrame:
        """One row for each component, by its name: the dimensions of a `Component`, the fields of a `Latency`.

        `relative_ci` is half the 95 % interval over the latency, `rounds` the number of timings behind it. Raises
        `SpecError` where a name is no component's.
        """
        import pandas

        dimensions = [entry.name for entry in dataclasses.fields(Component)]
        measured = [entry.name for entry in dataclasses.fields(Latency)]
        rows = [
            {**vars(Component.from_name(name)), **vars(latency), "relative_ci": latency.relative_ci}
            for name, latency in self.components.items()
        ]
        index = pandas.Index(list(self.components), name="component", dtype=str)
        return pandas.DataFrame(rows, index=index, columns=[*dimensions, *measured, "relative_ci"])

    def to_dict(self) -> dict[str, Any]:
        """As `schema.json` describes it."""
        absent = {"space_hash", "space_definition"} if self.space_definition is None else set()
        absent |= {"partitions"} if self.partitions is None else set()
        kept = _plain(self, leave_out={"schema_version", *absent})
        return {"subdit_profile": self.schema_version, "id": self.id, **kept}


def profile_from_dict(values: Any, where: str) -> DeviceProfile:
    """Read what `DeviceProfile.to_dict` wrote; raises `ProfileError` that names `where` and the field that is wrong."""
    check_profile(values, where)
    read = {key: value for key, value in values.items() if key not in {"subdit_profile", "id"}}
    read["schema_version"] = values["subdit_profile"]
    read["components"] = {name: Latency(**latency) for name, latency in values["components"].items()}
    read["conditions"] = Conditions(**values["conditions"])
    read["pipeline"] = {name: Latency(**latency) for name, latency in values.get("pipeline", {}).items()}
    read["whole"] = _read_whole(values.get("whole", ()))
    if values.get("noise") is not None:
        read["noise"] = Noise(**values["noise"])
    if values.get("calibration") is not None:
        stored = values["calibration"]
        errors = {key: ErrorReport(**stored[key]) for key in ("error", "uncalibrated_error")}
        read["calibration"] = Calibration(**{**stored, **errors, "whole": _read_whole(stored["whole"])})
    profile = DeviceProfile(**read)
    if profile.space_definition is not None:
        try:
            profile.search_space  # noqa: B018  Raises where the content is damaged.
        except SpaceError as error:
            raise ProfileError(f"The profile {where} cannot be read: {error}") from error
    return profile


def _read_whole(entries: Iterable[Mapping[str, Any]]) -> tuple[WholeLatency, ...]:
    return tuple(WholeLatency(SubDiTSpec.from_dict(entry["spec"]), Latency(**entry["latency"])) for entry in entries)


def _plain(value: Any, *, leave_out: frozenset[str] | set[str] = frozenset()) -> Any:
    """Dataclasses to dictionaries, tuples to lists, all the way down."""
    if isinstance(value, SubDiTSpec):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        names = [entry.name for entry in dataclasses.fields(value) if entry.name not in leave_out]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value
