"""What importers make of a text: its measurements, or why it is refused."""

from __future__ import annotations

import pytest

from profilers.importers import ImportedLog
from profilers.importers import make_log
from profilers.importers import read
from subdit.core.errors import ImportLogError


def understood(text: str) -> tuple[ImportedLog, ...]:
    return read(make_log(text.encode(), "x"))


def reason(text: str) -> str:
    with pytest.raises(ImportLogError) as caught:
        understood(text)
    return str(caught.value)
