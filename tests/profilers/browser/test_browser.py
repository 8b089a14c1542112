"""The page in a real, headless Chromium: plain http, https with the self-made certificate, localhost, and mishaps."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from device_profiles import read_profile
from profilers import Kit
from profilers.browser.address import lan_address
from profilers.browser.web_kit import WebKit
from subdit.space import models_id
from tests.profilers.browser.conftest import program
from tests.profilers.small import small_space
from tests.waiting import DEADLINE_S
from tests.waiting import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
CHROMIUM = "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update"
SWIFTSHADER = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader"


@dataclass
class Served:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def ends(self) -> str:
        """What it said until it ended."""
        said, _ = self.process.communicate(timeout=DEADLINE_S)
        return said


@pytest.fixture
def serve(small_kit: Kit, ort_web: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started = []

    def start(**options: Any) -> Served:
        quick = {"budget_s": 0.1, "min_rounds": 3, "cooling_s": 0.0, "ort_web": str(ort_web)}
        command = [sys.executable, "-m", "tests.profilers.browser.served", str(small_kit.folder)]
        process = subprocess.Popen(
            [*command, json.dumps({**quick, **options})],
            cwd=ROOT,
            env={**os.environ, "SUBDIT_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Waiting"):
                return Served(process, re.findall(r"https?://\S+/", "".join(said))[-1])
        raise AssertionError("".join(said))

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    program("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


def launch(playwright: Any, arguments: str) -> Any:
    path = program("chromium")
    return playwright.chromium.launch(executable_path=path, args=arguments.split(), timeout=1e3 * DEADLINE_S)


@pytest.fixture(scope="module")
def chromium(playwright: Any) -> Iterator[Any]:
    browser = launch(playwright, CHROMIUM)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context()
    context.set_default_timeout(1e3 * DEADLINE_S)
    yield context.new_page()
    context.close()


@pytest.fixture
def lan() -> None:
    if lan_address().startswith("127."):
        pytest.skip("no network: a browser trusts this machine's loopback address more than a phone trusts the machine")


def start_measuring(page: Any, name: str) -> None:
    page.wait_for_selector("#form:not([hidden])")
    page.fill("#name", name)
    page.click("#form button")


def wait_for_text(page: Any, place: str, text: str) -> None:
    """Playwright's own waiting for functions is forbidden by the page's security policy."""
    wait_until(lambda: text in page.text_content(place), lambda: page.inner_text("body"))


def wait_for_end(page: Any) -> None:
    wait_for_text(page, "#what", "Done")


def profile_files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "home" / "devices").glob("*.json"))


def timed_in(kit: Kit) -> list[list[Any]]:
    (path,) = (kit.folder / "timings").glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines[1:] if line.endswith("]\n")]


def test_plain_http_measures_one_thread(
    serve: Callable[..., Served], page: Any, small_kit: Kit, tmp_path: Path, lan: None
) -> None:
    served = serve(threads=2)
    strange = []
    page.on("request", lambda request: None if request.url.startswith(served.url) else strange.append(request.url))
    page.goto(served.url)
    assert page.evaluate("[isSecureContext, crossOriginIsolated, typeof SharedArrayBuffer, typeof navigator.gpu]") == [
        False,
        False,
        "undefined",
        "undefined",
    ]
    start_measuring(page, "Kettle Nr. 3")
    assert "Threads need https or a cable" in page.inner_text("#modes") or page.is_visible("#work")
    wait_for_end(page)
    assert "kettle-nr.-3/onnxruntime-web/fp32/t1" in page.inner_text("#results")
    assert page.inner_text("#error") == ""
    # The one icon of the page is in the page, and the runtime's script is loaded from memory.
    assert [url for url in strange if not url.startswith(("data:", f"blob:{served.url.rsplit('/', 2)[0]}/"))] == []
    assert "PROFILES kettle-nr.-3/onnxruntime-web/fp32/t1\n" in served.ends()
    assert served.process.returncode == 0
    (name,) = profile_files(tmp_path)
    made = read_profile(tmp_path / "home" / "devices" / name)
    assert set(made.components) == {entry.name for entry in small_kit.components}
    assert all(latency.latency_ms > 0 and latency.rounds >= 3 for latency in made.components.values())
    assert (made.runtime, made.precision, made.threads, made.delegate) == ("onnxruntime-web", "fp32", 1, None)
    assert made.conditions.browser.startswith("Chrom") and made.conditions.os.startswith("Linux")
    assert made.conditions.runtime_version == "1.30.0" and made.conditions.cpu == ""


@pytest.mark.slow
def test_https_needs_the_warning_accepted_and_gives_threads(
    serve: Callable[..., Served], page: Any, tmp_path: Path, lan: None
) -> None:
    served = serve(https=True, threads=2)
    with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(served.url)
    page.click("#details-button")
    page.click("#proceed-link")
    page.wait_for_url(served.url)
    assert page.evaluate("[isSecureContext, crossOriginIsolated, typeof SharedArrayBuffer]") == [True, True, "function"]
    start_measuring(page, "kettle")
    wait_for_end(page)
    served.ends()
    ends = [f"{threads}--{models_id(small_space())}.json" for threads in ("t1", "t2")]
    assert profile_files(tmp_path) == [f"kettle--onnxruntime-web--fp32--{end}" for end in ends]


@pytest.mark.slow
def test_localhost_is_isolated_and_needs_no_certificate(
    serve: Callable[..., Served], page: Any, tmp_path: Path
) -> None:
    served = serve(usb=True, threads=2, device="kettle")
    assert served.url.startswith("http://localhost:")
    page.goto(served.url)
    page.wait_for_selector("#form:not([hidden])")
    assert page.evaluate("crossOriginIsolated")
    # The name was given on the computer.
    assert page.input_value("#name") == "kettle" and page.get_attribute("#name", "readonly") is not None
    page.click("#form button")
    wait_for_end(page)
    assert "kettle/onnxruntime-web/fp32/t2" in page.inner_text("#results")
    port = int(served.url.split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError), socket.create_connection((lan_address(), port), timeout=DEADLINE_S):
        pytest.skip("this machine has no address but the loopback's")
    served.ends()


# Starts a worker of the page as the page would, with another environment, and returns the texts of its messages until
# one starts with a given word.
_RUN_WORKER = """
async ({begin, until, memoryBytes = 1e9}) => {
  const kit = await (await fetch('kit.json')).json();
  const { environment } = await import('./device.js');
  begin.environment = { ...(await environment()), ...begin.environment };
  const worker = new Worker('worker.js', { type: 'module' });
  const said = [];
  await new Promise((resolve) => {
    worker.onmessage = ({ data }) => {
      said.push(data.text ?? data.type);
      if (data.type !== 'progress' || data.text.startsWith(until)) resolve();
    };
    worker.postMessage({ type: 'start', kit, begin, memoryBytes, coolingMs: 0 });
  });
  worker.terminate();
  return { said, adapter: begin.environment.adapter };
}
"""


@pytest.mark.slow
def test_an_imitated_gpu_computes_right_and_is_no_gpu(
    serve: Callable[..., Served], playwright: Any, small_web: WebKit, tmp_path: Path
) -> None:
    served = serve(usb=True, webgpu=True)
    browser = launch(playwright, f"{CHROMIUM} {SWIFTSHADER}")
    page = browser.new_page()
    page.set_default_timeout(1e3 * DEADLINE_S)
    page.goto(served.url)
    page.wait_for_selector("#form:not([hidden])")
    assert "The GPU is imitated by the processor here" in page.inner_text("#modes")

    begin = {"name": "kettle", "client": "0" * 32, "threads": 1, "delegate": "webgpu", "environment": {}}
    refused = page.evaluate(_RUN_WORKER, {"begin": begin, "until": "Warming"})
    assert refused["adapter"]["fallback"] or refused["adapter"]["architecture"] == "swiftshader"
    assert refused["said"] == [
        "This browser's GPU is imitated by the processor, so its times are no GPU's; no profile is made."
    ]
    # A browser that lies about it shows that the GPU's path computes right: outputs are accepted before warming up.
    lie = {"adapter": {"vendor": "arm", "architecture": "valhall", "description": "", "fallback": False}}
    accepted = page.evaluate(_RUN_WORKER, {"begin": {**begin, "environment": lie}, "until": "Warming"})
    assert f"Checking {len(small_web.models)} of {len(small_web.models)}" in accepted["said"]
    assert accepted["said"][-1].startswith("Warming up 1 of")
    browser.close()
    assert profile_files(tmp_path) == []


@pytest.mark.slow
def test_models_that_do_not_fit_together_take_turns(
    serve: Callable[..., Served], page: Any, small_kit: Kit, tmp_path: Path
) -> None:
    """As on iOS, where only so many may stay loaded; here the largest alone."""
    served = serve(usb=True)
    page.goto(served.url)
    page.wait_for_selector("#form:not([hidden])")
    begin = {"name": "kettle", "client": "0" * 32, "threads": 1, "delegate": None, "environment": {}}
    said = page.evaluate(_RUN_WORKER, {"begin": begin, "until": "nothing", "memoryBytes": 1e3 * DEADLINE_S})["said"]
    assert said[-1] == "done"
    (name,) = profile_files(tmp_path)
    made = read_profile(tmp_path / "home" / "devices" / name)
    assert set(made.components) == {entry.name for entry in small_kit.components}


@pytest.mark.slow
def test_a_page_reloaded_and_a_server_killed_go_on(
    serve: Callable[..., Served], page: Any, small_kit: Kit, tmp_path: Path, lan: None
) -> None:
    # A browser knows a page again by its whole address.
    rounds = {"min_rounds": 12, "budget_s": 0.1, "port": free_port()}
    served = serve(**rounds)
    page.goto(served.url)
    start_measuring(page, "kettle")

    def rounds_done() -> int:
        files = list((small_kit.folder / "timings").glob("*.jsonl"))
        return max((line[1] for line in timed_in(small_kit)), default=0) if files else 0

    wait_until(lambda: rounds_done() >= 2)
    page.reload()
    before = rounds_done()
    page.wait_for_selector("#form:not([hidden])")
    assert page.input_value("#name") == "kettle"
    page.click("#form button")
    wait_until(lambda: rounds_done() >= before + 2)

    served.process.kill()
    served.process.wait()
    taken = timed_in(small_kit)
    wait_for_text(page, "#step", "does not answer")
    again = serve(**rounds)
    page.goto(again.url)
    page.wait_for_selector("#form:not([hidden])")
    page.fill("#name", "kettle")
    page.click("#form button")
    wait_for_end(page)
    again.ends()
    now = timed_in(small_kit)
    assert now[: len(taken)] == taken
    first = [line for line in now if line[0] == 0]
    # No round was lost or made twice, whatever else was cut.
    assert sorted({line[1] for line in first}) == list(range(1, 13))
    for entry in small_kit.components:
        assert len([line for line in first if line[3] == entry.name]) in (11, 12)
    assert len(profile_files(tmp_path)) == 1


@pytest.mark.slow
def test_a_page_that_loses_its_last_answer_or_is_loaded_again_ends_all_the_same(
    serve: Callable[..., Served], page: Any, tmp_path: Path
) -> None:
    served = serve(usb=True, threads=2)
    lost = []

    def lose_first_end(route: Any) -> None:
        answer = route.fetch()
        if answer.json()["state"] == "done" and not lost:
            lost.append(answer.json()["id"])
            route.abort()
        else:
            route.fulfill(response=answer)

    page.route("**/round", lose_first_end)
    page.goto(served.url)
    start_measuring(page, "kettle")
    wait_for_text(page, "#results", "kettle/onnxruntime-web/fp32/t1")
    assert lost == ["kettle/onnxruntime-web/fp32/t1"]
    # In its second phase; the first is not measured again.
    page.reload()
    start_measuring(page, "kettle")
    wait_for_end(page)
    assert page.inner_text("#error") == ""
    assert "PROFILES kettle/onnxruntime-web/fp32/t1 kettle/onnxruntime-web/fp32/t2\n" in served.ends()
    assert len(profile_files(tmp_path)) == 2


# The page itself sees that a round began: this process may come too late.
_HIDDEN_IN_ITS_FIRST_ROUND = """
window.setHidden = (hidden) => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
};
new MutationObserver((_, observer) => {
  if (document.querySelector('#step')?.textContent.includes('Round')) {
    observer.disconnect();
    window.setHidden(true);
  }
}).observe(document, { subtree: true, childList: true, characterData: true });
"""


@pytest.mark.slow
def test_a_page_that_was_hidden_throws_its_round_away(
    serve: Callable[..., Served], page: Any, small_kit: Kit, lan: None
) -> None:
    served = serve(min_rounds=4)
    page.add_init_script(_HIDDEN_IN_ITS_FIRST_ROUND)
    page.goto(served.url)
    start_measuring(page, "kettle")
    wait_for_text(page, "#step", "Paused")
    taken = len(timed_in(small_kit)) if list((small_kit.folder / "timings").glob("*")) else 0
    time.sleep(1.0)
    assert (len(timed_in(small_kit)) if taken else 0) == taken
    page.evaluate("setHidden(false)")
    wait_for_end(page)
    served.ends()
    counts = [len([line for line in timed_in(small_kit) if line[3] == entry.name]) for entry in small_kit.components]
    assert set(counts) in ({4}, {8}, {12})


@pytest.mark.slow
def test_a_browser_that_computes_wrong_is_told_so(
    serve: Callable[..., Served], page: Any, tmp_path: Path, lan: None
) -> None:
    served = serve()

    def other_weights(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("0x85ebca6b", "0x85ebca6d"))

    page.route("**/generate.js", other_weights)
    page.goto(served.url)
    start_measuring(page, "kettle")
    page.wait_for_selector("#error:not([hidden])")
    assert re.fullmatch(
        r"This browser computes \S+ wrong, by \S+ of its output; no profile is made\.", page.inner_text("#error")
    )
    assert page.is_visible("#again")
    assert profile_files(tmp_path) == []
    served.process.terminate()
    assert "Error: No phone was done; the same command goes on where it was" in served.ends()
    assert served.process.returncode == 2


@pytest.mark.slow
def test_a_name_that_is_taken_can_be_changed(
    serve: Callable[..., Served], page: Any, tmp_path: Path, lan: None
) -> None:
    served = serve()
    devices = tmp_path / "home" / "devices"
    devices.mkdir(parents=True)
    (devices / f"kettle--onnxruntime-web--fp32--t1--{models_id(small_space())}.json").write_text("{}")
    page.goto(served.url)
    start_measuring(page, "kettle")
    page.wait_for_selector("#error:not([hidden])")
    assert "There is a profile of kettle/onnxruntime-web/fp32/t1 already" in page.inner_text("#error")
    start_measuring(page, "pot")
    wait_for_end(page)
    served.ends()
    assert (devices / f"kettle--onnxruntime-web--fp32--t1--{models_id(small_space())}.json").read_text() == "{}"
    assert len(profile_files(tmp_path)) == 2
