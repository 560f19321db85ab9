"""Writes what the docs show of EgoSim, from data sets that `python -m pretrain.sim` made.

    python docs/make_egosim.py data/egosim data/egosim_verbs
    python docs/make_egosim.py data/egosim_stills

The first is counted in docs/egosim_statistics.md. Clips of every verb, docs/images/egosim/<verb>.jpg, are of
the second, or of the first alone: made with `verbs=` all of them, a small one shows each often enough. Of a
data set of stills there is docs/images/egosim_stills.png.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from pretrain.data.clips import sample_instants
from pretrain.data.video import read_frames
from pretrain.sim.stills import read_stills
from pretrain.sim.truth import Truth, read_truth

DOCS = Path(__file__).parent
SPLITS = ("train", "validation", "test")
SHOWN, FRAMES, SIDE = 5, 7, 160  # clips on a sheet, frames of each, pixels
STILLS = (3, 5)  # rows and columns
HAND_COLOURS, OBJECT_COLOUR = ((255, 60, 60), (60, 90, 255)), (255, 220, 0)


def statistics(folder: Path, rows: pd.DataFrame) -> str:
    """The page of statistics, as Markdown."""
    lengths = rows.end_second - rows.start_second
    videos = rows.groupby("split").video_id.nunique()
    hands, touching, total = coverage(folder, rows)
    parts = [
        "# EgoSim in numbers",
        f"Written by `python docs/make_egosim.py {folder}`; {rows.video_id.nunique()} videos with "
        f"{len(rows)} narrated actions.",
        table(
            ["", *SPLITS],
            [
                ["videos", *(videos.get(split, 0) for split in SPLITS)],
                ["actions", *((rows.split == split).sum() for split in SPLITS)],
                ["hours", *(f"{total[split] / 30 / 3600:.2f}" for split in SPLITS)],
                *(
                    [f"frames with the {side} hand visible", *(f"{hands[split][i]:.1%}" for split in SPLITS)]
                    for i, side in enumerate(("left", "right"))
                ),
                ["frames with contact", *(f"{touching[split]:.1%}" for split in SPLITS)],
            ],
        ),
        f"Actions last {lengths.mean():.2f} s on average (5 % to 95 %: {lengths.quantile(0.05):.2f} to "
        f"{lengths.quantile(0.95):.2f} s).",
        new_combinations(rows),
    ]
    for column in ("verb", "direction", "hand", "outcome", "speed", "kind"):
        parts += [f"## By {column}", counts(rows, column)]
    return "\n\n".join(parts) + "\n"


def coverage(
    folder: Path, rows: pd.DataFrame
) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, float], dict[str, int]]:
    """Shares of frames with each hand visible and with contact, and numbers of frames, by split."""
    hands, touching, total = {}, {}, {}
    for split in SPLITS:
        visible, contact, count = np.zeros(2), 0, 0
        for video in rows.video_id[rows.split == split].unique():
            truth = read_truth(folder / "truth" / f"{video}.npz")
            visible += truth.hand_visible.sum(0)
            contact += truth.contact.any((1, 2)).sum()
            count += len(truth.camera)
        hands[split], touching[split], total[split] = visible / max(count, 1), contact / max(count, 1), count
    return hands, touching, total


def new_combinations(rows: pd.DataFrame) -> str:
    """How many combinations of verb and kind of object each split has, and how many training lacks."""
    found = {
        split: set(map(tuple, rows.loc[rows.split == split, ["verb", "kind"]].to_numpy())) for split in SPLITS
    }
    lines = [
        [split, len(found[split]), len(found[split] & found["train"]) if split != "train" else "-"]
        for split in SPLITS
    ]
    return table(["combinations of verb and object", "in the split", "of them in training"], lines)


def counts(rows: pd.DataFrame, column: str) -> str:
    """Actions by a column and by split."""
    shown = rows.assign(**{column: rows[column].replace("", "(none)")})
    found = (
        shown.groupby([column, "split"]).size().unstack(fill_value=0).reindex(columns=SPLITS, fill_value=0)
    )
    return table(
        [column, *SPLITS],
        [[name, *values] for name, values in zip(found.index, found.to_numpy(), strict=True)],
    )


def table(head: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    texts = ["| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *lines)]
    return "\n".join(texts)


def sheet(folder: Path, rows: pd.DataFrame, verb: str) -> Image.Image:
    """Some clips of a verb, one a row: seven moments with boxes of hands and of objects in contact."""
    chosen = rows[(rows.verb == verb) & (rows.outcome == "success")].head(SHOWN)
    strips = [strip(folder, row) for row in chosen.itertuples()]
    page = Image.new("RGB", (FRAMES * SIDE, len(strips) * (SIDE + 14)), "white")
    for i, picture in enumerate(strips):
        page.paste(picture, (0, i * (SIDE + 14)))
    return page


def strip(folder: Path, row: Any) -> Image.Image:
    """One action, a row of the narrations' table: moments in a row, and its narration."""
    truth = read_truth(folder / "truth" / f"{row.video_id}.npz")
    instants = sample_instants(row.start_second, row.end_second, FRAMES)
    frames = read_frames(folder / "videos" / row.video_id, list(instants))
    page = Image.new("RGB", (FRAMES * SIDE, SIDE + 14), "white")
    for i, (instant, frame) in enumerate(zip(instants, frames, strict=True)):
        picture = Image.fromarray(frame)
        draw = ImageDraw.Draw(picture)
        for box, colour in boxes(truth, min(int(instant * truth.fps), len(truth.camera) - 1)):
            draw.rectangle(box, outline=colour, width=2)
        page.paste(picture.resize((SIDE, SIDE)), (i * SIDE, 14))
    ImageDraw.Draw(page).text((3, 1), row.text, fill="black")
    return page


def boxes(truth: Truth, frame: int) -> Iterator[tuple[list[float], tuple[int, int, int]]]:
    """Boxes of a frame with their colours: red the left hand, blue the right one, yellow what they touch."""
    for box, colour in (
        *zip(truth.hand_boxes[frame], HAND_COLOURS, strict=True),
        *((box, OBJECT_COLOUR) for box in truth.object_boxes[frame]),
    ):
        if not np.isnan(box[0]):
            yield [float(box[0]), float(box[1]), float(box[2]) - 1, float(box[3]) - 1], colour


def stills_sheet(folder: Path) -> Image.Image:
    """Some stills of split test, each beside its outlines."""
    stills = read_stills(folder, "test")
    colours = np.array([(0, 0, 0), *HAND_COLOURS, OBJECT_COLOUR], np.uint8)
    places = range(0, len(stills.pictures), len(stills.pictures) // (STILLS[0] * STILLS[1]) + 1)
    cells = []
    for place in places:
        outlines = colours[stills.outlines[place]].repeat(4, axis=0).repeat(4, axis=1)
        cells.append(np.concatenate([stills.pictures[place], outlines], axis=1))
    rows = [
        np.concatenate(cells[start : start + STILLS[1]], axis=1) for start in range(0, len(cells), STILLS[1])
    ]
    return Image.fromarray(np.concatenate([row for row in rows if row.shape == rows[0].shape]))


def read(folder: Path) -> pd.DataFrame:
    """The narrated actions of a data set."""
    return pd.read_csv(folder / "narrations.csv", keep_default_na=False)


def main() -> None:
    """Write the page and the sheets."""
    counted, folder = Path(sys.argv[1]), Path(sys.argv[-1])
    if (folder / "stills").is_dir():
        stills_sheet(folder).save(DOCS / "images" / "egosim_stills.png")
        return
    (DOCS / "egosim_statistics.md").write_text(statistics(counted, read(counted)))
    rows = read(folder)
    images = DOCS / "images" / "egosim"
    images.mkdir(parents=True, exist_ok=True)
    for verb in sorted(rows.verb.unique()):
        sheet(folder, rows, verb).save(images / f"{verb.replace(' ', '_')}.jpg", quality=80)


if __name__ == "__main__":
    main()
