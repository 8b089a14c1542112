"""What a checkpoint says of the data that it was trained on, so that nothing needs to be told twice.

`data.json` beside the weights names the data set, the keys of its text encoders and of its autoencoder, and where these
were. The empty prompt lies beside it in the bits that training saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import CheckpointError
from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import replacing
from subdit.core.files import write_json

if TYPE_CHECKING:
    from supernet.data.data_set import TextBatch

DATA_FILE = "data.json"
NULL_TEXT_FILE = "null_text.safetensors"
_MASK = "mask"
_FIELDS = ("reference", "digest", "key", "places")


@dataclass(frozen=True)
class DataRecord:
    """A data set by name and by all that it depends on.

    Attributes:
        reference: what `open_data_set` opens: the name of a plug-in, or a folder.
        digest: of the data set; empty in checkpoints of versions that did not keep it.
        key: what it depends on.
        places: where its text encoders and its autoencoder were, as `DataSet.places`.
        null: the empty prompt (1, ...) in the bits of training, where it is at hand.
    """

    reference: str
    digest: str
    key: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)
    null: TextBatch | None = field(default=None, compare=False)

    def moved(self, *, text: Mapping[str, str] | None = None, vae: Path | None = None) -> DataRecord:
        """The same where text encoders, by text input, or the autoencoder lie elsewhere now; raises `DataError`."""
        text = text or {}
        if strange := sorted(set(text) - set(self.key["text"])):
            known = ", ".join(self.key["text"])
            raise DataError(f"The model has no text input {strange[0]!r} to name an encoder for; it has {known}.")
        places = {f"text.{name}": place for name, place in text.items()} | ({"vae": str(vae)} if vae else {})
        return replace(self, places={**self.places, **places})

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_dict(cls, stored: Any) -> DataRecord:
        """The record of JSON; raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` on what is none."""
        record = cls(**{name: stored[name] for name in _FIELDS})
        # Read once, so that a damaged record is refused where it is opened.
        for name, key in record.key["text"].items():
            int(key["tokens"]), int(key["width"]), str(record.places[f"text.{name}"])
        str(record.key["latents"]["class"]), Path(record.reference), str(record.digest)
        return record


def write_record(record: DataRecord, folder: Path) -> None:
    """Write the record beside a checkpoint, and the empty prompt where it is known."""
    if record.null is not None:
        from safetensors.torch import save_file

        stored = {f"text.{name}": text for name, text in zip(record.key["text"], record.null.embeddings, strict=True)}
        with replacing(folder / NULL_TEXT_FILE) as temporary:
            save_file(
                {name: tensor.contiguous() for name, tensor in stored.items()} | {_MASK: record.null.mask}, temporary
            )
    write_json(folder / DATA_FILE, record.to_dict())


def read_record(folder: Path) -> DataRecord | None:
    """The record beside a checkpoint without its empty prompt, None where an earlier version wrote none.

    Raises `CheckpointError` where it is damaged.
    """
    path = folder / DATA_FILE
    if not path.exists():
        return None
    try:
        return DataRecord.from_dict(read_json(path, "record of the data"))
    except (RunError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"The record {path} is damaged ({error!r}); copy it again from its origin.") from error


def read_full_record(folder: Path) -> DataRecord | None:
    """The same with its empty prompt; raises `CheckpointError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from supernet.data.data_set import TextBatch

    record, path = read_record(folder), folder / NULL_TEXT_FILE
    if record is None:
        return None
    try:
        stored = load_file(str(path))
        null = TextBatch(tuple(stored[f"text.{name}"] for name in record.key["text"]), stored[_MASK])
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"The empty prompt {path} is missing or damaged ({error!r}); copy it again.") from error
    return replace(record, null=null)
