"""Trainings as YAML files: a space, a data set, a run folder, and how to train.

The `config.yaml` of a run is such a file, so that `subdit train RUN/config.yaml --run OTHER` trains the same again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

from subdit.core.errors import ConfigError
from subdit.core.settings import Setting
from subdit.core.settings import settings_of
from subdit.core.strict_yaml import commented
from subdit.core.strict_yaml import read_yaml
from subdit.core.strict_yaml import shown
from subdit.space import SPACE_SUFFIXES
from supernet.data.data_sets import data_set_names
from supernet.training.config import TrainingConfig

_COMMENTS = {
    "space": "Search space: a built-in name, or a space file.",
    "data": "What to train on: a folder that 'subdit data encode' made, or the name of a data set.",
    "run": "Run folder to write, where --run names none.",
}
_TRAINING = "training"
# YAML 1.1 takes 1e-3 for a text, and 1.0e3, too.
_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_EXAMPLE = "'subdit train digits --write-config FILE'"


@dataclass(frozen=True)
class TrainingFile:
    """What a training file says.

    Attributes:
        space: name of a built-in space, or path of a space file.
        data: name of a data set, or path of a folder; None for the one that the space has of its own.
        run: the folder to write, None where the command line says it.
        config: how to train.
    """

    space: str
    data: str | None = None
    run: Path | None = None
    config: TrainingConfig = field(default_factory=TrainingConfig)


def is_training_file(path: Path) -> bool:
    """Whether a YAML file is of a training rather than of a space; raises `ConfigError` where it is no YAML."""
    content = _read(path)
    return isinstance(content, Mapping) and bool({"space", _TRAINING} & set(content))


def read_training_config(path: Path) -> TrainingFile:
    """The training in a YAML file, whose relative paths begin at the file's folder.

    Raises `ConfigError` where it is missing, no such file, or has a key or value that cannot be.
    """
    where = f"The training file {path}"
    top = _mapping(_read(path), where, [*_COMMENTS, _TRAINING])
    given = {key: _text(top.get(key), key, where) for key in _COMMENTS}
    if given["space"] is None:
        raise ConfigError(f"{where} has no 'space'; add it.")
    stated = settings_of(TrainingConfig)
    values = _mapping(top.get(_TRAINING) or {}, f"{where}, at 'training',", stated)
    try:
        config = TrainingConfig(**{key: _value(stated[key], value) for key, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{where} cannot be: {error}") from error
    run = None if given["run"] is None else Path(given["run"])
    return with_absolute_paths(TrainingFile(given["space"], given["data"], run, config), path.parent)


def training_config_to_yaml(training: TrainingFile, *, header: str = "") -> str:
    """A training file with a comment on each key; `header` is a comment on top."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for key, comment in _COMMENTS.items():
        value = getattr(training, key)
        if value is not None:
            lines += ["", *commented(key, str(value), comment)] if lines else commented(key, str(value), comment)
    lines += ["", f"{_TRAINING}:"]
    for key, stated in settings_of(TrainingConfig).items():
        value = getattr(training.config, key)
        plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        lines += [f"  {line}" for line in commented(key, plain, stated.help)]
    return "\n".join(lines) + "\n"


def with_absolute_paths(training: TrainingFile, folder: Path = Path()) -> TrainingFile:
    """The same from anywhere, where its relative paths begin at a folder; names stay."""
    space, data, config = training.space, training.data, training.config
    start = config.start_from
    return TrainingFile(
        space=_resolved(space, folder) if space.endswith(SPACE_SUFFIXES) else space,
        data=data if data is None or data in data_set_names() else _resolved(data, folder),
        run=None if training.run is None else Path(_resolved(training.run, folder)),
        config=config if start is None else replace(config, start_from=Path(_resolved(start, folder))),
    )


def _read(path: Path) -> Any:
    return read_yaml(path, what="training file", example=_EXAMPLE, error=ConfigError)


def _resolved(given: str | Path, folder: Path) -> str:
    return str((folder / Path(given).expanduser()).resolve())


def _mapping(value: Any, where: str, keys: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} has no names with values, but {shown(value)}; look at what {_EXAMPLE} writes.")
    known = list(keys)
    for key in value:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {shown(key)}; {_instead(key, known)}.")
    return dict(value)


def _instead(key: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    if near:
        return f"the nearest is {near[0]!r}"
    if _TRAINING in known and key in settings_of(TrainingConfig):
        return f"write it under {_TRAINING!r}"
    return f"the keys are {', '.join(known)}"


def _text(value: Any, key: str, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value or None
    raise ConfigError(f"{where} has the {key} {shown(value)}; give a text.")


def _value(stated: Setting, value: Any) -> Any:
    """The value as the configuration has it; what it may not be, that refuses."""
    if stated.kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if stated.kind is Path and isinstance(value, str) and value:
        return Path(value)
    if stated.kind is tuple and isinstance(value, list):
        return tuple(value)
    return value
