"""Telling a model, or all models of a run, where its data set, text encoders and autoencoder lie now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from subdit.core.errors import DataError
from subdit.core.files import read_json
from subdit.core.files import write_json
from subdit.core.run import Run
from subdit.space import SearchSpace
from subdit.space import recorded_space
from subdit.space import run_space
from supernet.data.data_record import DATA_FILE
from supernet.data.data_record import DataRecord
from supernet.data.data_record import read_full_record
from supernet.data.data_sets import open_data_set
from supernet.data.data_sets import record_of
from supernet.data.data_sets import same_data
from supernet.data.latent_codec import open_latent_codec
from supernet.data.prompt_encoders import open_prompt_encoders


def relocate(
    model: Path,
    *,
    data: str | Path | None = None,
    text: Mapping[str, str] | None = None,
    vae: Path | None = None,
) -> list[Path]:
    """Write the new places into the records of a checkpoint, or of all checkpoints and exports of a run.

    Args:
        model: a checkpoint folder or a run.
        data: where the data set lies.
        text: by text input where its encoder lies.
        vae: where the autoencoder lies.

    Returns:
        The files that were changed.

    Raises:
        DataError: nothing is named, there is no such model, it has no record, or what lies there is something else.
        CheckpointError: a record is damaged.
        RunError: the folder is neither a run nor a checkpoint.
    """
    if not (data or text or vae):
        raise DataError("Nothing is named that lies elsewhere; pass --data, --text or --vae.")
    if not model.is_dir():
        raise DataError(f"There is no run and no checkpoint at {model}; name the folder of one.")
    folder = Run(model).supernet if Run(model).manifest.is_file() else model
    record = read_full_record(folder)
    if record is None:
        raise DataError(f"The model at {folder} does not say what it was trained on; there is nothing to relocate.")
    moved = record.moved(text=text, vae=vae)
    if data:
        data_set = same_data(open_data_set(data, space=_space(model, folder)), record)
        moved = replace(moved, reference=record_of(data_set, data).reference)
    if text:
        open_prompt_encoders(moved.key["text"], moved.places, moved.null)
    if vae:
        open_latent_codec(moved.key, moved.places)
    return _write(model, record, moved)


def _space(model: Path, folder: Path) -> SearchSpace:
    if Run(model).manifest.is_file():
        return run_space(Run(model))
    return recorded_space(read_json(folder / "config.json", "checkpoint's config.json"), f"The checkpoint {folder}")


def _write(model: Path, record: DataRecord, moved: DataRecord) -> list[Path]:
    """Change all records below a folder that are of the same data; cards of exports hold one as `data`."""
    changed = []
    for path in sorted([*model.rglob(DATA_FILE), *model.rglob("exports/*.json")]):
        stored = read_json(path, "record of the data")
        inner = stored if path.name == DATA_FILE else stored.get("data") if isinstance(stored, dict) else None
        if isinstance(inner, dict) and inner.get("digest") == record.digest:
            new = inner | {"reference": moved.reference, "places": {**inner.get("places", {}), **moved.places}}
            changed.append(write_json(path, new if path.name == DATA_FILE else {**stored, "data": new}))
    return changed
