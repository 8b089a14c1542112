"""A stand-in for Qualcomm AI Hub's client: the functions that a profile job needs, with jobs that a folder keeps.

Names, parameters and attributes are those of qai-hub 0.56.0 (`client.py`), the form of a profile that of the values in
its `test/test_client.py`. A profile's layers and memory are those of a public job: mobilenet_v2 as .tflite on the
Samsung Galaxy S24, in `perf.yaml` of quic/ai-hub-models, commit 052dc1f. Its times are spread around the latency that
AI_HUB_FAKE has for the model. That is a JSON file: `latency_ms` by model, `spread` between jobs, `taken` layers,
`pause_s` that a job takes, `fail`, a model whose job fails, and `unreachable`: no job can be asked for. Every
submission is a line in its folder, `starts.txt`.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LAYERS = 71
PEAK_MB = 151
DEVICES = {"Samsung Galaxy S24": "14", "Samsung Galaxy S24 (Family)": "14", "Snapdragon 8 Elite QRD": "15"}
SETUP = Path(os.environ["AI_HUB_FAKE"])
JOBS = SETUP.parent / "jobs"


class Error(Exception):
    """The client's base class of errors."""


class UserError(Error):
    """Something in the input caused a failure."""


class Device:
    def __init__(self, name: str = "", os: str = "", attributes: list[str] | None = None) -> None:
        self.name, self.os, self.attributes = name, os, attributes or []


def told() -> dict[str, Any]:
    return json.loads(SETUP.read_text())


def set_verbose(verbose: bool = True) -> None:
    if not os.environ.get("AI_HUB_TOKEN"):
        box = "┌──┐\n| ~/.qai_hub/client.ini not found. |\n| Please request access. |\n└──┘"
        raise UserError(f"Failed to load client configuration file.\n\n{box}")


def submit_inference_job(
    model: str,
    device: Device,
    inputs: Any = None,
    name: str | None = None,
    options: str = "",
    retry: bool = True,
    profile: bool = True,
    project: str | None = None,
) -> Job:
    if device.name not in DEVICES:
        raise UserError(f"Device(name='{device.name}') is not available.")
    if told().get("unreachable"):
        raise Error("Internal API failure.\n\n┌─┐\n| Could not connect to Qualcomm AI Hub. |\n└─┘")
    JOBS.mkdir(exist_ok=True)
    job_id = f"j{time.time_ns():x}{os.getpid():x}"
    stated = {"model": Path(model).stem, "device": device.name, "options": options.strip(), "name": name}
    (JOBS / f"{job_id}.json").write_text(json.dumps(stated | {"ends_at_s": time.time() + told().get("pause_s", 0.0)}))
    with (SETUP.parent / "starts.txt").open("a") as starts:
        starts.write(f"{stated['model']} {job_id} {device.name} {options}\n")
    return Job(job_id)


def get_job(job_id: str) -> Job:
    if told().get("unreachable"):
        raise Error("Internal API failure.\n\n┌─┐\n| Could not connect to Qualcomm AI Hub. |\n└─┘")
    return Job(job_id)


class Job:
    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.stated = json.loads((JOBS / f"{job_id}.json").read_text())
        self.url = f"https://workbench.aihub.qualcomm.com/jobs/{job_id}/"
        self.options = self.stated["options"]
        self.hub_version = "aihub-2026.11.02.0"
        name = self.stated["device"]
        self.device = Device(name, DEVICES[name], ["format:phone", "os:android", "framework:tflite"])

    def wait(self, timeout: int | None = None) -> SimpleNamespace:
        time.sleep(max(0.0, self.stated["ends_at_s"] - time.time()))
        return self.get_status()

    def get_status(self) -> SimpleNamespace:
        if told().get("fail") == self.stated["model"]:
            return SimpleNamespace(success=False, code="FAILED", message="Profiling timed out.")
        return SimpleNamespace(success=True, code="SUCCESS", message=None)

    def download_profile(self, filename: str | None = None) -> dict[str, Any]:
        setup, rng = told(), random.Random(self.job_id)
        unit = self.options.split("--compute_unit ")[1].split()[0].upper()
        taken = LAYERS if unit == "CPU" else setup.get("taken", LAYERS)
        us = 1000 * setup["latency_ms"][self.stated["model"]] * rng.gauss(1.0, setup.get("spread", 0.002))
        times = [max(1, round(us * abs(rng.gauss(1.0, 0.005)))) for _ in range(100)]
        summary = {"estimated_inference_time": min(times), "estimated_inference_peak_memory": PEAK_MB * 2**20}
        summary |= {"first_load_time": 1374293, "first_load_peak_memory": 166711296, "warm_load_time": 277823}
        summary |= {"warm_load_peak_memory": 163520512, "compile_time": 0, "compile_peak_memory": 0}
        ranges = {"compile": (0, 0), "first_load": (72258864, 82031840), "warm_load": (0, 0), "inference": (0, 2658496)}
        for stage, pair in ranges.items():
            summary |= {f"{stage}_memory_increase_range": pair, f"{stage}_memory_peak_range": (pair[0], pair[1] + 4096)}
        summary |= {"all_compile_times": [1], "all_first_load_times": [1374293], "all_warm_load_times": [277823]}
        detail = [
            {
                "name": f"model/layer_{at}",
                "type": "FULLY_CONNECTED",
                "compute_unit": unit if at < taken else "CPU",
                "execution_time": round(us / LAYERS),
            }
            for at in range(LAYERS)
        ]
        return {"execution_summary": summary | {"all_inference_times": times}, "execution_detail": detail}
