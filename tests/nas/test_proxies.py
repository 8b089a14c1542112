"""Quality proxies: deterministic, what they say they are, and how well they foretell."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from nas import measure_proxies
from nas.proxies import DEAR_PROXIES
from nas.proxies import PROXIES
from nas.proxies import Evaluation
from nas.proxies import FewStepDistance
from nas.proxies import FirstLosses
from nas.proxies import QualityStore
from nas.proxies import ValidationLoss
from nas.proxies import VelocityDistance
from nas.proxies import cheap_proxies
from nas.proxies import make_proxy
from nas.proxies import untrained_proxies
from nas.proxies._inherited import forget_passes
from nas.proxy_benchmark._truth import Training
from subdit.cli import group
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from subdit.space import SubDiTSpec
from subdit.space import get_space
from supernet.checkpoints import save_model
from supernet.evaluation import validation_loss as evaluated
from supernet.evaluation.feature_spaces import PIXELS
from supernet.evaluation.validation_loss import ValidationSet
from supernet.evaluation.validation_loss import validation_loss
from supernet.evaluation.validation_loss import validation_losses
from supernet.evaluation.validation_loss import validation_set
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.supernet.digit_data import digit_data

SPACE = get_space("digits")
SPECS = SPACE.decode(SPACE.sample(np.random.default_rng(0), 2))
FULL, TINY = SPACE.named_spec("full"), SPACE.named_spec("tiny")


@pytest.fixture(scope="module")
def supernet() -> ElasticDiT:
    model = ElasticDiT(space="digits").eval()
    redraw_(model, seed=3)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, supernet: ElasticDiT) -> Run:
    made = Run(tmp_path_factory.mktemp("run"))
    start_manifest(made, space="digits")
    save_model(supernet, made.supernet)
    return made


def value(found: float | Evaluation) -> float:
    return found.value if isinstance(found, Evaluation) else found


@pytest.mark.parametrize("name", untrained_proxies())
def test_a_proxy_is_a_finite_number_that_never_changes(name: str, run: Run) -> None:
    first = make_proxy(name, run.supernet, "digits")
    values = [value(first.evaluate(spec)) for spec in SPECS]
    again = make_proxy(name, run.supernet, "digits")
    assert [value(again.evaluate(spec)) for spec in reversed(SPECS)] == values[::-1]
    assert all(map(math.isfinite, values)) and values[0] != values[1]
    assert first.id == name and first.data_hash == again.data_hash and first.unit


def test_validation_loss_is_the_mean_over_triples_with_its_paired_error(run: Run, supernet: ElasticDiT) -> None:
    data = validation_set(digit_data()).spread(60)
    found = ValidationLoss(run.supernet, "digits", data=data).evaluate(TINY)
    assert isinstance(found, Evaluation)
    tiny = supernet.extract(TINY)
    assert found.value == pytest.approx(validation_loss(supernet, data, spec=TINY), rel=1e-5)
    # The spread of differences over resampled triples is what the error foretells.
    each = [
        (tiny(x, t, *text) - target).square().mean().item() - (supernet(x, t, *text) - target).square().mean().item()
        for x, t, text, target in _one_by_one(data)
    ]
    rng = np.random.default_rng(0)
    resampled = [np.mean(rng.choice(each, len(each))) for _ in range(2000)]
    assert found.error == pytest.approx(np.std(resampled), rel=0.2)


@torch.no_grad()
def _one_by_one(data):  # type: ignore[no-untyped-def]
    torch.set_grad_enabled(False)
    for at in range(len(data.latents)):
        row = slice(at, at + 1)
        sigma = data.sigma[row]
        x = (1 - sigma[:, None, None, None]) * data.latents[row] + sigma[:, None, None, None] * data.noise[row]
        yield x, 1000 * sigma, tuple(text[row] for text in data.text), data.noise[row] - data.latents[row]
    torch.set_grad_enabled(True)


def test_values_and_the_caller_know_nothing_of_threads(run: Run) -> None:
    before = torch.get_num_threads()
    try:
        values = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            values.append(ValidationLoss(run.supernet, "digits").evaluate(TINY))
            assert torch.get_num_threads() == threads
        assert values[0] == values[1]
    finally:
        torch.set_num_threads(before)


def test_the_full_network_has_no_distance_to_itself(run: Run) -> None:
    assert value(VelocityDistance(run.supernet, "digits").evaluate(FULL)) == 0.0
    assert value(VelocityDistance(run.supernet, "digits").evaluate(TINY)) > 0.0


def test_any_feature_space_can_be_plugged_in(run: Run) -> None:
    class Means:
        id, hash, expects, linear = "rows", "0123456789", "latents", True

        def __call__(self, images: np.ndarray) -> np.ndarray:
            return images.reshape(len(images), 8, 8).mean(axis=2)

    plain = FewStepDistance(run.supernet, "digits", steps=1)
    rows = FewStepDistance(run.supernet, "digits", steps=1, features=Means())
    assert rows.evaluate(TINY) != plain.evaluate(TINY)
    assert rows.id == "few_step_distance_rows" and rows.data_hash != plain.data_hash
    with pytest.raises(SearchError, match="'pixels' needs pictures"):
        FewStepDistance(run.supernet, "digits", features=PIXELS)


def test_quarters_of_the_loss_make_the_whole(run: Run, supernet: ElasticDiT) -> None:
    quarters = [make_proxy(f"validation_loss_quarter_{number}", run.supernet, "digits") for number in range(1, 5)]
    values = [value(quarter.evaluate(TINY)) for quarter in quarters]
    whole = make_proxy("validation_loss", run.supernet, "digits")
    assert np.mean(values) == pytest.approx(value(whole.evaluate(TINY)), rel=1e-5) and len(set(values)) == 4
    assert quarters[0].data_hash == whole.data_hash
    # Each is of its own noise levels.
    data = validation_set(digit_data())
    losses = validation_losses(supernet, TINY, data)
    for number, found in enumerate(values):
        own = (number / 4 < data.sigma.numpy()) & (data.sigma.numpy() < (number + 1) / 4)
        assert found == pytest.approx(losses[own].mean(), rel=1e-5)


def test_proxies_of_the_same_weights_share_a_pass_and_say_what_they_say_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["validation_loss", "velocity_distance", "validation_loss_quarter_2"]
    alone = {}
    for name in names:
        forget_passes()
        alone[name] = [make_proxy(name, run.supernet, "digits").evaluate(spec) for spec in SPECS]
    asked: list[str] = []
    plain = evaluated.predicted_velocities

    def counted(supernet: ElasticDiT, spec: SubDiTSpec, data: ValidationSet) -> np.ndarray:
        asked.append(spec.hash)
        return plain(supernet, spec, data)

    monkeypatch.setattr(evaluated, "predicted_velocities", counted)
    forget_passes()
    proxies = [make_proxy(name, run.supernet, "digits") for name in names]
    together = [[proxy.evaluate(spec) for proxy in proxies] for spec in SPECS]
    assert [list(row) for row in zip(*together, strict=True)] == list(alone.values())
    assert [asked.count(spec.hash) for spec in SPECS] == [1, 1]


def test_first_losses_are_those_of_a_training_from_inherited_weights(run: Run, supernet: ElasticDiT) -> None:
    from supernet.training.config import TrainingConfig
    from supernet.training.standalone import train_alone

    seen: list[float] = []
    train_alone(
        TINY,
        digit_data(),
        updates=3,
        seed=0,
        supernet=supernet,
        config=TrainingConfig(sigma_shift=1.0),
        after_step=lambda _, loss, __: seen.append(loss),
    )
    proxy = FirstLosses(run.supernet, "digits", updates=3)
    assert value(proxy.evaluate(TINY)) == pytest.approx(np.mean(seen), rel=1e-5) and len(seen) == 3
    assert proxy.data_hash != FirstLosses(run.supernet, "digits", updates=2).data_hash
    assert set(DEAR_PROXIES) == set(PROXIES) - set(cheap_proxies())
    assert make_proxy("first_losses_50", run.supernet, "digits").id == "first_losses_50"


def test_sizes_rank_as_sizes(run: Run) -> None:
    for name in ("parameters", "flop_count"):
        proxy = make_proxy(name, run.supernet, "digits")
        assert value(proxy.evaluate(FULL)) < value(proxy.evaluate(TINY))
    with pytest.raises(SearchError, match="no quality proxy 'gut_feeling'; there is validation_loss"):
        make_proxy("gut_feeling", run.supernet, "digits")


def test_activation_codes_against_a_slow_reference(supernet: ElasticDiT) -> None:
    from supernet.evaluation.training_free import activation_code_score

    data = validation_set(digit_data()).spread(6)
    model = supernet.extract(TINY).eval()
    codes: list[list[torch.Tensor]] = [[] for _ in range(6)]
    for module in model.modules():
        if type(module).__name__ == "FeedForward":
            module.fc1.register_forward_hook(
                lambda _, __, out: [codes[at].append(out[at] > 0) for at in range(6)] and None
            )
    sigma = data.sigma[:, None, None, None]
    with torch.no_grad():
        model((1 - sigma) * data.latents + sigma * data.noise, 1000 * data.sigma, *data.text)
    flat = [torch.cat([part.flatten() for part in parts]) for parts in codes]
    kernel = np.array([[(a == b).double().mean().item() for a in flat] for b in flat])
    expected = np.log(np.abs(np.linalg.det(kernel + 1e-9 * np.eye(6)))) / 6
    assert activation_code_score(supernet, TINY, data) == pytest.approx(expected, rel=1e-6)


SMALL = Training(updates=2, per_class=2, steps=2)


def test_proxies_are_measured_once_and_go_on(run: Run) -> None:
    names = ["validation_loss", "parameters"]
    report = measure_proxies(run.path, proxies=names, count=4, front=0, twice=2, training=SMALL)
    lines = (run.proxies / "truth.jsonl").read_text().splitlines()
    assert len(lines) == 6
    stored = json.loads((run.proxies / "report.json").read_text())
    assert [entry["proxy"] for entry in stored["proxies"]] == names
    assert set(stored["ceiling"]) == {"loss", "fd"}
    for judged, between in stored["ceiling"].items():
        expected = stored["expected_quality"].get(judged)
        assert expected is None if between["value"] <= 0 else expected["value"] >= between["value"]
    figures = report.proxies[0]
    truth = {entry["spec_hash"]: entry for entry in map(json.loads, lines) if entry["number"] == 0}
    store = QualityStore(run.quality, make_proxy("validation_loss", run.supernet, "digits"))
    pairs = [(store.value(spec), truth[spec.hash]["fd"]) for spec in report.specs["random"]]
    assert figures.kendall["fd"]["random"].value == pytest.approx(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
    frame = report.to_frame()
    assert list(frame.proxy) == ["validation_loss"] * 2 + ["parameters"] * 2 and set(frame.truth) == {"loss", "fd"}
    (row,) = frame[(frame.proxy == "validation_loss") & (frame.truth == "fd")].itertuples()
    assert (row.kendall_tau, row.specs, row.set) == (figures.kendall["fd"]["random"].value, 4, "random")
    assert row.spearman_rho_low <= row.spearman_rho <= row.spearman_rho_high and row.seconds_per_query > 0
    # Killed in the middle of the last line: that one is trained again, to the same end.
    (run.proxies / "truth.jsonl").write_text("\n".join(lines)[:-9])
    again = measure_proxies(run.path, proxies=names, count=4, front=0, twice=2, training=SMALL)
    assert again.proxies[0].kendall == figures.kendall
    redone = [json.loads(line) for line in (run.proxies / "truth.jsonl").read_text().splitlines()]
    assert [entry["fd"] for entry in redone] == [json.loads(line)["fd"] for line in lines]


def test_the_verb_measures_from_scratch_too(run: Run) -> None:
    options = ["--specs", "2", "--front", "0", "--updates", "1", "--per-class", "0", "--start", "scratch"]
    options += ["--twice", "2"]
    shown = CliRunner().invoke(group, ["proxies", str(run.path), "--proxy", "parameters", *options])
    assert shown.exit_code == 0, shown.output
    assert "2 random sub-DiTs" in shown.stdout and "Kendall tau" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("tau between two seeds of 2, by loss: ")]
    assert ("a proxy equal to the expected quality would have 1.00" in line) == (": 1.00" in line)
    for wrong, says in (
        (["--specs", "1"], "at least 2 specs"),
        (["--seed", "-1"], "--seed is -1"),
        (["--specs", "3", "--twice", "4"], "--twice at most 3"),
    ):
        refused = CliRunner().invoke(group, ["proxies", str(run.path), *wrong])
        assert refused.exit_code == 2 and says in refused.stderr


def test_training_alone_is_repeatable_and_learns() -> None:
    from supernet.training.standalone import train_alone

    data = digit_data(judge=64)
    triples = validation_set(data, split="judge", per_image=1)
    losses = [validation_loss(train_alone(TINY, data, updates=count, seed=1), triples) for count in (0, 15, 15)]
    assert losses[1] < 0.9 * losses[0]
    assert losses[1] == losses[2]
