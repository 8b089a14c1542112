"""`Runtime`: everything that subdit knows of one runtime; a new one is one file with a subclass."""

from __future__ import annotations

import importlib.util
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import ClassVar
from typing import Protocol

import numpy as np
import numpy.typing as npt

from subdit.core.errors import KitError
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError

if TYPE_CHECKING:
    from profilers.runtimes._source_model import SourceModel

Array = npt.NDArray[Any]


class Session(Protocol):
    """A loaded model with its inputs bound: nothing but the run itself is left to do."""

    def run(self, times: int = 1) -> None: ...

    def output(self) -> Array:
        """Output of the last run, as a copy that the next run leaves alone."""
        ...


@dataclass(frozen=True)
class RuntimeCosts:
    """What exporting and measuring is expected to take, on one core of the server that subdit is developed on.

    Attributes:
        export_s: seconds of exporting one small model.
        gflops: billions of operations a second on one thread, on large components, by precision of the weights.
        run_ms: what a run takes apart from its operations.
    """

    export_s: float
    gflops: Mapping[str, float]
    run_ms: float = 0.01


@dataclass(frozen=True)
class Runtime(ABC):
    """A runtime on this machine, at one precision of the weights.

    A subclass is named by an entry point of the group `subdit.runtimes`, and its test subclasses
    `tests/profilers/runtime_contract.py`. Importing it loads no library: methods import what they need.

    Attributes:
        precision: of the weights, a key of `tolerances`.
        delegate: accelerator, None for the plain path of the processor.

    Class attributes:
        name: in ids of profiles and on the command line, such as "onnxruntime"; also that of the entry point.
        title: as people write it, such as "ONNX Runtime".
        module: Python module of its library.
        install: what pip is given to install the library, such as "subdit[onnx]".
        format: of its model files, as kits state it; a kit serves every runtime of its format.
        suffix: of a model file, such as ".onnx".
        tolerances: by precision of the weights, the largest error of an output (`measuring.error_of`). A precision that
            is not here cannot be run.
        computed_in: by precision of the weights, the numbers that products are computed in where they are others.
        delegates: accelerators that can be asked for.
        plain_path: what logs of other tools call the plain path of the processor, besides "cpu".
        stores_weights: whether a model file holds the weights; else its models are built again with redrawn ones.
        costs: what exporting and measuring is expected to take.

    Raises, when it is made:
        ProfileError: the runtime lacks the precision or the delegate.
        MissingExtraError: its library is not installed, or does not run.
    """

    precision: str = "fp32"
    delegate: str | None = None

    name: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]
    install: ClassVar[str]
    format: ClassVar[str]
    suffix: ClassVar[str]
    tolerances: ClassVar[Mapping[str, float]]
    costs: ClassVar[RuntimeCosts]
    computed_in: ClassVar[Mapping[str, str]] = {}
    delegates: ClassVar[tuple[str, ...]] = ()
    plain_path: ClassVar[tuple[str, ...]] = ()
    stores_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.precision not in self.tolerances:
            raise ProfileError(
                f"{self.title} runs no {self.precision} here; choose {', '.join(self.tolerances)}, or another runtime."
            )
        if self.delegate is not None and self.delegate not in self.delegates:
            raise ProfileError(f"{self.title} has no delegate {self.delegate!r} here; leave it out.")
        self.require_library()

    @classmethod
    def require_library(cls) -> None:
        """Raise `MissingExtraError` where the library is not installed, or does not run."""
        if importlib.util.find_spec(cls.module.partition(".")[0]) is None:
            raise MissingExtraError(f"{cls.title} is not installed; install it with pip install '{cls.install}'.")

    @property
    @abstractmethod
    def version(self) -> str:
        """Of the library."""

    @abstractmethod
    def export(self, model: SourceModel, path: Path) -> None:
        """Write a model file at the runtime's precision; the same bytes for the same model.

        Raises:
            ExportError: the model cannot be exported.
        """

    def export_reference(self, path: Path) -> None:
        """Write the reference kernel, always in float32."""
        from profilers.runtimes._source_model import reference_model

        type(self)("fp32", self.delegate).export(reference_model(), path)

    @abstractmethod
    def load(self, model: Path, inputs: Mapping[str, Array], *, threads: int) -> Session:
        """Load a model file for running with these inputs, by name.

        Raises:
            KitError: the runtime refuses it.
        """

    def draw_inputs(self, model: Path) -> dict[str, Array]:
        """Inputs by name for the shapes in a model file, see `draw`.

        Raises:
            KitError: the file is damaged, has no fixed shapes, or is of a format that does not tell its inputs.
        """
        raise KitError(f"A {self.suffix} file does not tell its inputs to {self.title}; use another runtime's kit.")

    @classmethod
    def count_operators(cls, model: Path) -> int | None:
        """Operators in a model file; None where the format does not tell. Raises `KitError` where it is damaged."""
        return None

    @property
    def compute_precision(self) -> str | None:
        """Numbers that products are computed in; None where they are those of the weights."""
        return self.computed_in.get(self.precision)

    @property
    def tolerance(self) -> float:
        """The largest error of an output at this precision."""
        return self.tolerances[self.precision]

    @property
    def delegated_share(self) -> float | None:
        """Operators on a delegate over all operators, of all models loaded so far together; None where not known."""
        return None

    def conditions(self) -> dict[str, Any]:
        """Fields of `device_profiles.Conditions` that the runtime tells."""
        return {"runtime_version": self.version}


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Standard normal numbers; zeros and ones where whole numbers are wanted: every vocabulary and mask has those."""
    drawn = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
    return drawn.astype(dtype)
