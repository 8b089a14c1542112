"""Quality evaluations on disk: each is paid for once, by whichever search asks first."""

from __future__ import annotations

import fcntl
import json
import math
import os
from pathlib import Path

from nas.proxies._proxy import QualityProxy
from subdit.errors import RunError
from subdit.errors import SearchError
from supernet.space import SubDiTSpec


class QualityStore:
    """Append-only file of evaluations of one proxy, `<supernet digest>.jsonl` in the run's quality folder.

    One JSON object per line: spec_hash, proxy, data_hash, value. A line that a killed process left unfinished is
    dropped by whoever writes next; a damaged line before the last raises `RunError`. Several processes may share it.
    """

    def __init__(self, folder: Path, proxy: QualityProxy) -> None:
        self.path = folder / f"{proxy.supernet_digest}.jsonl"
        self.evaluations = 0
        """Evaluations that this object has paid for, as against those it found in the file."""
        self._proxy = proxy
        self._values = self._read()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, spec: SubDiTSpec) -> bool:
        return spec.hash in self._values

    def value(self, spec: SubDiTSpec) -> float:
        """The proxy's value for this spec, evaluated only where the store has none; raises `SearchError` on NaN."""
        known = self._values.get(spec.hash)
        if known is not None:
            return known
        value = float(self._proxy.evaluate(spec))
        if not math.isfinite(value):
            raise SearchError(
                f"The quality proxy {self._proxy.id!r} gives {value} for the sub-DiT {spec}; the supernet is "
                "damaged or diverged, so train it again."
            )
        self._append(spec, value)
        self._values[spec.hash] = value
        self.evaluations += 1
        return value

    def _read(self) -> dict[str, float]:
        if not self.path.exists():
            return {}
        # What follows the last line end is an append that a kill cut short; every whole line must be readable.
        *lines, _ = self.path.read_bytes().split(b"\n")
        values: dict[str, float] = {}
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if entry["proxy"] == self._proxy.id and entry["data_hash"] == self._proxy.data_hash:
                    values[str(entry["spec_hash"])] = float(entry["value"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"Line {number} of the quality store {self.path} is damaged ({error!r}); delete the line or "
                    "the file."
                ) from error
        return values

    def _append(self, spec: SubDiTSpec, value: float) -> None:
        entry = {
            "spec_hash": spec.hash,
            "proxy": self._proxy.id,
            "data_hash": self._proxy.data_hash,
            "value": value,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            drop_torn_line(file.fileno())
            file.write(json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def drop_torn_line(descriptor: int) -> None:
    """Cut off what follows the file's last line end; the caller holds its lock and has it open for reading too."""
    end = os.fstat(descriptor).st_size
    at = end
    while at:
        start = max(0, at - 65536)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at < end:
        os.ftruncate(descriptor, at)
