"""`subdit.search`: a search with its settings as keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from subdit.core.errors import SearchError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress

if TYPE_CHECKING:
    from device_profiles import DeviceProfile
    from nas import SearchResult
    from nas import StudyOptions


def search(
    run: Path | str,
    *,
    device: str | DeviceProfile | Sequence[str | DeviceProfile],
    name: str = "default",
    study: StudyOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
    **settings: Any,
) -> SearchResult:
    """`nas.search` on one device or several; `settings` are the other attributes of `nas.SearchConfig`.

    For example `subdit.search(run, device="my-phone", constraints={"latency_ms": 20, "file_mb": 1.5}, trials=200)`.
    """
    import nas

    known = [field.name for field in fields(nas.SearchConfig) if field.name != "devices"]
    if unknown := sorted(set(settings) - set(known)):
        raise SearchError(
            f"A search has no setting {unknown[0]!r}; it has {', '.join(known)}, and a limit is written as "
            'constraints={"latency_ms": 20}.'
        )
    devices = tuple(device) if isinstance(device, list | tuple) else (device,)
    config = nas.SearchConfig(devices=devices, **settings)
    return nas.search(run, config, name=name, study=study, resume=resume, force=force, progress=progress)
