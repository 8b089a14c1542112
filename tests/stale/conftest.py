"""A run in which everything was made from one supernet, and the same run after its supernet was trained again."""

from __future__ import annotations

import shutil
import warnings
from functools import partial
from pathlib import Path

import pytest

from nas import measure_proxies
from nas.proxy_benchmark import _benchmark
from nas.proxy_benchmark._correlation import agreement
from reports import report
from subdit.core.run import Run
from subdit.core.weights import supernet_digest
from supernet.distillation.distill_pick import distill
from supernet.evaluation.picks import judge_pick
from supernet.evaluation.picks import judge_teacher
from supernet.export.export_pick import export
from tests.stale.stale_run import FAST
from tests.stale.stale_run import HALF
from tests.stale.stale_run import TRUTH
from tests.stale.stale_run import half_distil
from tests.stale.stale_run import search
from tests.stale.stale_run import train_supernet
from tests.stale.stale_run import write_figures


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of correlations, which are not what these tests are about, from a few draws."""
    monkeypatch.setattr(_benchmark, "agreement", partial(agreement, draws=10))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which everything was made from one supernet."""
    with pytest.MonkeyPatch.context() as patch:
        # Intervals of correlations, which are not what these tests are about, from a few draws.
        patch.setattr(_benchmark, "agreement", partial(agreement, draws=10))
        patch.setenv("SUBDIT_HOME", str(tmp_path_factory.mktemp("home")))
        run = Run(tmp_path_factory.mktemp("made") / "run")
        train_supernet(run, 0)
        search(run)
        half_distil(run, HALF)
        distill(run.path, **FAST)
        for pick in ("balanced", "best"):
            export(run.path, pick=pick)
            judge_pick(run.path, pick=pick, per_class=2)
            write_figures(run, pick, supernet_digest(run.supernet))
        judge_teacher(run.path, per_class=2)
        measure_proxies(run.path, front=2, **TRUTH)
        report(run.path)
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    return Run(Path(shutil.copytree(made.path, tmp_path / "run")))


@pytest.fixture
def retrained(run: Run) -> tuple[Run, str, str]:
    """The run with its supernet trained again, and the digests before and after."""
    before = supernet_digest(run.supernet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_supernet(run, 1, force=True)
    after = supernet_digest(run.supernet)
    assert before != after
    return run, before, after
