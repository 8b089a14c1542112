"""Emoji: which pictures mean what, how they are divided, and that packages which have changed are not read."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from subdit.cli import group
from subdit.core.errors import DataError
from subdit.space import get_space
from supernet.data.emoji import packages as emoji_packages
from supernet.data.emoji.catalogue import Emoji
from supernet.data.emoji.catalogue import bare_code_points
from supernet.data.emoji.packages import EmojiPackages
from supernet.data.emoji.packages import install_packages
from supernet.data.emoji.packages import pinned_packages
from supernet.data.emoji.source import EmojiSource
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.data.encoding import encode
from supernet.data.encoding_config import EncodingConfig
from supernet.data.sources import open_source
from tests.supernet.data.emoji_packages import COLOURS
from tests.supernet.data.emoji_packages import CONCEPTS
from tests.supernet.data.emoji_packages import DESIGNS
from tests.supernet.data.emoji_packages import pack
from tests.supernet.data.emoji_packages import write_packages
from tests.supernet.data.tiny_models import save_bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def packages(folder: Path) -> EmojiPackages:
    return write_packages(folder)


@pytest.fixture
def source(folder: Path, packages: EmojiPackages) -> EmojiSource:
    return EmojiSource(folder, packages=packages)


def test_every_design_shows_every_concept_once(source: EmojiSource) -> None:
    shown = defaultdict(set)
    for example in source.examples():
        shown[example.columns["design"]].add(example.columns["concept"])
    assert set(shown) == set(DESIGNS)
    for design in DESIGNS:
        assert shown[design] >= set(CONCEPTS)
    # The one by the design's own names, the other by an alias.
    assert shown["noto"] - set(CONCEPTS) == shown["emojione"] - set(CONCEPTS) == {"cook"}
    assert shown["noto v1"] == shown["twemoji"] == shown["fluent"] == set(CONCEPTS)
    assert source.count() == 5 * len(CONCEPTS) + 4 + 1


def test_a_picture_is_what_its_caption_says(source: EmojiSource) -> None:
    for example in source.examples():
        pixels = np.asarray(Image.open(io.BytesIO(example.read())).convert("RGBA"), dtype=np.float64)
        assert pixels.shape == (64, 64, 4)
        assert pixels[0, 0, 3] == 0, "the ground is transparent"
        design, _, label = example.caption.partition(" emoji, ")
        assert design == example.columns["design"]
        if label in CONCEPTS:
            painted = pixels[32, 32, :3]
            wanted = COLOURS[label.split()[0]]
            assert painted.tolist() == [int(wanted[start : start + 2], 16) for start in (1, 3, 5)]


def test_near_twins_have_one_concept_and_one_split(source: EmojiSource) -> None:
    cooks = [example for example in source.examples() if example.columns["concept"] == "cook"]
    assert {example.caption for example in cooks if example.columns["design"] == "noto"} == {
        "noto emoji, cook",
        "noto emoji, cook: light skin tone",
        "noto emoji, cook: dark skin tone",
        "noto emoji, man cook",
    }
    assert {example.columns.get("skin_tone") for example in cooks} == {None, "1", "5"}
    column = source.default_split.group_by
    assert column is not None
    assert {example.columns[column] for example in cooks} == {"cook, noto", "cook, emojione"}


@pytest.mark.parametrize(
    ("label", "concept"),
    [
        ("woman farmer: medium-dark skin tone", "farmer"),
        ("people with bunny ears: medium-light skin tone, dark skin tone", "with bunny ears"),
        ("woman kneeling: medium skin tone, facing right", "kneeling"),
        ("person: light skin tone, red hair", "red hair"),
        ("women’s room", "’s room"),
        ("man", "man"),
        ("ice hockey", "ice hockey"),
    ],
)
def test_the_concept_of_a_label(label: str, concept: str) -> None:
    assert Emoji("1F", label, "g", "s", None).concept == concept


def test_code_points_are_compared_in_one_form() -> None:
    assert bare_code_points("0023-fe0f-20e3") == bare_code_points("23-20E3") == "23-20E3"


def test_the_fingerprint_is_that_of_packages_and_size_wherever_they_lie(
    source: EmojiSource, packages: EmojiPackages, folder: Path, tmp_path: Path
) -> None:
    assert write_packages(tmp_path / "again").designs.keys() == packages.designs.keys()
    for packed in folder.iterdir():
        (tmp_path / packed.name).write_bytes(packed.read_bytes())
    assert EmojiSource(tmp_path, packages=packages).fingerprint() == source.fingerprint()
    assert EmojiSource(tmp_path, packages=packages, size=32).fingerprint() != source.fingerprint()
    other = replace(
        packages, descriptions=pack("emojibase-data", {"en/data.json": [], "meta/groups.json": {}}, tmp_path)
    )
    assert EmojiSource(tmp_path, packages=other).fingerprint() != source.fingerprint()


def test_examples_go_on_from_any_place(source: EmojiSource) -> None:
    whole = [example.id for example in source.examples()]
    assert len(set(whole)) == len(whole)
    for start in (0, 1, 40, len(whole)):
        assert [example.id for example in source.examples(start)] == whole[start:]


def test_packages_that_are_missing_or_have_changed_are_not_read(packages: EmojiPackages, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="emojibase-data is not in .* run 'make setup-emoji'"):
        EmojiSource(tmp_path, packages=packages)
    write_packages(tmp_path)
    file = tmp_path / packages.designs["noto"].file_name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DataError, match="has changed; delete it and run 'make setup-emoji'"):
        EmojiSource(tmp_path, packages=packages)


def test_a_package_without_its_files_is_told(packages: EmojiPackages, tmp_path: Path) -> None:
    write_packages(tmp_path)
    hollow = replace(packages, descriptions=pack("emojibase-data", {"en/data.json": []}, tmp_path))
    hollow = replace(hollow, designs={})
    with pytest.raises(DataError, match="emojibase-data cannot be read .*; run 'make setup-emoji'"):
        EmojiSource(tmp_path, packages=hollow).count()


def test_the_pinned_packages_are_exact_and_say_no_address() -> None:
    stated = pinned_packages()
    assert list(stated.designs) == list(DESIGNS)
    for package in stated.all:
        assert package.integrity.startswith("sha512-") and len(package.integrity) == 95
        assert "//" not in package.version and package.version[0].isdigit()


def test_what_is_there_is_not_fetched_again(
    folder: Path, packages: EmojiPackages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(emoji_packages, "pinned_packages", lambda: packages)
    cache = tmp_path / "cache" / "emoji"
    cache.mkdir(parents=True)
    for packed in folder.iterdir():
        (cache / packed.name).write_bytes(packed.read_bytes())
    assert install_packages() == cache


def test_the_name_is_a_source_where_no_folder_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="make setup-emoji"):
        open_source(Path("emoji"))
    (tmp_path / "emoji").mkdir()
    assert open_source(Path("emoji")).kind == "folder"


def test_they_are_encoded_like_any_source(source: EmojiSource, tmp_path: Path) -> None:
    save_bert(tmp_path / "bert", width=384)
    space = get_space("emoji-32")
    config = EncodingConfig(split=source.default_split, licence_column=source.licence_column, device="cpu")
    manifest = encode(source, tmp_path / "data", space=space, text={"minilm": str(tmp_path / "bert")}, config=config)
    data = EncodedDataSet(tmp_path / "data")
    assert sum(data.count(split) for split in ("train", "validation", "judge")) == source.count()
    assert sorted(manifest.total("licences").values()) == [12, 12, 12, 13, 16]
    compositions = {
        split: {record.columns["composition"] for record in data.records(split, range(data.count(split)))}
        for split in ("train", "validation", "judge")
    }
    assert not compositions["judge"] & (compositions["train"] | compositions["validation"])
    # What judges was seen in parts: its design always, its concept in another design.
    assert {name.rpartition(", ")[2] for name in compositions["judge"]} <= set(DESIGNS)
    batch = data.read("train", [0])
    assert batch.latents.shape == (1, 3, 32, 32)
    # White ground, at the corner that no shape reaches.
    assert batch.latents[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=0.01)


def test_without_packages_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path))
    result = CliRunner().invoke(group, ["data", "emoji", "--out", str(tmp_path / "data")])
    assert result.exit_code == 2
    assert "make setup-emoji" in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "data").exists()
