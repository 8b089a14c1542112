"""Which share of a graph an accelerator took, by what TensorFlow Lite's and LiteRT's benchmark_model say of it."""

from __future__ import annotations

import re

from profilers.importers._log import Log

_SPLIT = re.compile(
    r"\b(\d{1,9}) operations will run on the GPU, and the remaining (\d{1,9})(?: operations will run)? on the CPU"
)
_REPLACED = re.compile(r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \(([^)]{1,80})\)")


def delegated_share(log: Log) -> float | None:
    """Operators on the accelerator over all operators, of a run that used one; None where the log does not tell."""
    return delegation(log)[0]


def delegation(log: Log) -> tuple[float | None, int | None]:
    """Operators on the accelerator over all operators, and how many all are; None for what the log does not tell.

    XNNPACK is the processor, and does not count. Where a run says it twice, the first saying counts.
    """
    split = [(int(match[1]), int(match[2])) for line in log.lines if (match := _SPLIT.search(line))]
    if split and sum(split[0]):
        return split[0][0] / sum(split[0]), sum(split[0])
    replaced = [match for line in log.lines if (match := _REPLACED.search(line)) and "xnnpack" not in match[3].lower()]
    if total := sum(int(match[2]) for match in replaced):
        return min(sum(int(match[1]) for match in replaced) / total, 1.0), total
    for line in log.lines:
        if "model graph will be completely executed by the delegate" in line and "XNNPACK" not in line:
            return 1.0, None
        if "model graph will not be executed by the delegate" in line and "XNNPACK" not in line:
            return 0.0, None
    return None, None
