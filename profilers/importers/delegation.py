"""What ran a graph, and which share of it, by what TensorFlow Lite's and LiteRT's benchmark_model say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from profilers.importers.imported_log import file_name
from profilers.importers.log import Log

_SPLIT = re.compile(
    r"\b(\d{1,9}) operations will run on the GPU, and the remaining (\d{1,9})(?: operations will run)? on the CPU"
)
_NONE_ON_GPU = re.compile(r"No operations will run on the GPU, and all (\d{1,9}) operations will run on the CPU")
_REPLACED = re.compile(
    r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \(([^)]{1,80})\)"
    r"(?: node, yielding (\d{1,9}) partitions)?"
)
# Of delegates by `SimpleDelegate`: "TfLiteQnnDelegate delegate: 31 nodes delegated out of 40 nodes with 2 partitions."
_DELEGATED = re.compile(
    r"([\w\] -]{0,80}): {0,3}(\d{1,9}) nodes delegated out of (\d{1,9}) nodes(?: with (\d{1,9}) partitions)?"
)
_USE = re.compile(r"Use (\w{1,20}): \[(?:1|true)\]")
_APPLIED = re.compile(r"(?:explicitly applied|though) ([a-z0-9_-]{1,40}) delegate\b")
_DECLINED = re.compile(
    r"though ([a-z0-9_-]{1,40}) delegate is explicitly applied, the model graph will not be executed by the delegate"
)
_LIBRARY = re.compile(r"External delegate path: \[([^\[\]]{1,500})\]")
_ACCELERATORS = ("gpu", "npu", "nnapi", "hexagon", "coreml")
# Delegates that run on the processor: no accelerator's share is told by them.
_OF_THE_PROCESSOR = ("xnnpack", "flex")
# Words in the names under which delegates log and are listed, such as LITERT_CL, TfLiteGpuDelegateV2, DispatchDelegate.
_DELEGATE_NAMES = {"xnnpack": "xnnpack", "flex": "flex", "litert_": "gpu", "gpu": "gpu", "dispatch": "npu"}


def applied(log: Log) -> str | None:
    """The accelerator, or another delegate, that ran something; "xnnpack" where that is all, None where none did."""
    used, refused = _applied(log), set(declined(log))
    known = (*_ACCELERATORS, "xnnpack")
    ran = used - refused
    named = [*(name for name in _ACCELERATORS if name in ran), *sorted(ran - set(known))]
    return named[0] if named else "xnnpack" if "xnnpack" in used else None


def declined(log: Log) -> tuple[str, ...]:
    """The delegates that were applied and ran nothing, by name."""
    used = _applied(log)
    named = {match[1] for line in log.lines if (match := _DECLINED.match(line.strip().lower()))}
    found = {_library(log) if name == "external" else name for name in named}
    others = used - found - set(_OF_THE_PROCESSOR)
    # One says it in numbers alone.
    if len(others) == 1 and _counted(log, xnnpack=False, refused=found)[0] == 0:
        found |= others
    return tuple(sorted(found))


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
    Where a run says it twice, the first saying counts. What a delegate that ran nothing says of itself counts as none:
    NNAPI's says "Replacing 31 out of 31" and then that the graph will not be executed by it.
    """
    refused = set() if xnnpack else set(declined(log))
    share, total = _counted(log, xnnpack=xnnpack, refused=refused)
    if share is not None:
        return share, total
    if any("model graph will be completely executed by the delegate" in line for line in _meant(log, xnnpack)):
        return 1.0, None
    return (0.0, None) if refused else (None, None)


def partitions(log: Log, *, xnnpack: bool = False) -> int | None:
    """Stretches of the graph in which the accelerator, or XNNPACK, and the rest take turns; None where not told."""
    refused = set() if xnnpack else set(declined(log))
    # Some programs say it once more for each of their logs.
    lines = dict.fromkeys(line.strip() for line in _meant(log, xnnpack))
    found = [match for line in lines if (match := _REPLACED.search(line))]
    told = [(match[3], match[4]) for match in found]
    told = told or [(match[1], match[4]) for line in lines if (match := _DELEGATED.search(line))]
    counts = [count for name, count in told if not any(word in name.lower() for word in refused)]
    return None if not counts or None in counts else sum(map(int, counts))


def delegate_word(name: str) -> str:
    """What a delegate is called in ids, by the name that TensorFlow Lite lists it under: LITERT_CL is gpu."""
    known = [word for part, word in _DELEGATE_NAMES.items() if part in name.lower()]
    return known[0] if known else _short_name(name) or "unnamed"


def _counted(log: Log, *, xnnpack: bool, refused: set[str]) -> tuple[float | None, int | None]:
    """The share and all operators, where the log has their numbers."""
    lines = list(_meant(log, xnnpack))
    if not xnnpack and "gpu" not in refused:
        split = [(int(match[1]), int(match[2])) for line in lines if (match := _SPLIT.search(line))]
        split += [(0, int(match[1])) for line in lines if (match := _NONE_ON_GPU.search(line))]
        if split and sum(split[0]):
            return split[0][0] / sum(split[0]), sum(split[0])

    def is_refused(name: str) -> bool:
        return any(word in name.lower() for word in refused)

    replaced = [match for line in lines if (match := _REPLACED.search(line)) and not is_refused(match[3])]
    parts = [(int(match[1]), int(match[2])) for match in replaced]
    if not parts:
        told = [match for line in lines if (match := _DELEGATED.search(line)) and not is_refused(match[1])]
        parts = [(int(match[2]), int(match[3])) for match in told]
    if total := sum(every for _, every in parts):
        return min(sum(some for some, _ in parts) / total, 1.0), total
    return None, None


def _meant(log: Log, xnnpack: bool) -> Iterator[str]:
    """The lines that may speak of XNNPACK, or else those that may speak of an accelerator."""
    for line in log.lines:
        text = line.lower()
        of_the_processor = any(name in text for name in _OF_THE_PROCESSOR)
        if "xnnpack" in text if xnnpack else not of_the_processor:
            yield line


def _applied(log: Log) -> set[str]:
    """Every delegate that the program says it was told to use, or applied."""
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
    return {_library(log) if name == "external" else name for name in used} - {"flex"}


def _library(log: Log) -> str:
    """What an external delegate is called, by the file of its library: libQnnTFLiteDelegate.so is qnn."""
    paths = [match[1] for line in log.lines if (match := _LIBRARY.search(line))]
    if not paths:
        return "external"
    return _short_name(file_name(paths[0]).partition(".")[0].removeprefix("lib")) or "external"


def _short_name(name: str) -> str:
    """A delegate's name without what all of them have in theirs."""
    name = re.sub(r"_?external(?=_|$)|_?delegate|tensorflow_?lite_?|_?tflite_?|^tfl_", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")
