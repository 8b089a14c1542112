"""One profile job of Qualcomm AI Hub: submit a model, wait for the job, and keep what it measured.

Run by the Python of an environment that has AI Hub's client:

    pip install qai-hub
    qai-hub configure --api_token TOKEN
    python ai_hub_job.py MODEL.tflite --device "Samsung Galaxy S24" --options=--compute_unit=npu --out FOLDER

It leaves FOLDER/JOB with profile.json, as the client gives it, and job.json, which says of which model, device and
options it is, since AI Hub's profile does not, and has digests of both files, so that a change shows. With --job it
waits for a job that was submitted before.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the job; exits with 1 and a line `Error: ...` where it failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", required=True, help="as 'qai-hub list-devices' has it")
    parser.add_argument("--options", default="", help="of the profile job")
    parser.add_argument("--out", type=Path, required=True, help="folder for the job's folder")
    parser.add_argument("--job", help="wait for this job instead of submitting one")
    given = parser.parse_args()
    try:
        print(f"Job kept in: {run(given)}", flush=True)
    except Exception as error:  # Whatever the client raises is the answer.
        print(f"Error: {one_line(error)}", flush=True)
        sys.exit(1)


def run(given: argparse.Namespace) -> Path:
    """The job's folder."""
    try:
        import qai_hub
    except ImportError:
        raise RuntimeError(f"{sys.executable} has no qai-hub; install it there (pip install qai-hub)") from None
    qai_hub.set_verbose(False)
    if given.job is None:
        job = submit(qai_hub, given)
    else:
        job = qai_hub.get_job(given.job)
    # Whoever started this may be killed before the job ends, and can then name it.
    print(f"Job: {job.job_id} {job.url}", flush=True)
    job.wait()
    status = job.get_status()
    if not status.success:
        print(f"Job {job.job_id} ended as {status.code}", flush=True)
        raise RuntimeError(f"job {job.job_id} ended as {status.code}: {status.message or 'no reason was given'}")
    profile = job.download_profile()
    if not profile:
        print(f"Job {job.job_id} ended as {status.code} without a profile", flush=True)
        raise RuntimeError(f"job {job.job_id} measured nothing; see {job.url}")
    return keep(given.out, job.job_id, profile, facts(qai_hub.get_job(job.job_id), given))


def submit(qai_hub: Any, given: argparse.Namespace) -> Any:
    """A job that times the model, with what became of each layer; by the name that the client's version has for it."""
    asked = {"model": str(given.model), "device": qai_hub.Device(given.device), "options": given.options}
    asked["name"] = f"subdit {given.model.stem}"
    if "profile" in inspect.signature(qai_hub.submit_inference_job).parameters:
        return qai_hub.submit_inference_job(**asked, profile=True)
    return qai_hub.submit_profile_job(**asked)


def facts(job: Any, given: argparse.Namespace) -> dict[str, Any]:
    """What AI Hub says of a job, and which file it was submitted for."""
    device = {"asked": given.device, "name": job.device.name, "os": job.device.os}
    device |= {"attributes": list(job.device.attributes)}
    return {
        "subdit_ai_hub_job": 1,
        "job_id": job.job_id,
        "url": job.url,
        "device": device,
        "options": job.options,
        "hub_version": job.hub_version,
        "client_version": version("qai-hub"),
        "model_file": given.model.name,
        "model_sha256": hashlib.sha256(given.model.read_bytes()).hexdigest(),
    }


def keep(out: Path, job_id: str, profile: dict[str, Any], stated: dict[str, Any]) -> Path:
    """Write the job's folder, whole or not at all."""
    target, partial = out / job_id, out / f".partial-{job_id}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    data = json.dumps(profile).encode()
    (partial / "profile.json").write_bytes(data)
    stated = stated | {"profile_sha256": hashlib.sha256(data).hexdigest()}
    check = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
    (partial / "job.json").write_text(json.dumps(stated | {"check": check}, indent=1), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    return partial.replace(target)


def one_line(error: Exception) -> str:
    """The message of an error, without the boxes that the client draws around its own."""
    words = str(error).translate(dict.fromkeys(map(ord, "┌─┐└┘│|"), " ")).split()
    return " ".join(words) or type(error).__name__


if __name__ == "__main__":
    main()
