"""`measure_proxies`: how well each quality proxy foretells sub-DiTs that were trained on their own.

The sample is chosen before any result is seen: so many specs uniformly by a seed, so many from a search's front. Each
is trained on the training split alone and judged on the judge half, which nothing else has seen: flow-matching loss on
fixed triples, and Frechet distance of its samples. Proxies see the supernet and the validation images only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas._results import load_search
from nas.proxies import PROXIES
from nas.proxies import QualityStore
from nas.proxies import make_proxy
from nas.proxies._store import append_line
from nas.proxy_benchmark._correlation import Agreement
from nas.proxy_benchmark._correlation import agreement
from nas.proxy_benchmark._correlation import expected_agreement
from nas.proxy_benchmark._correlation import kendall
from nas.proxy_benchmark._correlation import spearman
from subdit.core.errors import RunError
from subdit.core.errors import SearchError
from subdit.core.files import write_json
from subdit.core.origin import KEY
from subdit.core.origin import Standing
from subdit.core.origin import of_others
from subdit.core.origin import origin
from subdit.core.origin import run_digest
from subdit.core.origin import say
from subdit.core.origin import set_aside
from subdit.core.origin import standing
from subdit.core.progress import ProgressCallback
from subdit.core.progress import no_progress
from subdit.core.run import Run
from subdit.core.run import read_manifest
from subdit.space import SubDiTSpec
from subdit.space import get_space

TRUTHS = ("loss", "fd")
STARTS = ("inherited", "scratch")
_TIMED = 3


@dataclass(frozen=True)
class Training:
    """How each sub-DiT is trained before it is judged.

    Attributes:
        start: "inherited" (fine-tuned from the supernet's weights) or "scratch" (its own initialisation).
        updates: of each, the same for all.
        per_class: samples of each class that the Frechet distance is taken of; 0 for none.
        steps: Euler steps of those samples.
    """

    start: str = "inherited"
    updates: int = 200
    per_class: int = 90
    steps: int = 28


@dataclass(frozen=True)
class ProxyFigures:
    """How well a proxy foretells; correlations by truth ("loss", "fd") and by set ("random", "front")."""

    proxy: str
    kendall: dict[str, dict[str, Agreement]]
    spearman: dict[str, dict[str, Agreement]]
    seconds_per_query: float


@dataclass(frozen=True)
class ProxyReport:
    """What `measure_proxies` found.

    Attributes:
        ceiling: Kendall tau between two trainings of the same specs with other seeds, by truth. Both are noisy, so
            a proxy near to the expected quality can have a higher one, see `expected_agreement`.
    """

    training: Training
    sample_seed: int
    specs: dict[str, list[SubDiTSpec]]
    proxies: tuple[ProxyFigures, ...]
    ceiling: dict[str, Agreement] = field(default_factory=dict)
    file: Path = Path()


def measure_proxies(
    run: Path | str,
    *,
    proxies: Sequence[str] | None = None,
    count: int = 24,
    front: int = 8,
    search: str = "default",
    twice: int = 0,
    training: Training | None = None,
    seed: int = 20260131,
    progress: ProgressCallback = no_progress,
) -> ProxyReport:
    """Rank correlations of quality proxies with true quality, and what a query costs.

    Args:
        proxies: ids, by default all of `nas.proxies.PROXIES`.
        count: specs drawn uniformly by `seed`.
        front: specs from the front of the finished search `search`, evenly spread; 0 for none.
        twice: how many of the drawn specs are trained with a second seed too, for tau between two seeds.
        training: how each is trained.

    Writes proxies/truth.jsonl, a line for each training, as soon as it is done: called again it goes on where it was.
    Then proxies/report.json. Raises `SearchError` on senseless options, `RunError` where the run or the search is
    missing or damaged, `CheckpointError` where the supernet is.
    """
    training = training or Training()
    where = Run(Path(run)).require()
    space = get_space(str(read_manifest(where).get("space")))
    names = list(proxies or PROXIES)
    if training.start not in STARTS:
        raise SearchError(f"Sub-DiTs cannot start from {training.start!r}; there is {', '.join(STARTS)}.")
    if count < 2:
        raise SearchError(f"A rank correlation needs at least 2 specs, not {count}; give --specs more.")
    numbers = {"updates": training.updates, "front": front, "twice": twice, "per-class": training.per_class}
    for option, number in {**numbers, "seed": seed}.items():
        if number < 0:
            raise SearchError(f"The option --{option} is {number}; it must not be negative.")
    if twice > count:
        raise SearchError(f"Of {count} specs {twice} cannot be trained twice; give --twice at most {count}.")
    made = [make_proxy(name, where.supernet, space.name) for name in names]
    drawn = space.decode(np.unique(space.sample(np.random.default_rng(seed), 4 * count), axis=0))
    order = np.random.default_rng([seed, 1]).permutation(len(drawn))[:count]
    sets = {"random": [drawn[at] for at in order]}
    if front:
        _refuse_stale_front(where, search)
        rows = load_search(where.path, search).front
        places = np.unique(np.linspace(0, len(rows) - 1, min(front, len(rows))).round().astype(int))
        sets["front"] = [rows[at].spec for at in places]
    truth = TruthStore(where, training)
    jobs = [(spec, 0) for specs in sets.values() for spec in specs] + [(spec, 1) for spec in sets["random"][:twice]]
    total = len(jobs) + len(made)
    for done, (spec, number) in enumerate(jobs):
        progress(done, total, f"training sub-DiT {done + 1} of {len(jobs)}")
        truth.of(spec, number)
    figures = []
    for done, proxy in enumerate(made):
        progress(len(jobs) + done, total, f"asking {proxy.id}")
        store = QualityStore(where.quality, proxy)
        values = {spec: store.value(spec) for specs in sets.values() for spec in specs}
        seconds = []
        for spec in sets["random"][:_TIMED]:
            began = time.perf_counter()
            proxy.evaluate(spec)
            seconds.append(time.perf_counter() - began)
        tables: dict[str, dict[str, dict[str, Agreement]]] = {}
        for label, measure in (("kendall", kendall), ("spearman", spearman)):
            tables[label] = {
                judged: {
                    name: agreement(
                        measure,
                        np.asarray([values[spec] for spec in specs]),
                        np.asarray([truth.of(spec, 0)[judged] for spec in specs]),
                    )
                    for name, specs in sets.items()
                    if len(specs) > 1
                }
                for judged in truth.judged
            }
        figures.append(ProxyFigures(proxy.id, tables["kendall"], tables["spearman"], float(np.median(seconds))))
    ceiling = {}
    if twice > 1:
        for judged in truth.judged:
            pairs = np.asarray(
                [[truth.of(spec, number)[judged] for number in (0, 1)] for spec in sets["random"][:twice]]
            )
            ceiling[judged] = agreement(kendall, pairs[:, 0], pairs[:, 1])
    report = ProxyReport(training, seed, sets, tuple(figures), ceiling, where.proxies / "report.json")
    _make_room(where, report.file)
    write_json(report.file, {**report_to_dict(report), KEY: run_digest(where)})
    progress(total, total, "")
    return report


def _refuse_stale_front(run: Run, search: str) -> None:
    """Raise `SearchError` where a search's front was found by other weights than those that proxies are asked of."""
    made_from, digest = origin(run.search(search)), run_digest(run)
    if standing(made_from, digest) is Standing.STALE:
        remedy = "search again, or leave its front out with --front 0"
        raise SearchError(of_others(f"The search {search!r}", made_from, digest, remedy))


def _make_room(run: Run, file: Path) -> None:
    """Set aside a report of other weights, and say so; one of an earlier version is replaced as it always was."""
    made_from, digest = origin(file), run_digest(run)
    if file.exists() and standing(made_from, digest) is Standing.STALE:
        folder = set_aside(run, made_from, file)
        say(of_others(f"What {file} said", made_from, digest, f"it now lies in {folder}"))


def report_to_dict(report: ProxyReport) -> dict[str, Any]:
    """As proxies/report.json holds it."""
    return {
        "training": asdict(report.training),
        "sample_seed": report.sample_seed,
        "specs": {name: [spec.hash for spec in specs] for name, specs in report.specs.items()},
        "proxies": [asdict(figures) for figures in report.proxies],
        "ceiling": {judged: asdict(found) for judged, found in report.ceiling.items()},
        "expected_quality": {
            judged: {end: expected_agreement(getattr(found, end)) for end in ("value", "low", "high")}
            for judged, found in report.ceiling.items()
            if found.value > 0
        },
    }


class TruthStore:
    """True quality of sub-DiTs, trained when it is asked for and kept in proxies/truth.jsonl."""

    def __init__(self, run: Run, training: Training) -> None:
        from supernet.checkpoints import supernet_digest

        self._run = run
        self._training = training
        self._path = run.proxies / "truth.jsonl"
        # From scratch the supernet has no part in it.
        self._digest = supernet_digest(run.supernet) if training.start == "inherited" else ""
        self._known = self._read()

    @property
    def judged(self) -> tuple[str, ...]:
        """By what sub-DiTs are judged."""
        return TRUTHS if self._training.per_class else TRUTHS[:1]

    def of(self, spec: SubDiTSpec, number: int) -> dict[str, float]:
        """Loss and Frechet distance after training number `number` of the spec; each number is another seed."""
        key = (spec.hash, number)
        if key not in self._known:
            self._known[key] = self._judge(spec, number)
            entry = {"spec_hash": spec.hash, "number": number, **self._how, **self._known[key]}
            append_line(self._path, entry)
        return self._known[key]

    @property
    def _how(self) -> dict[str, Any]:
        return {**asdict(self._training), "supernet_digest": self._digest}

    @cached_property
    def _data(self) -> Any:
        from supernet.data.digits import load_data

        return load_data(str(read_manifest(self._run).get("space")))

    @cached_property
    def _supernet(self) -> Any:
        from supernet.checkpoints import load_supernet_of

        return load_supernet_of(self._run.supernet, self._digest)

    @cached_property
    def _triples(self) -> Any:
        from supernet.evaluation.validation_loss import validation_set

        return validation_set(str(read_manifest(self._run).get("space")), data=self._data.judge, per_image=1)

    def _judge(self, spec: SubDiTSpec, number: int) -> dict[str, float]:
        from supernet.evaluation.metrics import frechet_distance
        from supernet.evaluation.reference import reference_of
        from supernet.evaluation.samples import generate
        from supernet.training.standalone import loss_of
        from supernet.training.standalone import train_alone

        began = time.perf_counter()
        supernet = self._supernet if self._training.start == "inherited" else None
        # Other specs get other batches: what a seed does to one must not be what it does to all.
        seed = int(np.random.SeedSequence([int(spec.hash, 16), number]).generate_state(1)[0])
        model = train_alone(spec, self._data.train, updates=self._training.updates, seed=seed, supernet=supernet)
        found = {"loss": loss_of(model, self._triples)}
        if self._training.per_class:
            reference = reference_of(self._data, spec.space)
            text = reference.condition(reference.class_prompts(self._training.per_class))
            samples = generate(model, spec.space, text, steps=self._training.steps, seed=seed % 2**31)
            found["fd"] = frechet_distance(samples, self._data.judge.latents)
        found["seconds"] = round(time.perf_counter() - began, 2)
        return found

    def _read(self) -> dict[tuple[str, int], dict[str, float]]:
        if not self._path.exists():
            return {}
        *lines, _ = self._path.read_bytes().split(b"\n")
        known: dict[tuple[str, int], dict[str, float]] = {}
        others = 0
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                others += all(entry[key] == value for key, value in asdict(self._training).items()) and (
                    entry["supernet_digest"] != self._digest
                )
                if all(entry[key] == value for key, value in self._how.items()):
                    found = {key: float(entry[key]) for key in (*TRUTHS, "seconds") if key in entry}
                    known[str(entry["spec_hash"]), int(entry["number"])] = found
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"Line {number} of {self._path} is damaged ({error!r}); delete the line.") from error
        if others:
            say(
                f"Of the trainings in {self._path} {others} began from other weights than the run's, {self._digest}; "
                "they stay there and are not used."
            )
        return known
