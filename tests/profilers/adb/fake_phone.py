"""An honest fake phone: adbd's side of the protocol over TCP, with a folder as its file system and real processes.

The real adb connects to it. What it does not do: run Android. Commands go to /bin/sh, with the folder's `system/bin`
first on the path (`getprop`, `dumpsys`, `cmd`, `taskset`, made by `make_phone`), and with /data and /sys of a command
meaning those of the folder; a word that a client forgot to quote would be run as it would be on a phone.

    python -m tests.profilers.adb.fake_phone FOLDER [PORT]      prints the port it listens on

Sources: packages/modules/adb of the Android Open Source Project, protocol.txt, SYNC.TXT, shell_protocol.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import struct
import sys
from collections.abc import AsyncIterator
from collections.abc import Callable
from pathlib import Path

MAX_DATA = 256 * 1024
VERSION = 0x01000001
AUTH_TOKEN, AUTH_PUBLIC_KEY = 1, 3

# Packets of shell v2.
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Stream:
    """One service that the host opened; writes wait for the host's OKAY, as the protocol wants it."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.closed = False
        self._rest = b""

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_DATA):
            if self.closed:
                return
            self.ready.clear()
            self.connection.send(b"WRTE", self.local, self.remote, data[at : at + MAX_DATA])
            await self.ready.wait()

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes; raises `EOFError` where the host closed."""
        while len(self._rest) < size:
            piece = await self.incoming.get()
            if piece is None:
                raise EOFError
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.send(b"CLSE", self.local, self.remote)


class Connection:
    """One host; serves its streams until it goes."""

    def __init__(self, phone: FakePhone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.phone, self.reader, self.writer = phone, reader, writer
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.next_local = 1
        self.reversed: list[asyncio.Server] = []

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = struct.unpack("<I", command)[0]
        head = struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        self.writer.write(head + data)

    async def packets(self) -> AsyncIterator[tuple[bytes, int, int, bytes]]:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self.reader.readexactly(24)
                _, first, second, size, _, _ = struct.unpack("<6I", head)
                yield head[:4], first, second, await self.reader.readexactly(size) if size else b""

    async def serve(self) -> None:
        async for command, first, second, data in self.packets():
            # A person who has been shown the host's key, the third kind of AUTH, does not answer.
            if command == b"CNXN" or (command == b"AUTH" and first != AUTH_PUBLIC_KEY):
                self._greet()
            elif command == b"OPEN":
                stream = Stream(self, self.next_local, first)
                self.next_local += 1
                self.streams[stream.local] = stream
                self._start(self._serve_stream(stream, data.rstrip(b"\0").decode()))
            elif command == b"WRTE" and second in self.streams:
                self.streams[second].incoming.put_nowait(data)
                self.send(b"OKAY", second, first)
            elif command == b"OKAY" and second in self.streams:
                self.streams[second].remote = first
                self.streams[second].ready.set()
            elif command == b"CLSE" and second in self.streams:
                stream = self.streams.pop(second)
                stream.incoming.put_nowait(None)
                stream.ready.set()
                stream.close()
        for stream in self.streams.values():
            stream.closed = True
            stream.incoming.put_nowait(None)
            stream.ready.set()
        for server in self.reversed:
            server.close()
        self.writer.close()

    def _greet(self) -> None:
        if not self.phone.authorized:
            self.send(b"AUTH", AUTH_TOKEN, 0, bytes(20))
            return
        names = "".join(
            f"{key}={value};" for key, value in self.phone.properties().items() if key.startswith("ro.product.")
        )
        self.send(b"CNXN", VERSION, MAX_DATA, f"device::{names}features=shell_v2,cmd".encode())

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve_stream(self, stream: Stream, service: str) -> None:
        kind, _, rest = service.partition(":")
        with contextlib.suppress(EOFError, ConnectionError):
            if kind.startswith("shell"):
                self.send(b"OKAY", stream.local, stream.remote)
                await self._shell(stream, rest, framed="v2" in kind.split(","))
            elif kind == "sync":
                self.send(b"OKAY", stream.local, stream.remote)
                await self._sync(stream)
            elif kind == "reverse":
                self.send(b"OKAY", stream.local, stream.remote)
                await self._reverse(stream, rest)
        stream.close()
        self.streams.pop(stream.local, None)

    async def _shell(self, stream: Stream, command: str, *, framed: bool) -> None:
        self.phone.commands += 1
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            self.phone.at_home(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.phone.environment(),
            cwd=self.phone.folder,
            start_new_session=True,
        )

        async def forward(source: asyncio.StreamReader | None, kind: int) -> None:
            while source is not None and (data := await source.read(MAX_DATA // 2)):
                data = self.phone.abroad(data)
                await stream.write(struct.pack("<BI", kind, len(data)) + data if framed else data)

        async def hang_up() -> None:
            # A host that goes away takes its command with it.
            with contextlib.suppress(EOFError):
                while True:
                    await stream.read(1)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGHUP)

        watch = asyncio.ensure_future(hang_up())
        await asyncio.gather(forward(process.stdout, STDOUT), forward(process.stderr, STDERR))
        code = await process.wait()
        if framed:
            await stream.write(struct.pack("<BIB", EXIT, 1, code & 0xFF))
        watch.cancel()

    async def _sync(self, stream: Stream) -> None:
        while True:
            kind, size = struct.unpack("<4sI", await stream.read(8))
            name = (await stream.read(size)).decode() if size else ""
            if kind == b"QUIT":
                return
            if kind == b"STAT":
                await stream.write(b"STAT" + self._stat(name))
            elif kind == b"SEND":
                await self._receive(stream, *name.rsplit(",", 1))
            elif kind == b"RECV":
                await self._give(stream, name)
            else:
                await self._fail(stream, f"unknown request {kind!r}")

    def _stat(self, name: str) -> bytes:
        try:
            found = Path(self.phone.at_home(name)).stat()
        except OSError:
            return bytes(12)
        return struct.pack("<3I", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))

    async def _receive(self, stream: Stream, name: str, mode: str) -> None:
        path = Path(self.phone.at_home(name))
        problem = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        except OSError as error:
            problem, file = str(error), open(os.devnull, "wb")  # noqa: SIM115
        with file:
            while True:
                kind, size = struct.unpack("<4sI", await stream.read(8))
                if kind == b"DONE":
                    break
                file.write(await stream.read(size))
        if problem:
            await self._fail(stream, problem)
            return
        path.chmod(stat.S_IMODE(int(mode)) | 0o600)
        self.phone.received += 1
        await stream.write(struct.pack("<4sI", b"OKAY", 0))

    async def _give(self, stream: Stream, name: str) -> None:
        try:
            data = Path(self.phone.at_home(name)).read_bytes()
        except OSError as error:
            await self._fail(stream, str(error))
            return
        for at in range(0, len(data), 64 * 1024):
            piece = data[at : at + 64 * 1024]
            await stream.write(struct.pack("<4sI", b"DATA", len(piece)) + piece)
        await stream.write(struct.pack("<4sI", b"DONE", 0))

    async def _fail(self, stream: Stream, why: str) -> None:
        await stream.write(struct.pack("<4sI", b"FAIL", len(why)) + why.encode())

    async def _reverse(self, stream: Stream, rest: str) -> None:
        """`reverse:forward:tcp:A;tcp:B`: whoever connects to A here reaches B on the host."""
        here, _, there = rest.removeprefix("forward:").partition(";")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back = Stream(self, self.next_local, 0)
            self.next_local += 1
            self.streams[back.local] = back
            self.send(b"OPEN", back.local, 0, there.encode() + b"\0")

            async def up() -> None:
                await back.ready.wait()
                while data := await reader.read(MAX_DATA):
                    await back.write(data)

            sending = asyncio.ensure_future(up())
            while (data := await back.incoming.get()) is not None:
                writer.write(data)
            sending.cancel()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", int(here.removeprefix("tcp:")))
        self.reversed.append(server)
        await stream.write(b"OKAY")


class FakePhone:
    """State of the phone: all of it in files of its folder, so that a test can change them while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.commands = 0
        self.received = 0

    @property
    def authorized(self) -> bool:
        return not (self.folder / "unauthorized").exists()

    def properties(self) -> dict[str, str]:
        lines = (self.folder / "properties").read_text().splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def environment(self) -> dict[str, str]:
        home = str(self.folder)
        return {"PATH": f"{home}/system/bin:/usr/bin:/bin", "HOME": home, "PHONE": home, "OMP_NUM_THREADS": "1"}

    def at_home(self, text: str) -> str:
        """A command or path of the host, with the phone's folders where they really are."""
        for top in ("data", "sys"):
            text = text.replace(f"/{top}/", f"{self.folder}/{top}/")
        return text

    def abroad(self, data: bytes) -> bytes:
        """What a process printed, with the folders as a phone has them."""
        return data.replace(f"{self.folder}/".encode(), b"/")


async def serve(folder: Path, port: int, announce: Callable[[int], None]) -> None:
    phone = FakePhone(folder)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(phone, reader, writer).serve()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, lambda port: print(port, flush=True))
    )
