"""Text encoders: the words of the digits, and CLIP, T5, BERT and Gemma of transformers, loaded as any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from subdit.core.errors import DataError
from subdit.space import TextInput
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import load_text_encoder
from supernet.data.text_encoder import text_encoder_names
from supernet.data.transformers_text import TransformersTextEncoder
from tests.supernet.data.text_encoder_contract import TextEncoderContract
from tests.supernet.data.tiny_models import save_bert
from tests.supernet.data.tiny_models import save_clip
from tests.supernet.data.tiny_models import save_gemma
from tests.supernet.data.tiny_models import save_t5

Save = Callable[[Path], Path]
WIDTHS = {save_clip: 16, save_t5: 24, save_bert: 20, save_gemma: 16}
TOKENS = 9


def load(folder: Path, save: Save, *, tokens: int = TOKENS, template: str = "{}") -> TextEncoder:
    return load_text_encoder(TextInput("text", WIDTHS[save], tokens), str(folder), template=template, device="cpu")


class TestWords(TextEncoderContract):
    PROMPTS = ("a handwritten seven", "a handwritten two", "seven")

    @pytest.fixture
    def encoder(self) -> TextEncoder:
        return load_text_encoder(TextInput("words", 32, 4), "words")

    again = encoder


class TransformersContract(TextEncoderContract):
    """What encoders of transformers have in common."""

    SAVE: Save
    PROMPTS = ("a red square", "a blue circle on white", "a green circle", "small red square")
    CUT_SHORT = "a picture of a red square on white a picture of a blue circle on black"

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return cls.SAVE(tmp_path_factory.mktemp("text") / "model")

    @pytest.fixture
    def encoder(self, folder: Path) -> TextEncoder:
        return load(folder, type(self).SAVE)

    @pytest.fixture
    def again(self, folder: Path) -> TextEncoder:
        return load(folder, type(self).SAVE)

    def test_padding_is_zeros_on_the_right(self, encoder: TextEncoder) -> None:
        text = encoder.encode(self.PROMPTS)
        assert (np.diff(text.mask.astype(int), axis=1) <= 0).all()
        assert not text.embeddings[~text.mask].any()
        assert np.abs(text.embeddings[text.mask]).min(axis=-1).max() > 0

    def test_tokens_do_not_depend_on_the_padding(self, folder: Path, encoder: TextEncoder) -> None:
        longer = load(folder, type(self).SAVE, tokens=TOKENS + 3).encode(self.PROMPTS)
        text = encoder.encode(self.PROMPTS)
        np.testing.assert_allclose(longer.embeddings[:, :TOKENS], text.embeddings, atol=1e-5)
        assert not longer.mask[:, TOKENS:].any()

    def test_they_are_the_models_last_hidden_states(self, encoder: TextEncoder) -> None:
        assert isinstance(encoder, TransformersTextEncoder)
        prompt = self.PROMPTS[0]
        ids = encoder.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = encoder.model(input_ids=ids).last_hidden_state[0].numpy()
        found = encoder.encode([prompt])
        np.testing.assert_allclose(found.embeddings[0][found.mask[0]], expected, atol=1e-5)

    def test_a_template_holds_the_prompt_but_not_the_empty_one(self, folder: Path, encoder: TextEncoder) -> None:
        framed = load(folder, type(self).SAVE, template="a picture of {}")
        expected = encoder.encode(["a picture of a red square", ""]).embeddings
        assert np.array_equal(framed.encode(["a red square", ""]).embeddings, expected)
        assert framed.key != encoder.key


class TestClip(TransformersContract):
    SAVE = staticmethod(save_clip)


class TestT5(TransformersContract):
    SAVE = staticmethod(save_t5)


class TestBert(TransformersContract):
    SAVE = staticmethod(save_bert)


class TestGemma(TransformersContract):
    SAVE = staticmethod(save_gemma)


def test_the_empty_prompt_is_the_same_where_rounding_depends_on_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels may round otherwise for another batch size, as those of a GPU do; this model does so on purpose."""
    from transformers import BertModel

    forward = BertModel.forward

    def rounding_by_batch(self: BertModel, input_ids: torch.Tensor, **options: object) -> object:
        output = forward(self, input_ids=input_ids, **options)
        output.last_hidden_state = output.last_hidden_state + 1e-6 * len(input_ids)
        return output

    monkeypatch.setattr(BertModel, "forward", rounding_by_batch)
    encoder = load(save_bert(tmp_path), save_bert)
    alone = encoder.encode([""]).embeddings
    assert np.array_equal(encoder.encode([""] * 31).embeddings, np.repeat(alone, 31, axis=0))
    assert np.array_equal(encoder.encode(["a red square", "", "a circle"]).embeddings[1], alone[0])


def test_other_weights_and_other_tokenizers_have_another_key(tmp_path: Path) -> None:
    save_clip(tmp_path / "one")
    before = load(tmp_path / "one", save_clip).key
    from transformers import CLIPTextModel

    model = CLIPTextModel.from_pretrained(str(tmp_path / "one"))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    model.save_pretrained(str(tmp_path / "one"))
    other = load(tmp_path / "one", save_clip).key
    assert other["weights"] != before["weights"] and other["tokenizer"] == before["tokenizer"]
    file = tmp_path / "one" / "tokenizer.json"
    file.write_text(file.read_text().replace('"red"', '"crimson"'))
    assert load(tmp_path / "one", save_clip).key["tokenizer"] != before["tokenizer"]


def test_the_text_half_of_a_whole_clip_with_the_tokenizer_beside_it(tmp_path: Path) -> None:
    from transformers import CLIPConfig
    from transformers import CLIPModel
    from transformers import CLIPTextConfig

    save_clip(tmp_path / "half")
    text = CLIPTextConfig.from_pretrained(str(tmp_path / "half"))
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"image_size": 8, "patch_size": 4}
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=8))
    whole.save_pretrained(str(tmp_path / "pipeline" / "text_encoder"))
    (tmp_path / "pipeline" / "tokenizer").mkdir()
    for file in (tmp_path / "half").glob("tokenizer*"):
        file.rename(tmp_path / "pipeline" / "tokenizer" / file.name)
    encoder = load(tmp_path / "pipeline" / "text_encoder", save_clip)
    assert encoder.key["class"] == "CLIPTextModel"
    ids = encoder.tokenizer("a red square", return_tensors="pt")["input_ids"]  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = whole.text_model(input_ids=ids).last_hidden_state[0].numpy()
    np.testing.assert_allclose(encoder.encode(["a red square"]).embeddings[0, : len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("reference", "text_input", "template", "said"),
    [
        ("nowhere", TextInput("text", 16, 9), "{}", "no text encoder 'nowhere'"),
        ("MODEL", TextInput("text", 17, 9), "{}", "has width 16, but the space's text input 'text' has 17"),
        ("MODEL", TextInput("text", 16, 13), "{}", "reads at most 12 tokens"),
        ("MODEL", TextInput("text", 16, 9), "no place", "must hold {} once"),
        ("EMPTY", TextInput("text", 16, 9), "{}", "cannot be loaded"),
        ("words:x", TextInput("words", 32, 4), "{}", "neither an argument nor a template"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(
    reference: str, text_input: TextInput, template: str, said: str, tmp_path: Path
) -> None:
    save_clip(tmp_path / "MODEL")
    (tmp_path / "EMPTY").mkdir()
    if (tmp_path / reference).exists():
        reference = str(tmp_path / reference)
    with pytest.raises(DataError, match=said) as caught:
        load_text_encoder(text_input, reference, template=template, device="cpu")
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from safetensors.torch import save_file

    save_t5(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("encoder.block.1.layer.1.DenseReluDense.wo.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match="lack 'encoder.block.1"):
        load(tmp_path, save_t5)


def test_weights_in_pickles_are_refused(tmp_path: Path) -> None:
    save_t5(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be loaded"):
        load(tmp_path, save_t5)


@pytest.mark.parametrize("save", WIDTHS)
def test_bfloat16_is_near_and_another_key(save: Save, tmp_path: Path) -> None:
    folder, text_input = str(save(tmp_path)), TextInput("text", WIDTHS[save], TOKENS)
    full, half = (
        load_text_encoder(text_input, folder, device="cpu", precision=precision)
        for precision in ("float32", "bfloat16")
    )
    prompts = ["a red square", "", "a blue circle on white"]
    one, other = full.encode(prompts), half.encode(prompts)
    assert np.array_equal(one.mask, other.mask)
    assert 0 < np.abs(one.embeddings - other.embeddings).max() < 0.1 * np.abs(one.embeddings).max()
    assert np.array_equal(half.encode([""]).embeddings[0], other.embeddings[1])
    assert full.key != half.key
    with pytest.raises(DataError, match="do not compute in 'float16'"):
        load_text_encoder(text_input, folder, device="cpu", precision="float16")


@pytest.mark.parametrize("save", [save_t5, save_bert, save_gemma])
def test_a_model_without_a_tokenizer_is_refused(save: Save, tmp_path: Path) -> None:
    """Of these, transformers makes one without words, to which all captions of a length are alike."""
    save(tmp_path)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(DataError, match="no tokenizer with words"):
        load(tmp_path, save)


def test_a_tokenizer_that_needs_another_package_is_one_sentence(tmp_path: Path) -> None:
    save_t5(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    (tmp_path / "spiece.model").write_bytes(b"no sentencepiece")
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        load(tmp_path, save_t5)
    assert "\n" not in str(caught.value)


def test_models_that_are_no_text_encoders_are_one_sentence(tmp_path: Path) -> None:
    from transformers import ViTConfig
    from transformers import ViTModel

    save_clip(tmp_path / "pictures")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4)).save_pretrained(str(tmp_path / "pictures"))
    save_clip(tmp_path / "foreign")
    file = tmp_path / "foreign" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["post_processor"]["special_tokens"]["<start>"]["ids"] = [1000]
    file.write_text(json.dumps(tokenizer))
    for name in ("pictures", "foreign"):
        with pytest.raises(DataError, match="gives no tokens|cannot be loaded") as caught:
            load(tmp_path / name, save_clip)
        assert "\n" not in str(caught.value)


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    from transformers import T5EncoderModel

    save_t5(tmp_path)
    model = T5EncoderModel.from_pretrained(str(tmp_path))
    torch.nn.init.constant_(model.encoder.final_layer_norm.weight, float("nan"))
    model.save_pretrained(str(tmp_path))
    with pytest.raises(DataError, match="not finite"):
        load(tmp_path, save_t5)


def test_encoders_of_other_packages_come_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting.py").write_text(
        "from supernet.data.text import digit_words\n"
        "def make(text_input, argument, *, template, device, precision):\n"
        "    assert argument == 'loud'\n"
        "    return digit_words(text_input)\n"
        "def broken(text_input, argument, *, template, device, precision):\n"
        "    return object()\n"
    )
    folder = tmp_path / "shouting-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[subdit.text_encoders]\nshouting = shouting:make\nbroken = shouting:broken\ngone = shouting:gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"shouting", "words", "transformers"} <= set(text_encoder_names())
    assert load_text_encoder(TextInput("words", 8, 3), "shouting:loud").width == 8
    with pytest.raises(DataError, match="makes no `TextEncoder`"):
        load_text_encoder(TextInput("words", 8, 3), "broken")
    with pytest.raises(DataError, match="'gone' cannot be imported"):
        load_text_encoder(TextInput("words", 8, 3), "gone")
