"""Does one frame of an EgoSim clip tell opposite directions apart? It should not; sixteen frames should.

For each pair of opposites a ridge classifier learns on frozen features of the training split, picks its
penalty on validation, and is judged on test, whose combinations and objects it never saw. Features:
EfficientNet-Lite0's map over a grid of places, of the middle frame, or of sixteen frames as their first
cosines over time.

    python benchmarks/egosim_probe.py data/egosim
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from egorep import load_encoder
from egorep.intervals import wilson
from pretrain.data.clips import read_clip
from pretrain.data.narrations import Narrated, read_narrations

OPPOSITES = {
    "left": "right",
    "away": "towards",
    "up": "down",
    "clockwise": "counterclockwise",
    "open": "close",
    "pick up": "put down",
    "insert": "take out",
}
FRAMES, COMPONENTS, COSINES = 16, 24, 5
PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5)
SPLITS = ("train", "validation", "test")

Maps = npt.NDArray[np.floating[Any]]


def label(narrated: Narrated) -> str | None:
    """The direction of an action, or its verb where that has an opposite; failed actions have none."""
    if narrated.more["outcome"] != "success":
        return None
    names = [narrated.more["direction"], narrated.more["verb"], narrated.more["verb"].split()[0]]
    known = {*OPPOSITES, *OPPOSITES.values()}
    return next((name for name in names if name in known), None)


def features(rows: Sequence[Narrated]) -> npt.NDArray[np.float16]:
    """(N, 16, places, C) float16 of each row's frames."""
    encoder = load_encoder("efficientnet_lite0", max_batch=FRAMES)
    return np.stack(
        [encoder.tokens(read_clip(row, FRAMES, 224)).flatten(1, 3).numpy().astype(np.float16) for row in rows]
    )


def over_time(maps: Maps) -> Maps:
    """(N, T, P, C) to (N, features): the first cosines over time of every place and component."""
    time = (np.arange(FRAMES) + 0.5) / FRAMES
    cosines = np.cos(np.pi * np.arange(COSINES)[:, None] * time)
    return np.einsum("kt,ntpc->nkpc", cosines, maps).reshape(len(maps), -1) / FRAMES


def accuracy(inputs: dict[str, Maps], classes: dict[str, npt.NDArray[np.bool_]]) -> tuple[int, int]:
    """Test clips right, and test clips, with the penalty that validation picks."""
    scaler = StandardScaler().fit(inputs["train"])
    scaled = {split: scaler.transform(values) for split, values in inputs.items()}
    models = [
        RidgeClassifier(alpha=alpha, class_weight="balanced").fit(scaled["train"], classes["train"])
        for alpha in PENALTIES
    ]
    best = max(models, key=lambda model: model.score(scaled["validation"], classes["validation"]))
    right = best.predict(scaled["test"]) == classes["test"]
    return int(right.sum()), len(right)


def interval(right: int, total: int) -> str:
    """A share with its 95 % Wilson interval."""
    share, low, high = wilson(right / total, total)
    return f"{share:.2f} [{low:.2f}, {high:.2f}] ({total})"


def main() -> None:
    """Print accuracies on test by pair of opposites, and over all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data
    narrations = read_narrations(folder)
    rows = [(row, label(row)) for row in narrations]
    table = pd.DataFrame(
        [(row, name, row.more["split"]) for row, name in rows if name], columns=["row", "name", "split"]
    )
    maps = features(list(table.row))
    train = (table.split == "train").to_numpy()
    flat = maps[train].reshape(-1, maps.shape[-1]).astype(np.float32)
    pca = PCA(COMPONENTS, random_state=0).fit(flat[:: max(len(flat) // 20_000, 1)])
    maps = pca.transform(maps.reshape(-1, maps.shape[-1]).astype(np.float32)).reshape(*maps.shape[:3], -1)
    seen = {"one frame": maps[:, FRAMES // 2].reshape(len(maps), -1), f"{FRAMES} frames": over_time(maps)}
    total = {name: [0, 0] for name in seen}
    print(f"{len(table)} clips; chance is 0.50; accuracy [95 % interval] (test clips)")
    for one, other in OPPOSITES.items():
        chosen = table.name.isin((one, other)).to_numpy()
        parts = {split: np.flatnonzero(chosen & (table.split == split).to_numpy()) for split in SPLITS}
        classes = {split: (table.name.to_numpy()[index] == one) for split, index in parts.items()}
        if any(len(set(values)) < 2 for values in classes.values()):
            print(f"  {one} / {other}: too few clips")
            continue
        shown = []
        for name, values in seen.items():
            right, count = accuracy({split: values[index] for split, index in parts.items()}, classes)
            total[name][0] += right
            total[name][1] += count
            shown.append(f"{name} {interval(right, count)}")
        print(f"  {one} / {other}: {', '.join(shown)}")
    print("  all: " + ", ".join(f"{name} {interval(*numbers)}" for name, numbers in total.items()))


if __name__ == "__main__":
    main()
