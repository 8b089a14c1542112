#!/usr/bin/env python3
"""A stand-in for LiteRT-CLI's `litert`: the options of `benchmark --ddp`, what it prints, and its folders.

Options and messages are those of litert-cli-nightly 0.3.0.dev20261026. What it leaves of a job is made from a public
row by `tests/profilers/importers/ddp.py`, with the latency that LITERT_FAKE has for the model. That is a JSON file:
`latency_ms` by model, `spread` between sessions, `taken` operators, `pause_s` after each line, and `fail`, a model
whose job fails. Every start is a line in its folder, `starts.txt`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.profilers.importers import ddp  # noqa: E402

FLAGS = {"--ddp", "--cpu", "--gpu"}
VALUES = {"--device", "--gcp-project", "--gcp-bucket", "--num-runs", "--warmup-runs", "--min-secs", "--max-secs"}
VALUES |= {"--warmup-min-secs", "--timeout"}


def parse(words: list[str]) -> tuple[str, dict[str, str]]:
    """The model and the options; exits with 2 where click would."""
    if words[:1] != ["benchmark"]:
        sys.exit(2)
    found, models, rest = {}, [], words[1:]
    while rest:
        word = rest.pop(0)
        if word in FLAGS:
            found[word] = "yes"
        elif word in VALUES and rest:
            found[word] = rest.pop(0)
        elif word.startswith("-"):
            print(f"Error: No such option: {word}")
            sys.exit(2)
        else:
            models.append(word)
    if len(models) != 1 or "--ddp" not in found:
        sys.exit(2)
    return models[0], found


def main() -> None:
    setup = Path(os.environ["LITERT_FAKE"])
    told = json.loads(setup.read_text())
    path, options = parse(sys.argv[1:])
    model, name = Path(path), Path(path).stem
    with (setup.parent / "starts.txt").open("a") as starts:
        starts.write(f"{name} {' '.join(sys.argv[1:])}\n")

    def say(text: str) -> None:
        print(text, flush=True)
        time.sleep(told.get("pause_s", 0.0))

    project = options.get("--gcp-project") or os.environ.get("LITERT_GCP_PROJECT")
    if not project:
        say("Error: Missing GCP project. You must specify a GCP project by passing '--gcp-project <PROJECT_ID>'.")
        sys.exit(1)
    accelerator = "gpu" if "--gpu" in options else "cpu"
    device = options["--device"]
    session = f"session-{os.getpid():x}{time.time_ns():x}"
    say(f"Ensuring GCS bucket 'gs://{project}-devicerun' exists for project '{project}'...")
    say(f"Uploading local model '{path}' to gs://{project}-devicerun/litert-cli/inputs/x/...")
    say("Fetching GCP access token...")
    say(
        f"Submitting '{accelerator}' benchmark session 'litert-cli-benchmark-x' to DDP (Project: {project}, Devices: "
        f"{device}, Binary: gs://litert/binaries/2.2.0/android_arm64/benchmark_model)..."
    )
    say(f"Waiting for session '{session}' to complete (Operation: op-1, timeout: 1020 s). This may take a while...")
    say("..")
    job = f"{accelerator}-{device}"
    if told.get("fail") == name:
        say(f"Job '{job}': FAILED")
        say(f"Error: Job '{job}': FAILED")
        sys.exit(1)
    total = 9
    taken = total if accelerator == "cpu" else told.get("taken", total)
    rng = random.Random(f"{session}{name}")
    factor = rng.gauss(1.0, told.get("spread", 0.002))
    row = ddp.rows()[0]
    scale = told["latency_ms"][name] * factor / row["latency_ms"]["median"]
    times = {key: round(value * scale, 3) for key, value in row["latency_ms"].items()}
    times["avg"] = row["latency_ms"]["avg"] * scale
    row["runs"] += rng.randrange(50)
    row |= {"latency_ms": times, "file": model.name, "device_id": device, "accelerator": accelerator}
    row |= {"nodes_total": total, "nodes_delegated": taken, "partitions": 1 if taken in (0, total) else 3}
    row |= {"delegate": "LITERT_CL" if accelerator == "gpu" else "TfLiteXNNPackDelegate"}
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    say(f"Session '{session}' finished: PASSED")
    say(f"\nJob '{job}': PASSED")
    saved = ddp.write_job(Path.home() / ".cache" / "litert-cli" / "ddp" / session, row, digest=digest)
    say(f"Output files saved to: {saved}")
    say("Model caches: on")


if __name__ == "__main__":
    main()
