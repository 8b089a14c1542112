"""`python -m supernet.data.emoji`, which `make setup-emoji` calls: fetch the packages of emoji through npm."""

from __future__ import annotations

import sys

from subdit.core.errors import SubditError
from supernet.data.emoji.packages import install_packages

if __name__ == "__main__":
    try:
        print(f"The packages of emoji are in {install_packages()}")
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
