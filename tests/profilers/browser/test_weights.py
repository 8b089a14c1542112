"""The generator of weights: the same numbers by Python's integers, by numpy and by the page's JavaScript."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies

from profilers.browser.web_kit import OutputStatistics
from profilers.browser.web_kit import statistics
from profilers.browser.weights import Generated
from profilers.browser.weights import generate
from profilers.browser.weights import recipe_like
from tests.profilers.browser.conftest import program
from tests.waiting import DEADLINE_S

MASK = 0xFFFFFFFF


def finalised(h: int) -> int:
    """MurmurHash3's fmix32, written out."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & MASK
    h ^= h >> 13
    h = h * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def value_at(recipe: Generated, index: int) -> float:
    h = finalised((index * 0x9E3779B1 + finalised(recipe.seed)) & MASK)
    u = (h >> 8) / 2**23 - 1
    return float32(float32(u * recipe.scale) + recipe.mean)


def run_in_node(code: str) -> object:
    source = files("profilers.browser").joinpath("page/generate.js").read_text(encoding="utf-8")
    command = [program("node"), "--input-type=module", "-"]
    ran = subprocess.run(
        command, input=f"{source}\n{code}", capture_output=True, text=True, check=True, timeout=DEADLINE_S
    )
    return json.loads(ran.stdout)


def test_finaliser_is_murmurs() -> None:
    # Known values of fmix32.
    assert [finalised(one) for one in (0, 1)] == [0, 0x514E28B7]


scales = strategies.floats(0, 100, width=32)
seeds = strategies.integers(0, 2_000_000)


@given(seed=seeds, scale=scales, mean=strategies.floats(-100, 100, width=32), count=strategies.integers(1, 300))
def test_numpy_generates_what_integers_do(seed: int, scale: float, mean: float, count: int) -> None:
    recipe = Generated(seed, count, scale, mean)
    assert generate(recipe).tolist() == [value_at(recipe, index) for index in range(count)]


def test_pieces_join_without_a_seam() -> None:
    recipe = Generated(7, (1 << 20) + 3, 0.5, 0.25)
    whole = generate(recipe)
    assert whole[-4:].tolist() == [value_at(recipe, index) for index in range((1 << 20) - 1, (1 << 20) + 3)]


def test_a_recipe_has_mean_and_deviation_of_its_model() -> None:
    drawn = np.random.default_rng(0).normal(3.0, 0.2, 100_000).astype(np.float32)
    made = generate(recipe_like(drawn, 5))
    assert made.mean() == pytest.approx(3.0, abs=3e-3)
    assert made.std() == pytest.approx(0.2, rel=1e-2)
    assert np.isfinite(generate(recipe_like(np.asarray([0.0, -np.inf] * 200), 1))).all()
    assert generate(recipe_like(np.asarray([700.0]), 1)).tolist() == [700.0]


def test_the_page_generates_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    recipes = [Generated(int(rng.integers(1, 2_000_000)), 5000, *map(float, np.float32(rng.normal(size=2) ** 2)))]
    recipes += [Generated(1, 70_000, 1.0, 0.0), Generated(2, 64, 0.0, 3.5), Generated(3, 1, 1e-3, -2.0)]
    code = f"""
    const made = [];
    for (const [seed, count, scale, mean] of {json.dumps([recipe.to_json() for recipe in recipes])}) {{
      const values = new Float32Array(count);
      fill(values, seed, scale, mean);
      made.push(Buffer.from(values.buffer).toString('base64'));
    }}
    console.log(JSON.stringify(made));
    """
    for recipe, text in zip(recipes, run_in_node(code), strict=True):
        assert base64.b64decode(text) == generate(recipe).tobytes()


def test_the_page_computes_the_same_statistics() -> None:
    recipe, places = Generated(11, 4096, 2.0, 0.5), (0, 1, 4095)
    code = f"""
    const values = new Float32Array({recipe.count});
    fill(values, {recipe.seed}, {recipe.scale}, {recipe.mean});
    console.log(JSON.stringify(statistics(values, {list(places)})));
    """
    told = dict(run_in_node(code))  # type: ignore[call-overload]
    found = OutputStatistics(**{**told, "samples": tuple(told["samples"])})
    assert statistics(generate(recipe), places).difference(found) < 1e-12
