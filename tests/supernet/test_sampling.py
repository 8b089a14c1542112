"""Sampling: exact where the path is known, and the same through ONNX Runtime as through torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from subdit.errors import RunError
from subdit.errors import SampleError
from supernet.dit import redraw_
from supernet.elastic import ElasticDiT
from supernet.export import export_sub_dit
from supernet.flow_matching import sample_sigma
from supernet.flow_matching import shift_sigma
from supernet.pictures import save_contact_sheet
from supernet.sampling import Array
from supernet.sampling import euler_sigmas
from supernet.sampling import sample
from supernet.sampling import sample_euler
from supernet.space import get_space

SPACE = get_space("digits")
PROMPTS = ("a handwritten seven", "a handwritten zero")


def test_the_papers_four_steps() -> None:
    assert euler_sigmas(4, shift=3).tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert euler_sigmas(4).tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0])


@given(st.integers(1, 60), st.floats(0.2, 8))
def test_sigmas_fall_from_one_to_zero_and_agree_with_training(steps: int, shift: float) -> None:
    sigmas = euler_sigmas(steps, shift=shift)
    assert len(sigmas) == steps + 1 and sigmas[0] == pytest.approx(1) and sigmas[-1] == 0
    assert np.all(np.diff(sigmas) < 0)
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    np.testing.assert_allclose(sigmas, shift_sigma(even, shift).numpy(), atol=1e-12)


@given(st.integers(1, 12), st.floats(0.5, 4))
def test_straight_paths_are_integrated_exactly(steps: int, shift: float) -> None:
    """Towards one image the rectified path is a straight line: any number of steps arrives."""
    rng = np.random.default_rng(0)
    image, noise = rng.standard_normal((2, 3, 1, 4, 4)).astype(np.float32)

    def velocity(x: Array, timestep: Array) -> Array:
        return np.asarray((x - image) / (timestep / 1000).reshape(-1, 1, 1, 1), dtype=np.float32)

    np.testing.assert_allclose(sample_euler(velocity, noise, steps=steps, shift=shift), image, atol=1e-4)


def test_a_linear_field_shrinks_by_the_product_of_its_steps() -> None:
    noise = np.ones((2, 1, 2, 2), dtype=np.float32)
    times: list[float] = []

    def velocity(x: Array, timestep: Array) -> Array:
        times.append(float(timestep[0]))
        return x

    found = sample_euler(velocity, noise, steps=4, shift=3.0)
    np.testing.assert_allclose(found, np.full_like(noise, 0.9 * 0.85 * 0.75 * 0.5), rtol=1e-6)
    assert times == pytest.approx([1000, 900, 750, 500])


def test_training_sigmas_are_logit_normal() -> None:
    drawn = sample_sigma(20_000, generator=torch.Generator().manual_seed(0)).numpy()
    assert 0 < drawn.min() and drawn.max() < 1
    logits = np.log(drawn) - np.log1p(-drawn)
    assert logits.mean() == pytest.approx(0, abs=0.03) and logits.std() == pytest.approx(1, abs=0.03)
    shifted = sample_sigma(20_000, generator=torch.Generator().manual_seed(0), shift=3.0).numpy()
    np.testing.assert_allclose(shifted, 3 * drawn / (1 + 2 * drawn), rtol=1e-5)


# The verb -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sub-DiT as a checkpoint and as an export, and the supernet that it is of."""
    folder = tmp_path_factory.mktemp("models")
    supernet = ElasticDiT(space="digits")
    redraw_(supernet, seed=0)
    model = supernet.eval().extract(SPACE.decode(SPACE.enumerate(0, 1))[0])
    model.save_pretrained(folder / "distilled")
    model.save_pretrained(folder / "plain")
    supernet.save_pretrained(folder / "supernet")
    export_sub_dit(model, folder / "exports" / "dit.onnx", distilled=True)
    return {
        "onnx": folder / "exports" / "dit.onnx",
        "distilled": folder / "distilled",
        "plain": folder / "plain",
        "supernet": folder / "supernet",
    }


@pytest.mark.parametrize("options", [{}, {"steps": 2, "shift": 1.0}, {"steps": 1}])
def test_export_samples_what_the_checkpoint_does(models: dict[str, Path], options: dict[str, float]) -> None:
    exported = sample(models["onnx"], PROMPTS, seed=3, **options)  # type: ignore[arg-type]
    saved = sample(models["distilled"], PROMPTS, seed=3, **options)  # type: ignore[arg-type]
    assert exported.shape == (2, 1, 8, 8) and exported.std() > 0.1
    np.testing.assert_allclose(exported, saved, atol=1e-3)


def test_a_model_is_sampled_as_it_was_made_for(models: dict[str, Path]) -> None:
    four = sample(models["distilled"], PROMPTS[:1])
    assert np.array_equal(four, sample(models["distilled"], PROMPTS[:1], steps=4, shift=3.0))
    many = sample(models["plain"], PROMPTS[:1])
    assert np.array_equal(many, sample(models["plain"], PROMPTS[:1], steps=28, shift=1.0))
    assert not np.array_equal(four, many)
    assert sample(models["supernet"], PROMPTS[:1], steps=1).shape == (1, 1, 8, 8)


def test_samples_depend_on_prompt_and_seed_and_not_on_their_neighbours(models: dict[str, Path]) -> None:
    both = sample(models["onnx"], PROMPTS, steps=1, seed=1)
    assert np.array_equal(both[:1], sample(models["onnx"], PROMPTS[:1], steps=1, seed=1))
    assert not np.array_equal(both, sample(models["onnx"], PROMPTS, steps=1, seed=2))
    assert not np.array_equal(both[:1], sample(models["onnx"], PROMPTS[1:], steps=1, seed=1))
    done: list[float] = []
    sample(models["onnx"], PROMPTS, steps=1, progress=lambda at, total, note: done.append(at / total))
    assert done == [0.5, 1.0]


def test_what_cannot_be_sampled_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="unknown word 'cat'"):
        sample(models["onnx"], ["a handwritten cat"])
    with pytest.raises(SampleError, match="0 steps"):
        sample(models["onnx"], PROMPTS, steps=0)
    with pytest.raises(SampleError, match="no model at"):
        sample(tmp_path / "nothing.onnx", PROMPTS)
    with pytest.raises(RunError, match="config.json"):
        sample(tmp_path, PROMPTS)
    torn = tmp_path / "dit.onnx"
    torn.write_bytes(models["onnx"].read_bytes()[:2000])
    with pytest.raises(RunError, match="no sampling card"):
        sample(torn, PROMPTS)
    torn.with_suffix(".json").write_bytes(models["onnx"].with_suffix(".json").read_bytes())
    with pytest.raises(SampleError, match="damaged; export it again"):
        sample(torn, PROMPTS)


def test_pictures_have_a_cell_for_every_sample(tmp_path: Path) -> None:
    from PIL import Image

    samples = np.full((13, 1, 8, 8), -1, dtype=np.float32)
    samples[12] = 1
    with Image.open(save_contact_sheet(samples, tmp_path / "sheet.png", columns=5)) as sheet:
        pixels = np.asarray(sheet)
    cells = [pixels[54 * row + 30, 54 * column + 30] for row in range(3) for column in range(5)]
    assert cells == [255] * 12 + [0] + [255] * 2, "light is -1, ink is 1"
