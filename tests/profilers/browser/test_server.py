"""The server: nothing but its table below the token, and messages that are read strictly."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

from device_profiles import read_profile
from profilers import Kit
from profilers.browser._messages import MAX_BODY_BYTES
from profilers.browser._messages import MalformedError
from profilers.browser._messages import parse_json
from profilers.browser._messages import read_begin
from profilers.browser._messages import read_outputs
from profilers.browser._messages import read_problem
from profilers.browser._messages import read_round
from profilers.browser._phones import Order
from profilers.browser._phones import Phones
from profilers.browser._server import PAGE_FILES
from profilers.browser._web_kit import WebKit
from tests.profilers.browser.speaking import CLIENT
from tests.profilers.browser.speaking import TOKEN
from tests.profilers.browser.speaking import Client
from tests.profilers.browser.speaking import a_round
from tests.profilers.browser.speaking import begin
from tests.profilers.browser.speaking import right_outputs
from tests.profilers.browser.speaking import serving

SWIFTSHADER = {"vendor": "google", "architecture": "swiftshader", "description": "", "fallback": True}
REAL_GPU = {"vendor": "arm", "architecture": "valhall", "description": "", "fallback": False}


@pytest.fixture
def order(small_kit: Kit, small_web: WebKit, tmp_path: Path) -> Order:
    out = tmp_path / "profile.json"
    return Order(small_kit, small_web, "1.30.0", out=out, budget_s=4.0, min_rounds=4, threads=2, webgpu=True)


@pytest.fixture
def phones(order: Order) -> Iterator[Phones]:
    made = Phones(order, lambda line: None)
    yield made
    made.close()


@pytest.fixture
def client(phones: Phones, tmp_path: Path) -> Iterator[Client]:
    wasm = tmp_path / "ort.wasm"
    wasm.write_bytes(b"\0asm" + bytes(10_000))
    wasm.with_name("ort.wasm.gz").write_bytes(gzip.compress(wasm.read_bytes()))
    with serving(phones, {"ort.wasm": wasm}) as client:
        yield client


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
        ("adapter", [REAL_GPU]),
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


def test_a_gpu_that_is_none_is_refused(client: Client, order: Order) -> None:
    isolated = {"isolated": True}
    for adapter in (None, SWIFTSHADER, {**SWIFTSHADER, "fallback": False}, {**REAL_GPU, "fallback": True}):
        answer = client.post("begin", begin(delegate="webgpu", environment={**isolated, "adapter": adapter}))
        assert answer.status == 403
        assert "imitated by the processor" in answer.json["error"]
    assert not (order.kit.folder / "timings").exists()
    real = client.post("begin", begin(delegate="webgpu", environment={**isolated, "adapter": REAL_GPU}))
    assert real.status == 200


def test_what_was_not_asked_for_is_refused(client: Client) -> None:
    assert client.post("begin", begin(threads=3)).status == 409
    assert "was not asked for" in client.post("begin", begin(threads=2, delegate="webgpu")).json["error"]
    assert "--https" in client.post("begin", begin(threads=2)).json["error"]
    assert client.post("begin", begin(threads=2, environment={"isolated": True})).status == 200


def test_wrong_outputs_end_it(client: Client, small_web: WebKit, order: Order, phones: Phones) -> None:
    run = client.post("begin", begin()).json["run"]
    assert client.post("round", a_round(run, 1, small_web)).status == 409
    outputs = right_outputs(run, small_web)
    outputs["outputs"][3]["samples"][2] += 2e-3 * small_web.models[3].expected.mean_abs
    answer = client.post("outputs", outputs)
    assert answer.status == 422
    assert small_web.models[3].name in answer.json["error"]
    assert client.post("outputs", right_outputs(run, small_web)).status == 410
    assert client.post("round", a_round(run, 1, small_web)).status == 410
    assert not phones.profiles and not (order.out and order.out.exists())


def measure(server: Client, web: WebKit, rounds: range, **changes: Any) -> Any:
    state = server.post("begin", begin(**changes)).json
    state = server.post("outputs", right_outputs(state["run"], web)).json
    for number in rounds:
        state = server.post("round", a_round(state["run"], number, web)).json
    return state


def test_a_profile_has_the_times_that_were_sent(client: Client, small_web: WebKit, order: Order) -> None:
    state = measure(client, small_web, range(1, 5))
    assert (state["state"], state["id"], state["noisy"]) == ("done", "kettle/onnxruntime-web/fp32/t1", False)
    assert order.out is not None
    made = read_profile(order.out)
    latencies = {entry.name: entry for entry in order.kit.components}
    assert {name: one.latency_ms for name, one in made.components.items()} == {
        model.name: float(number) for number, model in enumerate(small_web.models) if model.name in latencies
    }
    assert (made.runtime, made.provenance, made.threads, made.delegate) == ("onnxruntime-web", "measured", 1, None)
    conditions = made.conditions
    assert (conditions.browser, conditions.os, conditions.model) == ("Chrome 150", "Android", "Kettle 3")
    assert (conditions.cores, conditions.runtime_version, conditions.reference_ms) == (8, "1.30.0", 1.0)
    # Nothing of this machine's is said of the phone.
    assert (conditions.machine, conditions.cpu, conditions.governor) == ("Kettle 3", "", "")
    assert (conditions.load_average, conditions.python_version) == (None, "")
    again = client.post("begin", begin())
    assert again.status == 409 and "There is a profile" in again.json["error"]


def test_a_round_counts_once_and_none_is_left_out(client: Client, small_web: WebKit, phones: Phones) -> None:
    state = measure(client, small_web, range(1, 3))
    assert state["round"] == 2
    twice = client.post("round", a_round(state["run"], 2, small_web)).json
    assert (twice["round"], twice["state"]) == (2, "measure")
    missing = client.post("round", a_round(state["run"], 4, small_web))
    assert missing.status == 409 and "missing in between" in missing.json["error"]
    assert phones._runs[state["run"]].timings.names.count(small_web.models[1].name) == 2


def test_a_noisy_phone_measures_again_and_is_marked(client: Client, small_web: WebKit, order: Order) -> None:
    state = client.post("begin", begin()).json
    run = state["run"]
    state = client.post("outputs", right_outputs(run, small_web)).json
    texts = []
    for attempt in range(3):
        for number in range(1, 5):
            state = client.post("round", a_round(run, number, small_web, attempt=attempt, spread=0.5)).json
        texts.append(state.get("text", ""))
        # An answer that was lost: the round of the attempt before is sent once more.
        if state["state"] != "done":
            again = client.post("round", a_round(run, 4, small_web, attempt=attempt, spread=0.5)).json
            assert (again["attempt"], again["round"]) == (attempt + 1, 0)
    assert "too noisy" in texts[0] and "too noisy" in texts[1]
    assert (state["state"], state["noisy"]) == ("done", True)
    assert order.out is not None
    made = read_profile(order.out)
    assert made.noisy and made.noise is not None and made.noise.attempts == 3


def test_a_phone_goes_on_with_another_server(order: Order, small_web: WebKit) -> None:
    first = Phones(order, lambda line: None)
    with serving(first) as client:
        measure(client, small_web, range(1, 3))
    # Killed: nothing is closed. A last line was torn.
    (path,) = (order.kit.folder / "timings").iterdir()
    before = path.read_text()
    with path.open("a") as file:
        file.write('[0, 3, 9.0, "ass')
    second = Phones(order, lambda line: None)
    with serving(second) as client:
        state = client.post("begin", begin()).json
        assert (state["state"], state["attempt"], state["round"]) == ("check", 0, 2)
        client.post("outputs", right_outputs(state["run"], small_web))
        for number in range(3, 5):
            state = client.post("round", a_round(state["run"], number, small_web)).json
        assert state["state"] == "done"
    assert path.read_text().startswith(before)
    names = [json.loads(line)[3] for line in path.read_text().splitlines()[1:-1]]
    assert all(names.count(model.name) == 4 for model in small_web.models[1:])


def test_a_profile_that_was_due_when_the_server_died_is_made(order: Order, small_web: WebKit) -> None:
    slower = Order(**{**vars(order), "min_rounds": 6, "budget_s": 6.0})
    with serving(Phones(slower, lambda line: None)) as client:
        measure(client, small_web, range(1, 5))
    with serving(Phones(order, lambda line: None)) as client:
        assert measure(client, small_web, range(0))["state"] == "done"


def test_another_browser_begins_anew(order: Order, small_web: WebKit) -> None:
    with serving(Phones(order, lambda line: None)) as client:
        measure(client, small_web, range(1, 3))
        state = client.post("begin", begin(environment={"user_agent": "another"})).json
        assert state["round"] == 0


def test_two_phones_of_one_name_do_not_mix(small_kit: Kit, small_web: WebKit) -> None:
    said: list[str] = []
    phones = Phones(Order(small_kit, small_web, "1.30.0", min_rounds=4, budget_s=4.0), said.append)
    with serving(phones) as client:
        measure(client, small_web, range(1, 3))
        other = client.post("begin", begin(client="f" * 32))
        assert other.status == 409 and "type another name" in other.json["error"]
        # At once, under another name; and the first goes on.
        assert measure(client, small_web, range(1, 5), client="f" * 32, name="pot")["state"] == "done"
        assert client.post("begin", begin()).json["round"] == 2
        client.post("finish", {"client": CLIENT})
        assert phones.finished == set()
        client.post("finish", {"client": "f" * 32})
        assert phones.finished == {"f" * 32}
        client.post("problem", {"name": "kettle", "text": "boiled over"})
    phones.close()
    assert said[-1] == "kettle: boiled over"
    assert [profile.id for profile in phones.profiles] == ["pot/onnxruntime-web/fp32/t1"]
    assert (Path(os.environ["SUBDIT_HOME"]) / "devices" / "pot--onnxruntime-web--fp32--t1--digits.json").exists()
