"""A machine without a program: tests that need it skip and say what installs it, and fail where CI=true."""

from __future__ import annotations

import pytest

from tests.programs import require_module
from tests.programs import require_program


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_what_is_missing_is_skipped_at_home_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program is missing: apt-get install it"):
        require_program("no-such-program", "apt-get install it")
    with pytest.raises(outcome, match="no_such_module is missing: pip install it"):
        require_module("no_such_module", "pip install it")
    assert require_program("sh", "") and require_module("json", "") is None
