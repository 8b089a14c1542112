"""A stand-in for AI Hub's server, for Qualcomm's real client; it is run by the Python that has that client.

It speaks what `public_rest_api.py` of qai-hub 0.56.0 asks for, in that client's own messages (`public_api_pb2`):
devices, a model that is created and uploaded in one part, a job, and its result. A job is done at once, and its layers
are all on the unit that it asked for. Argument: a JSON file with the latency in milliseconds of each model; it prints
its port.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

LAYERS = 71


@contextlib.contextmanager
def workbench(python: str, folder: Path, latency_ms: dict[str, float]) -> Iterator[Path]:
    """The server, run by `python`; gives the client's settings (client.ini) that name it."""
    (folder / "latency_ms.json").write_text(json.dumps(latency_ms))
    command = [python, __file__, str(folder / "latency_ms.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{int(server.stdout.readline())}"
            settings = folder / "client.ini"
            settings.write_text(
                f"[api]\napi_token = secret\napi_url = {address}\nweb_url = {address}\nverbose = True\n"
            )
            yield settings
        finally:
            server.kill()


def serve(latency_ms: dict[str, float]) -> None:
    from qai_hub import public_api_pb2 as messages  # type: ignore[import-not-found]

    models: dict[str, str] = {}
    jobs: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

        def answer(self, message: Any = None, **headers: str) -> None:
            data = b"" if message is None else message.SerializeToString()
            self.send_response(200)
            for name, value in {"Content-Type": "application/x-protobuf", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def parts(self) -> list[str]:
            return self.path.partition("?")[0].strip("/").split("/")[2:]

        def do_GET(self) -> None:
            match self.parts():
                case ["devices"]:
                    attributes = ["format:phone", "os:android", "framework:tflite"]
                    phone = messages.Device(name="Samsung Galaxy S24", os="14", attributes=attributes)
                    self.answer(messages.DeviceList(devices=[phone], total_query_count=1))
                case ["models", model, "multipart_upload"]:
                    url = f"http://{self.headers['Host']}/upload/{model}"
                    to = messages.FileMultipartUploadURL(urls=[url], upload_id="u", max_part_size=2**30)
                    self.answer(messages.FileUploadResponse(multipart_url=to))
                case ["jobs", job]:
                    self.answer(messages.Job(inference_job=jobs[job], hub_version="aihub-2026.11.02.0"))
                case ["jobs", job, "result"]:
                    result = messages.InferenceJobResult(inference_job_id=job, detail=detail(jobs[job]))
                    self.answer(messages.JobResult(inference_job_result=result))
                case _:
                    self.send_error(404)

        def do_PUT(self) -> None:
            self.body()
            self.answer(ETag='"part"')

        def do_POST(self) -> None:
            data = self.body()
            match self.parts():
                case ["models"]:
                    made = f"m{len(models)}"
                    models[made] = messages.Model.FromString(data).name
                    self.answer(messages.CreateUpdateResponse(id=made))
                case ["models", model, "multipart_upload"]:
                    self.answer(messages.CreateUpdateResponse(id=model))
                case ["jobs"]:
                    asked = messages.Job.FromString(data).inference_job
                    asked.inference_job_id = f"j{len(jobs)}"
                    asked.job_state = messages.JobState.Value("JOB_STATE_DONE")
                    asked.creation_time.GetCurrentTime()
                    jobs[asked.inference_job_id] = asked
                    self.answer(messages.CreateUpdateResponse(id=asked.inference_job_id))
                case _:
                    self.send_error(404)

    def detail(job: Any) -> Any:
        rng = random.Random(job.inference_job_id)
        us = 1000 * latency_ms[Path(models[job.model.model_id]).stem] * rng.gauss(1.0, 0.002)
        unit = messages.ComputeUnit.Value(f"COMPUTE_UNIT_{job.options.split()[1].upper()}")
        layer = {"layer_type_name": "FULLY_CONNECTED", "compute_unit": unit, "execution_time": round(us / LAYERS)}
        times = [round(us * rng.gauss(1.0, 0.005)) for _ in range(100)]
        return messages.ProfileDetail(
            major_version=1,
            minor_version=2,
            execution_time=min(times),
            after_execution_peak_memory=2**27,
            all_execution_times=times,
            layer_details=[messages.LayerDetail(name=f"layer_{at}", **layer) for at in range(LAYERS)],
        )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text()))
