"""Sampling: exact where the path is known, and the same through ONNX Runtime as through torch."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from subdit.core.errors import CheckpointError
from subdit.core.errors import RunError
from subdit.core.errors import SampleError
from subdit.core.files import write_json
from subdit.space import get_space
from supernet.checkpoints import load_sub_dit
from supernet.checkpoints import save_model
from supernet.export.exporter import export_sub_dit
from supernet.flow_matching import sample_sigma
from supernet.flow_matching import shift_sigma
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.pictures import save_contact_sheet
from supernet.recipe import FEW_STEPS
from supernet.recipe import SamplingRecipe
from supernet.recipe import read_recipe
from supernet.sampling import Array
from supernet.sampling import euler_sigmas
from supernet.sampling import sample
from supernet.sampling import sample_euler

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
    save_model(model, folder / "student", recipe=FEW_STEPS)
    save_model(model, folder / "plain")
    save_model(supernet, folder / "supernet")
    export_sub_dit(model, folder / "exports" / "dit.onnx", recipe=FEW_STEPS)
    found = {"onnx": folder / "exports" / "dit.onnx"}
    if importlib.util.find_spec("ai_edge_litert") is not None or os.environ.get("CI") == "true":
        for precision in ("fp32", "fp16", "int8"):
            found[precision] = folder / "exports" / f"dit-{precision}.tflite"
            export_sub_dit(model, found[precision], recipe=FEW_STEPS, precision=precision)
    return found | {name: folder / name for name in ("student", "plain", "supernet")}


@pytest.mark.parametrize("options", [{}, {"steps": 2, "shift": 1.0}, {"steps": 1}])
def test_export_samples_what_the_checkpoint_does(models: dict[str, Path], options: dict[str, float]) -> None:
    exported = sample(models["onnx"], PROMPTS, seed=3, **options)  # type: ignore[arg-type]
    saved = sample(models["student"], PROMPTS, seed=3, **options)  # type: ignore[arg-type]
    assert exported.shape == (2, 1, 8, 8) and exported.std() > 0.1
    np.testing.assert_allclose(exported, saved, atol=1e-3)


# Recipes --------------------------------------------------------------------------------------------------------------


def test_a_model_is_sampled_as_it_was_made_for(models: dict[str, Path]) -> None:
    four = sample(models["student"], PROMPTS[:1])
    assert np.array_equal(four, sample(models["student"], PROMPTS[:1], steps=4, shift=3.0))
    many = sample(models["plain"], PROMPTS[:1])
    assert np.array_equal(many, sample(models["plain"], PROMPTS[:1], steps=28, shift=1.0))
    assert not np.array_equal(four, many)
    full = sample(models["supernet"], PROMPTS[:1])
    assert np.array_equal(full, sample(models["supernet"], PROMPTS[:1], steps=28, shift=1.0))


@pytest.mark.parametrize("name", ["student", "plain"])
def test_a_moved_or_renamed_checkpoint_draws_the_same(models: dict[str, Path], name: str, tmp_path: Path) -> None:
    drawn = sample(models[name], PROMPTS[:1])
    for folder in (tmp_path / "distilled", tmp_path / "elsewhere" / "4-steps"):
        shutil.copytree(models[name], folder)
        said: list[str] = []
        assert np.array_equal(sample(folder, PROMPTS[:1], say=said.append), drawn)
        steps = {"student": "4 Euler steps with shift 3", "plain": "28 Euler steps with shift 1"}[name]
        assert said == [f"Sampling in {steps}."]


def test_any_recipe_is_followed_and_diffusers_reads_it_without_a_warning(
    models: dict[str, Path], tmp_path: Path
) -> None:
    model = load_sub_dit(models["plain"])
    save_model(model, tmp_path / "any", recipe=SamplingRecipe(3, 2.5))
    expected = sample(models["plain"], PROMPTS[:1], steps=3, shift=2.5)
    assert np.array_equal(sample(tmp_path / "any", PROMPTS[:1]), expected)
    assert np.array_equal(
        sample(tmp_path / "any", PROMPTS[:1], steps=2), sample(models["plain"], PROMPTS[:1], steps=2, shift=2.5)
    )
    program = (
        "from diffusers import FlowMatchEulerDiscreteScheduler as Scheduler\n"
        f"read = Scheduler.from_pretrained({str(tmp_path / 'any')!r})\n"
        f"read.save_pretrained({str(tmp_path / 'again')!r})\n"
        "print(read.shift, read.config['_num_inference_steps'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("2.5 3\n", "")
    assert read_recipe(tmp_path / "again") == (SamplingRecipe(3, 2.5), "")


def test_checkpoints_of_earlier_versions_are_sampled_with_a_word(models: dict[str, Path], tmp_path: Path) -> None:
    pick = tmp_path / "picks" / "0123456789"
    shutil.copytree(models["student"], pick / "distilled", ignore=shutil.ignore_patterns("scheduler_config.json"))
    write_json(pick / "distilled.json", {"steps": 1000})
    said: list[str] = []
    drawn = sample(pick / "distilled", PROMPTS[:1], say=said.append)
    assert np.array_equal(drawn, sample(models["student"], PROMPTS[:1]))
    assert "no scheduler_config.json" in said[0] and "earlier version distilled" in said[0] and "--steps" in said[0]
    assert said[1] == "Sampling in 4 Euler steps with shift 3."
    shutil.copytree(pick / "distilled", tmp_path / "away")
    said.clear()
    assert np.array_equal(sample(tmp_path / "away", PROMPTS[:1], say=said.append), sample(models["plain"], PROMPTS[:1]))
    assert "no scheduler_config.json" in said[0] and said[1] == "Sampling in 28 Euler steps with shift 1."
    said.clear()
    sample(tmp_path / "away", PROMPTS[:1], steps=4, shift=3.0, say=said.append)
    assert said == ["Sampling in 4 Euler steps with shift 3."]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"_num_inference_steps": 0}, "0 steps"),
        ({"_num_inference_steps": "four"}, "'four' steps"),
        ({"_num_inference_steps": True}, "True steps"),
        ({"shift": -1.0}, "shift -1.0"),
        ({"shift": "3"}, "shift '3'"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas"),
        ({"invert_sigmas": True}, "invert_sigmas"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting"),
        ({"num_train_timesteps": 500}, "num_train_timesteps"),
        ({"_class_name": "DDIMScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ("[1]", "FlowMatchEulerDiscreteScheduler"),
        ("{", "damaged"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(
    models: dict[str, Path], change: dict[str, object] | str, named: str, tmp_path: Path
) -> None:
    path = tmp_path / "scheduler_config.json"
    config = json.loads((models["student"] / path.name).read_text())
    path.write_text(change if isinstance(change, str) else json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=named) as refused:
        read_recipe(tmp_path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_a_scheduler_without_steps_gives_its_shift(tmp_path: Path) -> None:
    FlowMatchEulerDiscreteScheduler(shift=2.0).save_pretrained(tmp_path)
    recipe, note = read_recipe(tmp_path)
    assert recipe == SamplingRecipe(28, 2.0) and "_num_inference_steps" in note


# Without torch --------------------------------------------------------------------------------------------------------

RUNTIMES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime", "onnx": "onnxruntime"}


def without(packages: set[str], arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """`subdit` in a process that cannot import the packages."""
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(packages)!r}))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from subdit.cli import main\n"
        "main()\n"
    )
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": root}
    )


NO_TRAINING = {"torch", "diffusers", "accelerate", "safetensors", "optuna", "onnx", "onnx_ir", "onnxscript", "sklearn"}


@pytest.mark.parametrize(
    ("file", "runtime"), [("onnx", "onnx"), *((p, r) for p in ("fp32", "fp16") for r in ("litert", "tflite"))]
)
def test_exports_draw_without_torch_in_the_runtime_alone(
    models: dict[str, Path], file: str, runtime: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(RUNTIMES[runtime]) is None or file not in models:
        pytest.skip(f"needs the extra {runtime}")
    others = {package for name, package in RUNTIMES.items() if name != runtime}
    asked = ["sample", str(models[file]), "--prompt", PROMPTS[0], "--prompt", PROMPTS[1], "--seed", "3"]
    ran = without(NO_TRAINING | others, asked, tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "samples.png"), ran.stderr
    assert "4 Euler steps with shift 3" in ran.stderr and "Traceback" not in ran.stderr
    torch_picture = save_contact_sheet(sample(models["student"], PROMPTS, seed=3), tmp_path / "torch.png", columns=2)
    with Image.open(tmp_path / "samples.png") as drawn, Image.open(torch_picture) as expected:
        off = np.abs(np.asarray(drawn, np.int32) - np.asarray(expected, np.int32))
    assert off.max() <= (1 if file != "fp16" else 3), "of 255 shades"


@pytest.mark.parametrize("options", [{}, {"steps": 2, "shift": 1.0}])
def test_a_tflite_file_draws_what_onnx_and_torch_do(models: dict[str, Path], options: dict[str, float]) -> None:
    if "fp32" not in models:
        pytest.skip("needs the extra litert")
    drawn = {name: sample(models[name], PROMPTS, seed=3, **options) for name in ("fp32", "fp16", "int8", "onnx")}  # type: ignore[arg-type]
    saved = sample(models["student"], PROMPTS, seed=3, **options)  # type: ignore[arg-type]
    np.testing.assert_allclose(drawn["fp32"], saved, atol=1e-3)
    np.testing.assert_allclose(drawn["fp32"], drawn["onnx"], atol=1e-3)
    for precision, limit in (("fp16", 5e-3), ("int8", 0.15)):
        off = float(np.sqrt(np.mean((drawn[precision] - saved) ** 2)) / saved.std())
        assert 1e-6 < off < limit, precision


def test_without_a_runtime_the_extra_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    for file, words in (("onnx", ["subdit[onnx]"]), ("fp32", ["LiteRT", "tflite-runtime", "subdit[litert]"])):
        if file in models:
            ran = without(set(RUNTIMES.values()), ["sample", str(models[file]), "--prompt", PROMPTS[0]], tmp_path)
            assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr
            assert all(word in ran.stderr.splitlines()[-1] for word in ["pip install", *words])


@pytest.mark.parametrize("file", ["onnx", "fp32"])
def test_a_cut_file_or_card_is_refused_in_a_sentence(models: dict[str, Path], file: str, tmp_path: Path) -> None:
    if file not in models:
        pytest.skip("needs the extra litert")
    whole, model = models[file].read_bytes(), tmp_path / models[file].name
    model.write_bytes(whole)
    card = model.with_suffix(".json")

    def refusal() -> str:
        with pytest.raises(SampleError) as refused:
            sample(model, PROMPTS)
        assert "\n" not in str(refused.value) and str(refused.value).endswith(".")
        return str(refused.value)

    assert "no sampling card" in refusal() and str(card) in refusal()
    whole_card = models[file].with_suffix(".json").read_text()
    described = json.loads(whole_card)
    for damaged in (
        whole_card[:40],
        "[]",
        "{}",
        json.dumps({**described, "steps": 0}),
        json.dumps({**described, "steps": "4"}),
        json.dumps({**described, "spec": {"space": "digits"}}),
        json.dumps({**described, "spec": []}),
    ):
        card.write_text(damaged)
        assert f"card {card} is damaged" in refusal(), damaged
    card.write_text(json.dumps({**described, "spec": get_space("mid-256").named_spec("tiny").to_dict()}))
    assert "but its sampling card says" in refusal()
    card.write_text(whole_card)
    for length in (0, 7, 40, 2000, len(whole) // 2, len(whole) - 1):
        model.write_bytes(whole[:length])
        assert "damaged" in refusal() and "export it again" in refusal()
    other = tmp_path / "diffusion_pytorch_model.safetensors"
    other.write_bytes(whole)
    with pytest.raises(SampleError, match=r"no exported model.*\.onnx or \.tflite.*folder"):
        sample(other, PROMPTS)


def test_int8_is_refused_by_tflite_runtime(models: dict[str, Path], tmp_path: Path) -> None:
    if importlib.util.find_spec("tflite_runtime") is None or "int8" not in models:
        pytest.skip("needs the extras litert and tflite")
    ran = without({"ai_edge_litert"}, ["sample", str(models["int8"]), "--prompt", PROMPTS[0]], tmp_path)
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr
    refusal = ran.stderr.splitlines()[-1]
    assert "tflite-runtime 2.14.0 cannot run" in refusal and "subdit[litert]" in refusal


# What is drawn --------------------------------------------------------------------------------------------------------


def test_samples_depend_on_prompt_and_seed_and_not_on_their_neighbours(models: dict[str, Path]) -> None:
    both = sample(models["onnx"], PROMPTS, steps=1, seed=1)
    assert np.array_equal(both[:1], sample(models["onnx"], PROMPTS[:1], steps=1, seed=1))
    assert not np.array_equal(both, sample(models["onnx"], PROMPTS, steps=1, seed=2))
    assert not np.array_equal(both[:1], sample(models["onnx"], PROMPTS[1:], steps=1, seed=1))
    done: list[float] = []
    sample(models["onnx"], PROMPTS, steps=1, progress=lambda at, total, note: done.append(at / total))
    assert done == [0.5, 1.0]


def test_guidance_leads_away_from_the_empty_prompt(models: dict[str, Path]) -> None:
    """In one step a sample is noise less the velocity, so that samples are related as velocities are."""
    options: dict[str, Any] = {"steps": 1, "seed": 1}
    plain, empty = (sample(models["student"], [prompt], **options) for prompt in (PROMPTS[0], ""))
    assert np.abs(plain - empty).max() > 0.01
    for scale in (0.5, 1.0, 2.5):
        drawn = sample(models["student"], PROMPTS[:1], guidance_scale=scale, **options)
        np.testing.assert_allclose(drawn, empty + scale * (plain - empty), atol=1e-4)
        exported = sample(models["onnx"], PROMPTS[:1], guidance_scale=scale, **options)
        np.testing.assert_allclose(exported, drawn, atol=5e-3)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_guidance_scale_that_cannot_be_is_refused(models: dict[str, Path], scale: float) -> None:
    with pytest.raises(SampleError, match="guidance scale"):
        sample(models["student"], PROMPTS, guidance_scale=scale)


def test_what_cannot_be_sampled_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="unknown word 'cat'"):
        sample(models["onnx"], ["a handwritten cat"])
    with pytest.raises(SampleError, match="0 steps"):
        sample(models["onnx"], PROMPTS, steps=0)
    with pytest.raises(SampleError, match="no model at"):
        sample(tmp_path / "nothing.onnx", PROMPTS)
    with pytest.raises(RunError, match="config.json"):
        sample(tmp_path, PROMPTS)


def test_pictures_have_a_cell_for_every_sample(tmp_path: Path) -> None:
    samples = np.full((13, 1, 8, 8), -1, dtype=np.float32)
    samples[12] = 1
    with Image.open(save_contact_sheet(samples, tmp_path / "sheet.png", columns=5)) as sheet:
        pixels = np.asarray(sheet)
    cells = [pixels[54 * row + 30, 54 * column + 30] for row in range(3) for column in range(5)]
    assert cells == [255] * 12 + [0] + [255] * 2, "light is -1, ink is 1"


def test_pictures_of_three_channels_have_colours(tmp_path: Path) -> None:
    samples = np.full((1, 3, 4, 4), -1, dtype=np.float32)
    samples[0, 0], samples[0, 1] = 1, 0
    with Image.open(save_contact_sheet(samples, tmp_path / "sheet.png", columns=1)) as sheet:
        assert sheet.mode == "RGB"
        assert sheet.getpixel((10, 10)) == (255, 127, 0)
