"""What an object is: its bodies, how they move, where a hand takes hold of them, and how MuJoCo gets them.

Object frame: origin at the centre of the base, z up, standing as it rests on a table; x runs along the long
axis (a tool's working end at +x, a mug's handle at +x), and the front of a cabinet faces -y, towards a wearer
who looks along +y. Each body has its own frame; a body that moves has it where the joint stands at 0.
Lengths are in metres, angles in radians.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import mujoco
import numpy as np

from pretrain.sim.seeds import stable_hash, stable_rng
from pretrain.sim.shapes import (
    HIDDEN_GROUP,
    SEEN_GROUP,
    UPRIGHT,
    Array,
    Paint,
    Solid,
    Vec,
    X,
    Y,
    Z,
    rotation,
    turned,
    vec,
)
from pretrain.sim.textures import Picture, object_picture

GraspKind = Literal["power", "pinch", "hook", "flat"]
JointKind = Literal["fixed", "free", "slide", "hinge"]

# Everyday names of colours that nobody confuses, RGB 0..1.
COLOURS: Mapping[str, Vec] = {
    "red": (0.78, 0.07, 0.07),
    "orange": (0.95, 0.42, 0.03),
    "yellow": (0.95, 0.82, 0.10),
    "green": (0.10, 0.50, 0.14),
    "turquoise": (0.12, 0.72, 0.68),
    "blue": (0.08, 0.20, 0.72),
    "purple": (0.42, 0.12, 0.58),
    "pink": (0.96, 0.52, 0.68),
    "brown": (0.36, 0.19, 0.08),
    "white": (0.94, 0.94, 0.92),
    "grey": (0.48, 0.48, 0.50),
    "black": (0.06, 0.06, 0.07),
}
METAL = Paint((0.72, 0.73, 0.75), shine=0.9)
WOOD = Paint((0.66, 0.46, 0.26), shine=0.15)
DARK = Paint((0.10, 0.10, 0.11), shine=0.4)


@dataclass(frozen=True)
class Grasp:
    """One way to take hold of a body, in its frame.

    Attributes:
        name: unique in its body.
        position: midway between thumb pad and finger pads; for a flat hand the point that it touches.
        approach: unit vector; the direction in which the palm moves to arrive.
        closing: unit vector, perpendicular to `approach`: the line along which thumb and fingers close; its
            two senses are equally good. For a flat hand, across the fingers.
        width: distance between the pads once closed; 0 for a flat hand.
        kind: power (whole hand), pinch (thumb and fingertips), hook (fingers round a bar) or flat.
        swing: the grasp may be turned about the body's z axis by up to this angle either way (pi: round).
    """

    name: str
    position: Vec
    approach: Vec
    closing: Vec
    width: float
    kind: GraspKind
    swing: float = 0.0

    def pads(self) -> tuple[Array, Array]:
        """Where thumb and fingers touch, two points (3,); the same point twice for a flat hand."""
        aside = np.array(self.closing) * self.width / 2
        return np.array(self.position) - aside, np.array(self.position) + aside

    def swung(self, angle: float) -> Grasp:
        """The grasp turned by `angle` about the body's z axis.

        Raises:
            ValueError: `angle` exceeds `swing`.
        """
        if abs(angle) > self.swing + 1e-9:
            raise ValueError(f"grasp {self.name!r} swings by at most {self.swing:.2f} rad; got {angle:.2f}")
        turn = rotation(turned(Z, angle))
        position, approach, closing = (
            vec(turn @ np.array(v)) for v in (self.position, self.approach, self.closing)
        )
        return Grasp(self.name, position, approach, closing, self.width, self.kind, 0.0)


@dataclass(frozen=True)
class Spot:
    """A place on a body that matters to an action, in the body's frame.

    Attributes:
        name: "inside" of a container, "lip" that it pours over, "tip" of a tool, "hole", "seat" of a lid...
        position: a point.
        axis: unit vector: out of an opening, over the lip, the way the tip works, the way things go in.
        radius: of an opening or seat; 0 where it means nothing.
        depth: of an opening.
    """

    name: str
    position: Vec
    axis: Vec
    radius: float = 0.0
    depth: float = 0.0


@dataclass(frozen=True, eq=False)
class BodyDesign:
    """One rigid part.

    Attributes:
        name: "" for the root, else unique in its object: "drawer", "lid".
        solids: what it is made of.
        grasps: how to take hold of it.
        spots: places on it.
        joint: how it moves: "fixed", "free", or "slide" / "hinge" in the root.
        at: where its frame is in the object frame, at joint position 0.
        axis: of the slide or hinge, in its own frame.
        limits: joint positions: 0 % (closed, up, off) and 100 %; metres or radians.
    """

    name: str
    solids: tuple[Solid, ...]
    grasps: tuple[Grasp, ...] = ()
    spots: tuple[Spot, ...] = ()
    joint: JointKind = "free"
    at: Vec = (0.0, 0.0, 0.0)
    axis: Vec = Z
    limits: tuple[float, float] = (0.0, 0.0)

    def grasp(self, name: str) -> Grasp:
        """The grasp of that name.

        Raises:
            KeyError: there is none.
        """
        return _named(self.grasps, name, f"body {self.name!r} has no grasp")

    def spot(self, name: str) -> Spot:
        """The spot of that name.

        Raises:
            KeyError: there is none.
        """
        return _named(self.spots, name, f"body {self.name!r} has no spot")

    def points(self, position: float = 0.0) -> Array:
        """(N, 3): points round the body in the object frame, with its joint at `position`."""
        own = np.concatenate([solid.points() for solid in self.solids])
        if self.joint == "slide":
            own = own + position * np.array(self.axis)
        elif self.joint == "hinge":
            own = own @ rotation(turned(self.axis, position)).T
        return own + np.array(self.at)


@dataclass(frozen=True, eq=False)
class ObjectDesign:
    """One individual object, before MuJoCo knows of it.

    Attributes:
        kind: key of `library.KINDS`.
        colour: key of `COLOURS`.
        shape: number that decides sizes and details, 0..39.
        nouns: everyday English names, the usual one first.
        bodies: the root first.
    """

    kind: str
    colour: str
    shape: int
    nouns: tuple[str, ...]
    bodies: tuple[BodyDesign, ...]

    @property
    def root(self) -> BodyDesign:
        """The body that stands on the table."""
        return self.bodies[0]

    @property
    def stays(self) -> bool:
        """Whether it is fixed to the table, as cabinets and faucets are."""
        return self.root.joint == "fixed"

    @functools.cached_property
    def height(self) -> float:
        """Of its highest point above its base, joints at 0."""
        return float(max(body.points()[:, 2].max() for body in self.bodies))

    def body(self, name: str) -> BodyDesign:
        """The body of that name; "" is the root.

        Raises:
            KeyError: there is none.
        """
        return _named(self.bodies, name, f"a {self.kind} has no body")

    @functools.cached_property
    def footprint(self) -> tuple[float, float, float, float]:
        """Least x, greatest x, least y, greatest y that it covers wherever its joints stand."""
        points = np.concatenate(
            [body.points(at) for body in self.bodies for at in np.linspace(*body.limits, num=5)]
        )
        low, high = points.min(axis=0), points.max(axis=0)
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])

    def build(self, spec: mujoco.MjSpec, name: str, at: Vec, yaw: float = 0.0, still: bool = False) -> None:
        """Add it to `spec`: body `name` for the root, `name/part` for the others; joints are named likewise.

        Args:
            spec: receives bodies, geoms, meshes, materials and textures.
            name: unique in `spec`.
            at: where the object frame's origin stands, world coordinates.
            yaw: turn about the vertical.
            still: nothing of it moves; distractors, which then cost no degrees of freedom.
        """
        turn = turned(Z, yaw)
        bodies: dict[str, mujoco.MjsBody] = {}
        for body in self.bodies:
            apart = body.name == "" or body.joint == "free"  # MuJoCo takes free joints in the world only
            parent = spec.worldbody if apart else bodies[""]
            place = vec(np.array(at) + rotation(turn) @ np.array(body.at)) if apart else body.at
            made = parent.add_body(
                name=part_name(name, body.name), pos=place, quat=turn if apart else UPRIGHT
            )
            bodies[body.name] = made
            # Poses are set, never simulated: masses only have to be valid.
            made.explicitinertial, made.mass = True, 0.1
            made.ipos, made.inertia = [0.0, 0.0, 0.0], [1e-4, 1e-4, 1e-4]
            if not still:
                _add_joint(made, body)
            for number, solid in enumerate(body.solids):
                add_solid(spec, made, solid, f"{part_name(name, body.name)}#{number}")
            if body.joint in ("slide", "hinge"):  # what slides in its frame touches it all the time
                spec.add_exclude(bodyname1=name, bodyname2=part_name(name, body.name))


def part_name(name: str, part: str) -> str:
    """MuJoCo's name of an object's body and joint: `name`, or `name/part`."""
    return f"{name}/{part}" if part else name


class Sketch:
    """What a kind draws its individual from: random sizes, and paints in the named colour.

    Args:
        kind: of object.
        colour: key of `COLOURS`.
        shape: which individual.
    """

    def __init__(self, kind: str, colour: str, shape: int) -> None:
        self._rng = stable_rng("design", kind, colour, shape)
        shade = self._rng.uniform(0.9, 1.05)
        base = np.clip(np.array(COLOURS[colour]) * shade, 0.0, 1.0)
        contrast = [rgb for name, rgb in COLOURS.items() if _apart(rgb, COLOURS[colour]) and name != "brown"]
        self.plain = Paint(vec(base), shine=float(self._rng.uniform(0.1, 0.6)))
        self.other = Paint(contrast[int(self._rng.integers(len(contrast)))], shine=self.plain.shine)

    def size(self, low: float, high: float) -> float:
        """A length or angle between `low` and `high`."""
        return float(self._rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        return int(self._rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in that share of the individuals."""
        return bool(self._rng.uniform() < share)

    def paint(self, *patterns: str, share: float = 0.4) -> Paint:
        """The object's colour, in `share` of the individuals decorated with one of `patterns`."""
        chosen = patterns[self.count(0, len(patterns) - 1)]
        if not self.chance(share):
            return self.plain
        return Paint(self.plain.rgb, self.plain.shine, chosen, self.other.rgb)


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: its key.
        nouns: everyday English names, the usual one first.
        colours: that it comes in, keys of `COLOURS`.
        draw: makes the bodies of one individual.
    """

    name: str
    nouns: tuple[str, ...]
    colours: tuple[str, ...]
    draw: Callable[[Sketch], Sequence[BodyDesign]] = field(repr=False)

    def design(self, colour: str, shape: int) -> ObjectDesign:
        """One individual: the same for the same colour and shape number, in every process.

        Raises:
            ValueError: the kind does not come in that colour.
        """
        if colour not in self.colours:
            raise ValueError(f"no {self.name} is {colour}; choose from {', '.join(self.colours)}")
        bodies = tuple(self.draw(Sketch(self.name, colour, shape)))
        return ObjectDesign(self.name, colour, shape, self.nouns, bodies)


Draw = Callable[[Sketch], Sequence[BodyDesign]]


class Shelf:
    """Kinds in the order in which their functions are defined, by name."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}

    def kind(self, *nouns: str, colours: Sequence[str] = tuple(COLOURS)) -> Callable[[Draw], Draw]:
        """Registers the decorated function as the kind of its first noun."""

        def register(draw: Draw) -> Draw:
            self.kinds[nouns[0]] = Kind(nouns[0], nouns, tuple(colours), draw)
            return draw

        return register


def around(name: str, z: float, width: float, kind: GraspKind = "power") -> Grasp:
    """A grasp of something round that stands on its axis, from the wearer's side or any other."""
    return Grasp(name, (0.0, 0.0, z), Y, X, width, kind, np.pi)


def from_above(
    name: str, at: Vec, width: float, kind: GraspKind = "pinch", closing: Vec = Y, swing: float = 0.0
) -> Grasp:
    """A grasp by a hand that comes down."""
    return Grasp(name, at, (0.0, 0.0, -1.0), closing, width, kind, swing)


def _named(things: Sequence[_Named], name: str, complaint: str) -> _Named:
    for thing in things:
        if thing.name == name:
            return thing
    raise KeyError(
        f"{complaint} {name!r}; it has {', '.join(repr(thing.name) for thing in things) or 'none'}"
    )


_Named = TypeVar("_Named", Grasp, Spot, BodyDesign)


def _apart(first: Vec, second: Vec) -> bool:
    return float(np.linalg.norm(np.array(first) - np.array(second))) > 0.5


def _add_joint(made: mujoco.MjsBody, body: BodyDesign) -> None:
    if body.joint == "free":
        made.add_freejoint(name=made.name)
    elif body.joint != "fixed":
        slides = body.joint == "slide"
        kind = mujoco.mjtJoint.mjJNT_SLIDE if slides else mujoco.mjtJoint.mjJNT_HINGE
        made.add_joint(name=made.name, type=kind, axis=body.axis, range=sorted(body.limits), limited=True)


def add_solid(spec: mujoco.MjSpec, body: mujoco.MjsBody, solid: Solid, name: str) -> None:
    """Add `solid` to `body` as the geom `name`, with the mesh, material and texture that it needs."""
    geom = body.add_geom(
        name=name,
        type=solid.shape,
        pos=solid.at,
        quat=solid.turn,
        group=HIDDEN_GROUP,
        contype=0,
        conaffinity=0,
    )
    if solid.mesh is None:
        geom.size = solid.size
    else:
        spec.add_mesh(
            name=name,
            uservert=solid.mesh.vertices.ravel(),
            userface=solid.mesh.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        geom.meshname = name
    if solid.felt:
        geom.contype, geom.conaffinity = 1, 1
    if solid.paint is not None:
        geom.group, geom.material = SEEN_GROUP, _material(spec, solid.paint)


def _material(spec: mujoco.MjSpec, paint: Paint) -> str:
    """The name of the material of that look, which is added where `spec` lacks it."""
    key = f"{stable_hash(repr(paint)):016x}"
    if any(material.name == key for material in spec.materials):
        return key
    material = spec.add_material(name=key, rgba=[*paint.rgb, paint.alpha])
    material.specular, material.shininess = paint.shine, 0.2 + 0.6 * paint.shine
    if paint.pattern != "plain":
        faces = object_picture(paint.pattern, paint.rgb, paint.second)
        add_picture(spec, key, faces, mujoco.mjtTexture.mjTEXTURE_CUBE)
        material.rgba = [1.0, 1.0, 1.0, paint.alpha]
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = key
    return key


def add_picture(spec: mujoco.MjSpec, name: str, picture: Picture, kind: mujoco.mjtTexture) -> None:
    """Add `picture` (H, W, 3) to `spec` as the texture `name`; of a cube, H is 6 W."""
    height, width, channels = picture.shape
    texture = spec.add_texture(name=name, type=kind, width=width, height=height, nchannel=channels)
    texture.data = picture.tobytes()
