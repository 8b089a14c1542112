"""Models whose files ask for what nobody has: refused in one sentence, before anything is allocated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from subdit.core.errors import DataError
from subdit.space import TextInput
from supernet.data.saved_model import MOST_LAYERS
from supernet.data.saved_model import refuse_numbers
from supernet.data.saved_model import refuse_size
from supernet.data.saved_model import weight_sizes
from supernet.data.text_encoder import load_text_encoder
from supernet.data.vae import load_vae
from tests.supernet.data.tiny_models import save_bert
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_gemma
from tests.supernet.data.tiny_models import save_t5
from tests.supernet.data.tiny_models import save_vae

Save = Callable[[Path], Path]
WIDTHS = {save_clip: 16, save_t5: 24, save_bert: 20, save_gemma: 16}


def change(folder: Path, **stated: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | stated))


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        load()
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


@pytest.mark.parametrize(
    ("save", "stated", "said"),
    [
        (save_gemma, {"rope_parameters": {"rope_type": "default", "rope_theta": 10**400}}, "without end"),
        (save_gemma, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e300}}, "rope_theta as 1e+300"),
        (save_gemma, {"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "rope_theta as nan"),
        (save_gemma, {"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, "rope_theta as 0"),
        (save_gemma, {"vocab_size": 10**12}, "vocab_size as 1,000,000,000,000"),
        (save_gemma, {"vocab_size": 10**300}, "vocab_size as a number without end"),
        (save_gemma, {"vocab_size": 10**9}, "asks for 16,000,"),
        (save_gemma, {"head_dim": 10**9}, "asks for "),
        (save_gemma, {"num_hidden_layers": 10**9}, "num_hidden_layers as 1,000,000,000"),
        (save_clip, {"max_position_embeddings": 10**9}, "asks for "),
        (save_t5, {"num_layers": 10**6}, "num_layers as 1,000,000"),
        (save_t5, {"relative_attention_max_distance": 10**400}, "without end"),
        (save_bert, {"type_vocab_size": 10**11}, "asks for "),
        (save_bert, {"num_attention_heads": 0}, "cannot be loaded"),
        (save_bert, {"vocab_size": [1, 2]}, "cannot be loaded"),
        (
            save_bert,
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}},
            "custom code",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:60]),
)
def test_text_encoders_that_cannot_be_are_refused(
    save: Save, stated: dict[str, object], said: str, tmp_path: Path
) -> None:
    change(save(tmp_path), **stated)
    text_input = TextInput("text", WIDTHS[save], 9)
    assert said in refused(lambda: load_text_encoder(text_input, str(tmp_path), device="cpu"))


def test_what_the_weights_lack_is_not_made_up(tmp_path: Path) -> None:
    """Of a file without a tensor, the size in the configuration is what would be allocated and drawn at random."""
    file = save_gemma(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("embed_tokens.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    change(tmp_path, vocab_size=10**11)
    said = refused(lambda: load_text_encoder(TextInput("text", 16, 9), str(tmp_path), device="cpu"))
    assert "asks for 1,600,000,0" in said


def test_a_tokenizer_that_is_damaged_is_one_sentence(tmp_path: Path) -> None:
    (save_clip(tmp_path) / "tokenizer.json").write_text('{"model": {}}')
    assert "cannot be loaded" in refused(lambda: load_text_encoder(TextInput("text", 16, 9), str(tmp_path)))


def test_a_config_file_larger_than_any_is_not_read(tmp_path: Path) -> None:
    (save_clip(tmp_path / "clip") / "config.json").write_bytes(b" " * ((1 << 24) + 1))
    assert "16,777,216 bytes" in refused(lambda: load_text_encoder(TextInput("text", 16, 9), str(tmp_path / "clip")))
    (save_vae(tmp_path / "vae", "kl") / "config.json").write_bytes(b" " * ((1 << 24) + 1))
    assert "16,777,216 bytes" in refused(lambda: load_vae(tmp_path / "vae", device=torch.device("cpu")))


@pytest.mark.parametrize(
    ("kind", "stated", "said"),
    [
        ("kl", {"layers_per_block": 10**8}, "layers_per_block as 100,000,000"),
        ("kl", {"block_out_channels": [8, 10**6]}, "asks for "),
        ("kl", {"latent_channels": 10**12}, "latent_channels as 1,000,000,000,000"),
        ("kl", {"latent_channels": "many"}, "cannot be loaded"),
        ("kl", {"norm_num_groups": 0}, "cannot be loaded"),
        ("tiny", {"num_encoder_blocks": [10**7, 1]}, "num_encoder_blocks as 10,000,000"),
        ("dc", {"encoder_layers_per_block": [10**7, 1]}, "encoder_layers_per_block as 10,000,000"),
        ("qwen", {"base_dim": 10**6}, "asks for "),
        ("qwen", {"num_res_blocks": 10**7}, "num_res_blocks as 10,000,000"),
    ],
    ids=str,
)
def test_autoencoders_that_cannot_be_are_refused(
    kind: str, stated: dict[str, object], said: str, tmp_path: Path
) -> None:
    change(save_vae(tmp_path, kind), **stated)
    assert said in refused(lambda: load_vae(tmp_path, device=torch.device("cpu")))


def test_numbers_that_models_have_pass(tmp_path: Path) -> None:
    """The base of some language models, tokens of others, and a length that stands for none."""
    config = {"rope_theta": 5e8, "vocab_size": 262_208, "time_step_limit": [0.0, float("inf")], "mask": -3.4e38}
    config |= {
        "max_position_embeddings": 10_485_760,
        "num_hidden_layers": MOST_LAYERS - 1,
        "tied": True,
        "block_size": 4096,
    }
    refuse_numbers(config, tmp_path, tensors=200)
    refuse_numbers({"num_experts": 3000}, tmp_path, tensors=5000)


def test_a_model_is_measured_without_its_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1000, 300), "b": torch.zeros(())}, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(7)}, tmp_path / "two.safetensors")
    (tmp_path / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    assert weight_sizes(tmp_path) == (3, 300_008)
    refuse_size(lambda: torch.nn.Linear(1000, 10_000, bias=False), tmp_path, elements=1)
    with pytest.raises(DataError, match="asks for 1,000,000,000,000 numbers"):
        refuse_size(lambda: torch.nn.Linear(10**6, 10**6, bias=False), tmp_path, elements=10**9)
