"""Text encoders and autoencoders of real classes with few weights, saved to folders, to be loaded as any other."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = (
    *("a", "an", "of", "picture", "red", "green", "blue", "square", "circle", "on", "white", "black", "small", "large"),
    *(f"word{number}" for number in range(30)),
)


def save_tokenizer(folder: Path, *, begin: str | None, end: str | None, pad: str) -> int:
    """A tokenizer of whole words that sets `begin` and `end` around a prompt; returns the size of its vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys(token for token in (pad, begin, end, "<unk>") if token))
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    around = [token for token in (begin, "$A", end) if token]
    tokenizer.post_processor = TemplateProcessing(
        single=" ".join(around), special_tokens=[(token, vocabulary[token]) for token in (begin, end) if token]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=begin, eos_token=end, unk_token="<unk>"
    )
    fast.save_pretrained(str(folder))
    return len(vocabulary)


def save_clip(folder: Path, *, width: int = 16, positions: int = 12) -> Path:
    from transformers import CLIPTextConfig
    from transformers import CLIPTextModel

    size = save_tokenizer(folder, begin="<start>", end="<end>", pad="<end>")
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        projection_dim=width,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
    )
    return _save(CLIPTextModel, config, folder)


def save_t5(folder: Path, *, width: int = 24) -> Path:
    from transformers import T5Config
    from transformers import T5EncoderModel

    size = save_tokenizer(folder, begin=None, end="</s>", pad="<pad>")
    config = T5Config(vocab_size=size, d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=3)
    return _save(T5EncoderModel, config, folder)


def save_bert(folder: Path, *, width: int = 20) -> Path:
    from transformers import BertConfig
    from transformers import BertModel

    size = save_tokenizer(folder, begin="[CLS]", end="[SEP]", pad="[PAD]")
    config = BertConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    # As sentence encoders are often saved: without the layer that pools.
    BertModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    return folder


def save_gemma(folder: Path, *, width: int = 16) -> Path:
    from transformers import GemmaConfig
    from transformers import GemmaModel

    size = save_tokenizer(folder, begin="<bos>", end="<eos>", pad="<pad>")
    config = GemmaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
    )
    return _save(GemmaModel, config, folder)


def _save(model_class: type, config: object, folder: Path) -> Path:
    torch.manual_seed(0)
    model_class(config).save_pretrained(str(folder))  # type: ignore[attr-defined]
    return folder


def tiny_vae(kind: str) -> torch.nn.Module:
    """An autoencoder of RGB pictures to latents of 4 channels (of 16 for Qwen's) at a half or an eighth of the size."""
    import diffusers

    torch.manual_seed(0)
    if kind == "kl":
        return diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=2,
            latent_channels=4,
            layers_per_block=1,
            scaling_factor=1.5,
            shift_factor=0.1,
        )
    if kind == "tiny":
        return diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=4,
            upsampling_scaling_factor=2,
        )
    if kind == "dc":
        return diffusers.AutoencoderDC(
            latent_channels=4,
            attention_head_dim=8,
            encoder_block_out_channels=(8, 16),
            decoder_block_out_channels=(8, 16),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_qkv_multiscales=((), ()),
            decoder_qkv_multiscales=((), ()),
            scaling_factor=0.7,
        )
    assert kind == "qwen"
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.0, 2.0, 1.5],
    )


VAES = ("kl", "tiny", "dc", "qwen")


def save_vae(folder: Path, kind: str) -> Path:
    tiny_vae(kind).save_pretrained(str(folder))
    return folder
