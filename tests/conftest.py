"""What every test has in common: its threads, its place in the order, and where Hypothesis takes its examples from."""

from __future__ import annotations

import gc
import os
import random
import secrets
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch or numpy, here and in what tests start. Two threads whatever the machine has: torch's
# number of threads is the number of shards that a batch is cut into, and so decides the last bits of a training. They
# wait asleep, for the workers of pytest-xdist share the cores.
os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2", OMP_WAIT_POLICY="PASSIVE")

from hypothesis import HealthCheck  # noqa: E402 - its plugins may import numpy.
from hypothesis import settings  # noqa: E402
from hypothesis.internal.conjecture import providers  # noqa: E402

# The same examples at each run; others are those of `tests/test_random_examples.py`. That a machine is busy is no fault
# of a test, so nothing has a deadline, neither a test nor drawing its examples.
ANYWHERE = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", ANYWHERE, derandomize=True)
settings.register_profile("random", ANYWHERE, max_examples=300)
settings.load_profile("same")

# Hypothesis draws some values from the constants of whatever modules of ours are loaded at that moment, so examples
# would depend on which tests the same process has run before.
providers._get_local_constants = lambda: providers._local_constants


def draw_as(name: str) -> None:
    """Let what draws without a seed of its own, such as the first weights of a torch module, draw by this name."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    # Which test is the first to ask for what a module makes once depends on how tests fall to workers.
    draw_as(f"{request.node.nodeid} {fixturedef.argname} {getattr(request, 'param_index', 0)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    draw_as(item.nodeid)


ROOT = Path(__file__).parents[1]

FIRST = (
    "tests/test_road.py",
    "tests/stale",
    "tests/supernet/test_sampling.py",
    "tests/profilers/test_kit.py",
    "tests/supernet/test_monitor.py",
    "tests/supernet/test_training.py",
)
"""Files and folders whose tests share what takes long to make, the longest first."""


def place(path: Path) -> int:
    """Place of a file's tests among those that come first; the others share one after them, in their own order."""
    parts = [path, *path.parents]
    return next((at for at, first in enumerate(FIRST) if ROOT / first in parts), len(FIRST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first worker of pytest-xdist has the first half of the tests, and the other takes from the end of what is left
    # of them. So one of them makes, once, what comes first; and small tests are left at the end, to be divided evenly.
    items.sort(key=lambda item: place(item.path))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    # Millions of objects of what was imported stay to the end. To look through them takes a good part of a second, and
    # a measurement that lets go of sessions does so each time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def threads_as_at_the_start() -> None:
    """Two threads again, whatever the modules before have left: their number decides the last bits of a training."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(2)


@pytest.fixture(scope="module", autouse=True)
def spaces_of_this_module_alone() -> Iterator[None]:
    """Forget the spaces that a module registers: logs of `digits` fit another space of the same components, too."""
    from subdit.space import _spaces

    before = dict(_spaces._met)
    yield
    _spaces._met.clear()
    _spaces._met.update(before)


EXAMPLES_SEED = "SUBDIT_EXAMPLES_SEED"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples-seed",
        type=int,
        help="seed of the random examples among the slow tests; by default 0 where CI=true, else another one each time",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Drawn in the process that starts the workers, which inherit its environment: they must not draw their own.
    if config.option.examples_seed is None:
        drawn = "0" if os.environ.get("CI") == "true" else str(secrets.randbelow(2**32))
        config.option.examples_seed = int(os.environ.get(EXAMPLES_SEED, drawn))
    os.environ[EXAMPLES_SEED] = str(config.option.examples_seed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    if any("test_random_examples" in report.nodeid for report in reports):
        terminalreporter.write_line(f"Random examples were those of --examples-seed={config.option.examples_seed}")
