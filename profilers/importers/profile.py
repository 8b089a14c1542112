"""`import_logs`: logs of a kit's components, together complete, to a device profile."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from device_profiles import NOISE_LIMIT
from device_profiles import DeviceProfile
from device_profiles import Latency
from device_profiles import save_profile
from device_profiles import t_95
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import ImportedLog
from profilers.importers.ran_where import refuse_fallback
from profilers.importers.registry import BY_NAME
from profilers.importers.registry import ReadOptions
from profilers.importers.registry import read_logs
from profilers.importers.repeated_sessions import MEDIAN_ERROR
from profilers.importers.repeated_sessions import half_width_ms
from profilers.importers.repeated_sessions import merge_sessions
from profilers.importers.repeated_sessions import of_device
from profilers.importers.repeated_sessions import spread
from profilers.importers.setting import Setting
from profilers.importers.setting import check_precision
from profilers.importers.setting import common_setting
from profilers.importers.setting import plain_path
from profilers.importers.setting import precision_of
from profilers.kits.kit import Kit
from profilers.kits.kit import digest_of
from profilers.kits.kit import open_kit
from profilers.measuring.build_profile import calibrate
from profilers.measuring.build_profile import whole_latencies
from profilers.measuring.conditions import remote_conditions
from profilers.measuring.kit_selection import check_device
from profilers.runtimes import runtime_class
from subdit.core.errors import ImportLogError
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.space import all_components
from subdit.space import components_up_to
from subdit.space import get_space
from subdit.space import space_names
from subdit.space import space_record

# Tools state whole microseconds: runs that are all equal are so to half of one, and no interval is without width.
_RESOLUTION_MS = 1e-3


def import_logs(
    logs: Sequence[Path],
    *,
    device: str,
    kit: Path | None = None,
    precision: str | None = None,
    threads: int | None = None,
    delegate: str | None = None,
    out: Path | None = None,
    force: bool = False,
    allow_fallback: bool = False,
    options: ReadOptions | None = None,
    progress: ProgressCallback = no_progress,
) -> DeviceProfile:
    """Make a device profile from other tools' logs and save it.

    A log belongs to the component whose name its model file has, or, where the log names no model, the log itself. With
    a kit, logs of its whole sub-DiTs, named by their hashes, calibrate the profile.

    Args:
        logs: one per component, also packed, or folders of logs or of sessions; together they must cover a search
            space.
        device: name of the device.
        kit: folder of the kit that was measured; without, the space is the one whose components these are.
        precision: of the components' weights, where neither the kit nor the logs say; by default fp32.
        threads: of the runtime, where the logs do not say.
        delegate: what ran the models, where the logs do not say: an accelerator, or "none" for the plain CPU path.
        out: file to write, by default in the user's registry.
        force: replace the profile that is there.
        allow_fallback: make a profile also where an accelerator took nothing, or less than all, of a model.
        options: how to read what logs leave open.
        progress: reports logs.

    Returns:
        The profile, as saved.

    Raises:
        ImportLogError: a log cannot be read, they do not fit together, components are missing, or an accelerator took
            less than all of a model.
        KitError: the kit is missing or damaged.
        ProfileError: an impossible device name.
        RunError: there is such a profile already and `force` is not given.
    """
    check_device(device)
    if not logs:
        raise ImportLogError("There are no logs to import; name the files.")
    opened = None if kit is None else open_kit(kit)
    check_precision(precision, opened)
    found = _read(logs, device, options, progress)
    if opened is not None:
        _require_models(found, opened)
    progress(len(logs), len(logs), "")
    space_name = _space(found, opened)
    space = opened.search_space if opened else get_space(space_name)
    setting = common_setting(found, threads=threads, delegate=delegate)
    if not allow_fallback:
        refuse_fallback(found, setting.delegate)
    components = [component.name for component in components_up_to(space, _limit(opened))]
    latencies = {name: _latency(log) for name, log in found.items()}
    timed = [entry for entry in opened.whole if entry.name in latencies] if opened else []
    if by_whole := opened is not None and not opened.components:
        components = []
    unused = set(found) - set(components) - ({entry.name for entry in opened.whole} if opened else set())
    if unused:
        raise ImportLogError(f"{min(unused)!r} is no model of {space_name!r}; leave its log out, or name its --kit.")
    judged = [entry.name for entry in timed] if by_whole else components
    known = [latencies[name].relative_ci for name in judged if _half_width_ms(found[name]) is not None]
    made = DeviceProfile(
        device=device,
        runtime=setting.runtime,
        precision=precision_of(found, precision, opened),
        threads=setting.threads,
        **space_record(space),
        kit_hash=opened.hash if opened else _hash(components),
        provenance="measured",
        # A log without a standard deviation cannot show that it was quiet.
        noisy=len(known) < len(judged) or float(np.median(known)) > NOISE_LIMIT,
        components={name: latencies[name] for name in components},
        conditions=remote_conditions(device, runtime_version=setting.version or "", measured_at=_newest(logs)),
        calibration=calibrate(opened, timed, latencies) if opened else None,
        delegate=setting.delegate,
        delegated_share=_delegated_share(found, judged, opened, setting),
        partitions=_partitions(found, judged),
        max_params=_limit(opened),
        source=f"measured with {setting.tool}" + _sessions(found.values()) + _declined(found.values(), setting),
        whole=whole_latencies(timed, latencies) if by_whole else (),
    )
    save_profile(made, out, force=force)
    return made


def _read(
    logs: Sequence[Path], device: str, options: ReadOptions | None, progress: ProgressCallback
) -> dict[str, ImportedLog]:
    """The logs by component; several sessions of one become one log."""
    read: dict[str, list[ImportedLog]] = {}
    for done, path in enumerate(logs):
        progress(done, len(logs), path.name)
        for source, log in read_logs(path, options):
            name = model_name(log.model_file or source.name)
            if name in read and log.device is None:
                raise ImportLogError(f"{source} is a second log of {name}; give one log for each.")
            if log.latency_ms == 0:
                finer = "measure larger models or by a finer clock"
                if log.step_ms is not None:
                    finer = (
                        f"{log.tool} rounds to {log.step_ms:g} ms: measure whole sub-DiTs, with a kit of --no-parts "
                    )
                    finer += "and --whole, or by a tool that states microseconds, such as benchmark_model"
                raise ImportLogError(f"{source} states a latency of 0 ms, which no model has; {finer}.")
            if BY_NAME[log.format].runtime is None or log.latency_ms is None:
                raise ImportLogError(
                    f"{source} states no latency of a whole model; give the tool's main output instead."
                )
            read.setdefault(name, []).append(log)
    kept = set(map(id, of_device([log for several in read.values() for log in several], device)))
    read = {name: [log for log in several if id(log) in kept] for name, several in read.items()}
    return {name: merge_sessions(name, several) for name, several in read.items() if several}


def _require_models(found: Mapping[str, ImportedLog], kit: Kit) -> None:
    """Raise `ImportLogError` where a log says that the model was another than the kit's of that name."""
    models = {entry.name: entry.model for entry in kit.entries}
    for name, log in found.items():
        if log.kit_hash not in (None, kit.hash):
            raise ImportLogError(
                f"The table is of the kit {log.kit_hash}, and {kit.folder} is {kit.hash}; name the kit that was "
                "measured."
            )
        if log.model_sha256 is not None and name in models and digest_of(models[name]) != log.model_sha256:
            raise ImportLogError(
                f"The model {name} that was measured is not that of the kit {kit.folder}: its SHA-256 differs; name "
                "the kit that was measured."
            )


def _limit(kit: Kit | None) -> int | None:
    """Parameters that a kit's sub-DiTs may have; without a kit, the table must be that of the whole space."""
    return None if kit is None else kit.max_params


def model_name(model_file: str) -> str:
    """The component's name: the model file's, without folder and extension."""
    return re.sub(
        r"(\.(tflite|onnx|ort|pte|param|mnn|mlpackage|mlmodelc|json|txt|log|csv|tsv|yaml))+$", "", Path(model_file).name
    )


def _space(found: Mapping[str, ImportedLog], kit: Kit | None) -> str:
    """The space that the logs cover; raises `ImportLogError` where components are missing."""
    if kit is not None:
        names = [kit.space]
        wanted = {kit.space: {entry.name for entry in kit.components or kit.whole}}
    else:
        wanted = {name: {component.name for component in all_components(get_space(name))} for name in space_names()}
        names = [name for name in wanted if set(found) <= wanted[name]] or [
            max(wanted, key=lambda name: len(wanted[name] & set(found)))
        ]
    complete = [name for name in names if wanted[name] <= set(found)]
    if len(complete) == 1:
        return complete[0]
    nearest = min(names, key=lambda name: len(wanted[name] - set(found)))
    missing = sorted(wanted[nearest] - set(found))
    if len(missing) == len(wanted[nearest]):
        raise ImportLogError(
            f"{min(found)!r} is no component of a search space; to read any model's log, pass --show, and for a "
            "profile measure the models of a kit under their own names."
        )
    shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
    raise ImportLogError(
        f"The table of {nearest!r} has gaps: there is no log of {shown}; measure these too and import all together."
    )


def _delegated_share(
    found: Mapping[str, ImportedLog], names: Sequence[str], kit: Kit | None, setting: Setting
) -> float | None:
    """Of the operators of all these models together, those on the accelerator; None where not all logs tell.

    Without an accelerator it is that of XNNPACK, where that is the plain path of the runtime, as in native profiles.

    Raises `ImportLogError` where a log says that it is a part and not how large, and where it differs and neither the
    kit nor the logs say how many operators each model has.
    """
    plain = setting.delegate is None
    if plain and not plain_path(setting.runtime):
        return None
    for name in names:
        if found[name].partly_delegated and found[name].delegated_share is None:
            raise ImportLogError(
                f"The log of {name} says that {found[name].delegate} took a part of the operators, and not how many; "
                "measure where it takes all of them, or with a tool that counts them, as TensorFlow Lite's "
                "benchmark_model does."
            )
    told = [
        0.0 if not plain and (found[name].delegate == CPU or found[name].declined) else found[name].delegated_share
        for name in names
    ]
    shares = [share for share in told if share is not None]
    if len(shares) < len(names):
        return None
    if len(set(shares)) == 1:
        return shares[0]
    counts = [count for name in names if (count := _count_operators(found[name], name, kit)) is not None]
    if len(counts) < len(names) or not sum(counts):
        if plain:
            # No part of the id hangs on it.
            return None
        raise ImportLogError(
            "The accelerator took other shares of other models, and not all logs say of how many operators; name the "
            "--kit that was measured."
        )
    return sum(count * share for count, share in zip(counts, shares, strict=True)) / sum(counts)


def _partitions(found: Mapping[str, ImportedLog], names: Sequence[str]) -> int | None:
    """Those of all these models together; None where a log does not tell."""
    counts = [found[name].partitions for name in names]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _count_operators(log: ImportedLog, name: str, kit: Kit | None) -> int | None:
    """Operators of a model, as its file in the kit says, or else its log."""
    models = {entry.name: entry.model for entry in kit.entries} if kit is not None else {}
    counted = runtime_class(kit.runtime).count_operators(models[name]) if kit is not None else None
    return log.graph_operators if counted is None else counted


def _sessions(logs: Iterable[ImportedLog]) -> str:
    """Of how many sessions each model has, and what they differ by."""
    if (found := spread(logs)) is None:
        return ""
    return f" in {found[0]} sessions, which differ by {100 * found[1]:.1f} % (standard deviation, median of the models)"


def _declined(logs: Iterable[ImportedLog], setting: Setting) -> str:
    """That an accelerator was asked for, where the profile is one of the processor."""
    names = sorted({log.declined for log in logs if log.declined is not None})
    return f"; {', '.join(names)} asked for, ran nothing" if names and setting.delegate is None else ""


def _half_width_ms(log: ImportedLog) -> float | None:
    """Half a 95 % interval in milliseconds; None where the log does not say enough."""
    rounded_ms = max(log.step_ms or 0.0, _RESOLUTION_MS) / 2
    if len(log.sessions_ms) > 1:
        return max(half_width_ms(log.sessions_ms), rounded_ms)
    if log.std_ms is None or log.count is None or log.count < 2:
        return None
    if log.std_ms == 0:
        return rounded_ms
    known_ms = log.std_ms * (MEDIAN_ERROR if log.median_ms is not None else 1.0) / math.sqrt(log.count)
    # Without a step of their own, logs state fractions of a microsecond of what varies.
    return max(t_95(log.count - 1) * known_ms, rounded_ms if log.step_ms is not None else 0.0)


def _latency(log: ImportedLog) -> Latency:
    value, half = float(log.latency_ms or 0.0), _half_width_ms(log) or 0.0
    return Latency(value, max(value - half, 0.0), value + half, len(log.sessions_ms) or log.count or 0)


def _hash(components: Sequence[str]) -> str:
    """Of the names alone: without the kit, its own hash is not known."""
    return hashlib.sha256("\n".join(components).encode()).hexdigest()[:16]


def _newest(logs: Sequence[Path]) -> str:
    """When the newest log was written."""
    files = [file for path in logs for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file()]
    seconds = max(file.stat().st_mtime for file in files)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
