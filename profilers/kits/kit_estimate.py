"""The cost of a kit in closed form, before anything is written: models, bytes, minutes of exporting and measuring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from device_profiles import MIN_WHOLE
from device_profiles import MIN_WHOLE_ROWS
from profilers.runtimes import Runtime
from profilers.runtimes.timing import BATCH_MS
from profilers.runtimes.timing import FIRST_LONGER
from profilers.runtimes.timing import FULL_ROUNDS
from profilers.runtimes.timing import LONG_MS
from profilers.runtimes.timing import SHORT_MS
from profilers.runtimes.timing import STEADY_BATCHES
from profilers.runtimes.timing import timings_of_full_rounds
from subdit.core.errors import KitError
from subdit.space import Component
from subdit.space import SearchSpace
from subdit.space import SubDiTSpec
from subdit.space import WeightSizes
from subdit.space import component_flops
from subdit.space import component_weights
from subdit.space import components

EXPORT_BYTES_PER_S = 60e6
"""Bytes of float32 weights exported, converted and written in a second, on one core of the server that subdit is
developed on."""

EXPORT_GFLOPS = 40.0
"""Billions of operations a second of eager torch there; a model runs twice, for the exporter and for its output."""

DEFAULT_BUDGET_S = 60.0
"""Measuring goes on for this long even where 20 rounds are over sooner, unless all intervals are narrow before."""

# A graph, its names and the zip file of its tensors.
_FILE_BYTES = 12_000
# Batches that a short model takes until it is as quick as it gets, in the median and over.
_WARMING_BATCHES = 4
# By how much the reference kernel in between lengthens each run that is timed.
_REFERENCE_FACTOR = 1.1


@dataclass(frozen=True)
class KitEstimate:
    """What making and measuring a kit is expected to take; none of it is measured.

    Attributes:
        components, whole: numbers of models.
        bytes: of all files.
        export_minutes: on this machine.
        measure_minutes: on a quiet device with a core as fast as `basis` says.
        left_out: whole sub-DiTs left out to stay within the budget.
        basis: one sentence on what the figures are computed from.
    """

    components: int
    whole: int
    bytes: int
    export_minutes: float
    measure_minutes: float
    left_out: int
    basis: str

    @property
    def models(self) -> int:
        return self.components + self.whole

    def to_dict(self) -> dict[str, Any]:
        return {"models": self.models, **asdict(self)}


@dataclass(frozen=True)
class ModelCosts:
    """Closed forms for the models of one space, exported for one runtime at its precision."""

    space: SearchSpace
    runtime: Runtime

    def flops(self, part: Component | SubDiTSpec) -> int:
        if isinstance(part, Component):
            return component_flops(self.space, part)
        return sum(component_flops(self.space, one) * count for one, count in components(self.space, part).items())

    def weights(self, part: Component | SubDiTSpec) -> WeightSizes:
        if isinstance(part, Component):
            return component_weights(self.space, part)
        counted = components(self.space, part).items()
        return sum((component_weights(self.space, one) * count for one, count in counted), WeightSizes(0, 0, 0, 0))

    def file_bytes(self, part: Component | SubDiTSpec) -> int:
        """Of the model and of its inputs and output."""
        weights = self.weights(part).bytes(self.runtime.precision) if self.runtime.stores_weights else 0
        return weights + self._tensor_bytes(part) + _FILE_BYTES

    def export_s(self, part: Component | SubDiTSpec) -> float:
        """A whole sub-DiT is as many small models as it has pieces."""
        pieces = 1 if isinstance(part, Component) else sum(components(self.space, part).values()) / 4
        runs_s = 2 * self.flops(part) / (1e9 * EXPORT_GFLOPS)
        written = self.weights(part).bytes("fp32") if self.runtime.stores_weights else 0
        return self.runtime.costs.export_s * pieces + runs_s + written / EXPORT_BYTES_PER_S

    def measure_s(self, part: Component | SubDiTSpec) -> float:
        """Of the protocol's `FULL_ROUNDS` rounds, loading and comparing included."""
        costs = self.runtime.costs
        run_ms = self.flops(part) / (1e6 * costs.gflops[self.runtime.precision]) + costs.run_ms
        if run_ms < SHORT_MS:
            a_timing = (STEADY_BATCHES + _WARMING_BATCHES) * math.ceil(BATCH_MS / run_ms) * run_ms
        else:
            a_timing = run_ms * (1 if run_ms > LONG_MS else 2)
        before = run_ms * (2 if run_ms > FIRST_LONGER * LONG_MS else 6)
        return (before + a_timing * timings_of_full_rounds(run_ms) * _REFERENCE_FACTOR) / 1000

    def _tensor_bytes(self, part: Component | SubDiTSpec) -> int:
        space = self.space
        text = sum(one.tokens * one.width for one in space.text_inputs)
        if isinstance(part, Component):
            # What it reads and writes is mostly its tokens, twice.
            tokens = 2 * part.grid**2 * part.width
            return 4 * (tokens + (text + space.text_tokens * space.text_width if part.kind == "text_projection" else 0))
        return 4 * (2 * space.tokens * space.patch_width + text)


def estimate_kit(
    space: SearchSpace,
    parts: Sequence[Component],
    specs: Sequence[SubDiTSpec],
    *,
    runtime: Runtime,
    budget_minutes: float | None = None,
) -> KitEstimate:
    """What a kit of these models will take; `whole` may be fewer of `specs`, from the end, to stay within the budget.

    No fewer than a calibration needs are kept, and without parts no fewer than a fit needs. Raises `KitError` where it
    takes longer even so.
    """
    costs = ModelCosts(space, runtime)
    parts_s = sum(costs.measure_s(part) for part in parts)
    whole_s = [costs.measure_s(spec) for spec in specs]
    kept = len(specs)
    if budget_minutes is not None:
        fewest = min(MIN_WHOLE if parts else MIN_WHOLE_ROWS, len(specs))
        while kept > fewest and parts_s + sum(whole_s[:kept]) > 60 * budget_minutes:
            kept -= 1
        if (least_s := parts_s + sum(whole_s[:kept])) > 60 * budget_minutes:
            raise KitError(
                f"Measuring {len(parts)} components and {kept} whole sub-DiTs of {space.name!r} is expected to take "
                f"{least_s / 60:.1f} minutes; allow more than {budget_minutes:g} with --budget-minutes, or leave out "
                "large ones with --max-params."
            )
    rounds_s = parts_s + sum(whole_s[:kept])
    longest_s = DEFAULT_BUDGET_S if budget_minutes is None else min(DEFAULT_BUDGET_S, 60 * budget_minutes)
    models: list[Component | SubDiTSpec] = [*parts, *specs[:kept]]
    gflops = runtime.costs.gflops[runtime.precision]
    return KitEstimate(
        components=len(parts),
        whole=kept,
        bytes=sum(costs.file_bytes(model) for model in models),
        export_minutes=sum(costs.export_s(model) for model in models) / 60,
        measure_minutes=max(rounds_s, longest_s) / 60,
        left_out=len(specs) - kept,
        basis=(
            f"{FULL_ROUNDS} rounds, or {longest_s:.0f} seconds of them if those are over sooner, at {gflops:g} billion "
            "operations a second, which a server's core makes and a phone's does not; "
            f"export at {runtime.costs.export_s:g} s a piece, {EXPORT_BYTES_PER_S / 1e6:g} MB of float32 weights a "
            f"second and {EXPORT_GFLOPS:g} billion operations a second in torch"
        ),
    )
