"""What every teacher must do; a plug-in's tests subclass `TeacherContract`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from subdit.core.errors import ConfigError
from supernet.distillation.teacher import Conditions
from supernet.distillation.teacher import Teacher

Inputs = tuple[Tensor, Tensor, Conditions]


class TeacherContract:
    """A subclass gives a teacher with a few-step adapter, inputs for it, and conditions of the empty prompt."""

    @pytest.fixture
    def teacher(self) -> Teacher:
        raise NotImplementedError

    @pytest.fixture
    def inputs(self) -> Inputs:
        """x_t, sigma and conditions of at least two samples with different sigmas."""
        raise NotImplementedError

    @pytest.fixture
    def empty(self) -> Conditions:
        raise NotImplementedError

    def test_it_is_one(self, teacher: Teacher) -> None:
        assert isinstance(teacher, Teacher) and teacher.latents["class"]

    def test_velocities_have_the_latents_shape_and_no_gradient(self, teacher: Teacher, inputs: Inputs) -> None:
        x_t, sigma, conditions = inputs
        found = teacher.velocity(x_t.clone().requires_grad_(), sigma, conditions)
        assert found.shape == x_t.shape and found.dtype == torch.float32 and not found.requires_grad
        assert torch.isfinite(found).all() and found.std() > 1e-3
        assert not any(each.requires_grad for each in teacher.few_step(x_t, sigma, conditions))

    def test_each_sample_has_its_own_sigma(self, teacher: Teacher, inputs: Inputs) -> None:
        x_t, sigma, conditions = inputs
        found = teacher.velocity(x_t, sigma, conditions)
        for row in range(len(x_t)):
            one = slice(row, row + 1)
            alone = teacher.velocity(x_t[one], sigma[one], {key: value[one] for key, value in conditions.items()})
            torch.testing.assert_close(alone, found[one], rtol=1e-4, atol=1e-4)

    def test_the_adapter_is_switched_in_place_and_leaves_no_trace(self, teacher: Teacher, inputs: Inputs) -> None:
        before = teacher.velocity(*inputs)
        few, tokens = teacher.few_step(*inputs)
        assert few.shape == before.shape and not torch.allclose(few, before, atol=1e-3)
        assert tokens.ndim == 3 and len(tokens) == len(few)
        assert torch.equal(teacher.velocity(*inputs), before), "not restored bit for bit"
        again, tokens_again = teacher.few_step(*inputs)
        assert torch.equal(few, again) and torch.equal(tokens, tokens_again)

    def test_guidance_leads_away_from_the_empty_prompt(
        self, teacher: Teacher, inputs: Inputs, empty: Conditions
    ) -> None:
        x_t, sigma, conditions = inputs
        given, without = (teacher.velocity(x_t, sigma, each) for each in (conditions, empty))
        found = teacher.velocity(x_t, sigma, conditions, empty=empty, guidance_scale=4.0)
        torch.testing.assert_close(found, without + 4 * (given - without))
        assert torch.equal(teacher.velocity(x_t, sigma, conditions, empty=empty), given)
        with pytest.raises(ConfigError, match="empty prompt"):
            teacher.velocity(x_t, sigma, conditions, guidance_scale=4.0)
