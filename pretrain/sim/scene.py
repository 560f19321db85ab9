"""Scenes: objects on a table in a room, seen from the wearer's head.

`sample_recipe` draws everything from a seed and a split; `SceneRecipe.draft` turns it into an `MjSpec`, to
which hands may be added; `SceneDraft.compile` makes the `Scene`: a model with its parts by name.

Scenes are kinematic: each frame, poses and joint positions are written into `MjData` and `Scene.update`
computes where everything is and what touches what. Nothing is simulated. World frame and units: see `room`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from pretrain.sim.design import ObjectDesign, part_name
from pretrain.sim.library import KINDS, design
from pretrain.sim.objects import MOVABLE
from pretrain.sim.room import Room, furnish, sample_room
from pretrain.sim.seeds import stable_rng
from pretrain.sim.shapes import Array, Quat, Vec, cross, product, quat_of, turned, vec
from pretrain.sim.splits import Split, shapes_in

Zone = Literal["left", "right", "both"]
Role = Literal["action", "distractor"]
Span = tuple[float, float]

# Where the origins of things may stand so that a hand of that side reaches them.
ZONES: Mapping[Zone, tuple[Span, Span]] = {
    "left": ((-0.30, -0.07), (0.13, 0.42)),
    "right": ((0.07, 0.30), (0.13, 0.42)),
    "both": ((-0.13, 0.13), (0.15, 0.42)),
}
CAMERA = "head"  # name of the camera, and of the mocap body that carries it
PICTURE_SIZE = 224  # pixels

_CLEARANCE = 0.012  # metres between any two things
_DISTRACTORS = (2, 6)  # least and most
_DISTRACTOR_AREA: tuple[Span, Span] = ((-0.55, 0.55), (0.12, 0.80))
_TALL = 0.12  # metres: distractors higher than this stand behind the hands
_NEAREST = 0.03  # metres from the table's edge to the nearest point of a fixture's sweep


@dataclass(frozen=True)
class Wanted:
    """An object that an action asks for.

    Attributes:
        kind: key of `library.KINDS`.
        zone: whose reach it stands in.
        colour: one of the kind's colours; None draws one.
        yaw: least and greatest turn about the vertical, radians; None: any for movable kinds, nearly facing
            the wearer for fixed ones.
    """

    kind: str
    zone: Zone
    colour: str | None = None
    yaw: Span | None = None


@dataclass(frozen=True)
class Placed:
    """One object on the table: its origin at (x, y, 0), turned by `yaw` about the vertical."""

    name: str
    kind: str
    colour: str
    shape: int
    x: float
    y: float
    yaw: float
    role: Role

    @property
    def design(self) -> ObjectDesign:
        """The individual object."""
        return design(self.kind, self.colour, self.shape)

    def corners(self) -> Array:
        """(4, 2): the corners on the table of all that it covers wherever its joints stand."""
        x0, x1, y0, y1 = self.design.footprint
        local = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return local @ np.array([[cos, sin], [-sin, cos]]) + np.array([self.x, self.y])


@dataclass(frozen=True)
class HeadMotion:
    """A head that is never quite still: a pose with slow, smooth noise.

    Attributes:
        at: mean place of the eye.
        gaze: the point that it looks at on the mean.
        fovy: vertical field of view, degrees.
        waves: (amplitude, frequency in Hz, phase) three times for each of x, y, z (metres) and of the turns
            about the camera's own x, y, z axes (radians).
    """

    at: Vec
    gaze: Vec
    fovy: float
    waves: tuple[tuple[tuple[float, float, float], ...], ...]

    def pose(self, time: float) -> tuple[Vec, Quat]:
        """Place and rotation of the camera at `time` seconds; it looks along its own -z, its y is up."""
        size, frequency, phase = self._table
        sway = (size * np.sin(2 * np.pi * (frequency * time + phase))).sum(axis=1)
        angle = float(np.linalg.norm(sway[3:]))
        axis = sway[3:] / angle if angle > 1e-9 else np.array([0.0, 0.0, 1.0])
        return vec(np.array(self.at) + sway[:3]), product(self._mean, turned(vec(axis), angle))

    @functools.cached_property
    def _table(self) -> Array:
        """(3, 6, 3): amplitudes, frequencies and phases of `waves`."""
        return np.moveaxis(np.array(self.waves), -1, 0)

    @functools.cached_property
    def _mean(self) -> Quat:
        back = np.array(self.at) - np.array(self.gaze)
        back /= np.linalg.norm(back)
        right = cross(np.array([0.0, 0.0, 1.0]), back)
        right /= np.linalg.norm(right)
        return quat_of(np.column_stack([right, cross(back, right), back]))


@dataclass(frozen=True)
class SceneRecipe:
    """All that a scene is made from; equal recipes make equal models."""

    seed: int
    split: Split
    room: Room
    head: HeadMotion
    objects: tuple[Placed, ...]

    def draft(self) -> SceneDraft:
        """The scene as an `MjSpec`, to which hands may be added before it is compiled."""
        spec = mujoco.MjSpec()
        furnish(spec, self.room)
        for placed in self.objects:
            still = placed.role == "distractor"
            placed.design.build(spec, placed.name, (placed.x, placed.y, 0.0), placed.yaw, still)
        at, turn = self.head.pose(0.0)
        head = spec.worldbody.add_body(name=CAMERA, mocap=True, pos=at, quat=turn)
        head.add_camera(name=CAMERA, fovy=self.head.fovy)
        _draw_fast(spec)
        return SceneDraft(spec, self)

    def build(self) -> Scene:
        """The scene without hands."""
        return self.draft().compile()


@dataclass(frozen=True)
class SceneDraft:
    """A scene that is not compiled yet."""

    spec: mujoco.MjSpec
    recipe: SceneRecipe

    def compile(self) -> Scene:
        """The model, with the parts of its objects by name."""
        model = self.spec.compile()
        objects = {placed.name: _find(model, placed) for placed in self.recipe.objects}
        head = int(model.body_mocapid[model.body(CAMERA).id])
        camera, table = int(model.camera(CAMERA).id), int(model.geom("table").id)
        return Scene(model, self.recipe, objects, camera, head, table)


@dataclass(frozen=True)
class Part:
    """A body of an object in the compiled model.

    Attributes:
        body: its id.
        geoms: ids of its geoms that can be touched.
        seen: ids of its geoms that are drawn.
        qpos: address of its joint's first number in `data.qpos`; -1 if it does not move.
    """

    body: int
    geoms: tuple[int, ...]
    seen: tuple[int, ...]
    qpos: int


@dataclass(frozen=True)
class SceneObject:
    """An object in the compiled model; `parts` go by `BodyDesign.name`, "" is the root."""

    placed: Placed
    parts: Mapping[str, Part]

    @property
    def design(self) -> ObjectDesign:
        """The individual object."""
        return self.placed.design


@dataclass(frozen=True)
class Scene:
    """A compiled scene.

    Attributes:
        model: MuJoCo's.
        recipe: what it was made from.
        objects: by name, those of the action first.
        camera: id of the wearer's camera.
        head: row of the body that carries it in `data.mocap_pos`.
        table: id of the table top's geom.
    """

    model: mujoco.MjModel
    recipe: SceneRecipe
    objects: Mapping[str, SceneObject]
    camera: int
    head: int
    table: int

    def start(self) -> mujoco.MjData:
        """The scene at time 0: everything where it was placed, joints at 0 %."""
        data = mujoco.MjData(self.model)
        self.update(data, 0.0)
        return data

    def set_pose(self, data: mujoco.MjData, name: str, at: Vec, turn: Quat, part: str = "") -> None:
        """Put the free body `part` of object `name` at a world pose; `update` makes it count.

        Raises:
            ValueError: that body is not free to move.
        """
        address = self._address(name, part, ("free",))
        data.qpos[address : address + 7] = (*at, *turn)

    def set_joint(self, data: mujoco.MjData, name: str, part: str, share: float) -> None:
        """Move the joint of body `part` to `share` of its range: 0 (closed, up, off) .. 1.

        Raises:
            ValueError: that body has no slide or hinge.
        """
        address = self._address(name, part, ("slide", "hinge"))
        low, high = self.objects[name].design.body(part).limits
        data.qpos[address] = low + share * (high - low)

    def update(self, data: mujoco.MjData, time: float) -> None:
        """Turn the head as at `time` seconds, and compute all poses and contacts from what was set."""
        data.mocap_pos[self.head], data.mocap_quat[self.head] = self.recipe.head.pose(time)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)
        mujoco.mj_collision(self.model, data)

    def _address(self, name: str, part: str, joints: tuple[str, ...]) -> int:
        item = self.objects[name]
        joint = item.design.body(part).joint
        if joint not in joints:
            raise ValueError(f"{part_name(name, part)!r} has joint {joint!r}, not {' or '.join(joints)}")
        if item.parts[part].qpos < 0:
            raise ValueError(f"{name!r} never moves: it is a distractor; ask for it as Wanted instead")
        return item.parts[part].qpos


def sample_recipe(seed: int, split: Split, wanted: Sequence[Wanted] = ()) -> SceneRecipe:
    """A scene with the wanted objects, distractors, a room and a head, all from `seed` and `split`.

    No two objects of a scene share kind and colour, so that "the red cup" is one thing.

    Args:
        seed: any whole number; different seeds give independent scenes.
        split: whose object instances and textures are used.
        wanted: the action's objects; they are placed first, and named "action 0", "action 1", ...

    Raises:
        ValueError: an unknown kind or colour, or the wanted objects do not fit on the table together.
    """
    room = sample_room(seed, split)
    rng = stable_rng("scene", split, seed)
    chosen = _choose(rng, split, wanted)
    objects = _arrange(rng, room, chosen, wanted)
    if objects is None:
        kinds = ", ".join(item.kind for item in wanted)
        raise ValueError(f"{kinds} do not fit on the table together; ask for fewer, or for other zones")
    objects = _add_distractors(rng, room, split, objects)
    return SceneRecipe(seed, split, room, _sample_head(rng), tuple(objects))


@dataclass(frozen=True)
class _Choice:
    kind: str
    colour: str
    shape: int


_ATTEMPTS = 60  # to place one thing
_LAYOUTS = 60  # to place all wanted things


def _choose(rng: np.random.Generator, split: Split, wanted: Sequence[Wanted]) -> list[_Choice]:
    taken: set[tuple[str, str]] = set()
    choices = []
    for item in wanted:
        if item.kind not in KINDS:
            raise ValueError(f"no kind of object is called {item.kind!r}; choose from {', '.join(KINDS)}")
        colours = KINDS[item.kind].colours if item.colour is None else (item.colour,)
        free = [colour for colour in colours if (item.kind, colour) not in taken]
        if not free:
            raise ValueError(f"two things cannot both be the {item.colour or colours[-1]} {item.kind}")
        choice = _draw_individual(rng, split, item.kind, free)
        taken.add((choice.kind, choice.colour))
        choices.append(choice)
    return choices


def _draw_individual(rng: np.random.Generator, split: Split, kind: str, colours: Sequence[str]) -> _Choice:
    colour = colours[int(rng.integers(len(colours)))]
    shapes = shapes_in(split, kind, colour)
    return _Choice(kind, colour, shapes[int(rng.integers(len(shapes)))])


def _arrange(
    rng: np.random.Generator, room: Room, choices: Sequence[_Choice], wanted: Sequence[Wanted]
) -> list[Placed] | None:
    for _ in range(_LAYOUTS):
        objects: list[Placed] = []
        for choice, item in zip(choices, wanted, strict=True):
            placed = _place(rng, room, choice, item, objects)
            if placed is None:
                break
            objects.append(placed)
        else:
            return objects
    return None


def _place(
    rng: np.random.Generator, room: Room, choice: _Choice, item: Wanted, others: Sequence[Placed]
) -> Placed | None:
    made = design(choice.kind, choice.colour, choice.shape)
    across, along = ZONES[item.zone]
    if made.stays:  # cabinets need room before them for their doors
        nearest = max(along[0], _NEAREST - made.footprint[2])
        along = (nearest, max(along[1], nearest + 0.08))
    yaw = item.yaw or ((-0.25, 0.25) if made.stays else (-np.pi, np.pi))
    return _try_places(rng, room, choice, (across, along), yaw, "action", others)


def _try_places(
    rng: np.random.Generator,
    room: Room,
    choice: _Choice,
    area: tuple[Span, Span],
    yaw: Span,
    role: Role,
    others: Sequence[Placed],
) -> Placed | None:
    number = sum(other.role == role for other in others)
    for _ in range(_ATTEMPTS):
        x, y, turn = (float(rng.uniform(*span)) for span in (*area, yaw))
        placed = Placed(f"{role} {number}", choice.kind, choice.colour, choice.shape, x, y, turn, role)
        corners = placed.corners()
        if room.holds(corners) and not any(_overlap(corners, other.corners()) for other in others):
            return placed
    return None


def _overlap(first: Array, second: Array) -> bool:
    """Whether two rectangles (4, 2) come nearer than the clearance (along one of their sides' directions)."""
    for corners in (first, second):
        for side in (corners[1] - corners[0], corners[3] - corners[0]):
            direction = side / np.linalg.norm(side)
            one, two = first @ direction, second @ direction
            if one.max() + _CLEARANCE < two.min() or two.max() + _CLEARANCE < one.min():
                return False
    return True


def _add_distractors(
    rng: np.random.Generator, room: Room, split: Split, objects: Sequence[Placed]
) -> list[Placed]:
    placed = list(objects)
    kinds = list(MOVABLE.kinds)
    for _ in range(int(rng.integers(_DISTRACTORS[0], _DISTRACTORS[1] + 1))):
        kind = kinds[int(rng.integers(len(kinds)))]
        choice = _draw_individual(rng, split, kind, KINDS[kind].colours)
        if any((choice.kind, choice.colour) == (other.kind, other.colour) for other in placed):
            continue
        across, along = _DISTRACTOR_AREA
        if design(choice.kind, choice.colour, choice.shape).height > _TALL:
            along = (0.45, along[1])
        item = _try_places(rng, room, choice, (across, along), (-np.pi, np.pi), "distractor", placed)
        placed += [] if item is None else [item]
    return placed


def _sample_head(rng: np.random.Generator) -> HeadMotion:
    at = (rng.uniform(-0.04, 0.04), rng.uniform(-0.12, 0.02), rng.uniform(0.38, 0.55))
    gaze = (rng.uniform(-0.04, 0.04), rng.uniform(0.24, 0.33), 0.0)
    # Three waves together stay below 2 cm along and 3 degrees about each axis.
    sizes = [
        *(rng.uniform(0.010, 0.020) for _ in range(3)),
        *(np.deg2rad(rng.uniform(1.0, 3.0)) for _ in range(3)),
    ]
    waves = tuple(
        tuple((float(size / 3), float(rng.uniform(low, high)), float(rng.uniform())) for low, high in _SWAY)
        for size in sizes
    )
    return HeadMotion(vec(at), vec(gaze), float(rng.uniform(64.0, 86.0)), waves)


_SWAY: tuple[Span, ...] = ((0.05, 0.15), (0.15, 0.35), (0.35, 0.7))  # Hz


def _draw_fast(spec: mujoco.MjSpec) -> None:
    # On a software renderer multisampling, shadows and a larger buffer cost several times the picture itself.
    spec.visual.global_.offwidth = spec.visual.global_.offheight = PICTURE_SIZE
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    # Vertices cost more than pixels here: MuJoCo has twice as many on round things, where these are within
    # half a pixel for a cup, and sixteen times as many on a box.
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 16, 6
    spec.visual.quality.numquads = 1
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 12.0
    spec.stat.extent = 1.0  # metres: what the clipping planes are multiples of
    spec.stat.center = [0.0, 0.3, 0.0]


def _find(model: mujoco.MjModel, placed: Placed) -> SceneObject:
    parts = {}
    for body in placed.design.bodies:
        found = int(model.body(part_name(placed.name, body.name)).id)
        geoms = [int(geom) for geom in np.flatnonzero(model.geom_bodyid == found)]
        joint = int(model.body_jntadr[found])
        parts[body.name] = Part(
            found,
            tuple(geom for geom in geoms if model.geom_contype[geom]),
            tuple(geom for geom in geoms if model.geom_group[geom] < 3),
            int(model.jnt_qposadr[joint]) if joint >= 0 else -1,
        )
    return SceneObject(placed, parts)
