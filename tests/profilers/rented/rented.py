"""A kit of small sub-DiTs for a rented phone, and the stand-in of a provider on a desk of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import load_profile
from profilers.rented import AiHubRental
from profilers.rented import DdpRental
from profilers.rented import Rental
from subdit.space import components
from subdit.space import components_up_to
from subdit.space import count_params
from subdit.space import get_space

SPACE = get_space("digits")
_EVERY = SPACE.enumerate()
_PARAMS = count_params(SPACE, _EVERY)
LIMIT = int(_PARAMS.min())
SMALL = SPACE.decode(_EVERY[_PARAMS <= LIMIT])
COMPONENTS = components_up_to(SPACE, LIMIT)
NAMES = [component.name for component in COMPONENTS]
FAKE_LITERT = Path(__file__).with_name("fake_litert.py")
FAKE_QAI_HUB = Path(__file__).with_name("fake_qai_hub")


def make_kit(folder: Path, *, whole: int = 0, count: int | None = None) -> Path:
    """A kit whose models are no models, since the stand-in runs none; `count` of its components, or all."""
    (folder / "components").mkdir(parents=True)
    (folder / "whole").mkdir()
    manifest: dict[str, Any] = {"subdit_kit": 2, "space": "digits", "runtime": "litert", "format": "tflite"}
    manifest |= {"precision": "fp32", "max_params": LIMIT, "hash": "0123456789abcdef", "components": {}, "whole": {}}
    for name in NAMES[:count]:
        manifest["components"][name] = _write(folder / "components" / f"{name}.tflite")
    for spec in SMALL[:: len(SMALL) // whole][:whole] if whole else ():
        files = _write(folder / "whole" / f"{spec.hash}.tflite")
        manifest["whole"][spec.hash] = files | {"spec": spec.to_dict()}
    (folder / "reference.tflite").write_bytes(b"reference")
    manifest["reference"] = hashlib.sha256(b"reference").hexdigest()
    (folder / "kit.json").write_text(json.dumps(manifest))
    return folder


def _write(model: Path) -> dict[str, str]:
    model.write_bytes(model.stem.encode())
    model.with_suffix(".npz").write_bytes(b"tensors")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (model, model.with_suffix(".npz"))]
    return {"model": digests[0], "tensors": digests[1]}


def latencies_ms(kit: Path) -> dict[str, float]:
    """Of every model, a hundred times those of a server that was measured; whole sub-DiTs take a fifth more."""
    shipped = load_profile("linux-amd-epyc/litert/fp32/t1", space="digits").latency_ms
    found = {name: 100 * shipped[name] for name in NAMES}
    manifest = json.loads((kit / "kit.json").read_text())
    for spec in SMALL:
        if spec.hash in manifest["whole"]:
            parts = components(SPACE, spec)
            found[spec.hash] = 1.2 * sum(count * found[component.name] for component, count in parts.items())
    return found


@dataclass(frozen=True)
class Desk:
    """A home folder, with the stand-in's settings.

    Attributes:
        provider: "ddp" or "ai-hub".
        environment: of processes that are to use it.
        program: path of the stand-in.
    """

    folder: Path
    provider: str
    environment: Mapping[str, str]
    program: Path

    @property
    def device(self) -> str:
        """Of the profiles that are made here."""
        return {"ddp": "caiman-35", "ai-hub": "samsung-galaxy-s24"}[self.provider]

    @property
    def flags(self) -> list[object]:
        """Of `subdit profile`."""
        if self.provider == "ddp":
            return ["--ddp", "--device", "caiman-35", "--litert", self.program]
        return ["--ai-hub", "--device", "Samsung Galaxy S24", "--qai-hub", self.program]

    def rental(self, accelerator: str = "cpu") -> Rental:
        """What `flags` ask for."""
        if self.provider == "ddp":
            return DdpRental("caiman-35", accelerator)
        return AiHubRental("Samsung Galaxy S24", accelerator)

    def tell(self, **settings: Any) -> None:
        """Change what the stand-in does."""
        path = self.folder / "fake.json"
        told = json.loads(path.read_text()) if path.exists() else {}
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(told | settings))
        temporary.replace(path)

    def starts(self) -> list[str]:
        """The models that sessions were begun for, one after the other."""
        path = self.folder / "starts.txt"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def words(self) -> list[list[str]]:
        """What each was begun with."""
        return [line.split()[1:] for line in (self.folder / "starts.txt").read_text().splitlines()]


def make_desk(folder: Path, provider: str = "ddp") -> Desk:
    """The stand-in, and a folder that holds its home and subdit's."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{provider}; `touch pwned`"
    environment = {**os.environ, "HOME": str(folder), "SUBDIT_HOME": str(folder / "subdit-home")}
    if provider == "ddp":
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -E {FAKE_LITERT} "$@"\n')
        environment |= {"LITERT_FAKE": str(folder / "fake.json"), "LITERT_GCP_PROJECT": "my-project"}
    else:
        # Another environment's Python: it finds the stand-in, and its version, and nothing of subdit.
        installed = folder / "site-packages" / "qai_hub-0.56.0.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: qai-hub\nVersion: 0.56.0\n")
        path = f"{FAKE_QAI_HUB}:{installed.parent}"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(path)} exec {sys.executable} -S "$@"\n')
        environment |= {"AI_HUB_FAKE": str(folder / "fake.json"), "AI_HUB_TOKEN": "secret"}
    program.chmod(0o755)
    return Desk(folder, provider, environment, program)
