"""The profile format says the same in the schema, in the dataclasses and in the files; the registry finds them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from device_profiles import Calibration
from device_profiles import Conditions
from device_profiles import DeviceProfile
from device_profiles import ErrorReport
from device_profiles import Latency
from device_profiles import LatencyEstimator
from device_profiles import Noise
from device_profiles import load_profile
from device_profiles import profile_from_dict
from device_profiles import read_registry
from device_profiles import save_profile
from device_profiles import user_registry
from device_profiles._schema import _SAID
from device_profiles._schema import profile_schema
from subdit.cli import group
from subdit.core.errors import ProfileError
from subdit.core.errors import RunError
from subdit.space import Component
from subdit.space import get_space
from subdit.space import rename_space
from subdit.space import space_record
from tests.device_profiles.made_up import made_up_profile

ASSA = ["bna_blocks", "bna_radius", "kv_compression"]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_profile_is_read_as_it_was_written(calibrated: bool) -> None:
    profile = made_up_profile(calibrated=calibrated)
    save_profile(profile)
    assert load_profile(profile.id) == profile


def test_profiles_of_two_spaces_of_one_name_are_told_apart() -> None:
    one = rename_space(get_space("digits"), "two-of-a-name")
    other = dataclasses.replace(one, text_width=80)
    renamed_points = dataclasses.replace(one, named={"full": one.named["full"]})
    made = made_up_profile(calibrated=False)
    of_one, of_other = (dataclasses.replace(made, **space_record(space)) for space in (one, other))
    assert save_profile(of_one) != save_profile(of_other)
    assert [load_profile(made.id, space=space) for space in (one, other)] == [of_one, of_other]
    assert load_profile(made.id, space=renamed_points).search_space == one
    with pytest.raises(ProfileError, match="ambiguous; it may be .*two-of-a-name-.*two-of-a-name-"):
        load_profile(made.id)
    LatencyEstimator(of_one, renamed_points)
    with pytest.raises(ProfileError, match="another space that is named 'two-of-a-name' too .*; measure a kit of this"):
        LatencyEstimator(of_one, other)
    with pytest.raises(ProfileError, match="another space that is named 'digits' too"):
        LatencyEstimator(made, dataclasses.replace(get_space("digits"), text_width=80))
    record = {**space_record(one), "space_hash": "0" * 10}
    with pytest.raises(ProfileError, match="cannot be read: .* names one space and holds another"):
        profile_from_dict(dataclasses.replace(made, **record).to_dict(), "It")


def test_a_frame_has_a_row_for_each_component() -> None:
    profile = made_up_profile()
    frame = profile.to_frame()
    assert frame.index.name == "component" and list(frame.index) == list(profile.components)
    assert frame["latency_ms"].to_dict() == profile.latency_ms
    name, latency = list(profile.components.items())[5]
    assert frame.loc[name, ["low_ms", "high_ms", "rounds"]].tolist() == [latency.low_ms, latency.high_ms, 40]
    assert frame.loc[name, "relative_ci"] == pytest.approx(latency.relative_ci)
    assert frame.groupby(["kind", "width"]).size().sum() == len(profile.components)
    named = [Component(*row).name for row in frame[["kind", "width", "grid", "ffn_ratio", *ASSA]].to_numpy().tolist()]
    assert named == list(frame.index)
    empty = dataclasses.replace(profile, components={}).to_frame()
    assert len(empty) == 0 and list(empty.columns) == list(frame.columns)


def test_the_schema_has_the_fields_of_the_dataclasses() -> None:
    definitions = profile_schema()["$defs"]
    written = {
        "latency": Latency,
        "conditions": Conditions,
        "noise": Noise,
        "error": ErrorReport,
        "calibration": Calibration,
    }
    for name, record in written.items():
        assert set(definitions[name]["properties"]) == {entry.name for entry in dataclasses.fields(record)}, name
    own = {entry.name for entry in dataclasses.fields(DeviceProfile)} - {"schema_version"}
    assert set(profile_schema()["properties"]) == own | {"subdit_profile", "id"}


def test_the_schema_is_one_and_has_only_keywords_that_are_checked_and_told() -> None:
    """jsonschema passes over a keyword that it does not know."""
    jsonschema.Draft202012Validator.check_schema(profile_schema())
    annotations = {"$schema", "$id", "$defs", "title", "description"}
    descended = {"$ref", "anyOf", "items", "properties", "additionalProperties"}

    def keywords(schema: Any) -> set[str]:
        inside = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
        inside += [schema[key] for key in ("items", "additionalProperties") if schema.get(key)]
        return set(schema).union(*map(keywords, inside))

    assert keywords(profile_schema()) <= annotations | descended | set(_SAID)
    assert set(_SAID) | descended <= set(jsonschema.Draft202012Validator.VALIDATORS)


@pytest.mark.parametrize("field", ["device", "runtime", "precision", "compute_precision", "kit_hash"])
def test_patterns_end_where_those_of_json_schema_end(field: str) -> None:
    """In ECMA-262 `$` is the very end; in Python a line feed may follow."""
    values = {**made_up_profile().to_dict(), field: "0123abcd\n"}
    with pytest.raises(ProfileError, match=f"{field}: .* is no printable text"):
        profile_from_dict(values, "kettle.json")


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_set("subdit_profile", to=2), "version 2"),
        (_set("subdit_profile", to=True), "subdit_profile: must be 1"),
        (_set("threads", to=1.0), "threads: must be of type integer"),
        (_set("threads", to=0), "threads: must be at least 1"),
        (_set("threads", to=True), "threads: must be of type integer"),
        (_set("noisy", to="no"), "noisy: must be of type boolean"),
        (_set("provenance", to="guessed"), "provenance: must be one of"),
        (_set("components", to={}), "it has no latency at all"),
        (_set("components", "text_projection", "latency_ms", to=-1.0), "text_projection.latency_ms: must be above 0"),
        (_set("components", "text_projection", "latency_ms", to=float("nan")), "text_projection.latency_ms"),
        (_set("calibration", "factors", "ffn", to="1"), "calibration.factors.ffn"),
        (_set("calibration", "whole", to=[]), "calibration.whole"),
        (_set("conditions", to=None), "conditions: must be of type object"),
        (_set("colour", to="red"), "colour: is not a known field"),
        (_set("device", to="toaster"), "its id is"),
        (lambda values: values.pop("kit_hash"), "'kit_hash' is missing"),
        (lambda values: values["conditions"].pop("cpu"), "conditions: 'cpu' is missing"),
    ],
)
def test_a_damaged_profile_is_refused_by_the_name_of_its_field(
    damage: Callable[[dict[str, Any]], Any], said: str
) -> None:
    values = copy.deepcopy(made_up_profile().to_dict())
    damage(values)
    with pytest.raises(ProfileError) as caught:
        profile_from_dict(values, "kettle.json")
    assert said in str(caught.value)
    assert "kettle.json" in str(caught.value)


@pytest.mark.parametrize("text", ["\x1b[31m", "\ud800", "a\nb", "\x00", "\u202e", "\x9b2J"])
@pytest.mark.parametrize(
    "path",
    [
        ("source",),
        ("conditions", "cpu"),
        ("calibration", "form"),
        ("calibration", "whole", 0, "spec", "space"),
        ("id",),
        ("space",),
    ],
)
def test_text_that_is_not_printable_is_refused_without_being_printed(path: tuple[Any, ...], text: str) -> None:
    values = copy.deepcopy(made_up_profile().to_dict())
    _set(*path, to=f"kettle {text}")(values)
    with pytest.raises(ProfileError, match="is no printable text") as caught:
        profile_from_dict(values, "kettle.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["\x1b[31m", "\ud800", "a\nb"])
@pytest.mark.parametrize("path", [(), ("components",), ("conditions",), ("calibration", "factors"), ("pipeline",)])
def test_names_that_are_not_printable_are_refused_too(path: tuple[str, ...], text: str) -> None:
    values = copy.deepcopy(made_up_profile().to_dict())
    _set(*path, text, to=1.0)(values)
    with pytest.raises(ProfileError, match="the name .* is no printable text") as caught:
        profile_from_dict(values, "kettle.json")
    assert str(caught.value).isprintable()


def test_what_a_device_says_of_itself_is_made_printable() -> None:
    """Or nothing that was measured on it could be saved."""
    said = dataclasses.replace(made_up_profile().conditions, model="Kettle\x00 Pro\n", soc="K\x1b[31m1")
    assert (said.model, said.soc) == ("Kettle Pro", "K [31m1")
    profile = dataclasses.replace(made_up_profile(), conditions=said)
    save_profile(profile)
    assert load_profile(profile.id) == profile


@pytest.mark.parametrize("verb", ["show", "check"])
def test_no_terminal_gets_a_command_from_a_profile(verb: str, tmp_path: Path) -> None:
    values = made_up_profile().to_dict()
    for at, text in enumerate(("\x1b[31m", "\ud800")):
        file = tmp_path / f"{at}.json"
        file.write_text(json.dumps({**values, "source": text}))
        result = CliRunner().invoke(group, ["devices", verb, str(file)])
        assert isinstance(result.exception, SystemExit) and result.exit_code == 2
        assert "is no printable text" in result.output and text not in result.output


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"subdit_profile": 1}'])
def test_what_is_no_profile_at_all_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ProfileError, match="damaged"):
        load_profile(tmp_path / "broken.json")


def test_a_wrong_spec_in_a_calibration_is_a_damaged_profile(tmp_path: Path) -> None:
    values = made_up_profile().to_dict()
    values["calibration"]["whole"][0]["spec"]["depth"] = "deep"
    (tmp_path / "broken.json").write_text(json.dumps(values))
    with pytest.raises(ProfileError, match="depth"):
        load_profile(str(tmp_path / "broken.json"))


def test_a_device_is_found_by_id_by_an_unambiguous_start_and_by_file(tmp_path: Path) -> None:
    kettle, kettle_two = made_up_profile(), made_up_profile(device="kettle-2", seed=5)
    save_profile(kettle)
    save_profile(kettle_two)
    save_profile(kettle_two, tmp_path / "there.json")
    assert load_profile(kettle.id) == kettle
    assert load_profile("kettle-") == kettle_two
    assert load_profile(str(tmp_path / "there.json"), space="digits") == kettle_two
    with pytest.raises(ProfileError, match=r"'kettle' is ambiguous.*kettle-2/"):
        load_profile("kettle")
    with pytest.raises(ProfileError, match=r"no device 'toaster'.*kettle/onnxruntime/fp32/t1"):
        load_profile("toaster")
    with pytest.raises(ProfileError, match="There is no profile at"):
        load_profile("missing.json")


def test_a_profile_for_another_space_is_named_as_such(tmp_path: Path) -> None:
    save_profile(made_up_profile())
    with pytest.raises(ProfileError, match="made for space 'digits', not for 'mid-256'"):
        load_profile("kettle", space="mid-256")
    save_profile(dataclasses.replace(made_up_profile(), space="mid-256"))
    assert load_profile("kettle", space="mid-256").space == "mid-256"
    assert load_profile("kettle", space="digits").space == "digits"
    # Of two that share their id, no more of it can be written.
    with pytest.raises(ProfileError, match=r"is ambiguous; .*\(digits\).*\(mid-256\); name its --space"):
        load_profile(made_up_profile().id)


def test_nothing_is_overwritten_without_force() -> None:
    save_profile(made_up_profile())
    with pytest.raises(RunError, match="--force"):
        save_profile(made_up_profile(seed=9))
    save_profile(made_up_profile(seed=9), force=True)
    assert load_profile("kettle") == made_up_profile(seed=9)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": "\x1b[31m"}, "source: .* is no printable text"),
        ({"source": "\ud800"}, "source: .* is no printable text"),
        ({"kit_hash": "of a kettle"}, "kit_hash: .* does not match"),
        ({"threads": 0}, "threads: must be at least 1"),
        ({"components": {}}, "it has no latency at all"),
        ({"components": {"text_projection": Latency(float("inf"), 1.0, 1.0)}}, "text_projection.latency_ms"),
        ({"device": "Kettle"}, "device: .* does not match"),
    ],
)
def test_what_could_not_be_read_again_is_not_saved(values: dict[str, Any], said: str) -> None:
    good = made_up_profile()
    path = save_profile(good)
    with pytest.raises(ProfileError, match=f"is not saved, as it could not be read again \\(.*{said}") as caught:
        save_profile(dataclasses.replace(good, **values), path, force=True)
    assert str(caught.value).isprintable()
    assert load_profile(path) == good


def test_one_damaged_file_hides_no_other() -> None:
    save_profile(made_up_profile())
    (user_registry() / "broken.json").write_text("{")
    assert [entry.profile.device for entry in read_registry()[0] if not entry.shipped] == ["kettle"]
    _, damaged = read_registry()
    assert [path.name for path in damaged] == ["broken.json"]
