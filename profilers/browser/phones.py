"""The measurements of phones: who measures what, how far it is, when it is enough, and the profile in the end.

Knows no network; `_server.py` hands it the messages. Raw timings go to the kit's `timings/` round by round, so a phone
that was interrupted goes on where it was, also with another server process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from device_profiles import Noise
from device_profiles import profile_path
from device_profiles import save_profile
from profilers.browser.identity import empty_profile
from profilers.browser.identity import made_before
from profilers.browser.identity import timings_header
from profilers.browser.messages import Begin
from profilers.browser.messages import Outputs
from profilers.browser.messages import Problem
from profilers.browser.messages import Round
from profilers.browser.web_kit import TOLERANCE
from profilers.browser.web_kit import WebKit
from profilers.kits.kit import Kit
from profilers.measuring.build_profile import build_profile
from profilers.measuring.measure_kit import ATTEMPTS
from profilers.measuring.measure_kit import OVERDRAWN
from profilers.measuring.measure_kit import WHOLE_CI
from profilers.measuring.statistics import is_noisy
from profilers.measuring.statistics import largest_noise
from profilers.measuring.statistics import noise_of
from profilers.measuring.statistics import within
from profilers.measuring.timings import TimingLog
from profilers.measuring.timings import Timings
from profilers.measuring.timings import is_finished
from profilers.measuring.timings import log_path
from profilers.runtimes import Timing

MIN_ROUNDS = 20
MAX_RUNS = 32
"""Phones that measure at once."""

COOLING_S = 15.0

# A phone that was silent for this time has gone; another may take its name.
_SILENT_S = 60.0
_CHECK_EVERY = 5
_SAY_EVERY_S = 10.0

Say = Callable[[str], None]


class RefusedError(Exception):
    """A message that is well formed and still cannot be answered; `status` is of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Order:
    """What phones are asked to do.

    Attributes:
        threads: measured with one thread first, then with this number.
        webgpu: measured on the GPU, too, where there is a real one.
        by_whole: as `build_profile` takes it.
        device: name of the device, where there is only one; otherwise people type it.
        out: file of the profile, by default in the user's registry.
        budget_s: seconds per attempt.
        min_rounds: rounds that are made whatever the budget says.
        cooling_s: how long a phone rests before it measures again, where it was too noisy.
    """

    kit: Kit
    web: WebKit
    runtime_version: str
    threads: int = 1
    webgpu: bool = False
    by_whole: bool | None = None
    device: str | None = None
    out: Path | None = None
    budget_s: float = 60.0
    min_rounds: int = MIN_ROUNDS
    cooling_s: float = COOLING_S
    force: bool = False

    def allows(self, threads: int, delegate: str | None) -> bool:
        """Whether this was asked for."""
        asked = {(1, None), (self.threads, None)} | ({(1, "webgpu")} if self.webgpu else set())
        return (threads, delegate) in asked


@dataclass
class _Measurement:
    """One measurement of one phone."""

    id: str
    begin: Begin
    empty: DeviceProfile
    target: Path
    log: TimingLog
    attempt: int = 0
    checked: bool = False
    seen: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    @property
    def timings(self) -> Timings:
        return self.log.attempt(self.attempt)


class Phones:
    """All phones that measure the kit of an order; `profiles` are those made, in the order of their ends."""

    def __init__(self, order: Order, say: Say) -> None:
        self.order = order
        self.profiles: list[DeviceProfile] = []
        self.finished: set[str] = set()
        self._runs: dict[str, _Measurement] = {}
        # Last answers, by run and by phone and profile: one that was lost on its way is asked for again.
        self._done_runs: dict[str, dict[str, Any]] = {}
        self._done: dict[tuple[str, str], dict[str, Any]] = {}
        self._say = say

    def begin(self, begin: Begin) -> dict[str, Any]:
        """Begin a measurement, go on with one, or say that it is done; raises `RefusedError`."""
        self._require_allowed(begin)
        empty = empty_profile(self.order.kit, begin, runtime_version=self.order.runtime_version)
        if (begin.client, empty.id) in self._done:
            return self._done[begin.client, empty.id]
        target = profile_path(empty) if self.order.out is None else self.order.out
        for run in [run for run in self._runs.values() if run.empty.id == empty.id]:
            if run.begin.client != begin.client and time.monotonic() - run.seen < _SILENT_S:
                raise RefusedError(409, f"Another phone is measuring as {begin.name} just now; type another name.")
            run.log.close()
            del self._runs[run.id]
        if len(self._runs) >= MAX_RUNS:
            raise RefusedError(503, f"{MAX_RUNS} phones are measuring already; wait for one to end.")
        path = log_path(self.order.kit, empty)
        header = timings_header(self.order.kit, self.order.web.digest, empty, begin)
        if target.exists() and not self.order.force:
            made = made_before(empty, target) if is_finished(path, header) else None
            if made is None:
                raise RefusedError(
                    409,
                    f"There is a profile of {empty.id} already; type another name, or start the computer with --force.",
                )
            self._say(f"{made.id}: done before, saved at {target}; --force measures again")
            return self._ended(begin.client, "", made)
        run = _Measurement(secrets.token_hex(16), begin, empty, target, TimingLog(path, header))
        self._runs[run.id] = run
        run.attempt = max(len(run.log.attempts) - 1, 0)
        gone_on = f", goes on after {run.timings.rounds} rounds" if run.timings.rounds else ""
        self._say(f"{empty.id}: {begin.environment.browser} on {begin.environment.os}{gone_on}")
        return self._state(run)

    def check_outputs(self, outputs: Outputs) -> dict[str, Any]:
        """Compare a phone's outputs with those of this machine; raises `RefusedError`."""
        if outputs.run in self._done_runs:
            return self._done_runs[outputs.run]
        run = self._run(outputs.run)
        for model, found in zip(self.order.web.models, outputs.outputs, strict=True):
            off = model.expected.difference(found) if len(found.samples) == len(model.places) else float("inf")
            if not off <= TOLERANCE:
                text = f"This browser computes {model.name} wrong, by {off:.2g} of its output; no profile is made."
                self._say(f"{run.empty.id}: {text}")
                del self._runs[run.id]
                run.log.close()
                raise RefusedError(422, text)
        run.checked = True
        return self._state(run)

    def add_round(self, sent: Round) -> dict[str, Any]:
        """Keep a round and say what comes next; one that was sent twice counts once. Raises `RefusedError`."""
        if sent.run in self._done_runs:
            return self._done_runs[sent.run]
        run = self._run(sent.run)
        if not run.checked:
            raise RefusedError(409, "Outputs come before timings; load the page again.")
        timings = run.timings
        if (sent.attempt, sent.round) <= (run.attempt, timings.rounds):
            return self._state(run)
        if (sent.attempt, sent.round) != (run.attempt, timings.rounds + 1):
            raise RefusedError(409, "Rounds are missing in between; load the page again.")
        timings.rounds, timings.seconds = sent.round, timings.seconds + sent.seconds
        for number, wall_ms in sent.timings:
            timing = Timing(wall_ms=wall_ms, cpu_ms=wall_ms)
            name = self.order.web.models[number].name
            timings.add(name, timing)
            run.log.write(run.attempt, timings, name, timing)
        run.log.flush()
        return self._state(run)

    def note_problem(self, problem: Problem) -> None:
        """Tell the person at the computer."""
        self._say(f"{problem.name}: {problem.text}")

    def finish(self, client: str) -> None:
        """A phone has done everything that it could; counts where it made a profile."""
        if any(made_by == client for made_by, _ in self._done):
            self.finished.add(client)

    def close(self) -> None:
        for run in self._runs.values():
            run.log.close()
        self._runs.clear()

    def _require_allowed(self, begin: Begin) -> None:
        environment = begin.environment
        if not self.order.allows(begin.threads, begin.delegate):
            raise RefusedError(
                409, f"{begin.threads} threads on {begin.delegate or 'the processor'} was not asked for."
            )
        if self.order.device not in (None, begin.name):
            raise RefusedError(409, f"This computer expects one device, {self.order.device}; load the page again.")
        if begin.threads > 1 and not environment.isolated:
            raise RefusedError(409, "Threads need https or a cable; start the computer with --https or --usb.")
        if begin.delegate == "webgpu" and (environment.adapter is None or environment.adapter.is_software):
            raise RefusedError(
                403, "This browser's GPU is imitated by the processor, so its times are no GPU's; no profile is made."
            )

    def _run(self, run_id: str) -> _Measurement:
        if run_id not in self._runs:
            raise RefusedError(410, "This measurement has ended; load the page again.")
        run = self._runs[run_id]
        run.seen = time.monotonic()
        return run

    def _state(self, run: _Measurement) -> dict[str, Any]:
        """What a phone does next; ends the attempt, and the measurement, where it is time."""
        text = ""
        if run.checked and self._attempt_has_ended(run):
            noise = self._noise(run.timings, run.attempt + 1)
            overdrawn = run.timings.seconds > OVERDRAWN * self.order.budget_s
            if not is_noisy(noise) or overdrawn or run.attempt + 1 >= ATTEMPTS:
                return self._finished(run)
            run.attempt += 1
            text = f"too noisy by {100 * largest_noise(noise):.1f} % (limit {100 * noise.limit:.0f} %), measured again"
        timings = run.timings
        fraction = min(timings.seconds / self.order.budget_s, timings.rounds / self.order.min_rounds, 1.0)
        if timings.rounds >= self.order.min_rounds:
            fraction = min(timings.seconds / self.order.budget_s, 1.0)
        if text or time.monotonic() - run.said > _SAY_EVERY_S:
            run.said = time.monotonic()
            self._say(f"{run.empty.id}: {text or f'round {timings.rounds}, {100 * fraction:.0f} %'}")
        state = {"state": "measure" if run.checked else "check", "run": run.id, "attempt": run.attempt}
        return {**state, "round": timings.rounds, "share": fraction, "text": text}

    def _attempt_has_ended(self, run: _Measurement) -> bool:
        timings = run.timings
        if timings.rounds < self.order.min_rounds:
            return False
        if timings.seconds >= self.order.budget_s:
            return True
        names = self.order.kit.whole_names or self.order.kit.component_names
        return timings.rounds % _CHECK_EVERY == 0 and within(names, WHOLE_CI)(timings)

    def _noise(self, timings: Timings, attempts: int) -> Noise:
        kit = self.order.kit
        return noise_of(timings, kit.component_names, kit.whole_names, attempts=attempts)

    def _finished(self, run: _Measurement) -> dict[str, Any]:
        tried = run.log.attempts[: run.attempt + 1]
        # Its end is now.
        empty = empty_profile(self.order.kit, run.begin, runtime_version=self.order.runtime_version)
        quietest = min(tried, key=lambda timings: largest_noise(self._noise(timings, len(tried))))
        made = build_profile(self.order.kit, empty, quietest, attempts=len(tried), by_whole=self.order.by_whole)
        save_profile(made, run.target, force=self.order.force)
        run.log.finish()
        del self._runs[run.id]
        verdict = "done, but noisy" if made.noisy else "done"
        self._say(f"{made.id}: {verdict}, saved at {run.target}")
        self._done_runs[run.id] = self._ended(run.begin.client, run.id, made)
        return self._done_runs[run.id]

    def _ended(self, client: str, run_id: str, made: DeviceProfile) -> dict[str, Any]:
        """The last answer, kept for whoever asks for it again."""
        self.profiles.append(made)
        done = {"state": "done", "run": run_id, "id": made.id, "noisy": made.noisy, "share": 1.0}
        self._done[client, made.id] = done
        return done
