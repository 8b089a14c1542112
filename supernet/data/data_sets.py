"""Which data set a name or a path is.

Plug-ins are entry points of the group `subdit.data_sets`: functions of a `SearchSpace` that return a `DataSet`, or
raise `DataError` where they have none for it. A folder that `data encode` made is one, too.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from subdit.core.errors import DataError
from subdit.core.errors import SpaceError
from subdit.space import SearchSpace
from supernet.data.data_record import DataRecord
from supernet.data.data_record import read_record
from supernet.data.data_set import DataSet
from supernet.data.data_set import require_space
from supernet.data.digits import DigitsDataSet
from supernet.data.digits import has_digits

GROUP = "subdit.data_sets"


def data_set_names() -> tuple[str, ...]:
    """Names of the data set plug-ins, in the order of the alphabet."""
    return tuple(sorted(metadata.entry_points(group=GROUP).names))


def open_data_set(reference: str | Path, *, space: SearchSpace) -> DataSet:
    """A data set for a space, by the name of a plug-in or as a folder that `data encode` made.

    Raises:
        DataError: it is missing, damaged, for another space, or of another version of subdit.
    """
    names = data_set_names()
    if isinstance(reference, str) and reference in names:
        (entry, *_) = metadata.entry_points(group=GROUP, name=reference)
        try:
            make = entry.load()
        except (ImportError, AttributeError) as error:
            raise DataError(f"The data set {reference!r} cannot be imported ({error}); repair it.") from error
        data_set = make(space)
        if not isinstance(data_set, DataSet):
            raise DataError(f"{entry.value} is no `DataSet`; repair or uninstall its package.")
    elif Path(reference).exists():
        # Lazily: it needs torch, and names of data sets do not.
        from supernet.data.encoded_data_set import EncodedDataSet

        data_set = EncodedDataSet(Path(reference))
    else:
        raise DataError(
            f"There is no data set {str(reference)!r}; name a folder that 'subdit data encode' made, or one of "
            f"{', '.join(names)}."
        )
    return require_space(data_set, space)


def default_data_set(space: SearchSpace) -> str:
    """The data set that a space has without being told; raises `SpaceError` where it has none."""
    if not has_digits(space):
        raise SpaceError(
            f"Space {space.name!r} has no data set of its own; name one with --data, such as a folder that "
            "'subdit data encode' made."
        )
    return DigitsDataSet.name


def record_of(data_set: DataSet, reference: str | Path) -> DataRecord:
    """The record of a data set that `reference` opens; a folder is kept as an absolute path."""
    named = str(reference) in data_set_names()
    place = str(reference) if named else str(Path(reference).resolve())
    return DataRecord(place, data_set.digest, dict(data_set.key), dict(data_set.places), data_set.null_text())


def checkpoint_record(folder: Path, space: SearchSpace) -> DataRecord:
    """What a checkpoint says that it was trained on; of earlier versions, which do not say it, the digits.

    Raises `SpaceError` where that cannot be, and `CheckpointError` where the record is damaged.
    """
    return read_record(folder) or digits_record(space)


def digits_record(space: SearchSpace) -> DataRecord:
    """The record that models of earlier versions lack, without its empty prompt; raises `SpaceError` as they do."""
    name = default_data_set(space)
    digits = DigitsDataSet(space)
    return DataRecord(name, "", digits.key, digits.places)


def checkpoint_data(folder: Path, space: SearchSpace) -> DataSet:
    """The data set that a checkpoint was trained on; raises as `checkpoint_record` and `open_recorded_data` do."""
    return open_recorded_data(checkpoint_record(folder, space), space)


def open_recorded_data(record: DataRecord, space: SearchSpace) -> DataSet:
    """The data set of a record.

    Raises:
        DataError: it is not there, damaged, or another one than was trained on.
    """
    if record.reference not in data_set_names() and not Path(record.reference).exists():
        raise DataError(
            f"The data set that was trained on is not at {record.reference}; put it back, or say where it lies now "
            "with 'subdit data relocate'."
        )
    return same_data(open_data_set(record.reference, space=space), record)


def same_data(data_set: DataSet, record: DataRecord) -> DataSet:
    """Return the data set; raises `DataError` where it is not the one of the record."""
    if record.digest and data_set.digest != record.digest:
        raise DataError(
            f"The data set {data_set.name} is not the one that was trained on ({data_set.digest} instead of "
            f"{record.digest}); name that one with --data, or train again on this one."
        )
    return data_set
