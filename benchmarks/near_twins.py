"""How many emoji that validate or judge have a near-twin in the split train, against a split of single pictures.

    python benchmarks/near_twins.py data/emoji

A picture's distance is the root mean square difference of latents to the nearest picture of train, in percent of the
range of all latents. The split of single pictures has as many in each part, drawn by a seed without regard to concept
and design: what the data set's own split keeps apart lies across it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from subdit.core.files import write_atomic
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.splits import SPLITS

RESULTS = Path(__file__).parent / "results"
BOUNDS_PERCENT = (0.5, 2.0, 5.0)
SPLIT_SEED = 0

Pictures = npt.NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Folder of an encoded data set.")
    data = EncodedDataSet(parser.parse_args().data)
    own = {split: data.read(split, range(data.count(split))).latents.flatten(1).numpy() for split in SPLITS}
    everything = np.concatenate(list(own.values()))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(everything))
    ends = np.cumsum([len(part) for part in own.values()])
    single = dict(zip(own, (everything[part] for part in np.split(order, ends[:-1])), strict=True))
    lines = [
        f"Data {data.digest[:10]}: {', '.join(f'{len(part):,} {split}' for split, part in own.items())}",
        f"single pictures: the same numbers, drawn by seed {SPLIT_SEED}",
        "",
        f"{'split by':18}{'part':12}{'median distance':>16}{'nearer than ' + percent(BOUNDS_PERCENT[0]):>18}"
        + "".join(f"{percent(bound):>8}" for bound in BOUNDS_PERCENT[1:]),
        *(row("the data set", part, own) for part in SPLITS[1:]),
        *(row("single pictures", part, single) for part in SPLITS[1:]),
    ]
    text = "\n".join(lines) + "\n"
    write_atomic(RESULTS / "near_twins_emoji.txt", text)
    print(text)
    return 0


def row(split_by: str, part: str, parts: Mapping[str, Pictures]) -> str:
    """A row of the table: how far a part's pictures are from those of train."""
    value_range = max(map(np.max, parts.values())) - min(map(np.min, parts.values()))
    distances = 100 * nearest(parts[part], parts["train"]) / value_range
    shares = [100 * float((distances < bound).mean()) for bound in BOUNDS_PERCENT]
    return (
        f"{split_by:18}{part:12}{percent(float(np.median(distances))):>16}{percent(shares[0]):>18}"
        f"{percent(shares[1]):>8}{percent(shares[2]):>8}"
    )


def nearest(pictures: Pictures, others: Pictures) -> npt.NDArray[np.float64]:
    """Root mean square difference of each picture (count, values) to the nearest of others (count, values)."""
    distances, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others).kneighbors(pictures)
    return np.asarray(distances[:, 0]) / math.sqrt(pictures.shape[1])


def percent(value: float) -> str:
    return f"{value:.1f} %"


if __name__ == "__main__":
    raise SystemExit(main())
