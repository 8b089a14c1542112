"""A progress bar on stderr: what is done now, how far it is, and the time left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from subdit.core.progress import ProgressCallback

PLAIN_INTERVAL_S = 15.0
"""Where stderr is no terminal, at most one line in this many seconds."""

REFRESH_INTERVAL_S = 0.2


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """Yield the callback that long work reports through; the bar stays on screen, with the time taken, when it ends."""
    if sys.stderr.isatty():
        with _terminal_bar(title) as callback:
            yield callback
    else:
        with _plain_lines(title) as callback:
            yield callback


@contextlib.contextmanager
def _terminal_bar(title: str) -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn
    from rich.progress import Progress
    from rich.progress import TaskProgressColumn
    from rich.progress import TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", style="cyan", markup=False),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    # No refresh thread: it would take processor time from latencies that are being measured.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task(title, total=None, left="", note="")
        clock = Clock()
        drawn = 0.0

        def callback(done: float, total: float, note: str) -> None:
            nonlocal drawn
            clock.report(done, total)
            if time.monotonic() - drawn < REFRESH_INTERVAL_S and done < total:
                return
            drawn = time.monotonic()
            bar.update(task, completed=min(done, total), total=total, left=clock.left(), note=note, refresh=True)

        yield callback
        total = bar.tasks[0].total or 1.0
        bar.update(task, completed=total, total=total, left=f"took {_duration(clock.elapsed_s)}", note="", refresh=True)


@contextlib.contextmanager
def _plain_lines(title: str) -> Iterator[ProgressCallback]:
    clock = Clock()
    said = time.monotonic()
    print(f"{title} ...", file=sys.stderr, flush=True)

    def callback(done: float, total: float, note: str) -> None:
        nonlocal said
        clock.report(done, total)
        if time.monotonic() - said < PLAIN_INTERVAL_S or done >= total:
            return
        said = time.monotonic()
        parts = [f"{100 * done / total:.0f} %" if total > 0 else "", clock.left(), note]
        print(f"{title}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)

    yield callback
    print(f"{title}: done in {_duration(clock.elapsed_s)}", file=sys.stderr, flush=True)


class Clock:
    """Time taken and time left, by the pace since the first report: resumed work starts with a part done."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._last = (self._began, 0.0, 0.0)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def report(self, done: float, total: float) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        self._last = (now, done, total)

    def left(self) -> str:
        """Such as '1:20 left'; empty until there is something to go by."""
        if self._first is None:
            return ""
        (began, at_first), (now, done, total) = self._first, self._last
        if done <= at_first or now - began < 1.0:
            return ""
        return f"{_duration((total - done) * (now - began) / (done - at_first))} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
