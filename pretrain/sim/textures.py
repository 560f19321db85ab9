"""Procedural pictures for surfaces and objects; every one repeats without a seam."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pretrain.sim.seeds import stable_rng

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Pattern = Callable[[np.random.Generator, Array, Array], npt.NDArray[Any]]
Rgb = tuple[float, float, float]

SURFACE_SIDE = 256  # pixels
OBJECT_SIDE = 48  # pixels of one face of an object's texture cube


def surface_picture(family: str, seed: int) -> Picture:
    """The texture of a table, floor or wall: (256, 256, 3), two related colours mixed by a pattern.

    Args:
        family: a key of `SURFACE_PATTERNS`.
        seed: decides colours and details.

    Raises:
        KeyError: no such family.
    """
    pattern = SURFACE_PATTERNS[family]
    rng = stable_rng("surface", family, seed)
    rows, columns = np.mgrid[0:SURFACE_SIDE, 0:SURFACE_SIDE] / SURFACE_SIDE
    share = np.clip(pattern(rng, rows, columns), 0.0, 1.0)[..., None]
    first, second = _two_tones(rng)
    return (255 * (first * (1.0 - share) + second * share)).astype(np.uint8)


def object_picture(pattern: str, first: Rgb, second: Rgb) -> Picture:
    """The six equal faces, one under the other, of an object's texture cube: (6 * 48, 48, 3).

    Raises:
        KeyError: `pattern` is not in `OBJECT_PATTERNS`.
    """
    rows, columns = np.mgrid[0:OBJECT_SIDE, 0:OBJECT_SIDE] / OBJECT_SIDE
    share = OBJECT_PATTERNS[pattern](rows, columns).astype(np.float64)[..., None]
    face = 255 * (np.array(first) * (1.0 - share) + np.array(second) * share)
    return np.tile(face.astype(np.uint8), (6, 1, 1))


def hsv(hue: float, saturation: float, value: float) -> Rgb:
    """HSV to RGB, all 0..1."""
    k = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    r, g, b = value * (1.0 - saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))
    return float(r), float(g), float(b)


def _two_tones(rng: np.random.Generator) -> tuple[Array, Array]:
    """Colours as furniture and walls have them: mostly woods and greys, some strong ones."""
    kind = rng.choice(["wood", "pale", "dark", "colour"], p=[0.35, 0.3, 0.15, 0.2])
    spans = {  # hue, saturation, value
        "wood": ((0.05, 0.11), (0.30, 0.65), (0.35, 0.85)),
        "pale": ((0.0, 1.0), (0.02, 0.15), (0.70, 0.95)),
        "dark": ((0.0, 1.0), (0.05, 0.40), (0.12, 0.30)),
        "colour": ((0.0, 1.0), (0.30, 0.60), (0.40, 0.80)),
    }[kind]
    hue, saturation, value = (rng.uniform(*span) for span in spans)
    other = value * rng.uniform(0.6, 0.85) if value > 0.3 else value + rng.uniform(0.1, 0.2)
    shifted = (hue + rng.normal(0.0, 0.02)) % 1.0
    return np.array(hsv(hue, saturation, value)), np.array(hsv(shifted, saturation * 0.9, other))


def _noise(rng: np.random.Generator, rows: Array, columns: Array, down: int, across: int) -> Array:
    """Smooth noise, about 0.5 +- 0.25, of at most `down` and `across` waves (whole, so it has no seam)."""
    total = np.zeros_like(rows)
    for _ in range(8):
        i, j = rng.integers(-down, down + 1), rng.integers(-across, across + 1)
        total += np.sin(2 * np.pi * (i * rows + j * columns + rng.uniform()))
    return 0.5 + total / 11.0


def _plain(rng: np.random.Generator, rows: Array, _columns: Array) -> Array:
    return 0.15 * rng.uniform(size=rows.shape)


def _wood(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    bent = rows + 0.03 * _noise(rng, rows, columns, 3, 2)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * int(rng.integers(5, 12)) * bent)
    fibres = _noise(rng, rows, columns, 60, 2)
    return 0.6 * rings**2 + 0.4 * fibres


def _planks(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    count = int(rng.integers(3, 7))
    board = np.floor(rows * count).astype(int)
    tone = rng.uniform(0.0, 0.5, count)[board]
    gap = (rows * count) % 1.0 < 0.04
    return np.where(gap, 1.0, tone + 0.3 * _noise(rng, rows, columns, 50, 2))


def _clouds(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    return _noise(rng, rows, columns, 5, 5)


def _marble(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    swirl = rows + columns + 0.7 * _noise(rng, rows, columns, 3, 3) + 0.15 * _noise(rng, rows, columns, 9, 9)
    return np.abs(np.sin(2 * np.pi * swirl)) ** 8


def _speckle(rng: np.random.Generator, _rows: Array, _columns: Array) -> Array:
    grains = rng.uniform(size=(64, 64)) < rng.uniform(0.1, 0.35)
    return np.kron(grains, np.ones((SURFACE_SIDE // 64, SURFACE_SIDE // 64)))


def _cloth(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    threads = int(rng.integers(16, 33))
    over = np.sin(2 * np.pi * threads * rows) * np.sin(2 * np.pi * threads * columns)
    return 0.4 + 0.3 * over + 0.2 * rng.uniform(size=rows.shape)


def _stripes(rng: np.random.Generator, _rows: Array, columns: Array) -> Array:
    return np.floor(columns * 2 * int(rng.integers(3, 9))) % 2


def _waves(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    bent = rows + 0.05 * np.sin(2 * np.pi * int(rng.integers(2, 5)) * columns)
    return 0.5 + 0.5 * np.sin(2 * np.pi * int(rng.integers(4, 9)) * bent)


def _scales(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    count = 2 * int(rng.integers(3, 6))
    row = rows * count
    column = columns * count + 0.5 * (np.floor(row) % 2)
    return np.hypot(row % 1.0, column % 1.0 - 0.5)


def _tiles(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    count = int(rng.integers(3, 7))
    joint = np.minimum((rows * count) % 1.0, (columns * count) % 1.0) < 0.06
    tone = rng.uniform(0.0, 0.25, (count, count))
    return np.where(joint, 1.0, tone[(rows * count).astype(int), (columns * count).astype(int)])


def _checker(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    squares = 2 * int(rng.integers(2, 6))
    return (np.floor(rows * squares) + np.floor(columns * squares)) % 2


def _dots(rng: np.random.Generator, rows: Array, columns: Array) -> npt.NDArray[np.bool_]:
    cells = int(rng.integers(4, 10))
    return np.hypot((rows * cells) % 1 - 0.5, (columns * cells) % 1 - 0.5) < 0.3


def _bricks(rng: np.random.Generator, rows: Array, columns: Array) -> npt.NDArray[np.bool_]:
    courses = 2 * int(rng.integers(3, 6))
    shifted = columns * courses / 2 + 0.5 * (np.floor(rows * courses) % 2)
    return ((rows * courses) % 1 < 0.12) | (shifted % 1 < 0.06)


SURFACE_PATTERNS: Mapping[str, Pattern] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "clouds": _clouds,
    "marble": _marble,
    "speckle": _speckle,
    "cloth": _cloth,
    "stripes": _stripes,
    "waves": _waves,
    "scales": _scales,
    "tiles": _tiles,
    "checker": _checker,
    "dots": _dots,
    "bricks": _bricks,
}

# The second colour takes less than half, so that the first still names the object; `keys` is for keyboards.
OBJECT_PATTERNS: Mapping[str, Callable[[Array, Array], npt.NDArray[np.bool_]]] = {
    "bands": lambda rows, _columns: (rows * 5) % 1 < 0.3,
    "bars": lambda _rows, columns: (columns * 6) % 1 < 0.3,
    "spots": lambda rows, columns: np.hypot((rows * 4) % 1 - 0.5, (columns * 4) % 1 - 0.5) < 0.28,
    "label": lambda rows, _columns: np.abs(rows - 0.5) < 0.15,
    "keys": lambda rows, columns: np.maximum(abs((rows * 6) % 1 - 0.5), abs((columns * 4) % 1 - 0.5)) < 0.3,
    "lines": lambda rows, columns: ((rows * 9) % 1 < 0.35) & (abs(columns - 0.5) < 0.36),
}
