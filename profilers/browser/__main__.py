"""`python -m profilers.browser`, which `make setup-web` calls: fetch onnxruntime-web through npm."""

from __future__ import annotations

import sys

from profilers.browser.ort_web import install_ort_web
from subdit.core.errors import SubditError

if __name__ == "__main__":
    try:
        print(f"onnxruntime-web is in {install_ort_web()}")
    except SubditError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
