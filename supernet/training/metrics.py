"""Metrics of a training: always as JSON lines, and for TensorBoard where that is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from subdit.core.errors import MissingExtraError
from subdit.core.files import remove_leftovers
from subdit.core.files import write_atomic

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class MetricsLog:
    """Writes what a training measures, each step's once, however often the training is killed and goes on.

    Attributes:
        path: of the JSON lines.
    """

    def __init__(self, folder: Path, *, log: str = "jsonl", after: int = 0) -> None:
        """Go on after so many steps; `log` is as in `TrainingConfig`, see `require_log`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS
        self._board = _open_board(folder / TENSORBOARD, log, after)
        remove_leftovers(self.path)
        drop_metrics_after(self.path, after)

    def write(self, step: int, values: Mapping[str, float | Mapping[str, float]]) -> None:
        """Add a line; of TensorBoard's names those of a mapping in it are below its own."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                for inner, number in value.items() if isinstance(value, Mapping) else ((None, value),):
                    self._board.add_scalar(f"training/{name}" if inner is None else f"{name}/{inner}", number, step)
            self._board.flush()

    def write_pictures(self, step: int, pictures: npt.NDArray[np.float32]) -> None:
        """Show pictures (count, channels, size, size) in [-1, 1] in TensorBoard."""
        if self._board is not None:
            channels = pictures if pictures.shape[1] == 3 else pictures[:, :1]
            self._board.add_images("samples", np.clip((channels + 1) / 2, 0, 1), step)
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; a torn last line, left by a kill, is skipped."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def drop_metrics_after(path: Path, step: int) -> None:
    """Remove the lines of later steps, which a resumed training will write again."""
    if path.exists():
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))


def require_log(log: str) -> None:
    """Raise `MissingExtraError` where TensorBoard is asked for and not installed."""
    if log == "tensorboard" and not _has_board():
        raise MissingExtraError("TensorBoard is not installed; install it with pip install 'subdit[tensorboard]'.")


def _has_board() -> bool:
    return importlib.util.find_spec("tensorboard") is not None


def _open_board(folder: Path, log: str, after: int) -> Any:
    """TensorBoard's writer, None where there is to be none."""
    if log == "jsonl" or not _has_board():
        return None
    from torch.utils.tensorboard import SummaryWriter

    # What was written of later steps, before a kill, is hidden.
    return SummaryWriter(str(folder), purge_step=after + 1)
