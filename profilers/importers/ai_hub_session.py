"""A profile job of Qualcomm AI Hub with what its profile does not say: the model's file, the device and the options.

    SESSION/JOB/
      profile.json   as AI Hub's client gives it (`ai_hub.py`)
      job.json       written by `profilers/rented/programs/ai_hub_job.py`: device, options, the model's name and
                     SHA-256, and digests of the profile and of itself

What was asked for and what ran must agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from profilers.importers import ai_hub
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log
from profilers.importers.log import is_text
from profilers.importers.log import open_log
from profilers.importers.log import parse_json

JOB, PROFILE = "job.json", "profile.json"

_VERSION = 1
_UNIT = re.compile(r"--compute_unit[ =](\S+)")
_THREADS = re.compile(r"\bnumber_of_threads=(\d{1,4})\b")
_AS_WRITTEN = "give the job's folder as it was written"


def ai_hub_device(name: str) -> str:
    """A device's name in AI Hub, such as "Samsung Galaxy S24 (Family)", as that of a profile's device."""
    return re.sub(r"[^a-z0-9]+", "-", name.replace("+", " plus ").lower()).strip("-")


def is_ai_hub_session(folder: Path) -> bool:
    """Whether it is the folder of a job or holds folders of jobs."""
    return folder.is_dir() and bool(_jobs(folder))


def read_ai_hub_session(folder: Path) -> tuple[ImportedLog, ...]:
    """One log for each job, labelled by its id.

    Raises:
        ImportLogError: a job's files are cut, or they contradict each other.
    """
    return tuple(_read_job(job) for job in _jobs(folder))


def _jobs(folder: Path) -> list[Path]:
    def is_job(one: Path) -> bool:
        # What is not whole yet has a name that begins with a dot.
        return one.is_dir() and (one / JOB).is_file() and not one.name.startswith(".")

    return [folder] if is_job(folder) else [one for one in sorted(folder.iterdir()) if is_job(one)]


def _read_job(job: Path) -> ImportedLog:
    stated_log = _named(job, JOB)
    stated = _stated(stated_log)
    if not (job / PROFILE).is_file():
        raise stated_log.refuse(None, f"there is no {PROFILE} beside it", _AS_WRITTEN)
    profile_log = _named(job, PROFILE)
    if hashlib.sha256(profile_log.data).hexdigest() != stated["profile_sha256"]:
        raise profile_log.refuse(None, f"it is not the profile that {JOB} was written for", _AS_WRITTEN)
    (log,) = ai_hub.read_json(profile_log)
    if log.count is None:
        raise profile_log.refuse(
            None, "it has no times of single runs, of which the estimate is the fastest", "profile the model anew"
        )
    unit, threads = _UNIT.search(stated["options"]), _THREADS.search(stated["options"])
    asked = unit[1] if unit else None
    ran = set((log.delegate or "").split("+")) - {CPU, ""}
    if asked == CPU and ran:
        raise contradiction(profile_log, None, "what ran the model", f"{asked} in {JOB}", log.delegate)
    return dataclasses.replace(
        log,
        model_file=file_name(stated["model_file"]),
        model_sha256=stated["model_sha256"],
        device=ai_hub_device(stated["device"]),
        label=stated["job_id"],
        threads=int(threads[1]) if threads else None,
        declined=asked if asked in ("gpu", "npu") and log.delegate == CPU else None,
        warnings=tuple(said for said in log.warnings if said != ai_hub.NO_DEVICE),
    )


def _stated(log: Log) -> dict[str, str]:
    """What job.json says, the device by the name that it was asked for by."""
    found: Any = parse_json(log)
    if not isinstance(found, dict) or found.get("subdit_ai_hub_job") != _VERSION:
        raise log.refuse(None, "it is no record of an AI Hub job that this subdit knows", "profile the model anew")
    rest = {name: value for name, value in found.items() if name != "check"}
    if hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest() != found.get("check"):
        raise log.refuse(None, "its check does not fit what it says", _AS_WRITTEN)
    device = found.get("device")
    said = {name: found.get(name) for name in ("job_id", "options", "model_file", "model_sha256", "profile_sha256")}
    said["device"] = device.get("asked") if isinstance(device, dict) else None
    for name, value in said.items():
        if not isinstance(value, str) or not is_text(value) or (not value and name != "options"):
            raise log.refuse(None, f"{name} is missing or no text", _AS_WRITTEN)
    return {name: str(value) for name, value in said.items()}


def _named(job: Path, name: str) -> Log:
    """A file of a job, under a name that says of which."""
    return dataclasses.replace(open_log(job / name), name=f"{job.resolve().name}/{name}")
