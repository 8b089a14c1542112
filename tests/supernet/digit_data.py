"""The digits as tests take them: as a data set, some of them, their words as tensors, and what judges by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from subdit.space import get_space
from supernet.data.digits import DigitsDataSet
from supernet.data.digits import digits
from supernet.data.text import digit_words
from supernet.evaluation.conditioning import Conditioning
from supernet.evaluation.conditioning import Text
from supernet.evaluation.data_reference import reference_of_data_set
from supernet.evaluation.feature_spaces import PIXELS
from supernet.evaluation.judge import Judge
from supernet.evaluation.reference import Reference
from supernet.evaluation.reference import same_images


def digit_data(space: str = "digits", **counts: int) -> DigitsDataSet:
    """All digits, or of the splits named the first ones."""
    parts = {split: getattr(digits(), split).take(range(count)) for split, count in counts.items()}
    return DigitsDataSet(get_space(space), split=replace(digits(), **parts))


def word_tensors(captions: Sequence[str], space: str = "digits") -> tuple[Tensor, ...]:
    """Per text input of a space the embeddings (count, tokens, width) of captions."""
    return tuple(torch.from_numpy(digit_words(text).embed(captions)) for text in get_space(space).text_inputs)


def condition_on(captions: Sequence[str]) -> Conditioning:
    """Captions of digits as what samples are drawn for."""
    return Conditioning(len(captions), lambda rows: Text(word_tensors(captions[rows])), Text(word_tensors(("",))))


def digit_reference(**counts: int) -> Reference:
    """The digits as what samples are compared with."""
    return reference_of_data_set(digit_data(**counts), decode=same_images)


def digit_judge() -> Judge:
    """The digits' judge, in pixels."""
    return Judge(digit_reference(), PIXELS)
