"""Phones that speak to the server: who may measure what, what becomes of their rounds, and how they go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from device_profiles import read_profile
from profilers import Kit
from profilers.browser.phones import MAX_RUNS
from profilers.browser.phones import Order
from profilers.browser.phones import Phones
from profilers.browser.web_kit import WebKit
from subdit.space import models_id
from tests.profilers.browser.speaking import CLIENT
from tests.profilers.browser.speaking import REAL_GPU
from tests.profilers.browser.speaking import SWIFTSHADER
from tests.profilers.browser.speaking import Client
from tests.profilers.browser.speaking import a_round
from tests.profilers.browser.speaking import begin
from tests.profilers.browser.speaking import right_outputs
from tests.profilers.browser.speaking import serving
from tests.profilers.small import small_space


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


def test_a_profile_has_the_times_that_were_sent(
    client: Client, small_web: WebKit, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine has a sensor, whatever it is.
    monkeypatch.setattr("profilers.measuring.conditions.temperature_c", lambda: 77.0)
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
    assert (conditions.machine, conditions.cpu, conditions.governor) == ("kettle", "", "")
    assert (conditions.load_average, conditions.python_version, conditions.temperature_c) == (None, "", None)
    # Another phone may not take its name.
    again = client.post("begin", begin(client="f" * 32))
    assert again.status == 409 and "There is a profile" in again.json["error"]


def test_a_last_answer_that_was_lost_is_given_again(client: Client, small_web: WebKit, phones: Phones) -> None:
    state = measure(client, small_web, range(1, 5))
    assert state["state"] == "done"
    # The phone's retries, and what a page says first that was loaded again.
    assert client.post("round", a_round(state["run"], 4, small_web)).json == state
    assert client.post("outputs", right_outputs(state["run"], small_web)).json == state
    assert client.post("begin", begin()).json == state
    client.post("finish", {"client": CLIENT})
    assert phones.finished == {CLIENT} and len(phones.profiles) == 1


@pytest.mark.parametrize("force", [False, True])
def test_a_page_loaded_again_in_its_second_phase_goes_on_there(small_kit: Kit, small_web: WebKit, force: bool) -> None:
    isolated = {"environment": {"isolated": True}}
    asked = {"min_rounds": 4, "budget_s": 4.0, "threads": 2, "force": force}
    phones = Phones(Order(small_kit, small_web, "1.30.0", **asked), lambda line: None)
    with serving(phones) as client:
        measure(client, small_web, range(1, 5), **isolated)
        assert measure(client, small_web, range(1, 3), threads=2, **isolated)["round"] == 2
        assert client.post("begin", begin(**isolated)).json["state"] == "done"
        state = measure(client, small_web, range(3, 5), threads=2, **isolated)
    assert (state["state"], state["id"]) == ("done", "kettle/onnxruntime-web/fp32/t2")
    assert [profile.threads for profile in phones.profiles] == [1, 2]


def test_a_new_server_knows_what_this_phone_has_done(order: Order, small_web: WebKit) -> None:
    with serving(Phones(order, lambda line: None)) as client:
        state = measure(client, small_web, range(1, 5))
    # Killed before the phone had the answer, or before the phone said that it had done everything.
    said: list[str] = []
    second = Phones(order, said.append)
    with serving(second) as client:
        other = client.post("begin", begin(client="f" * 32))
        assert other.status == 409 and "There is a profile" in other.json["error"]
        assert client.post("begin", begin()).json == {**state, "run": ""}
        client.post("finish", {"client": CLIENT})
    assert order.out is not None
    assert second.finished == {CLIENT} and second.profiles == [read_profile(order.out)]
    assert said == [f"kettle/onnxruntime-web/fp32/t1: done before, saved at {order.out}; --force measures again"]
    # A profile that is another than these timings made is no answer.
    order.out.write_text("{}")
    with serving(Phones(order, lambda line: None)) as client:
        assert client.post("begin", begin()).status == 409
    with serving(Phones(Order(**{**vars(order), "force": True}), lambda line: None)) as client:
        assert client.post("begin", begin()).json["state"] == "check"


def test_force_replaces_the_profile_of_every_phase(small_kit: Kit, small_web: WebKit) -> None:
    isolated = {"environment": {"isolated": True}}
    for force in (False, True):
        asked = {"min_rounds": 4, "budget_s": 4.0, "threads": 2, "force": force}
        phones = Phones(Order(small_kit, small_web, "1.30.0", **asked), lambda line: None)
        with serving(phones) as client:
            for threads in (1, 2):
                assert measure(client, small_web, range(1, 5), threads=threads, **isolated)["state"] == "done"
        assert [profile.threads for profile in phones.profiles] == [1, 2]


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


def test_another_phone_with_the_same_browser_begins_anew(order: Order, small_web: WebKit) -> None:
    with serving(Phones(order, lambda line: None)) as client:
        measure(client, small_web, range(1, 3))
    # A new server knows nobody, so the name is free.
    with serving(Phones(order, lambda line: None)) as client:
        assert client.post("begin", begin(client="f" * 32)).json["round"] == 0


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
    name = f"pot--onnxruntime-web--fp32--t1--{models_id(small_space())}.json"
    assert (Path(os.environ["SUBDIT_HOME"]) / "devices" / name).exists()


def test_so_many_phones_and_no_more(small_kit: Kit, small_web: WebKit) -> None:
    phones = Phones(Order(small_kit, small_web, "1.30.0"), lambda line: None)
    with serving(phones) as client:
        for number in range(MAX_RUNS):
            assert client.post("begin", begin(name=f"kettle-{number}", client=f"{number:032x}")).status == 200
        assert client.post("begin", begin(name="another", client="f" * 32)).status == 503
        # One of them may load its page again.
        assert client.post("begin", begin(name="kettle-3", client=f"{3:032x}")).status == 200
    phones.close()
