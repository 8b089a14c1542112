"""The reference of a run: the data set of its training, or another one that the same models encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from supernet.data.data_record import DataRecord
from supernet.data.data_sets import checkpoint_record
from supernet.data.data_sets import open_data_set
from supernet.data.data_sets import open_recorded_data
from supernet.data.latent_codec import are_pixels
from supernet.data.latent_codec import open_latent_codec
from supernet.data.latents import LatentCodec
from supernet.data.manifest import key_difference
from supernet.data.picture import to_unit_range
from supernet.evaluation.data_reference import reference_of_data_set
from supernet.evaluation.feature_spaces import make_feature_space
from supernet.evaluation.judge import Judge
from supernet.evaluation.reference import Images
from supernet.evaluation.reference import Reference
from supernet.evaluation.reference import same_images

LARGE_IMAGE = 2048
"""From this many numbers on, images are not compared number by number; 32x32 pixels in colour have more."""


def run_reference(
    supernet: Path, space: SearchSpace, *, data: str | Path | None = None, vae: Path | None = None
) -> Reference:
    """The reference of a run.

    Args:
        supernet: the run's checkpoint.
        space: of the run.
        data: another data set; by default that of training.
        vae: path of the autoencoder of the latents, which is opened when the first picture is needed.

    Raises:
        DataError: the data set is missing, damaged, of another space, or of other text encoders than the run's.
        SpaceError: an earlier version trained the run, and did not record on what.
        CheckpointError: the record beside the checkpoint is damaged.
    """
    record = checkpoint_record(supernet, space)
    if data is None:
        data_set = open_recorded_data(record, space)
    else:
        data_set = open_data_set(data, space=space)
        for part in ("text", "latents"):
            if difference := key_difference({part: data_set.key[part]}, {part: record.key[part]}):
                raise DataError(
                    f"The data set {data_set.name} is not encoded like the data of training: {difference}; encode it "
                    "with the same models."
                )
    decode = same_images if are_pixels(data_set.key) else _decoder(record, vae)
    return reference_of_data_set(data_set, decode=decode)


def run_judge(supernet: Path, space: SearchSpace) -> Judge:
    """The judge of a run with its own data, in the default feature space; raises as `run_reference`."""
    reference = run_reference(supernet, space)
    return Judge(reference, make_feature_space(default_features(reference), reference.train))


def default_features(reference: Reference) -> str:
    """The name of the default feature space for images of this reference."""
    if reference.judge.latents[:1].size >= LARGE_IMAGE:
        return "convolutional"
    return "pixels" if reference.decode is same_images else "latents"


def _decoder(record: DataRecord, vae: Path | None) -> Callable[[Images], Images]:
    @cache
    def codec() -> LatentCodec:
        return open_latent_codec(record.key, record.places, vae=vae)

    def decode(latents: Images) -> Images:
        return to_unit_range(codec().decode(latents))

    return decode
