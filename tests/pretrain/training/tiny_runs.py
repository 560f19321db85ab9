"""Runs small enough for tests: sixteen films of a moving square, and a model of two narrow layers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import zarr
from hydra import compose, initialize_config_module

from egorep.video_files import write_mp4
from pretrain.training.config import TrainConfig, parse

SIDE, FRAMES, FPS = 48, 12, 10
COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
TINY = {
    "model.architecture": (
        "{vision: {image_size: 32, patch_size: 8, stem: linear, width: 32, layers: 2, heads: 2},"
        " text: {width: 32, layers: 1, heads: 2, context_length: 16}, joint_dim: 32}"
    ),
    "model.fast_frames": "8",
    "batch": "8",
    "epochs": "3",
    "warmup": "0",
    "losses.boxes": "0",
    "losses.tracks": "0",
    "augmentation.jitter": "0",
    "weight_decay": "0.01",
    "ema": "null",
    "workers": "0",
    "device": "cpu",
}


def corners(move: tuple[int, int]) -> np.ndarray:
    """(FRAMES, 4) of the square, in pixels: from the middle outwards."""
    steps = np.linspace(0, 14, FRAMES)[:, None] * np.array(move)
    first = np.array([SIDE / 2 - 8, SIDE / 2 - 8]) + steps
    return np.concatenate([first, first + 16], axis=1).round()


def make_data(folder: Path) -> Path:
    """A HOD data set in which the square is the left hand."""
    rows, boxes = [], np.full((16, FRAMES, 5, 4), np.nan, np.float32)
    for number, (colour, move) in enumerate((c, m) for c in COLOURS for m in MOVES):
        film = np.full((FRAMES, SIDE, SIDE, 3), 90, np.uint8)
        for frame, (x1, y1, x2, y2) in zip(film, corners(MOVES[move]).astype(int), strict=True):
            frame[y1:y2, x1:x2] = COLOURS[colour]
        write_mp4(folder / "videos" / f"{number:02}.mp4", film, FPS)
        boxes[number, :, 0] = corners(MOVES[move]) / SIDE
        rows.append([f"{number:02}", 0, FRAMES / FPS, f"a {colour} square moves {move}"])
    with (folder / "hod.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_id", "start_second", "end_second", "text"], *rows])
    group = zarr.open_group(folder / "tracks.zarr", mode="w")
    arrays = {
        "boxes": boxes,
        "seconds": np.tile(np.arange(FRAMES) / FPS, (16, 1)),
        "contact": np.zeros((16, FRAMES, 2), np.float32),
        "keypoints": np.full((16, FRAMES, 2, 21, 2), np.nan, np.float32),
    }
    for name, values in arrays.items():
        group.create_array(name, data=values)
    return folder


def settings(data: Path, out: Path, **changes: object) -> TrainConfig:
    """Checked settings of a tiny run; keys of groups are written with two underscores for a dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    overrides = {"data": data, "out": out, **TINY, **named}
    with initialize_config_module("pretrain.configs", version_base="1.3"):
        return parse(compose("train", [f"{key}={_word(value)}" for key, value in overrides.items()]))


def _word(value: object) -> object:
    return "null" if value is None else value
