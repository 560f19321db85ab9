"""What surrounds the objects: a table or counter, floor, walls, things in the background, lights.

World frame: the table's top is z = 0 and its near edge y = 0; the wearer sits or stands in front of it at
y < 0, looks along +y, and has +x on the right. Lengths are in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from pretrain.sim.design import COLOURS, WOOD, add_picture, add_solid
from pretrain.sim.seeds import stable_rng
from pretrain.sim.shapes import (
    UPRIGHT,
    Array,
    Paint,
    Quat,
    Solid,
    Vec,
    X,
    box,
    cylinder,
    drawn_only,
    turned,
    vec,
)
from pretrain.sim.splits import TEXTURES, Split
from pretrain.sim.textures import hsv, surface_picture

Furniture = Literal["counter", "desk", "kitchen table", "round table", "workbench"]

_HEIGHTS: dict[Furniture, tuple[float, float]] = {
    "counter": (0.85, 0.95),
    "desk": (0.70, 0.78),
    "kitchen table": (0.72, 0.78),
    "round table": (0.70, 0.76),
    "workbench": (0.80, 0.92),
}
_THICK = 0.04  # of the table's top
_TOUCH = 0.001  # what stands this near to the table touches it
# The table lies this much below z = 0, where things stand: for shapes that touch exactly, MuJoCo 3.3 now and
# then reports a penetration as deep as the shapes are large.
_SUNK = 0.0002
_EDGE = 0.01  # objects stay this far from the table's edges
_WALL_HEIGHT = 2.6
_TO_ROOM = turned(X, np.pi / 2)  # a wall's texture lies on its local z face, which this turns to -y
_TILE = 0.5  # metres that one repeat of a texture covers on a table


@dataclass(frozen=True)
class Surface:
    """A texture: `family` of `textures.SURFACE_PATTERNS`, and the seed of its colours and details."""

    family: str
    seed: int


@dataclass(frozen=True)
class Room:
    """A table and what is round it; all that `furnish` needs.

    Attributes:
        furniture: what the objects stand on.
        width, depth: of its top along x and y; a round table's diameter is its depth, the greater of the two.
        height: of its top above the floor.
        wall: how far the back wall stands behind the table's near edge.
        table, floor, walls, mat: textures; no mat lies on the table if that is None.
        seed: of the background and the lights.
    """

    furniture: Furniture
    width: float
    depth: float
    height: float
    wall: float
    table: Surface
    floor: Surface
    walls: Surface
    mat: Surface | None
    seed: int

    def holds(self, corners: Array) -> bool:
        """Whether all points (N, 2) of the table's plane are on its top, at least 1 cm from the edge."""
        x, y = np.asarray(corners, np.float64).T
        if self.furniture == "round table":
            radius = self.depth / 2
            return bool(np.all(np.hypot(x, y - radius + _OVERLAP) <= radius - _EDGE))
        return bool(
            np.all(np.abs(x) <= self.width / 2 - _EDGE) and np.all((y >= _EDGE) & (y <= self.depth - _EDGE))
        )


_OVERLAP = 0.05  # a round table's nearest point is this far before y = 0, where its edge is wide enough


def sample_room(seed: int, split: Split) -> Room:
    """A room of `split`'s texture families, the same for the same seed in every process."""
    rng = stable_rng("room", split, seed)
    furniture: Furniture = list(_HEIGHTS)[int(rng.integers(len(_HEIGHTS)))]
    depth = rng.uniform(1.3, 1.6) if furniture == "round table" else rng.uniform(0.62, 0.9)
    width = depth if furniture == "round table" else rng.uniform(1.3, 2.2)
    gap = 0.0 if furniture == "counter" else rng.uniform(0.3, 2.0)
    families = TEXTURES[split]

    def surface() -> Surface:
        return Surface(families[int(rng.integers(len(families)))], int(rng.integers(2**31)))

    return Room(
        furniture=furniture,
        width=float(width),
        depth=float(depth),
        height=float(rng.uniform(*_HEIGHTS[furniture])),
        wall=float(depth + gap),
        table=surface(),
        floor=surface(),
        walls=surface(),
        mat=surface() if rng.uniform() < 0.25 else None,
        seed=int(rng.integers(2**31)),
    )


def furnish(spec: mujoco.MjSpec, room: Room) -> None:
    """Add `room` to `spec`: the geom "table", which alone can be touched, and all that is only seen."""
    _add_table(spec, room)
    _add_walls(spec, room)
    rng = stable_rng("background", room.seed)
    _add_background(spec, room, rng)
    _add_lights(spec, rng)


def _textured(spec: mujoco.MjSpec, name: str, surface: Surface, repeats: tuple[float, float]) -> str:
    add_picture(spec, name, surface_picture(surface.family, surface.seed), mujoco.mjtTexture.mjTEXTURE_2D)
    material = spec.add_material(name=name, texrepeat=repeats, specular=0.15, shininess=0.2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name


def _add_table(spec: mujoco.MjSpec, room: Room) -> None:
    across, along = room.width / _TILE, room.depth / _TILE
    top = spec.worldbody.add_geom(
        name="table",
        group=1,
        contype=1,
        conaffinity=1,
        margin=_TOUCH,
        material=_textured(spec, "table", room.table, (across, along)),
    )
    if room.furniture == "round table":
        top.type, top.size = mujoco.mjtGeom.mjGEOM_CYLINDER, [room.depth / 2, _THICK / 2, 0.0]
        top.pos = [0.0, room.depth / 2 - _OVERLAP, -_THICK / 2 - _SUNK]
    else:
        top.type, top.size = mujoco.mjtGeom.mjGEOM_BOX, [room.width / 2, room.depth / 2, _THICK / 2]
        top.pos = [0.0, room.depth / 2, -_THICK / 2 - _SUNK]
    if room.mat is not None:
        rng = stable_rng("mat", room.seed)
        size = [rng.uniform(0.18, 0.26), rng.uniform(0.13, 0.17), 0.0005]
        spec.worldbody.add_geom(  # thin enough to stand on without being felt
            name="mat",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=[rng.uniform(-0.1, 0.1), 0.3, 0.0],
            group=1,
            contype=0,
            conaffinity=0,
            material=_textured(spec, "mat", room.mat, (1.5, 1.0)),
        )


def _add_walls(spec: mujoco.MjSpec, room: Room) -> None:
    rng = stable_rng("walls", room.seed)
    left, right = rng.uniform(1.3, 3.0, 2)
    paint = _textured(spec, "walls", room.walls, (6.0, 3.0))
    ground = _textured(spec, "floor", room.floor, (8.0, 8.0))
    half, middle = _WALL_HEIGHT / 2, _WALL_HEIGHT / 2 - room.height
    aside = (0.5, 0.5, 0.5, 0.5)  # takes z to x and x to y
    slabs: list[tuple[str, str, list[float], list[float], Quat]] = [
        ("floor", ground, [4.0, 4.0, 0.01], [0.0, 0.0, -room.height - 0.01], UPRIGHT),
        ("back wall", paint, [4.0, half, 0.01], [0.0, room.wall + 0.01, middle], _TO_ROOM),
        ("left wall", paint, [4.0, half, 0.01], [-left - 0.01, 0.0, middle], aside),
        ("right wall", paint, [4.0, half, 0.01], [right + 0.01, 0.0, middle], aside),
    ]
    for name, material, size, at, turn in slabs:
        spec.worldbody.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=at,
            quat=turn,
            material=material,
            group=1,
            contype=0,
            conaffinity=0,
        )


def _muted(rng: np.random.Generator) -> Paint:
    return Paint(
        hsv(rng.uniform(), rng.uniform(0.05, 0.5), rng.uniform(0.25, 0.9)), float(rng.uniform(0.05, 0.4))
    )


def _add_background(spec: mujoco.MjSpec, room: Room, rng: np.random.Generator) -> None:
    low = 0.25 if room.furniture == "counter" else -0.2  # metres: lowest on the wall
    solids = _hung(rng, room, low)
    if rng.uniform() < 0.75:
        solids += _shelf(rng, (rng.uniform(-0.7, 0.7), room.wall - 0.11, rng.uniform(low, 0.5)))
    if room.furniture != "counter":
        for _ in range(int(rng.integers(1, 4))):  # cabinets, a refrigerator, crates on the floor
            size = rng.uniform((0.35, 0.25, 0.4), (0.8, 0.45, 1.5))
            at = (rng.uniform(-1.8, 1.8), room.wall - size[1] / 2, size[2] / 2 - room.height)
            solids += _cabinet(rng, vec(size), vec(at))
    if room.wall - room.depth > 0.6 and rng.uniform() < 0.6:
        solids += _chair(rng, rng.uniform(-0.5, 0.5), room)
    if room.furniture in ("desk", "kitchen table", "workbench"):
        solids += _legs(rng, room)
    for number, solid in enumerate(solids):
        add_solid(spec, spec.worldbody, drawn_only(solid), f"background#{number}")


def _hung(rng: np.random.Generator, room: Room, low: float) -> list[Solid]:
    """Pictures, windows, sockets: flat on the wall."""
    solids: list[Solid] = []
    for _ in range(int(rng.integers(2, 5))):
        size = rng.uniform((0.15, 0.12), (0.6, 0.5))
        at = (rng.uniform(-1.4, 1.4), room.wall - 0.012, rng.uniform(low, 0.9))
        solids.append(box((size[0], 0.02, size[1]), vec(at), _muted(rng)))
        inner = Paint((0.7, 0.82, 0.95), 0.1) if rng.uniform() < 0.4 else _muted(rng)
        solids.append(box((size[0] * 0.85, 0.024, size[1] * 0.82), vec(at), inner))
    return solids


def _legs(rng: np.random.Generator, room: Room) -> list[Solid]:
    paint = WOOD if rng.uniform() < 0.5 else _muted(rng)
    length, x = room.height - _THICK, room.width / 2 - 0.05
    middle = -_THICK - length / 2
    return [
        box((0.05, 0.05, length), (side * x, y, middle), paint)
        for side in (-1.0, 1.0)
        for y in (0.05, room.depth - 0.05)
    ]


def _shelf(rng: np.random.Generator, at: tuple[float, float, float]) -> list[Solid]:
    x, y, z = at
    solids = [box((0.9, 0.2, 0.02), vec(at), WOOD if rng.uniform() < 0.5 else _muted(rng))]
    place = x - 0.42
    names = list(COLOURS)
    while place < x + 0.36:
        wide, tall = rng.uniform(0.03, 0.12), rng.uniform(0.08, 0.22)
        rgb = np.array(COLOURS[names[int(rng.integers(len(names)))]]) * 0.8 + 0.1
        middle = (place + wide / 2, y, z + 0.01 + tall / 2)
        paint = Paint(vec(rgb), 0.3)
        if rng.uniform() < 0.35:
            solids.append(cylinder(wide / 2, tall, vec(middle), paint))
        else:
            solids.append(box((wide, 0.12, tall), vec(middle), paint))
        place += wide + rng.uniform(0.005, 0.08)
    return solids


def _cabinet(rng: np.random.Generator, size: Vec, at: Vec) -> list[Solid]:
    body, front = _muted(rng), _muted(rng)
    doors = int(rng.integers(1, 4))
    solids = [box(size, at, body)]
    for number in range(doors):
        z = at[2] - size[2] / 2 + size[2] * (number + 0.5) / doors
        solids.append(
            box((size[0] * 0.9, 0.02, size[2] / doors * 0.88), (at[0], at[1] - size[1] / 2, z), front)
        )
        handle = (at[0], at[1] - size[1] / 2 - 0.02, z + 0.3 * size[2] / doors)
        solids.append(box((0.12, 0.02, 0.015), handle, body))
    return solids


def _chair(rng: np.random.Generator, x: float, room: Room) -> list[Solid]:
    paint = WOOD if rng.uniform() < 0.5 else _muted(rng)
    y = room.depth + rng.uniform(0.12, 0.3)
    seat = 0.45 - room.height
    solids = [box((0.42, 0.40, 0.04), (x, y, seat), paint)]
    solids += [
        box((0.04, 0.04, 0.5), (x + side * 0.19, y + 0.19, seat + 0.25), paint) for side in (-1.0, 1.0)
    ]
    solids += [box((0.42, 0.03, 0.07), (x, y + 0.19, seat + rise), paint) for rise in (0.28, 0.38, 0.48)]
    return solids


def light_place(rng: np.random.Generator) -> Array:
    """(3,) where a lamp hangs, somewhere over the table or beside it."""
    return np.array([rng.uniform(-1.2, 1.2), rng.uniform(-0.6, 1.2), rng.uniform(0.9, 1.8)])


def lit_point(rng: np.random.Generator) -> Array:
    """(3,) the point of the table that a lamp is turned to."""
    return np.array([rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.5), 0.0])


def _add_lights(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    count = int(rng.integers(1, 4))
    total = rng.uniform(0.65, 1.0)
    for _ in range(count):
        at = light_place(rng)
        warmth = rng.uniform(-0.12, 0.12)  # from bluish daylight to yellowish lamps
        tone = total / count * np.array([1.0 + warmth, 1.0, 1.0 - warmth])
        aim = lit_point(rng) - at
        spec.worldbody.add_light(
            pos=at,
            dir=aim,
            directional=bool(rng.uniform() < 0.4),
            diffuse=tone,
            specular=0.4 * tone,
            cutoff=90.0,
            exponent=1.0,
            castshadow=False,
        )
    ambient = rng.uniform(0.3, 0.45)
    spec.visual.headlight.ambient = [ambient] * 3
    spec.visual.headlight.diffuse = [rng.uniform(0.05, 0.2)] * 3
    spec.visual.headlight.specular = [0.05] * 3
