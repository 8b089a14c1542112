"""Two training-free proxies from the literature, adapted to a DiT with inherited weights.

Both are scores of which more is better, so their proxies are negative.
"""

from __future__ import annotations

from nas.proxies._inherited import Inherited
from subdit.space import SubDiTSpec

PROBES = 64
"""Validation triples that are evaluated, evenly over the noise levels."""


class ActivationCodes(Inherited):
    """NASWOT: how differently a network's units react to different inputs (Mellor et al., "Neural architecture search
    without training", ICML 2021): the log determinant of the kernel of agreeing on-off codes of its units.

    Codes are the signs of what enters the FFNs' GELU, per token of the middle stage's and both other stages' blocks, in
    place of the paper's ReLUs; they are divided by their number, so that a network does not win by its units' number
    alone. It was made for networks at initialisation; here the weights are the supernet's.
    """

    id = "activation_codes"
    unit = "minus NASWOT's log determinant of activation codes, inherited weights"

    def _evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.evaluation.training_free import activation_code_score

        return -activation_code_score(self._supernet, spec, self._data.spread(PROBES))


class SynapticDiversity(Inherited):
    """DSS: synaptic diversity of attention and saliency of FFNs (Zhou et al., "Training-free transformer architecture
    search", CVPR 2022), made for vision transformers.

    Sum over attention matrices of |dL/dW|_nuclear |W|_nuclear, and over FFN matrices of |dL/dW * W| summed. L is the
    flow-matching loss on fixed triples instead of the sum of outputs to an input of ones, which adaLN and trained
    weights would make meaningless.
    """

    id = "synaptic_diversity"
    unit = "minus the logarithm of DSS, inherited weights"

    def _evaluate(self, spec: SubDiTSpec) -> float:
        from supernet.evaluation.training_free import synaptic_diversity_score

        return -synaptic_diversity_score(self._supernet, spec, self._data.spread(PROBES))
