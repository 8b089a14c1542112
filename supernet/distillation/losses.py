"""The mathematics of distillation (SnapGen++, section 4, Eq. 6 to 10; DMD2 for the normaliser). Pure functions.

    Eq. 6   L_out   output_loss             the teacher's velocity
    Eq. 7   L_feat  feature_loss            the teacher's final-layer tokens, through a projector
    Eq. 8   L_KD    timestep_aware_loss + L_feat
    Eq. 9   L_DMD   dmd_gradient, dmd_loss  the difference of two scores
    Eq. 10  L_KDMD  L_DMD + L_out + L_feat, summed in `supernet.distillation.kdmd`

The distribution-matching gradient is formed in x0 space: with velocities the difference of Eq. 9 changes its sign,
since x0 = x_t - sigma v. Teachers and critic get no gradient from any loss here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.flow_matching import per_sample


def output_loss(student_velocity: Tensor, teacher_velocity: Tensor) -> Tensor:
    """L_out (Eq. 6): mean squared distance to a teacher's velocity, which gets no gradient."""
    return F.mse_loss(student_velocity, teacher_velocity.detach())


def feature_loss(projected_features: Tensor, teacher_features: Tensor) -> Tensor:
    """L_feat (Eq. 7): mean squared distance of projected student tokens to the teacher's final-layer tokens.

    The teacher's are layer-normed, which keeps their scale from outweighing the other terms, as the paper sums them
    unweighted.
    """
    teacher = F.layer_norm(teacher_features, teacher_features.shape[-1:]).detach()
    return F.mse_loss(projected_features, teacher)


def sample_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance (batch,) of each sample (batch, ...); the target gets no gradient."""
    return (prediction - target.detach()).square().flatten(1).mean(dim=1)


def data_share(sigma: Tensor) -> Tensor:
    """a_t of Eq. 8: the density of a logit-normal(0, 1) at sigma over its maximum, which it has at 0.5.

    It is 1 in the middle, where students learn from data, and falls to 0 at both ends, where they learn from the
    teacher. With l = logit(sigma) it is exp(-l^2 / 2) (1 + cosh l) / 2.
    """
    logit = torch.logit(sigma, eps=1e-6)
    return torch.exp(-logit.square() / 2) * (1 + torch.cosh(logit)) / 2


def timestep_aware_loss(data_errors: Tensor, teacher_errors: Tensor, sigma: Tensor) -> Tensor:
    """S(L_diff, L_out) of Eq. 8, as in SnapGen: the mean of a_t L_diff + (1 - a_t) (L_diff / L_out) L_out.

    Errors have shape (batch,), see `sample_errors`; a_t is `data_share` of sigma (batch,). The ratio brings the
    teacher's error to the scale of the data's and gets no gradient, so the value is the mean of `data_errors` at any
    sigma (where no error is 0), and only the gradient tells the two apart.
    """
    share = data_share(sigma)
    # A teacher that is matched exactly asks for nothing; the floor keeps the ratio finite there.
    ratio = (data_errors / teacher_errors.clamp_min(1e-12)).detach()
    return (share * data_errors + (1 - share) * ratio * teacher_errors).mean()


def dmd_normalizer(x0_student: Tensor, x0_real: Tensor) -> Tensor:
    """The mean of |x0_student - x0_real| over each sample (DMD2), shaped to divide a tensor (batch, ...)."""
    distance = (x0_student - x0_real).abs().flatten(1).mean(dim=1).clamp_min(1e-6)
    return per_sample(distance, x0_real)


def dmd_gradient(x0_student: Tensor, x0_critic: Tensor, x0_real: Tensor) -> Tensor:
    """Direction in which the student's samples (batch, ...) should not go (Eq. 9): x0_critic - x0_real, normed.

    Both estimates are of the student's samples with noise of level tau. Without its normaliser the mean gradient is
    tau^2 / (1 - tau)^2 times that of the KL divergence from the student's noised samples to the teacher's.
    """
    return (x0_critic - x0_real) / dmd_normalizer(x0_student, x0_real)


def dmd_loss(x0_student: Tensor, x0_critic: Tensor, x0_real: Tensor) -> Tensor:
    """A scalar whose gradient by x0_student is `dmd_gradient` over the number of elements; no other input gets any."""
    gradient = dmd_gradient(x0_student, x0_critic, x0_real).detach()
    return 0.5 * F.mse_loss(x0_student, (x0_student - gradient).detach())
