"""Whether people who know only the pictures and 80 captions find the caption that each picture was drawn for.

    python benchmarks/blind_match.py draw runs/emoji data/emoji --out runs/blind
    python benchmarks/blind_match.py score runs/blind answers-1.json answers-2.json

`draw` takes prompts of the split judge, whose compositions of concept and design nothing was trained on, or with
`--split train` compositions that were trained on. They are common: all designs draw their concept, and they have no
skin tone. A seed draws 40 prompts of 40 concepts, and 40 decoys of 40 others, which are printed and written before
anything is sampled. A reviewer gets `sheet.png`, whose numbered pictures are shuffled, and `captions.txt`, and answers
with one caption per picture, as JSON of picture's number to caption's. `key.json` is not for reviewers. `real.png` has
the real pictures in the same order: reviewers of that sheet show what there is to reach; `pairs.png` has samples over
real pictures of some designs. `score` prints matches with their exact 95 % interval, and chance: one in 80.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from subdit.core.errors import SubditError
from subdit.core.files import write_atomic
from subdit.core.files import write_json
from supernet.data.encoded_data_set import EncodedDataSet
from supernet.pictures import save_contact_sheet

RESULTS = Path(__file__).parent / "results"
PROMPTS, DECOYS = 40, 40
COLUMNS = 8
DESIGNS = 5
SHOWN = ("noto", "noto v1", "fluent")
"""Designs whose licences ask for no more than their text, so that documents may show some of them."""


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.verb == "draw":
        draw(arguments)
    else:
        score(arguments.folder, arguments.answers, arguments.kept)
    return 0


def draw(arguments: argparse.Namespace) -> None:
    from supernet.sampling import sample

    data, out = EncodedDataSet(arguments.data), arguments.out
    rows, captions, right = chosen(data, arguments.seed, arguments.split)
    write_atomic(out / "captions.txt", "".join(f"{number} {text}\n" for number, text in enumerate(captions, 1)))
    prompts = [captions[number - 1] for number in right]
    print(f"Seed {arguments.seed}: {PROMPTS} prompts among {len(captions)} captions")
    print("\n".join(f"{number:3} {text}" for number, text in enumerate(captions, 1)), flush=True)
    facts = {
        "data": data.digest,
        "split": arguments.split,
        "seed": arguments.seed,
        "guidance_scale": arguments.guidance_scale,
        "noise_seed": arguments.noise_seed,
        "captions": captions,
        "right": right,
    }
    write_json(out / "key.json", facts)
    real = data.read(arguments.split, rows).latents.numpy()
    _sheet(real, out / "real.png")
    pictures = sample(
        arguments.model, prompts, guidance_scale=arguments.guidance_scale, seed=arguments.noise_seed, say=print
    )
    _sheet(pictures, out / "sheet.png")
    _pairs(
        pictures, real, [data.records(arguments.split, [row])[0].columns["design"] for row in rows], out / "pairs.png"
    )


def chosen(data: EncodedDataSet, seed: int, split: str = "judge") -> tuple[list[int], list[str], list[int]]:
    """Rows of the split in the order of the sheet, all captions, and each row's caption's number from 1 on."""
    designs = defaultdict(set)
    for every in ("train", "validation", "judge"):
        for record in data.records(every, range(data.count(every))):
            designs[record.columns["concept"]].add(record.columns["design"])
    rng = np.random.default_rng(seed)
    by_concept: dict[str, list[int]] = defaultdict(list)
    records = data.records(split, range(data.count(split)))
    for row, record in enumerate(records):
        concept = record.columns["concept"]
        if len(designs[concept]) == DESIGNS and "skin tone" not in record.caption:
            by_concept[concept].append(row)
    if len(by_concept) < PROMPTS + DECOYS:
        raise SubditError(f"The split {split} has {len(by_concept)} common concepts; {PROMPTS + DECOYS} are needed.")
    concepts = rng.choice(sorted(by_concept), PROMPTS + DECOYS, replace=False)
    drawn = [int(rng.choice(by_concept[concept])) for concept in concepts]
    rows = drawn[:PROMPTS]
    listed = [drawn[index] for index in rng.permutation(len(drawn))]
    return rows, [records[row].caption for row in listed], [listed.index(row) + 1 for row in rows]


def _sheet(pictures: np.ndarray, path: Path) -> None:  # type: ignore[type-arg]
    """Pictures with their numbers, from left to right and from the top down."""
    from PIL import Image
    from PIL import ImageDraw

    save_contact_sheet(pictures, path, columns=COLUMNS)
    with Image.open(path) as opened:
        sheet = opened.convert("RGB")
    width, margin = sheet.width // COLUMNS, 22
    count = -(-len(pictures) // COLUMNS)
    height = sheet.height // count
    wide = Image.new("RGB", (sheet.width, (height + margin) * count), "white")
    pen = ImageDraw.Draw(wide)
    for row in range(count):
        strip = sheet.crop((0, row * height, sheet.width, (row + 1) * height))
        wide.paste(strip, (0, row * (height + margin) + margin))
        for column in range(COLUMNS):
            number = row * COLUMNS + column + 1
            if number <= len(pictures):
                pen.text((column * width + 8, row * (height + margin) + 6), f"{number}", fill="black")
    wide.save(path)


def _pairs(samples: np.ndarray, real: np.ndarray, designs: list[str], path: Path) -> None:  # type: ignore[type-arg]
    """Samples, and below each the real picture of its prompt, of the designs that documents may show."""
    shown = [index for index, design in enumerate(designs) if design in SHOWN]
    shown = shown[: len(shown) // COLUMNS * COLUMNS]
    rows = [part[shown[start : start + COLUMNS]] for start in range(0, len(shown), COLUMNS) for part in (samples, real)]
    save_contact_sheet(np.concatenate(rows), path, columns=COLUMNS)


def score(folder: Path, answers: list[Path], kept: str | None) -> None:
    from scipy.stats import binomtest

    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    right, captions = key["right"], key["captions"]
    chance = 1 / len(captions)
    lines = [
        f"{len(right)} pictures, {len(captions)} captions, of which {len(captions) - len(right)} are decoys; prompts "
        f"of the split {key['split']}, seed {key['seed']}, guidance {key['guidance_scale']:g}",
        f"chance: {len(right) * chance:.1f} of {len(right)}",
    ]
    found = []
    for path in answers:
        given = {int(picture): int(caption) for picture, caption in json.loads(path.read_text()).items()}
        hits = [given.get(number) == wanted for number, wanted in enumerate(right, 1)]
        found.append(hits)
        interval = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
        lines.append(
            f"{path.stem}: {sum(hits)} of {len(hits)} matched, {sum(hits) / len(hits):.0%} "
            f"({interval.low:.0%} to {interval.high:.0%})"
        )
    lines.append("")
    for number, wanted in enumerate(right, 1):
        marks = "".join("x" if hits[number - 1] else "." for hits in found)
        lines.append(f"{number:3} {marks} {captions[wanted - 1]}")
    text = "\n".join(lines) + "\n"
    if kept:
        write_atomic(RESULTS / f"{kept}.txt", text)
    print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    drawing = verbs.add_parser("draw")
    drawing.add_argument("model", type=Path, help="A run or a checkpoint.")
    drawing.add_argument("data", type=Path, help="Folder of the encoded emoji.")
    drawing.add_argument("--out", type=Path, required=True)
    drawing.add_argument("--split", default="judge", help="Whose prompts.")
    drawing.add_argument("--seed", type=int, default=0, help="Of prompts, decoys and order.")
    drawing.add_argument("--noise-seed", type=int, default=0)
    drawing.add_argument("--guidance-scale", type=float, default=2.5)
    scoring = verbs.add_parser("score")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("answers", type=Path, nargs="+")
    scoring.add_argument("--kept", help="Name under which the table is kept in benchmarks/results.")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
