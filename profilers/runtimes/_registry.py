"""The runtimes there are, by name: what entry points of the group `subdit.runtimes` name."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from profilers.runtimes._runtime import Runtime
from subdit.core.errors import ProfileError

GROUP = "subdit.runtimes"
DEFAULT_RUNTIME = "onnxruntime"
"""What a kit is made for where nothing else is asked for."""


def runtime_names() -> tuple[str, ...]:
    """Names of all runtimes, in the order of the alphabet; none of them is imported."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


@cache
def runtime_class(name: str) -> type[Runtime]:
    """The runtime of that name, whether or not its library is installed.

    Raises:
        ProfileError: there is no such runtime, or what its entry point names is none.
    """
    if not runtime_names():
        raise ProfileError("No runtime is registered; run 'pip install -e .' again, so that entry points are known.")
    found = metadata.entry_points(group=GROUP, name=name)
    if not found:
        raise ProfileError(f"There is no runtime {name!r}; there is {', '.join(runtime_names())}.")
    (entry, *_) = found
    try:
        runtime = entry.load()
    except (ImportError, AttributeError) as error:
        raise ProfileError(f"The runtime {name!r} cannot be imported ({error}); repair or uninstall it.") from error
    if not (isinstance(runtime, type) and issubclass(runtime, Runtime) and getattr(runtime, "name", None) == name):
        raise ProfileError(f"{entry.value} is no `Runtime` of the name {name!r}; repair or uninstall its package.")
    return runtime


def get_runtime(name: str, *, precision: str = "fp32", delegate: str | None = None) -> Runtime:
    """The runtime of that name at a precision of the weights.

    Raises:
        ProfileError: there is no such runtime, or it has no such precision or delegate.
        MissingExtraError: its library is not installed, or does not run.
    """
    return runtime_class(name)(precision, delegate)
