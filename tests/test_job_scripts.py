"""The job script in examples/ starts a training on two node groups of this host, and lets it go on after a signal.

Slurm's `srun` and `scontrol` are stood in for: the first starts its command once for each node and passes SIGTERM on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from subdit.core.run import Run
from subdit.core.weights import WEIGHTS
from supernet.training.config import TrainingConfig
from supernet.training.train import train
from tests.waiting import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
STEPS = 100
SRUN = """#!/bin/bash
trap 'kill -TERM $(jobs -p)' TERM
for node in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & done
failed=0
for job in $(jobs -p); do
    wait "$job"
    code=$?
    # The trap ended this wait, not the job.
    while kill -0 "$job" 2>/dev/null; do wait "$job"; code=$?; done
    [ "$code" -eq 0 ] || failed=$code
done
exit $failed
"""
SCONTROL = """#!/bin/bash
[ "$1" = requeue ] && echo "$2" >> "$REQUEUED"
[ "$1" = show ] && echo localhost
exit 0
"""


def slurm(folder: Path) -> dict[str, str]:
    """The environment of a job on two nodes."""
    programs = folder / "bin"
    programs.mkdir()
    torchrun = f'#!/bin/bash\nexec "{sys.executable}" -W ignore -m torch.distributed.run --local-addr localhost "$@"\n'
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "torchrun": torchrun}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    job = {"SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"}
    ours = {"PROCESSES_PER_NODE": "1", "RENDEZVOUS_PORT": str(free_port()), "REQUEUED": str(folder / "requeued")}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **job, **ours, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_by_slurm_a_training_is_told_to_end_is_requeued_and_goes_on(tmp_path: Path) -> None:
    config = TrainingConfig(steps=STEPS, batch_size=4, save_every_s=0, learning_rate=1e-4, muon_learning_rate=1e-3)
    training = tmp_path / "training.yaml"
    settings = "\n".join(
        f"  {name}: {getattr(config, name)}"
        for name in ("steps", "batch_size", "save_every_s", "learning_rate", "muon_learning_rate")
    )
    training.write_text(f"space: digits\nrun: run\ntraining:\n{settings}\n")
    run, environment = Run(tmp_path / "run"), slurm(tmp_path)
    command = ["bash", str(ROOT / "examples" / "train_slurm.sh"), str(training)]

    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        state = run.training / "state.safetensors"
        wait_until(lambda: state.exists() or job.poll() is not None, (tmp_path / "log").read_text)
        job.send_signal(signal.SIGTERM)
        said = job.wait()
    text = (tmp_path / "log").read_text()
    assert said != 0 and "The system told this training to end (SIGTERM)" in text, text
    assert (tmp_path / "requeued").read_text() == "7\n" and state.exists()

    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [str(run.supernet)]
    train("digits", tmp_path / "alone", config=config)
    one, two = (load_file(str(Run(each).supernet / WEIGHTS)) for each in (tmp_path / "alone", run.path))
    assert all(float((one[key] - two[key]).abs().max()) < 1e-5 for key in one)
