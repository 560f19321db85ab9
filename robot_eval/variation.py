"""What a robot meets is not one fixed scene: variation for any MuJoCo model.

Per episode, from its seed: the camera's pose, the lights, colours and textures of table, floor, walls and
background, a tint of robot and task objects, and distractor solids that stand on the table without taking
part in the physics. `train` and `unseen` draw from disjoint ranges, hues, texture patterns and distractor
shapes, so a policy that learnt under `train` meets nothing under `unseen` that it has seen.

To tell what each kind of change costs, `CHANGES` make one alone: `camera`, `light`, `texture` (tints among
them) and `distractors` as `unseen` draws them, and `starts`, in which nothing looks different but the robot
starts elsewhere.

A suite says only which parts of its model are what (`SceneParts`) and how its robot may be moved (`Starts`);
this module does the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import mujoco
import numpy as np
import numpy.typing as npt

from robot_eval.render import Decor

VariationName = Literal["none", "train", "unseen", "camera", "light", "texture", "distractors", "starts"]
TRAIN_VARIATIONS: tuple[VariationName, ...] = ("none", "train")  # the others are for judging
SCENES: tuple[VariationName, ...] = (*TRAIN_VARIATIONS, "unseen")
CHANGES: tuple[VariationName, ...] = ("camera", "light", "texture", "distractors", "starts")
VARIATIONS: tuple[VariationName, ...] = (*SCENES, *CHANGES)

Array = npt.NDArray[np.float64]
Span = tuple[float, float]
Pattern = Callable[[np.random.Generator, Array, Array], npt.NDArray[Any]]


@dataclass(frozen=True)
class Zone:
    """Part of a horizontal surface where distractors may stand: world coordinates, metres."""

    x: Span
    y: Span
    z: float


@dataclass(frozen=True)
class SceneParts:
    """Which parts of a suite's model are what.

    Attributes:
        look_at: world point around which the cameras swing, metres: the middle of the workspace.
        surfaces: materials of each surface ("table", "floor", "walls"), by name; names that a model
            lacks are passed over, because tasks of one suite differ.
        robot_body: root of the robot's kinematic tree; it is tinted as one.
        fixed_bodies: further bodies that are neither robot nor task object.
        zones: where distractors may stand.
    """

    look_at: tuple[float, float, float]
    surfaces: Mapping[str, tuple[str, ...]]
    robot_body: str
    fixed_bodies: tuple[str, ...]
    zones: tuple[Zone, ...]


@dataclass(frozen=True)
class Starts:
    """How a robot may be moved before an episode begins: one action, held for a while.

    Nothing may be touched on the way, and the task must stay possible.

    Attributes:
        low, high: (A,) of each component of the action; equal where it must not move the robot.
        seconds: how long the action is held.
        control_hz: control steps per second.
    """

    low: Array
    high: Array
    seconds: Span
    control_hz: int

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], int]:
        """An action (A,) and for how many control steps it is held, at least one."""
        action = rng.uniform(self.low, self.high).astype(np.float32)
        return action, max(1, round(rng.uniform(*self.seconds) * self.control_hz))


@dataclass(frozen=True)
class Ranges:
    """What one kind of variation draws from. Spans are of absolute values: the sign is drawn apart.

    Attributes:
        azimuth, elevation: swing of the camera about `look_at`, degrees.
        distance: relative change of the camera's distance.
        light: relative change of the light's intensity.
        light_turn: turn of each light's direction about the vertical, degrees.
        tint: relative change of each colour channel of robot and task objects.
        paint: share of the drawn texture in what a surface shows; the rest is the suite's own.
        hues: of table, floor, walls, background and distractors, on the colour circle 0..1.
        patterns: of textures.
        shapes: of distractors.
        count: of distractors, least and most.
    """

    azimuth: Span
    elevation: Span
    distance: Span
    light: Span
    light_turn: Span
    tint: Span
    paint: Span
    hues: Span
    patterns: tuple[str, ...]
    shapes: tuple[mujoco.mjtGeom, ...]
    count: tuple[int, int]


RANGES: Mapping[str, Ranges] = {
    "train": Ranges(
        azimuth=(0.0, 4.0),
        elevation=(0.0, 3.0),
        distance=(0.0, 0.05),
        light=(0.0, 0.25),
        light_turn=(0.0, 30.0),
        tint=(0.0, 0.12),
        paint=(0.1, 0.3),
        hues=(0.02, 0.48),
        patterns=("plain", "grain", "clouds", "gradient"),
        shapes=(mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_SPHERE),
        count=(0, 3),
    ),
    "unseen": Ranges(
        azimuth=(5.0, 8.0),
        elevation=(3.5, 5.0),
        distance=(0.06, 0.10),
        light=(0.30, 0.50),
        light_turn=(40.0, 80.0),
        tint=(0.15, 0.25),
        paint=(0.4, 0.6),
        hues=(0.52, 0.98),
        patterns=("checker", "stripes", "dots", "bricks"),
        shapes=(
            mujoco.mjtGeom.mjGEOM_CYLINDER,
            mujoco.mjtGeom.mjGEOM_CAPSULE,
            mujoco.mjtGeom.mjGEOM_ELLIPSOID,
        ),
        count=(2, 4),
    ),
}

_DEFAULT_RGBA = np.array([0.5, 0.5, 0.5, 1.0], np.float32)
_TEXTURE_SIDE = 256  # patterns are drawn at this size and stretched over the model's texture
_MUTABLE = (
    "cam_pos",
    "cam_quat",
    "light_dir",
    "light_diffuse",
    "geom_rgba",
    "tex_data",
)


Draw = Callable[[np.random.Generator, Ranges], None]


class SceneVariation:
    """Varies one model's looks per episode; the physics stays as it is.

    Args:
        model: edited in place; the constructor remembers how it looked.
        parts: which parts of it are what.
        kind: one of `VARIATIONS`; under `none` and `starts` nothing looks different.

    Raises:
        ValueError: `parts` names a body that the model lacks.
    """

    def __init__(self, model: mujoco.MjModel, parts: SceneParts, kind: VariationName) -> None:
        self._model = model
        self._parts = parts
        draws: Mapping[str, tuple[Draw, ...]] = {
            "camera": (self._move_cameras,),
            "light": (self._change_lights,),
            "texture": (self._paint_surfaces, self._tint),
            "distractors": (self._place_distractors,),
        }
        self._ranges = RANGES["unseen"] if kind in draws else RANGES.get(kind)
        self._draws = draws.get(kind, tuple(itertools.chain(*draws.values())))
        self._original = {name: getattr(model, name).copy() for name in _MUTABLE}
        self._headlight = model.vis.headlight.diffuse.copy()
        robot = _subtree(model, parts.robot_body)
        fixed = robot | {0} | {_body_id(model, name) for name in parts.fixed_bodies if _has_body(model, name)}
        self._robot_geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] in robot]
        self._object_geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] not in fixed]
        self._textures = {part: _textures(model, names) for part, names in parts.surfaces.items()}
        self._skybox = [
            t for t in range(model.ntex) if model.tex_type[t] == mujoco.mjtTexture.mjTEXTURE_SKYBOX
        ]
        self.decor: tuple[Decor, ...] = ()

    @property
    def changed_textures(self) -> list[int]:
        """Ids of the textures that `apply` writes: the renderer must be told."""
        if self._ranges is None or self._paint_surfaces not in self._draws:
            return []
        return sorted({t for ids in self._textures.values() for t in ids} | set(self._skybox))

    def apply(self, rng: np.random.Generator) -> None:
        """Draw a new look for one episode, starting from the original one; `decor` holds its distractors."""
        if self._ranges is None:
            return
        for name, value in self._original.items():
            getattr(self._model, name)[:] = value
        for draw in self._draws:
            draw(rng, self._ranges)

    def _move_cameras(self, rng: np.random.Generator, ranges: Ranges) -> None:
        azimuth = np.deg2rad(_signed(rng, ranges.azimuth))
        elevation = np.deg2rad(_signed(rng, ranges.elevation))
        stretch = 1.0 + _signed(rng, ranges.distance)
        centre = np.array(self._parts.look_at)
        for camera in range(self._model.ncam):
            if self._model.cam_bodyid[camera] != 0:  # a camera on the wrist moves with the robot
                continue
            offset = self._model.cam_pos[camera] - centre
            side = np.cross(offset, [0.0, 0.0, 1.0])
            length = np.linalg.norm(side)
            # A camera straight above has no side: it swings about the x axis.
            axis = side / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])
            swing = _multiply(_turn([0.0, 0.0, 1.0], azimuth), _turn(axis, elevation))
            self._model.cam_pos[camera] = centre + stretch * _rotate(offset, swing)
            self._model.cam_quat[camera] = _multiply(swing, self._model.cam_quat[camera])

    def _change_lights(self, rng: np.random.Generator, ranges: Ranges) -> None:
        model = self._model
        intensity = 1.0 + _signed(rng, ranges.light)
        model.vis.headlight.diffuse[:] = np.clip(self._headlight * intensity, 0.0, 1.0)
        for light in range(model.nlight):
            warmth = rng.uniform(-0.1, 0.1)  # from bluish to yellowish, as lamps are
            tone = intensity * np.array([1.0 + warmth, 1.0, 1.0 - warmth])
            model.light_diffuse[light] = np.clip(model.light_diffuse[light] * tone, 0.0, 1.0)
            turn = _turn([0.0, 0.0, 1.0], np.deg2rad(_signed(rng, ranges.light_turn)))
            model.light_dir[light] = _rotate(model.light_dir[light], turn)

    def _paint_surfaces(self, rng: np.random.Generator, ranges: Ranges) -> None:
        for ids in self._textures.values():
            for texture in ids:
                self._write_texture(texture, _draw_texture(rng, ranges), rng.uniform(*ranges.paint))
        for texture in self._skybox:
            colour = np.broadcast_to(_surface_colour(rng, ranges), (1, 1, 3))
            self._write_texture(texture, colour, rng.uniform(*ranges.paint))

    def _write_texture(self, texture: int, picture: Array, share: float) -> None:
        model = self._model
        height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
        channels, start = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
        rows = np.arange(height) * picture.shape[0] // height
        columns = np.arange(width) * picture.shape[1] // width
        own = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
        own[..., :3] = share * (255 * picture)[rows][:, columns] + (1.0 - share) * own[..., :3]

    def _tint(self, rng: np.random.Generator, ranges: Ranges) -> None:
        for geoms in (self._robot_geoms, self._object_geoms):
            factors = 1.0 + np.array([_signed(rng, ranges.tint) for _ in range(3)])
            for geom in geoms:
                rgba = self._shown_rgba(geom)
                rgba[:3] = np.clip(rgba[:3] * factors, 0.0, 1.0)
                self._model.geom_rgba[geom] = rgba

    def _shown_rgba(self, geom: int) -> npt.NDArray[np.float32]:
        # MuJoCo shows a material's colour only while the geom's own is left at its default.
        own, material = self._original["geom_rgba"][geom], self._model.geom_matid[geom]
        if material >= 0 and np.array_equal(own, _DEFAULT_RGBA):
            return np.array(self._model.mat_rgba[material])
        return np.array(own)

    def _place_distractors(self, rng: np.random.Generator, ranges: Ranges) -> None:
        zones = self._parts.zones
        count = int(rng.integers(ranges.count[0], ranges.count[1] + 1))
        self.decor = tuple(
            _distractor(rng, ranges, zones[int(rng.integers(len(zones)))]) for _ in range(count)
        )


def _has_body(model: mujoco.MjModel, name: str) -> bool:
    return bool(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0)


def _body_id(model: mujoco.MjModel, name: str) -> int:
    body = int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name))
    if body < 0:
        raise ValueError(f"the model has no body {name!r}: correct the suite's SceneParts")
    return body


def _subtree(model: mujoco.MjModel, root: str) -> set[int]:
    bodies = {_body_id(model, root)}
    for body in range(model.nbody):  # parents come before their children in MuJoCo's order
        if model.body_parentid[body] in bodies:
            bodies.add(body)
    return bodies


def _textures(model: mujoco.MjModel, materials: tuple[str, ...]) -> list[int]:
    rgb = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    ids = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_MATERIAL, name) for name in materials]
    return [int(model.mat_texid[i, rgb]) for i in ids if i >= 0 and model.mat_texid[i, rgb] >= 0]


def _signed(rng: np.random.Generator, span: Span) -> float:
    return float(rng.choice((-1.0, 1.0)) * rng.uniform(*span))


def _turn(axis: npt.ArrayLike, angle: float) -> Array:
    quaternion = np.empty(4)
    mujoco.mju_axisAngle2Quat(quaternion, np.asarray(axis, np.float64), angle)
    return quaternion


def _multiply(first: Array, second: Array) -> Array:
    product = np.empty(4)
    mujoco.mju_mulQuat(product, first, np.asarray(second, np.float64))
    return product


def _rotate(vector: Array, quaternion: Array) -> Array:
    turned = np.empty(3)
    mujoco.mju_rotVecQuat(turned, np.asarray(vector, np.float64), quaternion)
    return turned


def _colour(hue: float, saturation: float, value: float) -> Array:
    """HSV, each 0..1, to RGB (3,), 0..1."""
    offsets = np.array([5.0, 3.0, 1.0])
    k = (offsets + 6.0 * hue) % 6.0
    rgb: Array = value * (1.0 - saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))
    return rgb


def _surface_colour(rng: np.random.Generator, ranges: Ranges) -> Array:
    return _colour(rng.uniform(*ranges.hues), rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.9))


def _draw_texture(rng: np.random.Generator, ranges: Ranges) -> Array:
    rows, columns = np.mgrid[0:_TEXTURE_SIDE, 0:_TEXTURE_SIDE] / _TEXTURE_SIDE
    pattern = PATTERNS[ranges.patterns[int(rng.integers(len(ranges.patterns)))]]
    share = np.clip(pattern(rng, rows, columns), 0.0, 1.0)[..., None]
    first, second = _surface_colour(rng, ranges), _surface_colour(rng, ranges)
    picture: Array = first * (1.0 - share) + second * share
    return picture


def _smooth_noise(rng: np.random.Generator, rows: Array, columns: Array, waves: int) -> Array:
    total = np.zeros_like(rows)
    for _ in range(6):
        # Whole numbers of waves, so that the texture repeats without a seam.
        down, across = rng.integers(-waves, waves + 1, size=2)
        total += np.sin(2 * np.pi * (down * rows + across * columns + rng.uniform()))
    return 0.5 + total / 6.0


def _plain(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    return 0.1 * rng.uniform(size=np.broadcast(rows, columns).shape)


def _grain(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    warped = rows + 0.02 * _smooth_noise(rng, rows, columns, 2)
    return 0.5 + 0.5 * np.sin(2 * np.pi * int(rng.integers(6, 14)) * warped)


def _clouds(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    return _smooth_noise(rng, rows, columns, 5)


def _gradient(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    return 0.5 + 0.5 * np.sin(2 * np.pi * (rows + columns * int(rng.integers(2)) + rng.uniform()))


def _checker(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    squares = 2 * int(rng.integers(2, 6))
    return (np.floor(rows * squares) + np.floor(columns * squares)) % 2


def _stripes(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    return np.floor((rows + columns) * 2 * int(rng.integers(3, 9))) % 2


def _dots(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    cells = int(rng.integers(4, 10))
    squared = ((rows * cells) % 1 - 0.5) ** 2 + ((columns * cells) % 1 - 0.5) ** 2
    dots: Array = (squared < 0.09).astype(np.float64)
    return dots


def _bricks(rng: np.random.Generator, rows: Array, columns: Array) -> Array:
    courses = 2 * int(rng.integers(3, 7))
    shifted = columns * courses / 2 + 0.5 * (np.floor(rows * courses) % 2)
    mortar: Array = np.maximum((rows * courses) % 1 < 0.12, shifted % 1 < 0.06).astype(np.float64)
    return mortar


PATTERNS: Mapping[str, Pattern] = {
    "plain": _plain,
    "grain": _grain,
    "clouds": _clouds,
    "gradient": _gradient,
    "checker": _checker,
    "stripes": _stripes,
    "dots": _dots,
    "bricks": _bricks,
}


def _distractor(rng: np.random.Generator, ranges: Ranges, zone: Zone) -> Decor:
    shape = ranges.shapes[int(rng.integers(len(ranges.shapes)))]
    size = rng.uniform(0.02, 0.045, size=3)
    if shape == mujoco.mjtGeom.mjGEOM_SPHERE:
        size[:] = size[0]
    # Spheres, boxes, ellipsoids and cylinders stand on their third half-extent; a capsule has a cap more.
    half_height = size[2] + (size[0] if shape == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0)
    if shape == mujoco.mjtGeom.mjGEOM_CYLINDER:
        half_height = size[2] = size[1]
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, _turn([0.0, 0.0, 1.0], rng.uniform(0, 2 * np.pi)))
    rgb = _colour(rng.uniform(*ranges.hues), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.95))
    return Decor(
        shape=shape,
        size=size,
        position=np.array([rng.uniform(*zone.x), rng.uniform(*zone.y), zone.z + half_height]),
        rotation=rotation,
        rgba=np.append(rgb, 1.0).astype(np.float32),
    )
