"""How many looks it takes to see where things stand: what a policy must know before anything moves.

Meta-World's tasks as an episode begins, after one step in which nothing is done, under `variation=train`:
each picture has a layout and a look of its own. A linear map reads from features where objects and goal
stand, in metres, learnt on so many pictures and judged on others, of the same variation and of `unseen`. A
policy that clones n demonstrations has n such pictures. Rows of true places, in pixels off by so much, say
how well it could be read, and the row of the pixels themselves what an encoder has to beat.

    python benchmarks/layouts.py runs/layouts egovideo_tiny:places efficientnet_lite0 [--plot layouts.png]

Pictures, and what was read from an encoder's features, are kept in the folder: another encoder
costs only itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from places import projected
from tqdm import tqdm

from egorep import load_encoder, probing
from egorep.encoder import Encoder
from egorep.figures import styled
from egorep.files import replacing
from egorep.intervals import Interval
from egorep.probing import Fold, Score, Target
from robot_eval.environment import EnvSettings
from robot_eval.plots import colours
from robot_eval.stats import format_cell
from robot_eval.suites import load_suite, make_env
from robot_eval.variation import VariationName

SUITE = "metaworld"
CAMERA = "corner2"  # as in configs/robot_eval/suite/metaworld.yaml
TASKS = ("assembly-v3", "bin-picking-v3", "button-press-v3", "drawer-open-v3", "hammer-v3")
LEARNT = (25, 50, 100, 200, 400)
JUDGED = 200
JUDGES: tuple[VariationName, ...] = ("train", "unseen")
DRAWS = 8  # at most: disjoint sets of pictures to learn from
ERRORS = (0.0, 2.0, 4.0, 8.0)
PIXELS = "pixels"
SHRUNK = 4  # pixels of the picture, each way, that are one of that row
FIRST_JUDGED = 1_000_000  # seeds from here on are judged, those from 0 on learnt from
LEAST_SPREAD = 1e-3  # metres: an entry that varies less is the same in all layouts
BATCH = 50
MARKERS = "osD^v"  # of encoders whose colour is the same
VERSION = 1  # raised when the same encoder gets other readings

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Beginnings:
    """Of N episodes of a task, how they begin, a step after the reset.

    Attributes:
        pictures: (N, 224, 224, 3) uint8 RGB.
        layout: (N, K) metres, where objects and goal stand.
        places: (N, P) pixels from the picture's middle, where hand, objects and goal are seen.
    """

    pictures: npt.NDArray[np.uint8]
    layout: Floats
    places: Floats


@dataclass(frozen=True)
class Task:
    """What is learnt from and, by variation, what is judged."""

    name: str
    learnt: Beginnings
    judged: dict[VariationName, Beginnings]


@dataclass(frozen=True)
class Reading:
    """R2 of the layout, learnt on `count` looks.

    Attributes:
        seen: what it is read from.
        task, judge: of which task and variation.
        count: looks that are learnt from.
        draw: which set of them.
        score: with its interval over the judged looks.
    """

    seen: str
    task: str
    judge: VariationName
    count: int
    draw: int
    score: Score


def beginnings(folder: Path, task: str, variation: VariationName, seeds: range) -> Beginnings:
    """Film how the episodes of `seeds` begin, or take what was filmed before."""
    path = folder / f"{task}_{variation}_{seeds.start}_{len(seeds)}.npz"
    if not path.is_file():
        filmed = _film(task, variation, seeds)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, pictures=filmed.pictures, layout=filmed.layout, places=filmed.places)
    with np.load(path) as file:
        return Beginnings(**{name: file[name] for name in ("pictures", "layout", "places")})


def _film(task: str, variation: VariationName, seeds: range) -> Beginnings:
    entries = load_suite(SUITE).entries(task)
    points = [*entries.hand, *entries.objects, *entries.goal]
    settings = EnvSettings(SUITE, task, CAMERA, variation=variation)
    env = make_env(settings)
    nothing = np.zeros(env.action_space.shape or (), np.float32)
    pictures, layouts, places = [], [], []
    for seed in tqdm(seeds, desc=f"{task} {variation}", unit="look", disable=None):
        env.reset(seed=seed)
        # Until a step is made Meta-World shows assembly's peg and the drawer where they are by default.
        state = env.step(nothing)[0]["state"]
        pictures.append(env.render())
        layouts.append(state[[*entries.objects, *entries.goal]])
        places.append(projected(env._model, settings.camera, state[None, points])[0].ravel())
    env.close()
    return Beginnings(np.stack(pictures), np.stack(layouts).astype(np.float64), np.stack(places))


def features(encoder: Encoder, pictures: npt.NDArray[np.uint8]) -> Floats:
    """(N, D) of episodes that begin with these pictures, as policies see them."""
    rows = []
    for start in range(0, len(pictures), BATCH):
        kept = encoder.remember(torch.from_numpy(pictures[start : start + BATCH]))
        windows = torch.arange(len(kept))[:, None].expand(-1, encoder.num_frames)
        rows.append(encoder.recall(kept[windows]).numpy())
    return np.concatenate(rows).astype(np.float64)


def readings(seen: str, task: Task, learnt: Floats, judged: dict[VariationName, Floats]) -> Iterator[Reading]:
    """How well the layout is read, for each number of looks, set of them and variation."""
    varies = task.learnt.layout.std(axis=0) > LEAST_SPREAD
    for judge, asked in judged.items():
        for count in LEARNT:
            rows = np.arange(count + len(asked))
            fold = Fold(rows[count // 5 : count], rows[: count // 5], rows[count:])
            for draw in range(min(DRAWS, len(learnt) // count)):
                known = slice(draw * count, (draw + 1) * count)
                inputs = np.concatenate([learnt[known], asked])
                layout = np.concatenate([task.learnt.layout[known], task.judged[judge].layout])[:, varies]
                (score,) = probing.probe(inputs, [Target("layout", layout)], rows, [fold], kinds=("linear",))
                yield Reading(seen, task.name, judge, count, draw, score)


def _blurred(places: Floats, error: float, seed: int) -> Floats:
    return places + np.random.default_rng(seed).normal(scale=error, size=places.shape)


def of_places(tasks: Sequence[Task]) -> Iterator[Reading]:
    """Readings from true places in the picture, each coordinate off by so many pixels."""
    for error in ERRORS:
        for task in tasks:
            judged = {judge: _blurred(one.places, error, 1) for judge, one in task.judged.items()}
            learnt = _blurred(task.learnt.places, error, 0)
            yield from readings(f"places off by {error:g} px", task, learnt, judged)


def of_pixels(tasks: Sequence[Task]) -> Iterator[Reading]:
    """Readings from the pixels themselves, means of squares of `SHRUNK`."""
    for task in tasks:
        judged = {judge: _shrunk(one.pictures) for judge, one in task.judged.items()}
        yield from readings(PIXELS, task, _shrunk(task.learnt.pictures), judged)


def _shrunk(pictures: npt.NDArray[np.uint8]) -> Floats:
    """(N, S, S, 3) to (N, 3 (S / SHRUNK)^2)."""
    side = pictures.shape[1] // SHRUNK
    squares = pictures.reshape(-1, side, SHRUNK, side, SHRUNK, 3)
    return squares.mean(axis=(2, 4)).reshape(len(pictures), -1)


def of_encoder(name: str, tasks: Sequence[Task], folder: Path) -> Iterator[Reading]:
    """Readings from an encoder's features, or those that are kept of it."""
    encoder = load_encoder(name, engine="openvino")
    for task in tasks:
        path = folder / f"{task.name}_{encoder.fingerprint}_{VERSION}.json"
        if not path.is_file():
            judged = {judge: features(encoder, one.pictures) for judge, one in task.judged.items()}
            rows = list(readings(name, task, features(encoder, task.learnt.pictures), judged))
            with replacing(path) as temporary:
                temporary.write_text(json.dumps([asdict(row) for row in rows]))
        yield from (_reading(name, row) for row in json.loads(path.read_text()))


def _reading(name: str, kept: dict[str, Any]) -> Reading:
    """As it was before `asdict` and JSON; an encoder may have been given by another name then."""
    target, probe, measure, interval = kept["score"]
    return Reading(**{**kept, "seen": name, "score": Score(target, probe, measure, Interval(*interval))})


def _mean(rows: Sequence[Reading], judge: VariationName, count: int) -> float:
    """Over tasks and draws."""
    return float(
        np.mean([row.score.interval.estimate for row in rows if (row.judge, row.count) == (judge, count)])
    )


def row_of_means(rows: Sequence[Reading]) -> str:
    """A row of Markdown: for each variation and number of looks, R2."""
    cells = [f"{_mean(rows, judge, count):.2f}" for judge in JUDGES for count in LEARNT]
    return "| " + " | ".join([rows[0].seen, *cells]) + " |"


def row_of_tasks(rows: Sequence[Reading]) -> str:
    """A row of Markdown: of each task, learnt on most looks and judged on others of their variation, R2."""
    cells = []
    for task in TASKS:
        (one,) = (
            row.score.interval
            for row in rows
            if (row.task, row.judge, row.count) == (task, JUDGES[0], LEARNT[-1])
        )
        cells.append(format_cell(one))
    return "| " + " | ".join([rows[0].seen, *cells]) + " |"


def figure(readings: dict[str, list[Reading]]) -> Figure:
    """R2 by the number of looks; encoders in colours, true places dotted, pixels dashed."""
    with styled():
        drawn = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = drawn.subplots(1, len(JUDGES), sharey=True)
        styles: dict[str, dict[str, Any]] = {name: {"c": "#9AA1AB", "ls": ":"} for name in readings} | {
            PIXELS: {"c": "k", "ls": "--"}
        }
        encoders = [name for name in readings if name != PIXELS and not name.startswith("places off")]
        used = Counter[str]()
        for name, colour in colours(encoders).items():
            styles[name] = {"c": colour, "marker": MARKERS[used[colour]], "ms": 4}
            used[colour] += 1
        for panel, judge in zip(axes, JUDGES, strict=True):
            for name, rows in readings.items():
                values = [max(-0.2, _mean(rows, judge, count)) for count in LEARNT]
                panel.plot(LEARNT, values, label=name, **styles[name])
            panel.set(xscale="log", xlabel="looks that are learnt from", title=f"judged under {judge}")
            panel.set_xticks(LEARNT, [str(count) for count in LEARNT])
            panel.minorticks_off()
        axes[0].set(ylabel="where things stand, R2", ylim=(-0.22, 1.02))
        drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7.5)
    return drawn


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures are kept")
    parser.add_argument("encoders", nargs="+", help="names, as for robot_eval")
    parser.add_argument("--plot", type=Path, help="draw the first table")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    learnt, asked = range(LEARNT[-1]), range(FIRST_JUDGED, FIRST_JUDGED + JUDGED)
    tasks = [
        Task(
            name,
            beginnings(given.folder, name, "train", learnt),
            {judge: beginnings(given.folder, name, judge, asked) for judge in JUDGES},
        )
        for name in TASKS
    ]
    heads = [f"{judge}, {count}" for judge in JUDGES for count in LEARNT]
    sys.stdout.write("\n".join(["| seen | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|\n"]))
    found: dict[str, list[Reading]] = {}
    every = chain(
        of_places(tasks),
        of_pixels(tasks),
        *(of_encoder(name, tasks, given.folder) for name in given.encoders),
    )
    for seen, rows in groupby(every, key=lambda row: row.seen):
        found[seen] = list(rows)
        sys.stdout.write(row_of_means(found[seen]) + "\n")
        sys.stdout.flush()
    sys.stdout.write("\n| seen | " + " | ".join(TASKS) + " |\n" + "|---" * (len(TASKS) + 1) + "|\n")
    sys.stdout.write("".join(row_of_tasks(rows) + "\n" for rows in found.values()))
    if given.plot:
        figure(found).savefig(given.plot, dpi=160)


if __name__ == "__main__":
    main()
