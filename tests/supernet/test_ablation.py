"""The ablation's steps change what the paper says that they change, and come near its sizes."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.modeling_utils import no_init_weights

from supernet.model.ablation import ABLATION
from supernet.model.ablation import AblationStep
from supernet.model.dit import SubDiT
from supernet.model.dit import redraw_


def on_meta(step: AblationStep) -> SubDiT:
    with torch.device("meta"), no_init_weights():
        return step.build()


@pytest.mark.parametrize(("name", "within"), [("A", 0.07), ("B", 0.02), ("C", 0.02), ("D", 0.02)])
def test_sizes_come_near_the_published(name: str, within: float) -> None:
    step = next(step for step in ABLATION if step.name == name)
    params = on_meta(step).num_parameters() / 1e6
    assert params == pytest.approx(step.published_params_m, rel=within)


def test_each_step_changes_what_the_paper_says() -> None:
    def changed(one: AblationStep, other: AblationStep) -> set[str]:
        return {key for key in one.config if one.config[key] != other.config[key]}

    a, b, c, d = ABLATION
    assert [step.name for step in ABLATION] == ["A", "B", "C", "D"]
    assert changed(a, b) == {"three_stages", "depth"}
    assert changed(b, c) == {"attention"}
    assert changed(c, d) == {"depth", "ffn_ratio", "kv_heads", "cross_kv_heads", "middle_skips"}
    assert [sum(step.config["depth"]) for step in ABLATION] == [28] * 4


@pytest.mark.parametrize("step", ABLATION, ids=lambda step: step.name)
def test_each_step_computes_at_a_small_size(step: AblationStep) -> None:
    small = {"latent_size": 16, "width": 32, "heads": 8, "head_dim": 4, "text_width": 16, "time_width": 16}
    heads = {"cross_kv_heads": min(8, step.config["cross_kv_heads"])}
    model = SubDiT(**{**step.config, **small, **heads})
    redraw_(model, 0)
    with torch.no_grad():
        velocity = model(*model.example_inputs(batch=2).values())
    assert velocity.shape == (2, 16, 16, 16) and velocity.isfinite().all() and velocity.std() > 0.1


def test_example_inputs_fit() -> None:
    step = ABLATION[0]
    assert {name: tuple(value.shape) for name, value in step.example_inputs().items()} == {
        "hidden_states": (1, 16, 128, 128),
        "timestep": (1,),
        "encoder_hidden_states_clip_l": (1, 77, 768),
    }
