"""`serve`: hand a kit to phones with a browser, and make profiles of what they measure."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device_profiles import DeviceProfile
from profilers.browser.address import address_of
from profilers.browser.address import lan_address
from profilers.browser.address import listen
from profilers.browser.address import qr_code
from profilers.browser.address import self_made_certificate
from profilers.browser.messages import DEVICE_NAME
from profilers.browser.ort_web import find_ort_web
from profilers.browser.ort_web import pinned_ort_web
from profilers.browser.phones import COOLING_S
from profilers.browser.phones import MIN_ROUNDS
from profilers.browser.phones import Order
from profilers.browser.phones import Phones
from profilers.browser.server import application
from profilers.browser.web_kit import web_kit
from profilers.kits.kit import open_kit
from profilers.kits.kit_estimate import DEFAULT_BUDGET_S
from profilers.measuring.kit_selection import require_new
from profilers.measuring.kit_selection import select_models
from subdit.core.errors import MissingExtraError
from subdit.core.errors import ProfileError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

# How long the last phone has to fetch its last answer.
_LAST_ANSWER_S = 1.0


def serve(
    kit_dir: Path,
    *,
    say: Callable[[str], None] = print,
    https: bool = False,
    usb: bool = False,
    host: str | None = None,
    port: int | None = None,
    ort_web: Path | None = None,
    phones: int = 1,
    threads: int = 1,
    webgpu: bool = False,
    device: str | None = None,
    out: Path | None = None,
    budget_s: float = DEFAULT_BUDGET_S,
    min_rounds: int = MIN_ROUNDS,
    cooling_s: float = COOLING_S,
    calibrate: int | None = None,
    whole: int | None = None,
    progress: ProgressCallback = no_progress,
    force: bool = False,
) -> tuple[DeviceProfile, ...]:
    """Let phones measure a kit in their browsers, and save a profile of each; ends when `phones` of them are done.

    A profile is of the runtime onnxruntime-web, never of a native one. A phone that was interrupted goes on where it
    was, also with a later call; raw timings are kept in the kit's folder `timings`.

    Args:
        kit_dir: folder of a kit of float32 ONNX models.
        say: told what is happening, line by line: the address and its QR code first.
        https: with a self-made certificate, which people must accept; then threads, WebGPU and a fine clock work.
        usb: for a phone on a cable: listen on this machine alone, and say how adb brings the phone there.
        host: address of this machine to listen at, by default the one in the local network.
        port: by default 8123, or another where that is taken.
        ort_web: folder of onnxruntime-web, by default the cache that `make setup-web` fills.
        phones: how many phones to wait for, one after another or at once.
        threads: one thread is measured first, and then this number, as a profile of its own.
        webgpu: measure on the GPU, too, as a profile of its own.
        device: name of the device; by default people type it on the phone.
        out: file of the profile, by default in the user's registry.
        budget_s: seconds per attempt; there are up to three where a phone is noisy.
        min_rounds: rounds that are made whatever the budget says.
        cooling_s: how long a phone rests before it measures again, where it was too noisy.
        calibrate: number of the kit's whole sub-DiTs to calibrate on; by default as `profile` does.
        whole: number of them to measure and predict all others from, as `profile` does.
        progress: reports models while the kit is prepared.
        force: replace profiles that are there, as `profile` does.

    Returns:
        The profiles as saved, in the order of their ends; fewer where it was interrupted.

    Raises:
        KitError: the kit is missing, damaged or not of float32 ONNX models.
        MissingExtraError: aiohttp, segno or onnxruntime-web is not installed.
        ProfileError: another onnxruntime-web, an impossible device name or address, or no phone was done.
        RunError: there is such a profile already and `force` is not given.
    """
    missing = [name for name in ("aiohttp", "segno", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{missing[0]} is not installed; install it with pip install 'subdit[serve,onnx]'.")
    if device is not None and not DEVICE_NAME.fullmatch(device):
        raise ProfileError(f"{device!r} cannot name a device; use lower-case letters, digits, '.', '_' and '-'.")
    if threads < 1 or phones < 1:
        raise ProfileError("A phone measures with at least one thread, and at least one phone is waited for.")
    if (out is not None or device is not None) and phones > 1:
        raise ProfileError("One name and one file are of one phone; leave out --device and --out, or --phones.")
    if out is not None and (threads > 1 or webgpu):
        raise ProfileError("Threads and WebGPU make profiles of their own; leave out --out, or these.")
    if out is not None:
        require_new(out, force=force)
    files = find_ort_web(ort_web)
    kit, by_whole = select_models(open_kit(kit_dir), calibrate=calibrate, whole=whole)
    listening = listen(host or ("127.0.0.1" if usb else lan_address()), port)
    try:
        context, fingerprint = self_made_certificate(address_of(listening)) if https else (None, "")
        order = Order(
            kit=kit,
            web=web_kit(kit, progress=progress),
            runtime_version=pinned_ort_web().version,
            by_whole=by_whole,
            threads=threads,
            webgpu=webgpu,
            device=device,
            out=out,
            budget_s=budget_s,
            min_rounds=min_rounds,
            cooling_s=cooling_s,
            force=force,
        )
        served = Phones(order, say)
        token = secrets.token_urlsafe(16)

        def introduce() -> None:
            _introduce(say, listening, token, https=https, usb=usb, fingerprint=fingerprint)

        stopped = asyncio.run(_run(served, listening, context, token, files, phones, introduce))
    finally:
        listening.close()
    if stopped and not served.profiles:
        raise ProfileError("No phone was done; the same command goes on where it was, with a new address to open.")
    return tuple(served.profiles)


def _introduce(
    say: Callable[[str], None], listening: socket.socket, token: str, *, https: bool, usb: bool, fingerprint: str
) -> None:
    port = listening.getsockname()[1]
    url = f"{'https' if https else 'http'}://{address_of(listening)}:{port}/{token}/"
    if usb:
        say("Connect the phone, allow USB debugging on it, and run:")
        say(f"  adb reverse tcp:{port} tcp:{port}")
        # A browser counts localhost, and only it, as safe without a certificate.
        say(f"  adb shell am start -a android.intent.action.VIEW -d http://localhost:{port}/{token}/")
    else:
        say(qr_code(url).rstrip("\n"))
        say(f"Scan this with the phone, which must be in the same network, or open {url}")
    if https:
        say("The browser warns of the certificate, which was made just now: choose Advanced, then Proceed.")
        say(f"Its SHA-256 is {fingerprint}")
    say("Waiting for a phone; Ctrl-C ends.")


async def _run(
    phones: Phones,
    listening: socket.socket,
    context: ssl.SSLContext | None,
    token: str,
    ort_files: dict[str, Path],
    count: int,
    introduce: Callable[[], None],
) -> bool:
    """Serve until `count` phones are done, or until a signal; returns whether it was a signal."""
    from aiohttp import web

    done, stopped = asyncio.Event(), asyncio.Event()

    def on_finished() -> None:
        if len(phones.finished) >= count:
            done.set()

    app: Any = application(phones, token=token, ort_files=ort_files, on_finished=on_finished)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        await web.SockSite(runner, listening, ssl_context=context).start()
        introduce()
        waits = [asyncio.create_task(event.wait()) for event in (done, stopped)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _LAST_ANSWER_S)
            return False
        return True
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await runner.cleanup()
        phones.close()
