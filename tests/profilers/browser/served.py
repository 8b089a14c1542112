"""`serve` in a process of its own, on a kit of the small space: python -m ...served KIT OPTIONS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from profilers.browser import serve
from subdit.core.errors import SubditError
from tests.profilers.small import use_small_space

if __name__ == "__main__":
    use_small_space()
    options = json.loads(sys.argv[2])
    for key in ("out", "ort_web"):
        if options.get(key) is not None:
            options[key] = Path(options[key])
    try:
        made = serve(Path(sys.argv[1]), say=lambda line: print(line, flush=True), **options)
    except SubditError as error:
        print(f"Error: {error}", flush=True)
        sys.exit(2)
    print("PROFILES", *[profile.id for profile in made], flush=True)
