"""What ran a graph, and which share of it, by what TensorFlow Lite's and LiteRT's benchmark_model say of it."""

from __future__ import annotations

import re

from profilers.importers._log import Log

_SPLIT = re.compile(
    r"\b(\d{1,9}) operations will run on the GPU, and the remaining (\d{1,9})(?: operations will run)? on the CPU"
)
_REPLACED = re.compile(r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \(([^)]{1,80})\)")
_USE = re.compile(r"Use (\w{1,20}): \[(?:1|true)\]")
_APPLIED = re.compile(r"(?:explicitly applied|though) ([a-z0-9_-]{1,40}) delegate\b")
_ACCELERATORS = ("gpu", "npu", "nnapi", "hexagon", "coreml")


def applied(log: Log) -> str | None:
    """The accelerator, or another delegate, that was applied; "xnnpack" where that is all, None where none was."""
    known = (*_ACCELERATORS, "xnnpack")
    used: set[str] = set()
    for line in log.lines:
        text = line.strip()
        if match := _USE.fullmatch(text):
            used |= {match[1].lower()} & set(known)
        text = text.lower()
        if match := _APPLIED.match(text):
            used.add(match[1])
        elif text.startswith(("created tensorflow lite", "applying")) and "delegate" in text:
            used |= set(known) & set(re.findall(r"\w+", text))
    named = [*(name for name in _ACCELERATORS if name in used), *sorted(used - set(known))]
    return named[0] if named else "xnnpack" if used else None


def delegated_share(log: Log) -> float | None:
    """Operators on the accelerator over all operators, of a run that used one; None where the log does not tell."""
    return delegation(log)[0]


def partly_delegated(log: Log) -> bool | None:
    """True where the log says that an accelerator took a part of the graph; None where it does not say so."""
    said = "model graph will be partially executed by the delegate"
    return True if any(said in line and "XNNPACK" not in line for line in log.lines) else None


def delegation(log: Log, *, xnnpack: bool = False) -> tuple[float | None, int | None]:
    """Operators on the accelerator over all operators, and how many all are; None for what the log does not tell.

    XNNPACK is the processor, and does not count; with `xnnpack`, of a run without an accelerator, nothing else does.
    Where a run says it twice, the first saying counts.
    """

    def meant(text: str) -> bool:
        return ("xnnpack" in text.lower()) == xnnpack

    split = [(int(match[1]), int(match[2])) for line in log.lines if (match := _SPLIT.search(line))]
    if split and sum(split[0]) and not xnnpack:
        return split[0][0] / sum(split[0]), sum(split[0])
    replaced = [match for line in log.lines if (match := _REPLACED.search(line)) and meant(match[3])]
    if total := sum(int(match[2]) for match in replaced):
        return min(sum(int(match[1]) for match in replaced) / total, 1.0), total
    for line in log.lines:
        if "model graph will be completely executed by the delegate" in line and meant(line):
            return 1.0, None
        if "model graph will not be executed by the delegate" in line and meant(line):
            return 0.0, None
    return None, None
