"""The web server: a few known paths below a random token, and nothing else.

Every path is looked up in a table, so no file is reached that is not in it. Every answer, errors too, carries the
headers that isolate the page, which threads and fine timers need, and that forbid it to load anything from elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from profilers.browser.messages import MAX_BODY_BYTES
from profilers.browser.messages import MalformedError
from profilers.browser.messages import parse_json
from profilers.browser.messages import read_begin
from profilers.browser.messages import read_client
from profilers.browser.messages import read_outputs
from profilers.browser.messages import read_problem
from profilers.browser.messages import read_round
from profilers.browser.phones import Phones
from profilers.browser.phones import RefusedError

if TYPE_CHECKING:
    from aiohttp import web

PAGE_FILES = ("index.html", "style.css", "page.js", "device.js", "worker.js", "generate.js")

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}

_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; style-src 'self'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


def application(phones: Phones, *, token: str, ort_files: Mapping[str, Path], on_finished: Callable[[], None]) -> Any:
    """The aiohttp application.

    Args:
        phones: what the messages are for.
        token: first part of every path.
        ort_files: onnxruntime-web's files by name; one that has a .gz beside it is sent compressed.
        on_finished: called when a phone has done all that it could.
    """
    from aiohttp import web

    models = phones.order.web.models

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.path.removeprefix("/").partition("/")[0].encode(errors="replace")
        try:
            if not hmac.compare_digest(given, token.encode()):
                raise web.HTTPNotFound
            return await handler(request)
        except web.HTTPException as error:
            # The reason alone: aiohttp's texts name the path.
            return web.json_response({"error": error.reason}, status=error.status)

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)
        response.headers.pop("Server", None)

    def send_bytes(body: bytes, suffix: str) -> Handler:
        async def send(request: web.Request) -> web.StreamResponse:
            response = web.Response(body=body, headers={"Content-Type": _TYPES[suffix]})
            response.enable_compression()
            return response

        return send

    def send_file(path: Path) -> Handler:
        async def send(request: web.Request) -> web.StreamResponse:
            return web.FileResponse(path, headers={"Content-Type": _TYPES[path.suffix]})

        return send

    async def send_kit(request: web.Request) -> web.StreamResponse:
        response = web.json_response(_kit_json(phones))
        response.enable_compression()
        return response

    def receive(answer: Callable[[Any], dict[str, Any]]) -> Handler:
        async def take(request: web.Request) -> web.StreamResponse:
            if request.content_type != "application/json":
                return web.json_response({"error": "Send JSON."}, status=415)
            try:
                return web.json_response(answer(parse_json(await request.read())))
            except MalformedError as error:
                return web.json_response({"error": f"The message is malformed: {error}."}, status=400)
            except RefusedError as error:
                return web.json_response({"error": str(error)}, status=error.status)

        return take

    def note_problem(value: Any) -> dict[str, Any]:
        phones.note_problem(read_problem(value))
        return {}

    def finish(value: Any) -> dict[str, Any]:
        phones.finish(read_client(value))
        on_finished()
        return {}

    page = files("profilers.browser").joinpath("page")
    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    add = app.router.add_get
    for name in PAGE_FILES:
        place = "" if name == "index.html" else name
        add(f"/{token}/{place}", send_bytes(page.joinpath(name).read_bytes(), Path(name).suffix))
    add(f"/{token}/kit.json", send_kit)
    for number, model in enumerate(models):
        add(f"/{token}/models/{number}.onnx", send_bytes(model.graph, ".onnx"))
    for name, path in ort_files.items():
        add(f"/{token}/ort/{name}", send_file(path))
    for name, answer in (
        ("begin", lambda value: phones.begin(read_begin(value))),
        ("outputs", lambda value: phones.check_outputs(read_outputs(value, len(models)))),
        ("round", lambda value: phones.add_round(read_round(value, len(models)))),
        ("problem", note_problem),
        ("finish", finish),
    ):
        app.router.add_post(f"/{token}/{name}", receive(answer))
    return app


def _kit_json(phones: Phones) -> dict[str, Any]:
    """What the page is told to do."""
    order = phones.order
    return {
        "space": order.kit.space,
        "threads": order.threads,
        "webgpu": order.webgpu,
        "device": order.device,
        "cooling_s": order.cooling_s,
        "models": [model.to_json() for model in order.web.models],
    }
