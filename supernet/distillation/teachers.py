"""Teachers by name: plug-ins of the entry point group `subdit.teachers`."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from subdit.core.errors import DataError
from supernet.distillation.teacher import Teacher

GROUP = "subdit.teachers"


def teacher_names() -> tuple[str, ...]:
    """Names of the teacher plug-ins, in the order of the alphabet."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


def open_teacher(reference: str, *, lora: Path | None = None) -> Teacher:
    """The teacher PLUGIN:ARGUMENT, such as diffusers:FOLDER of a saved pipeline, with its few-step LoRA if it has one.

    An entry point is a function of the argument and the path of the LoRA. Raises `DataError` if there is no such
    plug-in or it makes no teacher, and whatever the plug-in raises.
    """
    plugin, _, argument = reference.partition(":")
    found = tuple(metadata.entry_points(group=GROUP, name=plugin))
    if not found:
        raise DataError(
            f"There is no teacher {reference!r}; name a plug-in and what it opens, as in diffusers:FOLDER; plug-ins "
            f"are {', '.join(teacher_names()) or 'not installed'}."
        )
    try:
        factory = found[0].load()
    except (ImportError, AttributeError) as error:
        raise DataError(f"The teacher {plugin!r} cannot be imported ({error}); repair or uninstall it.") from error
    teacher = factory(argument, lora=lora)
    if not isinstance(teacher, Teacher):
        raise DataError(f"{found[0].value} makes no `Teacher`; repair or uninstall its package.")
    return teacher
