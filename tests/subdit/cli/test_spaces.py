"""`subdit spaces`: what is printed is what the space's own arithmetic says."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from subdit.cli import _space_costs
from subdit.cli import group
from subdit.core.progress import no_progress
from subdit.space import count_flops
from subdit.space import count_params
from subdit.space import get_space


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(group, ["spaces", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_space() -> None:
    listed = {space["name"]: space for space in json.loads(shown("--json"))}
    assert {"digits", "mid-256", "mobile-1k", "mobile-1k-6-20-8", "mobile-1k-6-20-10", "paper"} <= set(listed)
    assert listed["paper"]["sub_dits"] == 3
    assert "257,304,240 to 1,623,279,040" in shown()


def test_show_adds_up() -> None:
    space = get_space("digits")
    described = json.loads(shown("show", "digits", "--point", "tiny", "--json"))
    for name, spec in space.named.items():
        entry, encoded = described["named"][name], space.encode([spec])
        assert (entry["params"], entry["flops"]) == (count_params(space, encoded)[0], count_flops(space, encoded)[0])
        assert entry["weight_bytes"]["fp32"] == 4 * entry["params"] == 2 * entry["weight_bytes"]["fp16"]
        assert entry["weight_bytes"]["palette4"] < entry["weight_bytes"]["int8"] < entry["weight_bytes"]["fp16"]
    tiny = described["named"]["tiny"]
    for part in (described["stages"], described["components"]):
        for key in ("params", "flops"):
            assert sum(entry[key] for entry in part.values()) == tiny[key]
        for key in ("activation_bytes", "fused_activation_bytes"):
            assert max(entry[key] for entry in part.values()) == tiny[key]
        for precision, size in tiny["weight_bytes"].items():
            # A matrix of an odd count of numbers takes half a byte more by itself.
            assert abs(sum(entry["weight_bytes"][precision] for entry in part.values()) - size) <= len(part)
    assert "ablation" not in described


def test_show_prints_tables() -> None:
    printed = shown("show", "digits", "--point", "full")
    for heading in ("named point", "stage", "component", "palette4 MB", "of FLOPs", "fused MB"):
        assert heading in printed
    assert "Of full, per stage:" in printed and "assa-w96-g4-b4-r1-c2" in printed


def test_torch_counts_what_the_closed_forms_say() -> None:
    described = json.loads(shown("show", "digits", "--measure", "--json"))
    assert described["differences"] == [] and described["ablation"] is None
    for name, counted in described["measured"].items():
        assert counted == {key: described["named"][name][key] for key in counted}
    assert "Torch counts the same of tiny, small, full" in shown("show", "digits", "--measure")
    assert "--measure counts with torch" in shown("show", "digits")


def test_a_count_that_differs_is_said() -> None:
    space = get_space("digits")
    described = _space_costs.describe_costs(space, "tiny")
    described["named"]["full"]["flops"] += 1
    measured = _space_costs.measure(space, described, progress=no_progress)
    counted = measured["measured"]["full"]["flops"]
    assert measured["differences"] == [f"flops of full: torch counts {counted:,}, the closed form is {counted + 1:,}"]


@pytest.mark.slow
def test_show_puts_the_ablation_beside_what_is_published() -> None:
    described = json.loads(shown("show", "paper", "--measure", "--json"))
    assert described["differences"] == []
    steps = described["ablation"]
    assert list(steps) == ["A", "B", "C", "D"]
    assert [step["published_latency_ms"] for step in steps.values()] == [2000, 550, 293, 360]
    assert [step["published_params"] for step in steps.values()] == [424e6, 406e6, 408e6, 429e6]
    flops = [step["flops"] for step in steps.values()]
    assert flops[0] > flops[1] > flops[2] < flops[3]
    # ASSA is what takes the largest tensor away.
    assert steps["C"]["activation_bytes"] < 0.3 * steps["B"]["activation_bytes"]
    printed = shown("show", "paper", "--measure")
    assert "published, latency on an iPhone 16 Pro Max" in printed and "0.5130" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mars",), "no search space 'mars'"),
        (("digits", "--point", "huge"), "no point named 'huge'; it has tiny, small, full"),
        (("mobile-1k-8-9-8",), "9 layers in middle"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(group, ["spaces", "show", *arguments])
    assert (result.exit_code, result.stderr.startswith("Error: ")) == (2, True)
    assert said in result.stderr
