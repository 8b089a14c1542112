"""Text encoders of transformers: CLIP, T5, Gemma and other language models, BERT and its kin.

Tokens are the last hidden states after the final norm, computed in float32 or bfloat16, since T5 overflows in
float16. Padding stands on the right, and its embeddings are zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from subdit.core.errors import DataError
from subdit.core.errors import SubditError
from subdit.core.errors import reason
from subdit.space import TextInput
from supernet.data.saved_model import refuse_config_file
from supernet.data.saved_model import refuse_numbers
from supernet.data.saved_model import refuse_size
from supernet.data.saved_model import weight_sizes
from supernet.data.text_encoder import PLAIN_TEMPLATE
from supernet.data.text_encoder import PRECISION
from supernet.data.text_encoder import EncodedText
from supernet.data.vae import module_digest
from supernet.model.placement import torch_device

BATCH = 32

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

UNUSED = "pooler."
"""Weights that the tokens do not pass; where a file lacks them, they are drawn at random."""


class TransformersTextEncoder:
    """A model of transformers with its tokenizer as a `TextEncoder`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        tokens: int,
        template: str = PLAIN_TEMPLATE,
        device: torch.device,
        precision: str = PRECISION,
    ) -> None:
        self.name = name
        self.tokens = tokens
        self.template = template
        self.device = device
        self.precision = precision
        self.model = model.eval().requires_grad_(False).to(self.device, PRECISIONS[precision])
        self.tokenizer = tokenizer
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.width = int(model.config.get_text_config().hidden_size)
        self._weights = module_digest(self.model, without=UNUSED)
        # Encoded alone, always: kernels may round differently for another batch size.
        self._null = self._encode_batch([""])

    @property
    def key(self) -> dict[str, Any]:
        return {
            "encoder": "transformers",
            "name": self.name,
            "class": type(self.model).__name__,
            # Before the weights, whose digest it changes: the first difference is the one that is told.
            "precision": self.precision,
            "weights": self._weights,
            "tokenizer": _tokenizer_digest(self.tokenizer),
            "tokens": self.tokens,
            "width": self.width,
            "template": self.template,
        }

    def encode(self, prompts: Sequence[str]) -> EncodedText:
        embeddings = np.zeros((len(prompts), self.tokens, self.width), dtype=np.float32)
        mask = np.zeros((len(prompts), self.tokens), dtype=np.bool_)
        written = [row for row, prompt in enumerate(prompts) if prompt.strip()]
        for start in range(0, len(written), BATCH):
            rows = written[start : start + BATCH]
            part = self._encode_batch([prompts[row] for row in rows])
            embeddings[rows], mask[rows] = part.embeddings, part.mask
        empty = sorted(set(range(len(prompts))) - set(written))
        embeddings[empty], mask[empty] = self._null.embeddings, self._null.mask
        return EncodedText(embeddings, mask)

    def truncated(self, prompts: Sequence[str]) -> npt.NDArray[np.bool_]:
        if not prompts:
            return np.zeros(0, dtype=np.bool_)
        rows = self.tokenizer([self._filled(prompt) for prompt in prompts], verbose=False)["input_ids"]
        return np.asarray([len(row) > self.tokens for row in rows])

    def _filled(self, prompt: str) -> str:
        return self.template.replace(PLAIN_TEMPLATE, prompt) if prompt.strip() else ""

    @torch.no_grad()
    def _encode_batch(self, prompts: Sequence[str]) -> EncodedText:
        found = self.tokenizer(
            [self._filled(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.tokens,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.device)
        mask = found["attention_mask"].bool()
        # Where a tokenizer marks neither beginning nor end, the empty prompt has no token, and nothing to attend to.
        mask[:, 0] |= ~mask.any(1)
        hidden = self.model(input_ids=found["input_ids"], attention_mask=mask.long()).last_hidden_state
        if not bool(torch.isfinite(hidden).all()):
            raise DataError(f"The text encoder {self.name!r} gives numbers that are not finite; use other weights.")
        hidden = hidden.float().masked_fill(~mask[..., None], 0)
        return EncodedText(hidden.cpu().numpy(), mask.cpu().numpy())


def load_transformers_text(
    text_input: TextInput,
    argument: str,
    *,
    template: str = PLAIN_TEMPLATE,
    device: str = "auto",
    precision: str = PRECISION,
) -> TransformersTextEncoder:
    """The plug-in `transformers`: a model and tokenizer that lie in the folder `argument`; raises `DataError`."""
    from transformers import AutoConfig
    from transformers import AutoTokenizer

    folder = Path(argument)
    if precision not in PRECISIONS:
        raise DataError(f"Text encoders do not compute in {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    # Not asked for on a terminal either: code that lies beside the weights.
    local = {"local_files_only": True, "trust_remote_code": False}
    refuse_config_file(folder)
    tensors, elements = weight_sizes(folder)
    try:
        with _silence():
            config = AutoConfig.from_pretrained(str(folder), **local)
            refuse_numbers(config.to_dict(), folder, tensors=tensors)
            refuse_size(lambda: _made(config), folder, elements=elements)
            model, told = _model_class(config).from_pretrained(
                str(folder), use_safetensors=True, output_loading_info=True, dtype=PRECISIONS[precision], **local
            )
        tokenizer = AutoTokenizer.from_pretrained(str(_tokenizer_folder(folder)), **local)
    except SubditError:
        raise
    # Files of a stranger may make anything raise anything; a tokenizer whose package is missing is an ImportError.
    except Exception as error:
        raise DataError(
            f"The text encoder at {folder} cannot be loaded ({reason(error)}); name a folder that transformers saved, "
            "with the tokenizer in it or in a folder 'tokenizer' in or beside it."
        ) from error
    if missing := sorted(key for key in told["missing_keys"] if not key.startswith(UNUSED)):
        raise DataError(f"The weights at {folder} lack {missing[0]!r} of {type(model).__name__}; name whole weights.")
    # Where there is none, transformers makes one of the class that belongs to the model, with an empty vocabulary.
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        raise DataError(
            f"There is no tokenizer with words at {folder}; put the files of the model's tokenizer there, or into a "
            "folder 'tokenizer' in or beside it."
        )
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(most, int) and text_input.tokens > most:
        raise DataError(
            f"The text encoder at {folder} reads at most {most} tokens, but the space's text input "
            f"{text_input.name!r} has {text_input.tokens}; lower them in the space."
        )
    try:
        return TransformersTextEncoder(
            model,
            tokenizer,
            name=text_input.name,
            tokens=text_input.tokens,
            template=template,
            device=torch_device(device),
            precision=precision,
        )
    except SubditError:
        raise
    # The empty prompt is encoded there: of a model of pictures, or of a tokenizer of another model, it cannot be.
    except Exception as error:
        raise DataError(
            f"The model {type(model).__name__} at {folder} gives no tokens for what its tokenizer reads "
            f"({reason(error)}); name a text encoder with its own tokenizer."
        ) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without transformers' progress bar and its report of weights, which is looked at here."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _model_class(config: Any) -> Any:
    import transformers

    if config.model_type in ("clip", "clip_text_model"):
        # Of a whole CLIP its half for text.
        return transformers.CLIPTextModel
    if type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING:
        # Of T5 and its kin the encoder alone.
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def _made(config: Any) -> Any:
    """The model that `from_pretrained` makes for a configuration, untrained."""
    model_class = _model_class(config)
    if hasattr(model_class, "from_config"):
        return model_class.from_config(config)
    return model_class(config.get_text_config())


def _tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer lies: with the model, in a folder in it, or, as in pipelines of diffusers, beside it."""
    beside = folder.resolve().parent / folder.resolve().name.replace("text_encoder", "tokenizer")
    for place in (folder, folder / "tokenizer", beside):
        if (place / "tokenizer_config.json").is_file():
            return place
    return folder


def _tokenizer_digest(tokenizer: Any) -> str:
    if tokenizer.is_fast:
        # Padding and truncation are set by each call, and then stand in there.
        told = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    else:
        told = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    told["special"] = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
