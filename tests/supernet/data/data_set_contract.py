"""What every data set must do; a plug-in's tests subclass `DataSetContract`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from subdit.core.errors import DataError
from subdit.space import SearchSpace
from subdit.space import TextInput
from supernet.data.data_set import DataSet
from supernet.data.data_set import TextBatch
from supernet.data.data_set import require_space
from supernet.data.data_set import space_key
from supernet.data.loader import BatchOrder
from supernet.data.loader import load_batches
from supernet.data.prompt_encoders import open_prompt_encoders
from supernet.data.splits import SPLITS
from supernet.data.text_encoder import EncodedText
from supernet.data.text_encoder import TextEncoder
from supernet.data.text_encoder import null_text


class DataSetContract:
    """A subclass gives the data set, the same one opened again, its space, and the encoders that its text is of."""

    TOLERANCE = 0.0
    """Of the embeddings, by the dtype that they are stored in."""

    @pytest.fixture
    def data_set(self) -> DataSet:
        raise NotImplementedError

    @pytest.fixture
    def again(self) -> DataSet:
        raise NotImplementedError

    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError

    @pytest.fixture
    def encoders(self) -> Sequence[TextEncoder]:
        raise NotImplementedError

    def test_it_is_one_of_its_space(self, data_set: DataSet, space: SearchSpace) -> None:
        assert isinstance(data_set, DataSet)
        assert require_space(data_set, space) is data_set
        assert json.loads(json.dumps(data_set.key)) == data_set.key
        assert data_set.key["space"] == space_key(space)
        assert list(data_set.key["text"]) == [text.name for text in space.text_inputs]

    def test_it_is_refused_for_other_spaces(self, data_set: DataSet, space: SearchSpace) -> None:
        from dataclasses import replace

        first, *others = space.text_inputs
        wider = replace(space, text_inputs=(TextInput(first.name, first.width + 1, first.tokens), *others))
        larger = replace(space, latent_size=2 * space.latent_size)
        for other, named in ((wider, f"text_inputs {first.name}"), (larger, "latent_size")):
            with pytest.raises(DataError, match=named):
                require_space(data_set, other)

    def test_each_split_has_rows_and_no_picture_is_in_two(self, data_set: DataSet) -> None:
        ids: list[str] = []
        for split in SPLITS:
            assert data_set.count(split) > 0
            ids += data_set.read(split, range(data_set.count(split))).ids
        assert len(set(ids)) == len(ids)

    def test_rows_are_what_the_space_takes(self, data_set: DataSet, space: SearchSpace) -> None:
        for split in SPLITS:
            batch = data_set.read(split, [0, 1])
            size = space.latent_size
            assert batch.latents.shape == (2, space.latent_channels, size, size)
            assert batch.latents.dtype == torch.float32 and bool(batch.latents.isfinite().all())
            shapes = [tuple(text.shape) for text in batch.text.embeddings]
            assert shapes == [(2, text.tokens, text.width) for text in space.text_inputs]
            assert batch.text.mask.shape == (2, space.text_tokens) and batch.text.mask.dtype == torch.bool
            for mask in batch.text.mask.split([text.tokens for text in space.text_inputs], dim=1):
                assert bool(mask.any(1).all())

    def test_rows_come_in_the_order_asked_for(self, data_set: DataSet) -> None:
        count = data_set.count("train")
        rows = [count - 1, 0, count // 2, 0]
        together = data_set.read("train", rows)
        for place, row in enumerate(rows):
            alone = data_set.read("train", [row])
            assert alone.ids[0] == together.ids[place]
            assert torch.equal(alone.latents[0], together.latents[place])
            assert torch.equal(alone.text.embeddings[0][0], together.text.embeddings[0][place])
        assert [record.id for record in data_set.records("train", rows)] == list(together.ids)

    def test_text_is_that_of_the_pictures_caption(self, data_set: DataSet, encoders: Sequence[TextEncoder]) -> None:
        for split in SPLITS:
            rows = range(data_set.count(split))
            batch = data_set.read(split, rows)
            captions = [record.caption for record in data_set.records(split, rows)]
            assert all(captions) and all(record.split == split for record in data_set.records(split, rows))
            encoded = [encoder.encode(captions) for encoder in encoders]
            for stored, text in zip(batch.text.embeddings, encoded, strict=True):
                np.testing.assert_allclose(stored.float().numpy(), text.embeddings, atol=self.TOLERANCE)
            assert np.array_equal(batch.text.mask.numpy(), np.concatenate([text.mask for text in encoded], axis=1))

    def test_the_null_text_is_that_of_sampling(self, data_set: DataSet, encoders: Sequence[TextEncoder]) -> None:
        """Bit for bit, in the dtype that it is stored in."""
        stored = data_set.null_text()
        assert len(stored) == 1
        for tensor, encoder in zip(stored.embeddings, encoders, strict=True):
            assert torch.equal(tensor, torch.from_numpy(null_text(encoder).embeddings).to(tensor.dtype))
        masks = np.concatenate([null_text(encoder).mask for encoder in encoders], axis=1)
        assert np.array_equal(stored.mask.numpy(), masks)

    def test_its_encoders_are_opened_again_for_prompts(
        self, data_set: DataSet, encoders: Sequence[TextEncoder]
    ) -> None:
        null = data_set.null_text()
        opened = open_prompt_encoders(data_set.key["text"], data_set.places, null, device="cpu")
        assert [encoder.key for encoder in opened.encoders] == [encoder.key for encoder in encoders]
        (record,) = data_set.records("train", [0])
        trained, prompted = data_set.read("train", [0]).text, opened.encode(["", record.caption, ""])
        assert torch.equal(prompted.mask, torch.cat([null.mask, trained.mask, null.mask]))
        for text, empty, caption in zip(prompted.embeddings, null.embeddings, trained.embeddings, strict=True):
            assert torch.equal(text[[0, 2]], empty.repeat(2, 1, 1)), "the bits of training"
            torch.testing.assert_close(text[1:2], caption, atol=self.TOLERANCE, rtol=0)

    def test_captions_that_are_dropped_become_the_empty_prompt(self, data_set: DataSet) -> None:
        text, null = data_set.read("train", [0, 1, 2]).text, data_set.null_text()
        dropped = text.with_null(torch.tensor([False, True, False]), null)
        for after, before, empty in zip(dropped.embeddings, text.embeddings, null.embeddings, strict=True):
            assert after.dtype == before.dtype
            assert torch.equal(after[1:2], empty) and torch.equal(after[[0, 2]], before[[0, 2]])
        assert torch.equal(dropped.mask[1:2], null.mask) and torch.equal(dropped.mask[[0, 2]], text.mask[[0, 2]])

    def test_the_empty_prompt_has_the_bits_of_training_where_a_device_rounds_otherwise(
        self, data_set: DataSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        null = data_set.null_text()
        opened = open_prompt_encoders(data_set.key["text"], data_set.places, null, device="cpu")
        for encoder in opened.encoders:
            encode = encoder.encode

            def rounded(prompts: Sequence[str], encode: Any = encode) -> EncodedText:
                text = encode(prompts)
                return EncodedText(text.embeddings * np.float32(1.001), text.mask)

            monkeypatch.setattr(encoder, "encode", rounded)
        for text, empty in zip(opened.encode(["", ""]).embeddings, null.embeddings, strict=True):
            assert torch.equal(text, empty.repeat(2, 1, 1))

    def test_another_null_text_than_samplings_is_refused(self, data_set: DataSet) -> None:
        null = data_set.null_text()
        other = TextBatch(tuple(1.1 * tensor for tensor in null.embeddings), null.mask)
        masked = TextBatch(null.embeddings, ~null.mask)
        for forged in (other, masked):
            with pytest.raises(DataError, match="another empty prompt than in training"):
                open_prompt_encoders(data_set.key["text"], data_set.places, forged, device="cpu")

    def test_another_encoder_than_trainings_is_refused(self, data_set: DataSet) -> None:
        name, key = next(iter(data_set.key["text"].items()))
        keys = {**data_set.key["text"], name: {**key, "weights": "0123456789abcdef"}}
        with pytest.raises(DataError, match=f"text encoder {name} weights"):
            open_prompt_encoders(keys, data_set.places, data_set.null_text(), device="cpu")

    def test_the_same_data_set_opened_again_is_the_same(self, data_set: DataSet, again: DataSet) -> None:
        assert data_set.digest == again.digest and data_set.key == again.key
        assert torch.equal(data_set.read("judge", [1]).latents, again.read("judge", [1]).latents)

    def test_workers_read_what_one_process_reads(self, data_set: DataSet) -> None:
        assert pickle.loads(pickle.dumps(data_set)).read("train", [1]).ids == data_set.read("train", [1]).ids
        order = BatchOrder(data_set.count("train"), 8)
        alone, beside = (list(load_batches(data_set, order, steps=range(2, 5), workers=n)) for n in (0, 1))
        for one, other in zip(alone, beside, strict=True):
            assert one.ids == other.ids
            assert torch.equal(one.latents, other.latents)
