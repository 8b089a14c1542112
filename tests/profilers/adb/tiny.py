"""A kit of two components for a phone, and a process that measures it and can be killed.

The models compute a chain of matrices and not what their names say: what is tested is the way to the phone and back.

    python -m tests.profilers.adb.tiny ARGUMENTS...      `subdit`, where the space has two components and two rounds do
"""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import numpy as np

from profilers.adb import measure
from profilers.measuring import kit_selection
from subdit.space import all_components
from tests.profilers.adb.models import run_chain
from tests.profilers.adb.models import write_chain
from tests.profilers.small import small_space

COMPONENTS = all_components(small_space())[:2]
LAYERS = (40, 80)


def use_tiny_space() -> None:
    """Let this process know a space of two components, and be content with few rounds."""
    kit_selection.components_up_to = lambda space, limit: COMPONENTS  # type: ignore[assignment]
    measure.MIN_ROUNDS = 2  # type: ignore[misc]
    measure.CALL_MS = 5.0  # type: ignore[misc]


def make_kit(folder: Path, *, wrong: str = "") -> Path:
    """Write the kit; `wrong` names a model whose expected output is another."""
    digests: dict[str, dict[str, dict[str, str]]] = {"components": {}, "whole": {}}
    write_chain(folder / "reference.tflite", tokens=64, width=96, layers=20, seed=0)
    for index, component in enumerate(COMPONENTS):
        model = folder / "components" / f"{component.name}.tflite"
        matrices = write_chain(model, tokens=64, width=96, layers=LAYERS[index], seed=index)
        x = np.random.default_rng(index).standard_normal((64, 96)).astype(np.float32)
        tensors = model.with_suffix(".npz")
        np.savez(tensors, x=x, output=run_chain(matrices, x) + (component.name == wrong))
        digests["components"][component.name] = {"model": digest(model), "tensors": digest(tensors)}
    manifest = {"subdit_kit": 2, "space": "digits", "runtime": "litert", "format": "tflite", "precision": "fp32"}
    manifest |= {"max_params": None, "hash": "0123456789abcdef", "reference": digest(folder / "reference.tflite")}
    (folder / "kit.json").write_text(json.dumps(manifest | digests))
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    from subdit.cli import main

    # What starts the tests in the background may have it ignored, which is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    use_tiny_space()
    main()
