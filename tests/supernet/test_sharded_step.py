"""Steps of two, three and four processes with FSDP2 are those of one, which `test_elastic_step.py` holds right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supernet.training.row_shards import cut_rows

ROOT = Path(__file__).parents[2]


def trained(folder: Path, length: str) -> Path:
    command = [sys.executable, "-W", "ignore", "-m", "tests.supernet.sharded_steps", str(folder), length]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps in double precision."""
    return trained(tmp_path_factory.mktemp("steps"), "short")


def losses(folder: Path, name: str) -> list[list[float]]:
    return [list(of.values()) for of in json.loads((folder / f"{name}.json").read_text())]


def largest_difference(folder: Path, name: str, kind: str) -> float:
    """Over all tensors of a kind, "gradient" of the first step or "weight", between a training and one process's."""
    one, other = (load_file(str(folder / f"{each}.safetensors")) for each in ("1", name))
    assert one.keys() == other.keys() and len(one) > 100
    return max(float((one[key] - other[key]).abs().max()) for key in one if key.startswith(kind))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", ["2", "3"])
def test_losses_balanced_gradients_and_weights_are_those_of_one_process(short: Path, ranks: str) -> None:
    """With two sub-networks, two parts of a batch, Muon and AdamW; three processes also with checkpointing."""
    for one, other in zip(losses(short, "1"), losses(short, ranks), strict=True):
        assert other == pytest.approx(one, rel=1e-12)
    assert largest_difference(short, ranks, "gradient") < 1e-14
    assert largest_difference(short, ranks, "weight") < 1e-10


@pytest.mark.slow
def test_gradients_balanced_by_norms_of_own_rows_would_be_others(short: Path) -> None:
    assert largest_difference(short, "unreduced", "gradient") > 1e-4


@pytest.mark.slow
def test_twenty_steps_in_float32(tmp_path: Path) -> None:
    """Weights have no such bound here: AdamW makes whole steps of gradients that are rounding alone.

    Such are those of a cross-attention's bias of keys, on which no softmax depends.
    """
    trained(tmp_path, "long")
    for ranks in ("2", "4"):
        for one, other in zip(losses(tmp_path, "1"), losses(tmp_path, ranks), strict=True):
            assert other == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize(("rows", "processes"), [(7, 3), (6, 3), (2, 4), (1, 2), (0, 2)])
def test_rows_are_cut_as_torch_cuts_them(rows: int, processes: int) -> None:
    parts = [len(part) for part in torch.zeros(rows, 1).chunk(processes)] if rows else []
    assert [len(part) for part in cut_rows(rows, processes)] == parts + [0] * (processes - len(parts))
