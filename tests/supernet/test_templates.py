"""Templates: no two threads have one in common, none outlives what it was made for, and there are never many."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from subdit.core.errors import SpecError
from subdit.space import get_space
from supernet.model.dit import SubDiT
from supernet.model.dit import example_inputs
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from supernet.model.templates import BLUEPRINTS
from supernet.model.templates import COPIES
from supernet.parallel import run_shards
from supernet.training.elastic_step import Batch
from supernet.training.elastic_step import elastic_step

SPACE = get_space("digits")
TINY = SPACE.named["tiny"]
SPECS = SPACE.decode(SPACE.sample(np.random.default_rng(1), BLUEPRINTS + 3))


def redrawn() -> ElasticDiT:
    model = ElasticDiT(space="digits")
    redraw_(model, seed=0)
    return model.eval()


def inputs(batch: int = 2, seed: int = 3) -> list[Tensor]:
    return list(example_inputs(SPACE, batch=batch, seed=seed).values())


def small_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    latents, noise = (torch.randn(4, 1, 8, 8, generator=generator) for _ in range(2))
    return Batch(latents, noise, torch.rand(4, generator=generator), (inputs(4)[2],))


def modules_of(model: SubDiT) -> set[int]:
    return {id(module) for module in model.modules()}


def test_threads_that_run_one_spec_at_once_have_no_module_in_common() -> None:
    """Both are held inside their calls until the other is in one, too, so that they do overlap, on any machine."""
    supernet, meeting = redrawn(), threading.Barrier(2, timeout=60)
    given = [inputs(seed=seed) for seed in (3, 4)]
    with torch.no_grad():
        expected = [supernet.extract(TINY)(*each) for each in given]

    def run(which: int) -> tuple[SubDiT, Tensor]:
        template = supernet.template(TINY)

        def wait(*_: object) -> None:
            meeting.wait()

        waiting = template.down[0].register_forward_pre_hook(wait)
        with torch.no_grad():
            found = supernet(*given[which], spec=TINY)
        waiting.remove()
        assert supernet.template(TINY) is template, "a thread keeps its own"
        return template, found

    (one, first), (other, second) = run_shards(run, [0, 1])
    assert not modules_of(one) & modules_of(other)
    assert not modules_of(supernet.template(TINY)) & (modules_of(one) | modules_of(other))
    for found, alone in zip((first, second), expected, strict=True):
        torch.testing.assert_close(found, alone)


def test_steps_build_one_template_a_spec_however_many_shards() -> None:
    supernet, batch = redrawn(), small_batch()
    for _ in range(3):
        for spec in SPECS[:2]:
            elastic_step(supernet, [spec], batch, shards=2)
    assert supernet._templates.built == 2


def test_few_are_kept() -> None:
    supernet = redrawn()
    kept = [weakref.ref(supernet.template(spec)) for spec in SPECS]
    gc.collect()
    alive = [spec for spec, template in zip(SPECS, kept, strict=True) if template() is not None]
    assert alive == SPECS[-COPIES:], "those asked for last"
    assert len(set(SPECS)) == len(SPECS) == supernet._templates.built
    for spec in SPECS[-BLUEPRINTS:]:
        supernet.template(spec)
    assert supernet._templates.built == len(SPECS)
    supernet.template(SPECS[0])
    assert supernet._templates.built == len(SPECS) + 1, "the oldest had gone"


def test_slices_are_looked_up_once() -> None:
    supernet = redrawn()
    assert supernet.slices(TINY) is supernet.slices(TINY)
    other = redrawn()
    assert other.slices(TINY) == supernet.slices(TINY) and other.slices(TINY) is not supernet.slices(TINY)


def test_a_foreign_spec_is_refused_each_time() -> None:
    supernet = redrawn()
    for _ in range(2):
        with pytest.raises(SpecError, match="width"):
            supernet.template(get_space("mid-256").named["tiny"].__class__(**{**vars(TINY), "width": 33}))


def test_templates_follow_a_supernet_that_is_converted() -> None:
    supernet, given = redrawn(), inputs()
    with torch.no_grad():
        before = supernet(*given, spec=TINY)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.bfloat16, 0.02), (torch.float32, 1e-6)):
            supernet.to(dtype)
            placed = [given[0].to(dtype), given[1], given[2].to(dtype)]
            inside, alone = supernet(*placed, spec=TINY), supernet.extract(TINY)(*placed)
            assert inside.dtype == alone.dtype == dtype
            assert (inside - alone).norm() <= tolerance * alone.norm()
        # Its weights were rounded to bfloat16 on the way.
        assert 0 < (supernet(*given, spec=TINY) - before).norm() < 0.05 * before.norm()
        supernet.to("meta")
        assert supernet(*[value.to("meta") for value in given], spec=TINY).is_meta


def test_copies_of_a_supernet_run_by_themselves() -> None:
    supernet, given = redrawn(), inputs()
    with torch.no_grad():
        expected = supernet(*given, spec=TINY)
        for made in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
            assert made._templates.built == 0
            assert torch.equal(made(*given, spec=TINY), expected)
            assert made.template(TINY) is not supernet.template(TINY)
            redraw_(made, seed=5)
            assert not torch.equal(made(*given, spec=TINY), expected)
        assert torch.equal(supernet(*given, spec=TINY), expected)


def test_what_is_saved_knows_nothing_of_templates(tmp_path: Path) -> None:
    used, fresh = redrawn(), redrawn()
    with torch.no_grad():
        used(*inputs(), spec=TINY)
    assert used.state_dict().keys() == fresh.state_dict().keys()
    assert [name for name, _ in used.named_modules()] == [name for name, _ in fresh.named_modules()]
    for name, model in (("used", used), ("fresh", fresh)):
        model.save_pretrained(tmp_path / name)
    for file in (tmp_path / "used").iterdir():
        assert file.read_bytes() == (tmp_path / "fresh" / file.name).read_bytes()


def used_in(pool: ThreadPoolExecutor) -> list[weakref.ref[object]]:
    """A supernet that a thread of the pool has run, its weights and its template, held by nobody here."""
    supernet = redrawn()
    assert pool.submit(lambda: supernet.template(TINY).spec).result() == TINY
    return [weakref.ref(each) for each in (supernet, supernet.template(TINY), *supernet.parameters())]


def test_threads_that_live_on_keep_no_supernet() -> None:
    with ThreadPoolExecutor(1) as pool:
        gone = used_in(pool)
        gc.collect()
        assert not [each for each in gone if each() is not None]


def test_an_extracted_model_is_a_model_of_its_own() -> None:
    supernet = redrawn()
    made, seen = supernet.extract(TINY), []
    made.down[0].register_forward_hook(lambda *_: seen.append(1))
    made.up[0].attn.register_buffer("extra", torch.zeros(1))
    made.config_note = "mine"
    with torch.no_grad():
        supernet(*inputs(), spec=TINY)
        again = supernet.extract(TINY)
        again(*inputs())
        assert not seen
        made(*inputs())
        assert seen == [1]
    assert "up.0.attn.extra" not in again.state_dict() and not hasattr(again, "config_note")
    assert not modules_of(made) & modules_of(again)
    assert not {id(p) for p in made.parameters()} & {id(p) for p in again.parameters()}


def test_a_template_that_was_built_for_inference_serves_training_too() -> None:
    supernet, other, batch = redrawn(), redrawn(), small_batch()
    with torch.inference_mode():
        supernet(*inputs(), spec=TINY)
    assert elastic_step(supernet, [TINY], batch) == elastic_step(other, [TINY], batch)
    made = supernet.extract(TINY)
    made(*inputs()).sum().backward()
    assert all(p.grad is not None and not p.is_inference() for p in made.parameters())
