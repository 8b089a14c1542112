"""What a page may send, read strictly: exact keys, types and ranges, or `MalformedError`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilers.browser.web_kit import SAMPLES
from profilers.browser.web_kit import OutputStatistics

MAX_BODY_BYTES = 1 << 20
MAX_TIMING_MS = 3.6e6
DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_SOFTWARE = ("swiftshader", "llvmpipe", "lavapipe", "software", "warp")
_ID = re.compile(r"[0-9a-f]{16,64}")

Reader = Callable[[Any, str], Any]


class MalformedError(ValueError):
    """A message that no page of ours sends; the text says where."""


@dataclass(frozen=True)
class Adapter:
    """A WebGPU adapter, as the browser describes it."""

    vendor: str
    architecture: str
    description: str
    fallback: bool

    @property
    def is_software(self) -> bool:
        """Whether a processor imitates the GPU; not every browser sets the flag."""
        told = f"{self.vendor} {self.architecture} {self.description}".lower()
        return self.fallback or any(
            name in told for name in ("swiftshader", "llvmpipe", "lavapipe", "software", "warp")
        )


@dataclass(frozen=True)
class Environment:
    """What a page finds out about where it runs; an empty text where the browser does not say."""

    user_agent: str
    browser: str
    os: str
    model: str
    cores: int
    isolated: bool
    timer_step_ms: float
    adapter: Adapter | None


@dataclass(frozen=True)
class Begin:
    """A page begins, or goes on, to measure; `client` tells one phone from another of the same name."""

    name: str
    client: str
    threads: int
    delegate: str | None
    environment: Environment


@dataclass(frozen=True)
class Outputs:
    """Statistics of the outputs of every model, in the order of the kit."""

    run: str
    outputs: tuple[OutputStatistics, ...]


@dataclass(frozen=True)
class Round:
    """One whole round: timings in the order in which they were taken, each (number of the model, milliseconds)."""

    run: str
    attempt: int
    round: int
    seconds: float
    timings: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Problem:
    """What went wrong on the phone, for the person at the computer."""

    name: str
    text: str


def parse_json(body: bytes) -> Any:
    """JSON without NaN, infinities and double keys, whatever its depth; raises `MalformedError`."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError:
        raise MalformedError("nested too deep") from None
    except ValueError as error:
        raise MalformedError(f"not JSON ({error})") from None


def read_begin(value: Any) -> Begin:
    environment = _fields(
        user_agent=_text(512),
        browser=_text(128),
        os=_text(128),
        model=_text(128),
        cores=_integer(0, 4096),
        isolated=_boolean,
        timer_step_ms=_number(0.0, 1000.0),
        adapter=_or_null(
            _fields(vendor=_text(128), architecture=_text(128), description=_text(256), fallback=_boolean)
        ),
    )
    read = _fields(
        name=_matching(DEVICE_NAME),
        client=_matching(_ID),
        threads=_integer(1, 64),
        delegate=_or_null(_one_of("webgpu")),
        environment=environment,
    )(value, "begin")
    adapter = read["environment"]["adapter"]
    found = {**read["environment"], "adapter": None if adapter is None else Adapter(**adapter)}
    return Begin(**{**read, "environment": Environment(**found)})


def read_outputs(value: Any, models: int) -> Outputs:
    number = _number(-1e30, 1e30)
    one = _fields(mean=number, mean_abs=_number(0.0, 1e30), std=_number(0.0, 1e30), samples=_list(number, 1, SAMPLES))
    read = _fields(run=_matching(_ID), outputs=_list(one, models, models))(value, "outputs")
    made = [OutputStatistics(**{**entry, "samples": tuple(entry["samples"])}) for entry in read["outputs"]]
    return Outputs(read["run"], tuple(made))


def read_round(value: Any, models: int) -> Round:
    def timing(entry: Any, where: str) -> tuple[int, float]:
        if not isinstance(entry, list) or len(entry) != 2:
            raise MalformedError(f"{where} is no pair")
        return _integer(0, models - 1)(entry[0], where), _number(1e-7, MAX_TIMING_MS)(entry[1], where)

    read = _fields(
        run=_matching(_ID),
        attempt=_integer(0, 100),
        round=_integer(1, 1_000_000),
        seconds=_number(0.0, 1e6),
        timings=_list(timing, models, 20 * models),
    )(value, "round")
    # The first model is the reference kernel, which is timed between the others; those are timed once each.
    order = [number for number, _ in read["timings"] if number]
    if sorted(order) != list(range(1, models)) or not any(number == 0 for number, _ in read["timings"]):
        raise MalformedError("timings are not of one whole round")
    return Round(**{**read, "timings": tuple(read["timings"])})


def read_problem(value: Any) -> Problem:
    return Problem(**_fields(name=_text(64), text=_text(500))(value, "problem"))


def read_client(value: Any) -> str:
    """Which phone says that it has done everything."""
    return str(_fields(client=_matching(_ID))(value, "finish")["client"])


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _fields(**readers: Reader) -> Callable[[Any, str], dict[str, Any]]:
    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or set(value) != set(readers):
            raise MalformedError(f"{where} has not exactly the keys {', '.join(readers)}")
        return {key: reader(value[key], f"{where}.{key}") for key, reader in readers.items()}

    return read


def _list(reader: Reader, shortest: int, longest: int) -> Reader:
    def read(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or not shortest <= len(value) <= longest:
            raise MalformedError(f"{where} is no list of {shortest} to {longest} entries")
        return [reader(entry, f"{where}[{index}]") for index, entry in enumerate(value)]

    return read


def _or_null(reader: Reader) -> Reader:
    return lambda value, where: None if value is None else reader(value, where)


def _text(longest: int) -> Reader:
    def read(value: Any, where: str) -> str:
        # Printable only: these texts reach a terminal, where control characters are commands.
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise MalformedError(f"{where} is no printable text of up to {longest} characters")
        return value

    return read


def _matching(pattern: re.Pattern[str]) -> Reader:
    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise MalformedError(f"{where} does not match {pattern.pattern}")
        return value

    return read


def _one_of(*values: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise MalformedError(f"{where} is not one of {', '.join(values)}")
        return value

    return read


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise MalformedError(f"{where} is neither true nor false")
    return value


def _integer(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise MalformedError(f"{where} is no whole number from {least} to {most}")
        return value

    return read


def _number(least: float, most: float) -> Callable[[Any, str], float]:
    def read(value: Any, where: str) -> float:
        # 1e999 is JSON, and Python reads it as infinity.
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
            raise MalformedError(f"{where} is no number from {least:g} to {most:g}")
        if not math.isfinite(value):
            raise MalformedError(f"{where} is not finite")
        return float(value)

    return read
