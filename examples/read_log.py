"""Read what another tool logged about any model. Needs no torch.

python examples/read_log.py benchmark_model.txt
"""

from __future__ import annotations

import sys
from pathlib import Path

from profilers.importers import read_log
from subdit.core.errors import SubditError


def main(path: Path) -> None:
    for entry in read_log(path):
        runs = entry.count or "an unknown number of"
        print(f"{entry.model_file or path.name}: {entry.mean_ms} ms in the mean of {runs} runs")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]))
    except SubditError as error:
        sys.exit(str(error))
