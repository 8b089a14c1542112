"""The server: nothing but its table below the token, and messages that are read strictly."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

from profilers.browser.messages import MAX_BODY_BYTES
from profilers.browser.messages import MalformedError
from profilers.browser.messages import parse_json
from profilers.browser.messages import read_begin
from profilers.browser.messages import read_outputs
from profilers.browser.messages import read_problem
from profilers.browser.messages import read_round
from profilers.browser.server import PAGE_FILES
from profilers.browser.web_kit import WebKit
from tests.profilers.browser.speaking import CLIENT
from tests.profilers.browser.speaking import TOKEN
from tests.profilers.browser.speaking import Client
from tests.profilers.browser.speaking import a_round
from tests.profilers.browser.speaking import begin
from tests.profilers.browser.speaking import right_outputs


def test_the_page_and_the_kit_are_there(client: Client, small_web: WebKit) -> None:
    for name in PAGE_FILES:
        assert client.get("" if name == "index.html" else name).status == 200
    told = client.get("kit.json").json
    assert [model["name"] for model in told["models"]] == [model.name for model in small_web.models]
    for number, model in enumerate(small_web.models):
        assert client.get(f"models/{number}.onnx").body == model.graph


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/kit.json",
        "/wrong/kit.json",
        f"/{TOKEN[:-1]}/kit.json",
        f"/{TOKEN}x/kit.json",
        f"/{TOKEN.upper()}/kit.json",
        f"//{TOKEN}/kit.json",
        f"/{TOKEN}/index.html",
        f"/{TOKEN}/page",
        f"/{TOKEN}/models/",
        f"/{TOKEN}/models/999.onnx",
        f"/{TOKEN}/../{TOKEN}/kit.json",
        f"/{TOKEN}/models/../kit.json",
        f"/{TOKEN}/ort/../../../../../../etc/passwd",
        f"/{TOKEN}/ort/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        f"/{TOKEN}/ort/..%2f..%2fprofile.json",
        f"/{TOKEN}/ort/%00",
        f"/{TOKEN}/ort/ort.wasm.gz",
        f"/{TOKEN}/page.js/",
        "/%ff%fe/kit.json",
    ],
)
def test_nothing_else_is_reachable(client: Client, path: str) -> None:
    answer = client.ask("GET", path)
    assert answer.status == 404
    assert answer.json == {"error": "Not Found"}
    assert client.ask("POST", path, b"{}", Content_Type="application/json").status in (404, 405)


@pytest.mark.parametrize(
    "line", [b"GET ../../etc/passwd HTTP/1.1", b"GET http://x/etc HTTP/1.1", b"OPTIONS * HTTP/1.1"]
)
def test_odd_requests_get_an_error(client: Client, line: bytes) -> None:
    status = client.raw(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n").split()[1]
    assert status in (b"400", b"404", b"405")


def test_every_answer_isolates_the_page(client: Client) -> None:
    for path in (f"/{TOKEN}/", f"/{TOKEN}/worker.js", f"/{TOKEN}/ort/ort.wasm", f"/{TOKEN}/kit.json", "/nothing"):
        headers = client.ask("GET", path).headers
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers


def test_wasm_comes_compressed_and_by_its_type(client: Client) -> None:
    plain = client.get("ort/ort.wasm")
    packed = client.get("ort/ort.wasm", Accept_Encoding="gzip")
    assert plain.headers["Content-Type"] == packed.headers["Content-Type"] == "application/wasm"
    assert packed.headers["Content-Encoding"] == "gzip" and len(packed.body) < len(plain.body)
    assert gzip.decompress(packed.body) == plain.body


def test_too_large_a_message_is_refused(client: Client) -> None:
    assert client.post("round", b"[" + b" " * MAX_BODY_BYTES + b"]").status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json5", ""])
def test_only_json_is_taken(client: Client, kind: str) -> None:
    assert client.ask("POST", f"/{TOKEN}/begin", json.dumps(begin()).encode(), Content_Type=kind).status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"begin"',
        b"{",
        b"NaN",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"name": "a", "name": "b"}',
        b"1" * 10_000,
    ],
)
def test_what_is_no_message_is_malformed(client: Client, body: bytes) -> None:
    for name in ("begin", "outputs", "round", "problem", "finish"):
        answer = client.post(name, body)
        assert answer.status == 400
        assert answer.json["error"].startswith("The message is malformed: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "../../evil"),
        ("name", "Kettle"),
        ("name", "a" * 65),
        ("name", "kettle\n"),
        ("name", None),
        ("client", "short"),
        ("client", "g" * 32),
        ("threads", 0),
        ("threads", -1),
        ("threads", 1.5),
        ("threads", True),
        ("threads", 10**40),
        ("delegate", "cuda"),
        ("delegate", []),
        ("environment", {}),
        ("environment", None),
        ("more", 1),
    ],
)
def test_a_begin_that_no_page_sends(client: Client, key: str, value: Any) -> None:
    assert client.post("begin", {**begin(), key: value}).status == 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("browser", "\x1b[2J"),
        ("browser", "a\u202eb"),
        ("os", "x" * 129),
        ("cores", -1),
        ("isolated", 1),
        ("timer_step_ms", -0.1),
        ("timer_step_ms", "1"),
        ("adapter", {"vendor": "arm"}),
        ("adapter", ["arm"]),
    ],
)
def test_an_environment_that_no_page_sends(client: Client, key: str, value: Any) -> None:
    assert client.post("begin", begin(environment={key: value})).status == 400


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "1e30", "true", "null", '"1"'])
def test_a_time_that_cannot_be(client: Client, small_web: WebKit, number: str) -> None:
    message = json.dumps(a_round(CLIENT, 1, small_web))
    assert "[1, 1.0]" in message
    assert client.post("round", message.replace("[1, 1.0]", f"[1, {number}]").encode()).status == 400


def test_a_round_is_a_whole_round(client: Client, small_web: WebKit) -> None:
    whole = a_round(CLIENT, 1, small_web)
    for wrong in (
        whole["timings"][:-2],
        whole["timings"] + [[1, 1.0]],
        [entry for entry in whole["timings"] if entry[0]] * 2,
        [[len(small_web.models), 1.0]] + whole["timings"],
        [[-1, 1.0]] + whole["timings"],
        [[1.0, 1.0]] + whole["timings"],
        [[1, 1.0, 1.0]] + whole["timings"],
        whole["timings"] * 40,
    ):
        assert client.post("round", {**whole, "timings": wrong}).status == 400
    for key, value in (("round", 0), ("attempt", -1), ("seconds", -1.0), ("run", "../x"), ("seconds", None)):
        assert client.post("round", {**whole, key: value}).status == 400


json_values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=20,
)


@given(value=json_values, at=strategies.integers(0, 20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_json_is_read_or_malformed(small_web: WebKit, value: Any, at: int) -> None:
    """Whatever stands in whatever place of a message: never another error."""
    count = len(small_web.models)
    messages = (begin(), right_outputs(CLIENT, small_web), a_round(CLIENT, 1, small_web), {"name": "a", "text": "b"})
    readers = (
        read_begin,
        lambda sent: read_outputs(sent, count),
        lambda sent: read_round(sent, count),
        read_problem,
    )
    for message, read in zip(messages, readers, strict=True):
        read(message)
        key = list(message)[at % len(message)]
        for sent in (value, {**message, key: value}):
            try:
                read(sent)
            except MalformedError:
                pass


@given(strategies.binary(max_size=200))
def test_any_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        parse_json(body)
    except MalformedError:
        pass
