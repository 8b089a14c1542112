"""The error family: every message is one sentence that says what was wrong and what to do about it."""

from __future__ import annotations


class SubditError(Exception):
    """Base of everything subdit raises on purpose; the command line prints the message and exits with 2."""


class SpaceError(SubditError):
    """An unknown search space, or a space whose dimensions cannot exist together."""


class SpecError(SubditError):
    """A sub-DiT specification that is not a point of its search space."""


class RunError(SubditError):
    """A missing, damaged, locked or already occupied run folder."""


class CheckpointError(SubditError):
    """A checkpoint that is missing, truncated, or belongs to another model."""


class ConfigError(SubditError):
    """A configuration with a value that cannot be, a device that is not there, or a file that holds none."""


class TrainingError(SubditError):
    """A training whose numbers are no longer finite."""


class StoppedError(SubditError):
    """Work that the system told to end (SIGTERM), and that left a state to go on from; the exit code is 143."""


class ProfileError(SubditError):
    """A device profile that is unknown, ambiguous, damaged, too noisy or made for another space."""


class DeviceError(SubditError):
    """A phone that is missing, not authorized, too hot, lost in the middle, or that cannot run what it should."""


class KitError(SubditError):
    """A kit folder that is missing, damaged or made for another space."""


class SearchError(SubditError):
    """A search that cannot start or whose results cannot be read."""


class InfeasibleError(SearchError):
    """Hard limits that no sub-DiT of the space can meet."""


class ExportError(SubditError):
    """A model that could not be exported, or whose export does not compute what the model computes."""


class DataError(SubditError):
    """Pictures, captions or an encoded data set that are missing, damaged, or made for another space or encoder."""


class SampleError(SubditError):
    """A prompt or a model that cannot be sampled from."""


class EvaluationError(SubditError):
    """Samples that cannot be judged: an unknown feature space, no real images to compare with, or broken weights."""


class DownloadError(SubditError):
    """A package of another registry that cannot be fetched, is damaged, or is another one than the known one."""


class MissingExtraError(SubditError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class ImportLogError(SubditError):
    """A log of another tool that is of no known format, cut short, or contradicts itself."""


class StaleWarning(UserWarning):
    """Something was met that is not of the run's weights of now; the work goes on without mixing them."""


def reason(error: BaseException) -> str:
    """What another package's error says, in one line and short enough for a part of a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(". ")
