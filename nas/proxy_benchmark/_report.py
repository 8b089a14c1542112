"""What a benchmark of quality proxies found, as Python, as JSON and as a table."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from nas.proxy_benchmark._correlation import Agreement
from nas.proxy_benchmark._correlation import expected_agreement
from nas.proxy_benchmark._truth import Training
from subdit.space import SubDiTSpec

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ProxyFigures:
    """How well a proxy ranks; correlations by truth ("loss", "fd") and by set of specs ("random", "front")."""

    proxy: str
    kendall: dict[str, dict[str, Agreement]]
    spearman: dict[str, dict[str, Agreement]]
    seconds_per_query: float


@dataclass(frozen=True)
class ProxyReport:
    """What `measure_proxies` found.

    Attributes:
        ceiling: Kendall tau between two trainings of the same specs with different seeds, by truth. Both are noisy, so
            a proxy near to the expected quality can have a higher one, see `expected_agreement`.
    """

    training: Training
    sample_seed: int
    specs: dict[str, list[SubDiTSpec]]
    proxies: tuple[ProxyFigures, ...]
    ceiling: dict[str, Agreement] = field(default_factory=dict)
    file: Path = Path()

    @property
    def expected_quality(self) -> dict[str, dict[str, float]]:
        """Kendall tau, with its interval, of a proxy equal to the expected quality, by truth."""
        return {
            judged: {end: expected_agreement(getattr(found, end)) for end in ("value", "low", "high")}
            for judged, found in self.ceiling.items()
            if found.value > 0
        }

    def to_dict(self) -> dict[str, Any]:
        """As proxies/report.json holds it."""
        return {
            "training": asdict(self.training),
            "sample_seed": self.sample_seed,
            "specs": {name: [spec.hash for spec in specs] for name, specs in self.specs.items()},
            "proxies": [asdict(figures) for figures in self.proxies],
            "ceiling": {judged: asdict(found) for judged, found in self.ceiling.items()},
            "expected_quality": self.expected_quality,
        }

    def to_frame(self) -> DataFrame:
        """One row per proxy, truth and set of specs: both rank correlations with 95 % intervals, seconds of a query."""
        from pandas import DataFrame

        return DataFrame(
            [
                {
                    "proxy": figures.proxy,
                    "truth": judged,
                    "set": name,
                    "specs": tau.count,
                    **_columns("kendall_tau", tau),
                    **_columns("spearman_rho", figures.spearman[judged][name]),
                    "seconds_per_query": figures.seconds_per_query,
                }
                for figures in self.proxies
                for judged, sets in figures.kendall.items()
                for name, tau in sets.items()
            ]
        )


def _columns(name: str, found: Agreement) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
