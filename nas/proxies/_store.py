"""Quality evaluations on disk: each is computed once, by the first search that needs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from nas.proxies._proxy import Evaluation
from nas.proxies._proxy import QualityProxy
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import append_line
from subdit.space import SubDiTSpec


class QualityStore:
    """Append-only file of evaluations of one proxy, `<supernet digest>.jsonl` in the run's quality folder.

    One JSON object per line: spec_hash, proxy, data_hash, value, and error where the proxy knows its own. The next
    process that writes drops a line that a killed one left unfinished; a damaged line before it raises `RunError`.
    Several processes may share it.
    """

    def __init__(self, folder: Path, proxy: QualityProxy) -> None:
        self.path = folder / f"{proxy.supernet_digest}.jsonl"
        self.evaluations = 0
        """Evaluations that this object computed and did not find in the file."""
        self._proxy = proxy
        self._values: dict[str, float] = {}
        self._errors: dict[str, float] = {}
        self._read_bytes = self._lines = 0
        self._read()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, spec: SubDiTSpec) -> bool:
        return spec.hash in self._values

    def value(self, spec: SubDiTSpec) -> float:
        """The proxy's value for this spec, evaluated only where the store has none; raises `SearchError` on NaN."""
        if spec.hash not in self._values:
            # Another worker may have computed it meanwhile.
            self._read()
        known = self._values.get(spec.hash)
        if known is not None:
            return known
        found = self._proxy.evaluate(spec)
        value, error = (found.value, found.error) if isinstance(found, Evaluation) else (float(found), 0.0)
        if not math.isfinite(value):
            raise SearchError(
                f"The quality proxy {self._proxy.id!r} gives {value} for the sub-DiT {spec}; the supernet is "
                "damaged or diverged, so train it again."
            )
        self._append(spec, value, error)
        self._values[spec.hash], self._errors[spec.hash] = value, error
        self.evaluations += 1
        return value

    def half_width(self, spec: SubDiTSpec) -> float:
        """Half the 95 % interval of a stored value; 0 where the proxy does not know it."""
        return 1.96 * self._errors.get(spec.hash, 0.0)

    def _read(self) -> None:
        """Read what was appended since the last call."""
        if not self.path.exists() or self.path.stat().st_size <= self._read_bytes:
            return
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            # What follows the last line end is an append that a kill cut short; every whole line must be readable.
            *lines, rest = file.read().split(b"\n")
            self._read_bytes = file.tell() - len(rest)
        for line in lines:
            self._lines += 1
            try:
                entry = json.loads(line)
                if entry["proxy"] == self._proxy.id and entry["data_hash"] == self._proxy.data_hash:
                    self._values[str(entry["spec_hash"])] = float(entry["value"])
                    self._errors[str(entry["spec_hash"])] = float(entry.get("error", 0.0))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise RunError(
                    f"Line {self._lines} of the quality store {self.path} is damaged ({error!r}); delete the line or "
                    "the file."
                ) from error

    def _append(self, spec: SubDiTSpec, value: float, error: float) -> None:
        entry: dict[str, object] = {
            "spec_hash": spec.hash,
            "proxy": self._proxy.id,
            "data_hash": self._proxy.data_hash,
            "value": value,
        }
        if error:
            entry["error"] = error
        append_line(self.path, entry)
