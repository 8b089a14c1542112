"""What an encoded data set holds, as one JSON-ready value: for `data show`, and in short after `data encode`."""

from __future__ import annotations

from typing import Any

from supernet.data.data_set import evenly
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.manifest import Manifest
from supernet.data.splits import SPLITS

EXAMPLES = 5


def describe(data_set: EncodedDataSet, *, examples: int = EXAMPLES) -> dict[str, Any]:
    """Counts, what was rejected and changed, latent statistics per channel, captions; raises `DataError`."""
    manifest = data_set.manifest
    rows = evenly(data_set.count("train"), examples)
    return {
        "data_set": str(data_set.path),
        "digest": manifest.digest,
        "counts": counts(manifest),
        "captions": {
            "longest": max((shard.longest_caption for shard in manifest.shards), default=0),
            "examples": [record.caption for record in data_set.records("train", rows)],
        },
        "latents": statistics(manifest),
        "key": dict(manifest.key),
        "places": dict(manifest.places),
        "bytes": sum((data_set.path / shard.file).stat().st_size for shard in manifest.shards),
    }


def counts(manifest: Manifest) -> dict[str, Any]:
    """How many pictures are in each split, and what became of the others and of the parts that were cut off."""
    cropped = sum(shard.cropped for shard in manifest.shards)
    lost = sum(shard.cropped_area for shard in manifest.shards)
    return {
        "examples": sum(shard.examples for shard in manifest.shards),
        "splits": {split: manifest.count(split) for split in SPLITS},
        "split_seed": manifest.key["split"]["seed"],
        "rejected": manifest.total("rejected"),
        "resized": sum(shard.resized for shard in manifest.shards),
        "cropped": cropped,
        "mean_cropped_area": lost / cropped if cropped else 0.0,
        "notes": manifest.total("notes"),
        "truncated_captions": manifest.total("truncated"),
        "licences": manifest.total("licences"),
    }


def statistics(manifest: Manifest) -> dict[str, Any]:
    """Mean and deviation of the split train's latents."""
    found = manifest.statistics
    return {
        "mean": found.mean,
        "std": found.std,
        "channel_mean": list(found.channel_mean),
        "channel_std": list(found.channel_std),
    }
