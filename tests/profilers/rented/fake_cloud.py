"""A stand-in for the Device Run API and for gcloud, for the real LiteRT-CLI: a folder is the bucket.

It speaks what `litert_cli/commands/benchmark/ddp.py` of litert-cli-nightly 0.3.0.dev20261026 asks for: a POST begins a
session with a job for each device, a GET says that it is done and where its files lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.profilers.importers import ddp

_GCLOUD = """#!{python}
import pathlib
import shutil
import sys

words, bucket = sys.argv[1:], pathlib.Path({bucket!r})
if words[:2] == ["auth", "application-default"]:
    print("token")
elif words[:2] == ["storage", "cp"]:
    *sources, to = (bucket / word[5:] if word.startswith("gs://") else pathlib.Path(word) for word in words[2:])
    to.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copyfile(source, to / source.name)
elif words[:2] != ["storage", "ls"]:
    sys.exit(1)
"""


def write_gcloud(folder: Path, bucket: Path) -> None:
    """The program `gcloud` in a folder of the PATH."""
    folder.mkdir(parents=True)
    (folder / "gcloud").write_text(_GCLOUD.format(python=sys.executable, bucket=str(bucket)))
    (folder / "gcloud").chmod(0o755)


@contextlib.contextmanager
def platform(bucket: Path, latency_ms: dict[str, float]) -> Iterator[str]:
    """The API's address; phones take as long as `latency_ms` has for a model, to within 0.1 %."""
    reports: dict[str, Any] = {}
    rng = np.random.default_rng(0)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

        def answer(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["sessionConfig"]
            session = f"s-{len(reports)}"
            jobs = [self.run(session, job) for job in asked["jobConfigs"]]
            done = {"result": {"resultType": "PASSED"}, "jobReports": jobs}
            reports[session] = {"done": True, "response": {"sessionReport": done}}
            where = "projects/p/locations/global"
            self.answer(
                {"name": f"{where}/operations/{session}", "metadata": {"target": f"{where}/sessions/{session}"}}
            )

        def do_GET(self) -> None:
            self.answer(reports[self.path.rpartition("/")[2]])

        def run(self, session: str, job: dict[str, Any]) -> dict[str, Any]:
            device = job["allocationConfig"]["deviceConfigs"][0]
            pushed = device["actions"][0]["androidPushFiles"]["fileConfigs"][0]["sourceFile"]["gcsInputFile"]["path"]
            model = bucket / pushed.removeprefix("gs://")
            row = ddp.rows()[0]
            scale = latency_ms[model.stem] * rng.normal(1.0, 0.001) / row["latency_ms"]["median"]
            times = {key: round(value * scale, 3) for key, value in row["latency_ms"].items()}
            row |= {"latency_ms": times | {"avg": row["latency_ms"]["avg"] * scale}, "runs": 100 + len(reports)}
            row |= {"file": model.name, "device_id": device["requirement"]["deviceId"]}
            row |= {"accelerator": job["labels"]["accelerator"]}
            made = ddp.write_job(bucket / "out" / session, row, digest=hashlib.sha256(model.read_bytes()).hexdigest())
            files = [{"gcsOutputFile": {"path": f"gs://{file.relative_to(bucket)}"}} for file in made.iterdir()]
            return {
                "displayName": job["displayName"],
                "result": {"resultType": "PASSED"},
                "executionReports": [{"outputFiles": files}],
            }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1alpha"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
