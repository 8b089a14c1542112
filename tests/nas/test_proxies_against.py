"""Proxies judged by a truth table whose truth is known, and the verb that prints it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nas.proxy_benchmark._judgement import judge_table
from nas.proxy_benchmark._judgement import stated_power
from nas.proxy_benchmark._table_scores import BASELINE
from nas.proxy_benchmark._table_scores import flops_of
from nas.truth_table import read_truth_table
from nas.truth_table import write_truth_table
from subdit.cli import group
from subdit.core.errors import SearchError
from subdit.core.run import Run
from subdit.core.run import start_manifest
from supernet.checkpoints import save_model
from supernet.model.dit import redraw_
from supernet.model.elastic import ElasticDiT
from tests.nas.made_truth import made_table
from tests.nas.made_truth import quality_of

COUNT = 48
QUALITY = quality_of(COUNT)
NOISE = 0.02
PROXY = QUALITY + 0.02 * np.random.default_rng(3).standard_normal(COUNT)
TABLE = made_table(QUALITY, NOISE, twice=24, scores={"validation_loss": PROXY + 0.5, "guess": PROXY[::-1]})


def test_a_table_is_judged_as_proxies_are_used() -> None:
    found = judge_table(TABLE, flops_of(TABLE))
    judged = {each.proxy: each for each in found.proxies}
    assert list(judged) == [BASELINE, "validation_loss", "guess"]
    # The better proxy is ahead within bands, although size alone ranks well over all.
    assert judged[BASELINE].kendall.value > 0.5 and judged["validation_loss"].ahead.is_ahead
    assert judged["validation_loss"].within.value > judged[BASELINE].within.value + 0.2
    assert judged[BASELINE].ahead.value == judged[BASELINE].ahead.high == 0.0
    assert judged["validation_loss"].regret["front"].value < judged["guess"].regret["front"].value
    assert set(judged["guess"].regret) == {"fastest", "balanced", "best", "front"}
    assert found.noise == pytest.approx(NOISE, rel=0.4) and found.twice == 24
    assert found.ceiling is not None and found.ceiling.value > found.ceiling.pair.value
    assert found.selections is not None and {half.chosen for half in found.selections} == {"validation_loss"}
    assert found.bias is not None and found.bias.low < 0 < found.bias.high
    assert not found.verdicts and found.early[4] == 1.0 > found.early[1] > 0.5
    calibrated = {each.proxy: each for each in found.calibrated}
    assert list(calibrated) == ["calibrated", "dimensions"]
    assert all(each.within.value > judged[BASELINE].within.value for each in calibrated.values())
    assert all(0.8 <= share <= 1.0 for share in found.coverage.values())
    # Less is better of every quality as it is judged, so an accuracy ranks as its loss does.
    by_accuracy = judge_table(TABLE, flops_of(TABLE), quality="accuracy_label")
    assert by_accuracy.proxies[1].kendall == judged["validation_loss"].kendall and by_accuracy.bias is None


def test_noise_alone_is_called_noise() -> None:
    noise = made_table(np.ones(COUNT), 0.1, twice=24)
    (said,) = judge_table(noise, flops_of(noise)).verdicts
    assert said.startswith("Over all sub-DiTs, two trainings of a sub-DiT agree with tau")
    assert "by loss, quality cannot be told apart there on this data" in said
    # Sizes differ, and nothing beside them.
    size = made_table(quality_of(COUNT, architecture=0.0), 0.04, twice=48)
    (said,) = judge_table(size, flops_of(size)).verdicts
    assert said.startswith("Within bands of latency,")
    once = made_table(QUALITY, NOISE, twice=0)
    found = judge_table(once, flops_of(once))
    assert "nothing is known of the noise" in found.verdicts[0] and found.noise is None and found.ceiling is None


def test_scores_that_cannot_be_compared_are_refused() -> None:
    lacking = replace(TABLE.scores[0], values={})
    with pytest.raises(SearchError, match="lacks scores of 'validation_loss' for 48 sub-DiTs"):
        judge_table(replace(TABLE, scores=(lacking,)), flops_of(TABLE))
    two = (TABLE.scores[0], replace(TABLE.scores[0], supernet="cd" * 5))
    with pytest.raises(SearchError, match="by several supernets"):
        judge_table(replace(TABLE, scores=two), flops_of(TABLE))
    few = made_table(QUALITY[:3], NOISE, twice=3)
    with pytest.raises(SearchError, match="has 3 sub-DiTs"):
        judge_table(few, flops_of(few))


def test_power_grows_with_the_distance() -> None:
    found = list(stated_power(flops_of(TABLE)).values())
    assert found == sorted(found) and 0.0 < found[0] < found[-1] <= 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run(tmp_path_factory.mktemp("run"))
    start_manifest(made, space="digits")
    model = ElasticDiT(space="digits").eval()
    redraw_(model, seed=3)
    save_model(model, made.supernet)
    return made


def ask(*arguments: object) -> str:
    shown = CliRunner().invoke(group, ["proxies", *map(str, arguments)])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_the_verb_judges_by_a_file_alone_and_by_a_run(run: Run, tmp_path: Path) -> None:
    file = write_truth_table(TABLE, tmp_path / "table.json")
    said = ask("--against", file)
    assert said.startswith("Power, stated before any proxy is looked at")
    for part in ("flop_count", "guess", "Ceiling within bands: a perfect proxy reads", "Cross-fitted choice", "FLOPs"):
        assert part in said
    assert "calibrated: each sub-DiT predicted by a model of the others" in said
    assert "judged on the others" in ask("--against", file, "--curve")
    as_json = json.loads(ask("--against", file, "--json", "--curve", "--quality", "accuracy_label"))
    assert [point["trainings"] for point in as_json["curve"]] == [8, 12, 16, 24, 32, 40]
    assert as_json["quality"] == "accuracy_label" and as_json["bands_of"] == "FLOPs" and len(as_json["proxies"]) == 3
    said = ask(run.path, "--against", file, "--proxy", "parameters", "--device", "linux-amd-epyc/onnxruntime/fp32/t1")
    assert "parameters" in said and "guess" not in said and "latency on linux-amd-epyc/onnxruntime/fp32/t1" in said
    assert read_truth_table(file) == TABLE
    ask(run.path, "--against", file, "--proxy", "parameters", "--keep-scores")
    (*before, kept) = read_truth_table(file).scores
    assert tuple(before) == TABLE.scores and kept.proxy == "parameters" and len(kept.values) == COUNT


def test_the_verb_refuses_what_contradicts_itself(run: Run, tmp_path: Path) -> None:
    file = write_truth_table(TABLE, tmp_path / "table.json")
    for wrong, says in (
        ([], "Missing argument 'RUN'"),
        (["--against", file, "--proxy", "parameters"], "name the RUN"),
        (["--against", file, "--keep-scores"], "name the RUN"),
        (["--against", file, "--specs", "3"], "--specs is not for --against"),
        ([run.path, "--against", file, "--worker"], "give one of --worker and --against"),
        ([run.path, "--quality", "loss"], "--quality is for --against"),
        (["--against", file, "--quality", "beauty"], "no quality 'beauty'"),
        (["--against", tmp_path / "none.json"], "There is no truth table"),
    ):
        refused = CliRunner().invoke(group, ["proxies", *map(str, wrong)])
        assert refused.exit_code == 2 and says in refused.stderr, refused.output
