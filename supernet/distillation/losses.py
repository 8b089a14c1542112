"""The mathematics of K-DMD (SnapGen++, section 4; DMD2 for the normaliser). Pure functions.

The distribution-matching gradient is formed in x0 space: with velocities the difference of Eq. 9 changes its sign,
since x0 = x_t - sigma v.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def dmd_gradient(x0_student: Tensor, x0_critic: Tensor, x0_real: Tensor) -> Tensor:
    """Direction in which the student's samples (batch, ...) should not go: x0_critic - x0_real, normed per sample.

    The normaliser is the mean of |x0_student - x0_real| over each sample (DMD2).
    """
    distance = (x0_student - x0_real).abs().flatten(1).mean(dim=1).clamp_min(1e-6)
    return (x0_critic - x0_real) / distance.reshape(-1, *[1] * (x0_real.ndim - 1))


def dmd_loss(x0_student: Tensor, x0_critic: Tensor, x0_real: Tensor) -> Tensor:
    """A scalar whose gradient by x0_student is `dmd_gradient` over the number of elements; no other input gets any."""
    gradient = dmd_gradient(x0_student, x0_critic, x0_real).detach()
    return 0.5 * F.mse_loss(x0_student, (x0_student - gradient).detach())


def output_loss(student_velocity: Tensor, teacher_velocity: Tensor) -> Tensor:
    """L_out: mean squared distance to the few-step teacher's velocity, which gets no gradient."""
    return F.mse_loss(student_velocity, teacher_velocity.detach())


def feature_loss(projected_features: Tensor, teacher_features: Tensor) -> Tensor:
    """L_feat: mean squared distance of projected student tokens to the teacher's, layer-normed, final-layer tokens.

    Norming the teacher's keeps their scale from outweighing the other two terms, which the paper sums unweighted.
    """
    teacher = F.layer_norm(teacher_features, teacher_features.shape[-1:]).detach()
    return F.mse_loss(projected_features, teacher)
