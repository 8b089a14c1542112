"""A verification in the report's words: measured against predicted, limits broken, what the first front lacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports._figures import Line
from reports._figures import interval
from reports._figures import milliseconds
from reports._figures import percent
from reports._verified import Verified
from subdit.core.quantities import PER_DEVICE
from subdit.core.quantities import noun

VERIFIED_COLUMNS = ("predicted, ms", "measured, ms", "95 % interval, ms", "off by", "corrected, ms", "latency limit")


def verified_lines(verified: Verified, config: Mapping[str, Any]) -> list[Line]:
    """One row per sub-DiT that was measured; its heading is the spec, its cells are those of `VERIFIED_COLUMNS`."""
    limited = bool(_latency_limits(config))
    return [
        Line(
            one.spec,
            (
                milliseconds(one.predicted_ms),
                milliseconds(one.measured_ms),
                interval(one.measured_low_ms, one.measured_high_ms),
                percent(one.predicted_ms / one.measured_ms - 1, sign=True),
                # What was not believed corrects nothing.
                milliseconds(one.corrected_ms) if verified.second else "not corrected",
                ("broken" if one.violates_limit else "kept") if limited else "none",
            ),
        )
        for one in verified.measured
    ]


def verified_sentences(verified: Verified, config: Mapping[str, Any]) -> list[str]:
    """Sentences on what was measured, on the errors of the first front, and on which latencies this page shows."""
    count = len(verified.measured)
    violations = sum(one.violates_limit for one in verified.measured)
    broken = (
        f"{violations} of them {'breaks' if violations == 1 else 'break'} the latency limit"
        if _latency_limits(config)
        else "there was no latency limit to break"
    )
    first, second = f"“{verified.first}”", f"“{verified.second}”"
    said = [
        f"{_sub_dits(count)} of the front of search {first} {'was' if count == 1 else 'were'} exported with the "
        f"supernet's weights and measured: predictions were off by {percent(verified.mean_relative_error)} in the "
        f"mean and {percent(verified.worst_relative_error)} at worst; {broken}."
    ]
    if verified.reference_kernel_ratio != 1.0:
        said.append(
            f"Meanwhile the reference kernel took {verified.reference_kernel_ratio:.2f} of its time in the profile; "
            "what was measured is shown divided by that."
        )
    if not verified.second:
        return [*said, "Nothing was corrected by it: the latencies of this page are the profile's."]
    change = f"by a factor of {verified.measured_over_predicted:.3f} in common"
    if verified.correction is None:
        said.append(
            f"The latencies of this page are not corrected by that. Search {second} is the same search by the table as "
            f"corrected, {change}, so its latencies are not to be compared with those here."
        )
    else:
        said.append(
            f"All predicted latencies of this page are of the profile's table as corrected by that, {change}; those of "
            f"search {first}, and of others that were not corrected, are not to be compared with them."
        )
    if verified.hypervolume_regret is not None:
        said.append(
            f"By the corrected table the front of {first} lacks {percent(verified.hypervolume_regret, decimals=2)} of "
            f"the hypervolume that it and the front of {second} have together, in "
            f"{' and '.join(map(noun, verified.hypervolume_figures))}."
        )
    return said


def verified_warning(verified: Verified) -> str:
    """Why the measurements cannot be trusted; empty where they can."""
    if not verified.doubts:
        return ""
    second = f"“{verified.second}”"
    used = f"Search {second} was corrected by it all the same" if verified.second else "Nothing was corrected"
    return f"What was measured of the front is not to be believed: {'; '.join(verified.doubts)}. {used}."


def _sub_dits(count: int) -> str:
    return f"{count} sub-DiT{'' if count == 1 else 's'}"


def _latency_limits(config: Mapping[str, Any]) -> list[str]:
    """Limits that a measured latency can break: on the first device."""
    return [name for name in PER_DEVICE if name in config["constraints"]]
