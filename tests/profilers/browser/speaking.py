"""A server in a thread, and a plain HTTP client that sends what it is told, for tests without a browser."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from profilers.browser.phones import Phones
from profilers.browser.server import application
from profilers.browser.web_kit import WebKit
from tests.waiting import DEADLINE_S

TOKEN = "a-token-of-this-test"
CLIENT = "0123456789abcdef" * 2

PHONE = {
    "user_agent": "Mozilla/5.0 (Linux; Android 10; K) Chrome/150.0.0.0 Mobile",
    "browser": "Chrome 150",
    "os": "Android",
    "model": "Kettle 3",
    "cores": 8,
    "isolated": False,
    "timer_step_ms": 0.1,
    "adapter": None,
}

SWIFTSHADER = {"vendor": "google", "architecture": "swiftshader", "description": "", "fallback": True}
REAL_GPU = {"vendor": "arm", "architecture": "valhall", "description": "", "fallback": False}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Requests to one server; paths go out as they are written."""

    port: int

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, name: str, **headers: str) -> Answer:
        return self.ask("GET", f"/{TOKEN}/{name}", **headers)

    def post(self, name: str, value: Any) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", f"/{TOKEN}/{name}", body, Content_Type="application/json")

    def raw(self, text: bytes) -> bytes:
        """First line of the answer to a request that no library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            connection.sendall(text)
            return connection.makefile("rb").readline()


@contextlib.contextmanager
def serving(phones: Phones, ort_files: dict[str, Path] | None = None) -> Iterator[Client]:
    loop = asyncio.new_event_loop()
    app = application(phones, token=TOKEN, ort_files=ort_files or {}, on_finished=lambda: None)
    runner = web.AppRunner(app, access_log=None)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Client(asyncio.run_coroutine_threadsafe(start(), loop).result(DEADLINE_S))
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def begin(**changes: Any) -> dict[str, Any]:
    environment = {**PHONE, **changes.pop("environment", {})}
    plain = {"name": "kettle", "client": CLIENT, "threads": 1, "delegate": None, "environment": environment}
    return {**plain, **changes}


def right_outputs(run: str, web_kit: WebKit) -> dict[str, Any]:
    made = []
    for model in web_kit.models:
        found = model.expected
        numbers = {"mean": found.mean, "mean_abs": found.mean_abs, "std": found.std}
        made.append({**numbers, "samples": list(found.samples)})
    return {"run": run, "outputs": made}


def a_round(run: str, number: int, web_kit: WebKit, *, attempt: int = 0, spread: float = 0.0) -> dict[str, Any]:
    """Model k takes k milliseconds, the reference kernel one; every other round takes a share `spread` longer."""
    longer = 1 + spread * (number % 2)
    timings = [[0, 1.0]]
    for model in range(1, len(web_kit.models)):
        timings += [[model, model * longer], [0, 1.0]]
    return {"run": run, "attempt": attempt, "round": number, "seconds": 1.0, "timings": timings}
