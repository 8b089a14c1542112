"""What the page makes of names and user agents, in Node; and that nothing in it comes from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies

from profilers.browser.messages import DEVICE_NAME
from profilers.browser.server import PAGE_FILES
from tests.profilers.browser.conftest import program
from tests.waiting import DEADLINE_S


def call(function: str, arguments: list[Any]) -> list[Any]:
    """Results of a function of device.js for each argument."""
    source = files("profilers.browser").joinpath("page/device.js").read_text(encoding="utf-8")
    code = f"{source}\nconsole.log(JSON.stringify({json.dumps(arguments)}.map((one) => {function}(one))));"
    command = [program("node"), "--input-type=module", "-"]
    ran = subprocess.run(command, input=code, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    return list(json.loads(ran.stdout))


def test_names_become_names_of_devices() -> None:
    typed = {"Pixel 8 Pro": "pixel-8-pro", " iPhone 16 ": "iphone-16", "Müllers Handy": "mu-llers-handy", "Ö": "o"}
    typed |= {"SM-S928B/DS": "sm-s928b-ds", "--x--": "x", "日本": "", "": ""}
    assert dict(zip(typed, call("deviceName", list(typed)), strict=True)) == typed


@given(strategies.lists(strategies.text(max_size=100), min_size=100, max_size=100))
@settings(max_examples=5, deadline=None)
def test_the_server_takes_every_name_that_the_page_makes(typed: list[str]) -> None:
    # Lone surrogates are no text that a field of a form holds.
    plain = [text.encode("utf-8", "ignore").decode() for text in typed]
    assert all(name == "" or DEVICE_NAME.fullmatch(name) for name in call("deviceName", plain))
    assert all(text.isprintable() and len(text) <= 20 for text in call("((one) => printable(one, 20))", plain))


@pytest.mark.parametrize(
    ("user_agent", "browser", "system"),
    [
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile "
            "Safari/537.36",
            "Chrome 131.0.0.0",
            # What Chrome says of every Android.
            "Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.1.1 Mobile/15E148 Safari/604.1",
            "Safari 18.1.1",
            "iOS 18.1.1",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
            "Chrome 131.0.6778.73",
            "iOS 17.7",
        ),
        ("Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0", "Firefox 133.0", "Android 14"),
        (
            "Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) "
            "SamsungBrowser/21.0 Chrome/110.0.5481.154 Mobile Safari/537.36",
            "Samsung Internet 21.0",
            "Android 13",
        ),
        ("a kettle", "unknown browser", "unknown system"),
    ],
)
def test_browsers_by_their_user_agents(user_agent: str, browser: str, system: str) -> None:
    assert call("fromUserAgent", [user_agent]) == [{"browser": browser, "os": system}]


def test_the_page_asks_no_other_machine() -> None:
    page = files("profilers.browser").joinpath("page")
    assert {entry.name for entry in page.iterdir()} == set(PAGE_FILES)
    for name in PAGE_FILES:
        assert not re.search(r"https?:|//[a-z]+\.", page.joinpath(name).read_text(encoding="utf-8")), name
