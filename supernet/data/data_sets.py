"""Which data set a name or a path is.

Plug-ins are entry points of the group `subdit.data_sets`: functions without arguments that return a `DataSet`. A folder
that `data encode` made is one, too.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from supernet.data.data_set import DataSet
from supernet.data.data_set import require_space
from supernet.data.encoded import EncodedDataSet

GROUP = "subdit.data_sets"


def data_set_names() -> tuple[str, ...]:
    """Names of the data set plug-ins, in the order of the alphabet."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


def open_data_set(reference: str | Path, *, space: SearchSpace) -> DataSet:
    """A data set for a space, by the name of a plug-in or as a folder that `data encode` made.

    Raises:
        DataError: there is none, or it is of another space, damaged, or of another version.
    """
    names = data_set_names()
    if isinstance(reference, str) and reference in names:
        (entry, *_) = metadata.entry_points(group=GROUP, name=reference)
        try:
            data_set = entry.load()()
        except (ImportError, AttributeError) as error:
            raise DataError(f"The data set {reference!r} cannot be imported ({error}); repair it.") from error
        if not isinstance(data_set, DataSet):
            raise DataError(f"{entry.value} is no `DataSet`; repair or uninstall its package.")
    elif Path(reference).exists():
        data_set = EncodedDataSet(Path(reference))
    else:
        raise DataError(
            f"There is no data set {str(reference)!r}; name a folder that 'subdit data encode' made, or one of "
            f"{', '.join(names)}."
        )
    return require_space(data_set, space)
