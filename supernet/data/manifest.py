"""The manifest of an encoded data set: everything that its shards depend on, and what became of each picture.

Its keys are what a cache must be refused by: the space's latents, resolution and crop, the autoencoder and its
constants, text encoders with template and token length, the source's fingerprint, the splits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from subdit.core.errors import DataError
from subdit.core.errors import RunError
from subdit.core.files import read_json
from subdit.core.files import write_json
from supernet.data.latents import LatentStatistics
from supernet.data.manifest_schema import damage

MANIFEST = "manifest.json"
NULL_TEXT = "null.safetensors"
REJECTED = "rejected.jsonl"
SHARDS = "shards"
FORMAT = 1

LABELS = {
    "space": "search space",
    "picture": "picture rule",
    "latents": "latents",
    "text": "text encoder",
    "source": "source",
    "split": "split",
    "dtype": "number format",
    "shard_examples": "shard size",
}


@dataclass(frozen=True)
class ShardEntry:
    """One shard of a data set.

    Attributes:
        file: its path below the data set.
        sha256: of the file.
        examples: of the source that it covers, those that were rejected included.
        rows: per split, of what is in it.
        rejected: number of rejected examples by kind.
        resized: rows whose picture was resized, and
        cropped: rows that lost a part of it.
        cropped_area: sum over rows of the fraction that was lost.
        notes: number of rows by what of their file was not used.
        truncated: per text encoder the captions that have more tokens than are kept.
        licences: rows by licence.
        longest_caption: characters.
        statistics: of the latents of the split train.
    """

    file: str
    sha256: str
    examples: int
    rows: Mapping[str, int]
    rejected: Mapping[str, int]
    resized: int
    cropped: int
    cropped_area: float
    notes: Mapping[str, int]
    truncated: Mapping[str, int]
    licences: Mapping[str, int]
    longest_caption: int
    statistics: LatentStatistics

    @classmethod
    def from_dict(cls, stored: Any) -> ShardEntry:
        statistics = stored["statistics"]
        return cls(
            **{name: value for name, value in stored.items() if name != "statistics"},
            statistics=LatentStatistics(statistics["count"], tuple(statistics["sums"]), tuple(statistics["squares"])),
        )


@dataclass(frozen=True)
class Manifest:
    """What a data set is made of.

    Attributes:
        key: what its shards depend on, by the names of `LABELS`.
        shards: in order.
        null_sha256: digest of the file with the null text.
        places: paths of source, autoencoder and text encoders when it was made; nothing depends on them.
    """

    key: Mapping[str, Any]
    shards: Sequence[ShardEntry]
    null_sha256: str
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of key and content."""
        content = {"key": self.key, "shards": [shard.sha256 for shard in self.shards], "null": self.null_sha256}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def statistics(self) -> LatentStatistics:
        """Of the latents of the split train."""
        return sum((shard.statistics for shard in self.shards), LatentStatistics())

    def count(self, split: str) -> int:
        """Rows of a split."""
        return sum(shard.rows.get(split, 0) for shard in self.shards)

    def total(self, name: str) -> dict[str, int]:
        """Sums over shards of a field that counts by name, such as `rejected`."""
        found: dict[str, int] = {}
        for shard in self.shards:
            for label, count in getattr(shard, name).items():
                found[label] = found.get(label, 0) + count
        return dict(sorted(found.items()))

    def write(self, folder: Path) -> Path:
        """Write the manifest into the data set's folder, where it says that all else is there."""
        return write_json(
            folder / MANIFEST,
            {
                "subdit_data": FORMAT,
                "digest": self.digest,
                "key": self.key,
                "null_sha256": self.null_sha256,
                "places": self.places,
                "shards": [asdict(shard) for shard in self.shards],
            },
        )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished data set; raises `DataError`."""
    if not (folder / MANIFEST).is_file():
        begun = "; encode it to its end first" if (folder / SHARDS).is_dir() else "; make one with 'subdit data encode'"
        raise DataError(f"There is no encoded data set at {folder}{begun}.")
    try:
        stored = read_json(folder / MANIFEST, "data set's manifest")
        if isinstance(stored, dict) and "subdit_data" not in stored:
            raise DataError(f"The folder {folder} holds no encoded data set but something else; name that of one.")
        if isinstance(stored, dict) and stored["subdit_data"] != FORMAT:
            raise DataError(f"The data set at {folder} is of another version of subdit; encode it again.")
        if wrong := damage(stored):
            said = " ".join(wrong.split())[:200]
            raise DataError(f"The manifest at {folder} is damaged ({said}); encode the data set again.")
        manifest = Manifest(
            key=stored["key"],
            shards=tuple(map(ShardEntry.from_dict, stored["shards"])),
            null_sha256=stored["null_sha256"],
            places=stored["places"],
        )
        if manifest.digest != stored["digest"]:
            raise DataError(f"The manifest at {folder} was changed after it was written; encode the data set again.")
        for shard in manifest.shards:
            if not re.fullmatch(rf"{SHARDS}/\d{{6}}\.safetensors", shard.file):
                raise DataError(
                    f"The manifest at {folder} names the file {shard.file!r}, which is no shard of it; encode the data "
                    "set again."
                )
        if not manifest.statistics.count:
            raise DataError(f"The manifest at {folder} is damaged (it counts no latents); encode the data set again.")
    except RunError as error:
        raise DataError(str(error)) from error
    # Statistics of shards with other numbers of channels.
    except ValueError as error:
        raise DataError(f"The manifest at {folder} is damaged ({error}); encode the data set again.") from error
    return manifest


def key_difference(have: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    """What differs first, such as "text encoder clip template 'a {}', not '{}'"; empty where nothing does."""
    for name in dict.fromkeys((*want, *have)):
        found = _difference(have.get(name), want.get(name))
        if found:
            return f"{LABELS.get(name, name)} {found}"
    return ""


def _difference(have: Any, want: Any) -> str:
    if have == want:
        return ""
    if isinstance(have, Mapping) and isinstance(want, Mapping):
        for name in dict.fromkeys((*want, *have)):
            if found := _difference(have.get(name), want.get(name)):
                return f"{name} {found}"
    return f"{have!r}, not {want!r}"
