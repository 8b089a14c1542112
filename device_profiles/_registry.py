"""Where profiles are kept: the user's own registry, and the read-only one that comes with subdit."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from device_profiles._profile import DeviceProfile
from device_profiles._profile import profile_from_dict
from device_profiles._schema import find_damage
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.core.errors import SpecError
from subdit.core.files import write_json
from subdit.space import SearchSpace

SHIPPED = Path(__file__).parent / "shipped"
# A profile of a large space has tens of kilobytes, one of a thousand whole sub-DiTs some hundred.
_MAX_BYTES = 8 << 20
# Characters of what is wrong with a spec that a sentence shows.
_LONGEST = 300


@dataclass(frozen=True)
class RegisteredProfile:
    """A profile and where it lies."""

    profile: DeviceProfile
    path: Path
    shipped: bool


def user_registry() -> Path:
    """Folder of the user's own profiles: $SUBDIT_HOME/devices, by default in the user's data folder."""
    home = os.environ.get("SUBDIT_HOME")
    if home:
        return Path(home) / "devices"
    from platformdirs import user_data_path

    return user_data_path("subdit", appauthor=False) / "devices"


def profile_path(profile: DeviceProfile) -> Path:
    """Where a profile belongs in the user's registry; profiles of two spaces of one name lie side by side."""
    return user_registry() / f"{profile.id.replace('/', '--')}--{profile.space_id}.json"


def save_profile(profile: DeviceProfile, path: Path | None = None, *, force: bool = False) -> Path:
    """Write a profile, by default to the user's registry.

    Raises:
        RunError: there is one already, and not `force`.
        ProfileError: `read_profile` would call it damaged; what is there stays.
    """
    path = profile_path(profile) if path is None else path
    if path.exists() and not force:
        raise RunError(f"There is a profile at {path} already; name another device or file, or pass --force.")
    values = profile.to_dict()
    if problem := find_damage(values):
        raise ProfileError(
            f"The profile {profile.id!r} is not saved, as it could not be read again ({problem}); measure it again."
        )
    return write_json(path, values)


def read_profile(path: Path) -> DeviceProfile:
    """Read one file; raises `ProfileError` where it is missing, no file, damaged or of an unknown version."""
    try:
        values = json.loads(_read_text(path))
    except FileNotFoundError:
        raise ProfileError(f"There is no profile at {path}; measure one with 'subdit profile'.") from None
    except RecursionError:
        raise ProfileError(
            f"The profile {path} is damaged (it is nested too deep); measure it again or restore the file."
        ) from None
    except (OSError, ValueError) as error:
        raise ProfileError(f"The profile {path} is damaged ({error}); measure it again or restore the file.") from error
    try:
        return profile_from_dict(values, str(path))
    except SpecError as error:
        # Which repeats the strange value, of whatever length.
        said = str(error)[:_LONGEST]
        raise ProfileError(f"The profile {path} is damaged ({said}); measure it again or restore the file.") from error


def _read_text(path: Path) -> str:
    # Looked at before it is opened: a pipe that nobody writes to would be waited for, without end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ProfileError(f"{path} is no file; name the file of a profile.")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ProfileError(
            f"The file {path} is larger than {_MAX_BYTES >> 20} MB, which no profile is; name the file of a profile."
        )
    return content.decode("utf-8")


def read_registry() -> tuple[list[RegisteredProfile], dict[Path, ProfileError]]:
    """All profiles there are, the user's before the shipped ones, and what is wrong with the files that are damaged.

    A profile of the user's hides a shipped one of the same id and space.
    """
    found: dict[tuple[str, str], RegisteredProfile] = {}
    damaged: dict[Path, ProfileError] = {}
    for folder, shipped in ((user_registry(), False), (SHIPPED, True)):
        for path in sorted(folder.glob("*.json")):
            try:
                profile = read_profile(path)
            except ProfileError as error:
                damaged[path] = error
                continue
            found.setdefault((profile.id, profile.space_id), RegisteredProfile(profile, path, shipped))
    return list(found.values()), damaged


def list_profiles(*, space: SearchSpace | str | None = None) -> list[DeviceProfile]:
    """Every readable profile of the registries, those of one space where it is given; see `read_registry`."""
    return [entry.profile for entry in read_registry()[0] if fits_space(entry.profile, space)]


def fits_space(profile: DeviceProfile, space: SearchSpace | str | None) -> bool:
    """Whether a profile is of that space, or of one of that name; None is any."""
    return space in (None, profile.space) if not isinstance(space, SearchSpace) else profile.is_of(space)


def load_profile(reference: str | Path, *, space: SearchSpace | str | None = None) -> DeviceProfile:
    """The profile of that id, unambiguous id prefix, or file.

    Args:
        reference: profile id, prefix of one, or path of a profile file.
        space: that the profile must be of, or its name.

    Raises:
        ProfileError: no such profile, several of them, damaged, or made for another space.
    """
    path = Path(reference)
    # Not `path.is_file`, which raises where a name is too long for any file.
    if os.path.isfile(path) or path.suffix == ".json":
        return _require_space(read_profile(path), str(path), space)
    reference = str(reference)
    entries, damaged = read_registry()
    exact = [entry.profile for entry in entries if entry.profile.id == reference]
    # A prefix ends where a part of the id ends, or anywhere within one: 'pix' finds 'pixel-8/...'.
    matches = exact or [entry.profile for entry in entries if reference and entry.profile.id.startswith(reference)]
    if not matches:
        others = f"; damaged: {', '.join(map(str, damaged))}" if damaged else ""
        known = _names(entry.profile for entry in entries) or "none yet; measure one with 'subdit profile'"
        raise ProfileError(f"There is no device {reference!r}; there is {known}{others}.")
    fitting = [profile for profile in matches if fits_space(profile, space)]
    if not fitting:
        return _require_space(matches[0], matches[0].id, space)
    if len(fitting) > 1:
        # Profiles of one id differ in their space alone.
        more = "name its --space" if len({profile.id for profile in fitting}) == 1 else "write more of its id"
        raise ProfileError(f"The device {reference!r} is ambiguous; it may be {_names(fitting)}; {more}.")
    return fitting[0]


def _require_space(profile: DeviceProfile, name: str, space: SearchSpace | str | None) -> DeviceProfile:
    if isinstance(space, SearchSpace):
        profile.require_space(space)
    elif space not in (None, profile.space):
        raise ProfileError(
            f"The profile {name} was made for space {profile.space!r}, not for {space!r}; measure a kit of {space!r}."
        )
    return profile


def _names(profiles: Iterable[DeviceProfile]) -> str:
    return ", ".join(f"{profile.id} ({profile.space_id})" for profile in profiles)
