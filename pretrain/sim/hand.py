"""Human hands for MuJoCo: a skinned hand in a sleeve, posed joint by joint and closed on what it holds.

The mesh and its 25 WebXR joints are the generic hand of the npm package @webxr-input-profiles/assets 1.0.20
(MIT, `assets/LICENSE-webxr-input-profiles.md`). A hand is kinematic: `Hand` writes its pose into `mjData`.

Conventions, for both hands. Left is the wearer's left. Metres, radians, quaternions (w, x, y, z).
The **hand frame** has its origin at the wrist; x points to the fingers, z out of the palm, and y = z cross x:
the thumb is on the side of +y on a left hand, of -y on a right hand. All bodies are aligned with the hand
frame where all angles are zero, which is the mesh's own pose: flat, fingers nearly straight. Positive
*flexion* closes; positive *abduction* spreads a finger away from the middle one (the middle finger towards
the thumb), and turns the thumb in front of the palm, where it opposes the fingers.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mujoco
import numpy as np
import numpy.typing as npt

Side = Literal["left", "right"]
Finger = Literal["thumb", "index", "middle", "ring", "pinky"]
Anchor = Literal["wrist", "palm", "pinch"]
Array = npt.NDArray[np.float64]
Shape = str | Mapping[str, float] | npt.ArrayLike
"""What `angles_of` takes."""

SIDES: tuple[Side, ...] = ("left", "right")
FINGERS: tuple[Finger, ...] = ("thumb", "index", "middle", "ring", "pinky")
_FINGER_BONES = ("metacarpal", "proximal", "intermediate", "distal", "tip")
_BONES: Mapping[Finger, tuple[str, ...]] = {
    finger: tuple(b for b in _FINGER_BONES if finger != "thumb" or b != "intermediate") for finger in FINGERS
}
# Of a finger, from the palm outwards: bone and movement of each hinge, and its least and greatest angle in
# degrees. After the norms of the American Academy of Orthopaedic Surgeons (Joint Motion: Method of Measuring
# and Recording, 1965); those of the thumb's saddle joint are about this module's two axes.
_FINGER_HINGES = (
    ("proximal", "flexion", -25, 95),
    ("proximal", "abduction", -20, 20),
    ("intermediate", "flexion", -5, 110),
    ("distal", "flexion", -5, 85),
)
_THUMB_HINGES = (
    ("metacarpal", "flexion", -35, 35),
    ("metacarpal", "abduction", -15, 75),
    ("proximal", "flexion", -10, 60),
    ("distal", "flexion", -15, 85),
)
_HINGES = tuple(
    (finger, *hinge)
    for finger in FINGERS
    for hinge in (_THUMB_HINGES if finger == "thumb" else _FINGER_HINGES)
)
JOINTS: tuple[str, ...] = tuple(f"{finger}_{bone}_{movement}" for finger, bone, movement, _, _ in _HINGES)
"""The 20 finger joints, in the order of every vector of angles; four for each finger of `FINGERS`."""
LIMITS: Array = np.deg2rad([hinge[3:] for hinge in _HINGES])
"""(20, 2) least and greatest angle of each joint, radians."""
_LEAST, _GREATEST = LIMITS[:, 0] - 1e-6, LIMITS[:, 1] + 1e-6
KEYPOINTS: tuple[str, ...] = (
    "wrist",
    *(f"{finger}_{bone}" for finger in FINGERS for bone in _BONES[finger][0 if finger == "thumb" else 1 :]),
)
"""Bones at whose near ends the 21 keypoints lie, in MediaPipe's order; tips are 1 cm inside fingers' ends."""
WRIST_LIMITS: Array = np.deg2rad([(-70, 75), (-30, 35)])
"""(2, 2) least and greatest flexion and deviation of the wrist, radians."""
_WRIST_LIMITS = WRIST_LIMITS.tolist()
HIDDEN_GROUP = 3  # of contact geoms and sites: MuJoCo's viewers and renderers leave it out
CONTACT_GAP = 0.001  # metres: a finger this near an object touches it
_DEEPEST_START = 0.003  # metres
_FAR = 1.0  # metres: distances beyond it need not be told apart
_WRIST_BEND = 0.012  # metres before and behind the wrist over which the skin bends

# Rings of the sleeve, from the inside of the cuff over its edge to behind the elbow, where no camera that
# looks down at a far reach sees its end. Metres in the forearm's frame:
# x, half its width (along y), half its thickness (along z).
_SLEEVE_RINGS = (
    (-0.032, 0.029, 0.021),
    (-0.010, 0.032, 0.024),
    (-0.012, 0.035, 0.027),
    (-0.050, 0.037, 0.029),
    (-0.054, 0.034, 0.027),
    (-0.100, 0.037, 0.031),
    (-0.180, 0.043, 0.040),
    (-0.255, 0.047, 0.045),
    (-0.850, 0.052, 0.050),
)
_SLEEVE_SECTORS = 20

# Angles of each named shape in degrees: the thumb's four, then those of the index to the pinky, in the order
# of `JOINTS`.
_SHAPES = {
    "flat": ((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)),
    "open": ((-15, 12, 0, 0), (4, 8, 6, 4), (4, 0, 6, 4), (4, 7, 6, 4), (4, 12, 6, 4)),
    "relaxed": ((0, 20, 12, 12), (18, 2, 28, 14), (24, 0, 32, 16), (28, 0, 34, 18), (30, 2, 34, 18)),
    "fist": ((-20, 40, 36, 64), (78, -2, 98, 55), (82, 0, 100, 58), (84, 0, 100, 58), (84, -4, 98, 55)),
    "point": ((15, 36, 12, 42), (2, 0, 6, 4), (80, 0, 98, 58), (84, 0, 100, 58), (84, -4, 98, 55)),
    "reach": ((-35, 48, -10, -10), (5, 4, 20, 10), (5, 0, 22, 10), (6, 3, 22, 10), (8, 6, 22, 10)),
    "pinch": ((-7, 66, 27, 15), (47, 0, 52, 47), (40, 0, 42, 24), (30, 0, 36, 20), (24, 4, 32, 18)),
    "power": ((10, 65, 25, 35), (60, 0, 70, 40), (62, 0, 72, 42), (64, 0, 72, 42), (64, 0, 72, 42)),
    "hook": ((0, 5, 10, 10), (10, 0, 85, 60), (10, 0, 88, 62), (10, 0, 88, 62), (10, 0, 85, 60)),
}
SHAPES: Mapping[str, Array] = {name: np.deg2rad(np.ravel(rows)) for name, rows in _SHAPES.items()}
"""Named hand shapes, each (20,) radians. `flat` pushes and `hook` pulls; `reach` opens for a grasp.
`pinch` and `power` are what it then closes towards: in `pinch` the thumb meets the index finger; `power`
wraps a thin handle that lies at the anchor `palm`, or a can or ball whose middle is at the anchor `pinch`."""

# The Monk Skin Tone scale (Ellis Monk, 2019; skintone.google), sRGB.
_MONK = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
SKIN_TONES: Array = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] + [1.0] for code in _MONK])
"""(10, 4) skin colours from light to dark, RGBA 0..1."""


def skin_colour(tone: int, rng: np.random.Generator) -> Array:
    """The colour of one person's hands, (4,) RGBA 0..1: a tone of `SKIN_TONES`, a little varied.

    Args:
        tone: row of `SKIN_TONES`, 0..9.
        rng: draws how light and how red this skin is.
    """
    lightness, redness = rng.uniform(0.85, 0.97), rng.uniform(0.04, 0.12)
    # The scale is of faces; hands are a little darker, and blood under the skin makes them redder.
    varied = SKIN_TONES[tone, :3] * lightness * (1.0 + redness * np.array([0.5, -0.5, -1.0]))
    return np.append(np.clip(varied, 0.0, 1.0), 1.0)


@dataclass(frozen=True)
class SkinnedMesh:
    """A mesh with bones, in its file's coordinates.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3) indices of vertices, counter-clockwise seen from outside.
        weights: (V, B) of each bone, rows sum to one.
        frames: by bone, (4, 4) its pose in which the mesh is as it is.
    """

    vertices: Array
    faces: npt.NDArray[np.int64]
    weights: Array
    frames: Mapping[str, Array]


_GLB_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_GLB_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path: Path) -> SkinnedMesh:
    """Read the first mesh and its skin from a binary glTF 2.0 file with one buffer.

    Vertices that differ only in their texture coordinates become one, so that shading is smooth across seams.

    Raises:
        ValueError: the file is not binary glTF 2.
    """
    content = path.read_bytes()
    magic, version = struct.unpack_from("<4sI", content) if len(content) >= 20 else (b"", 0)
    if (magic, version) != (b"glTF", 2):
        raise ValueError(f"{path} is not a binary glTF 2.0 file; install the package's assets again")
    (length,) = struct.unpack_from("<I", content, 12)
    header = json.loads(content[20 : 20 + length])
    binary = content[20 + length + 8 :]  # behind the next chunk's length and type

    def read(index: int) -> npt.NDArray[Any]:
        accessor = header["accessors"][index]
        start = header["bufferViews"][accessor["bufferView"]]["byteOffset"] + accessor.get("byteOffset", 0)
        width = _GLB_WIDTHS[accessor["type"]]
        dtype = np.dtype(_GLB_TYPES[accessor["componentType"]]).newbyteorder("<")
        values = np.frombuffer(binary, dtype, accessor["count"] * width, start)
        return values.reshape(accessor["count"], width)

    primitive = header["meshes"][0]["primitives"][0]
    attribute = {name: read(index) for name, index in primitive["attributes"].items()}
    inverse_frames = read(header["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    frames = np.linalg.inv(inverse_frames.astype(np.float64))
    names = [header["nodes"][node]["name"] for node in header["skins"][0]["joints"]]

    _, first, merged = np.unique(
        attribute["POSITION"].round(6), axis=0, return_index=True, return_inverse=True
    )
    weights = np.zeros((len(first), len(names)))
    rows = np.arange(len(first))[:, None]
    np.add.at(weights, (rows, attribute["JOINTS_0"][first]), attribute["WEIGHTS_0"][first])
    return SkinnedMesh(
        vertices=attribute["POSITION"][first].astype(np.float64),
        faces=merged.ravel()[read(primitive["indices"]).reshape(-1, 3)],
        weights=weights / weights.sum(1, keepdims=True),
        frames=dict(zip(names, frames, strict=True)),
    )


@dataclass(frozen=True)
class _Capsule:
    """Around a bone: (3,) centres of its round ends in the hand frame, and its radius, metres."""

    start: Array
    end: Array
    radius: float


@dataclass(frozen=True)
class _Anatomy:
    """One hand's mesh and joints in the hand frame, in the pose in which all angles are zero.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3).
        weights: by bone, (V,); bones without vertices are left out.
        joints: by bone, (3,) its near end, metres.
        axes: (20, 3) unit axis of each of `JOINTS`.
        capsules: by bone of a finger, the metacarpals of the four long fingers left out.
        palm: (2, 3) least and greatest corner of a box in the palm, metres.
    """

    vertices: Array
    faces: npt.NDArray[np.int64]
    weights: Mapping[str, Array]
    joints: Mapping[str, Array]
    axes: Array
    capsules: Mapping[str, _Capsule]
    palm: Array


def _short(name: str) -> str:
    return name.replace("-finger", "").replace("-phalanx", "").replace("-", "_")


@functools.cache
def _anatomy(side: Side) -> _Anatomy:
    mesh = read_glb(Path(__file__).parent / "assets" / f"{side}.glb")
    frames = {_short(name): frame for name, frame in mesh.frames.items()}
    # A WebXR joint has -z along its bone and y out of the back of the hand.
    wrist = frames["wrist"]
    turn = np.stack([-wrist[:3, 2], wrist[:3, 0], -wrist[:3, 1]])
    joints = {name: turn @ (frame[:3, 3] - wrist[:3, 3]) for name, frame in frames.items()}
    hinges = {name: turn @ -frame[:3, 0] for name, frame in frames.items()}
    vertices = (mesh.vertices - wrist[:3, 3]) @ turn.T
    weights = dict(zip(frames, mesh.weights.T, strict=True))
    owner = np.array(list(frames))[mesh.weights.argmax(1)]
    return _Anatomy(
        vertices=vertices,
        faces=mesh.faces,
        weights=_with_forearm({name: w for name, w in weights.items() if w.any()}, vertices),
        joints=joints,
        axes=np.stack([_axis(joints, hinges, *hinge[:3]) for hinge in _HINGES]),
        capsules=_capsules(vertices, owner, joints),
        palm=_palm(vertices, owner, joints),
    )


def _with_forearm(weights: Mapping[str, Array], vertices: Array) -> dict[str, Array]:
    # The file ends in a stump bound to the wrist: bound to the forearm, it stays in the sleeve that bends.
    forearm = np.clip((_WRIST_BEND - vertices[:, 0]) / (2 * _WRIST_BEND), 0.0, 1.0) * weights["wrist"]
    return {**weights, "wrist": weights["wrist"] - forearm, "forearm": forearm}


def _axis(
    joints: Mapping[str, Array], hinges: Mapping[str, Array], finger: Finger, bone: str, movement: str
) -> Array:
    bones = _BONES[finger]
    here, beyond = joints[f"{finger}_{bone}"], joints[f"{finger}_{bones[bones.index(bone) + 1]}"]
    along = _unit(beyond - here)
    palm = np.array([0.0, 0.0, 1.0])
    thumbwards = np.array([0.0, np.sign(joints["thumb_tip"][1]), 0.0])
    if movement == "flexion":
        hinge = hinges[f"{finger}_{bone}"]
        return _unit(hinge - along * (along @ hinge))
    if finger == "thumb":  # about the hand's length: so it turns its pad to the fingers as it comes forward
        return np.cross(thumbwards, palm)
    away = thumbwards if finger in ("index", "middle") else -thumbwards
    return _unit(np.cross(along, away))


def _capsules(vertices: Array, owner: npt.NDArray[Any], joints: Mapping[str, Array]) -> dict[str, _Capsule]:
    capsules = {}
    for finger, bones in _BONES.items():
        for bone, beyond in itertools.pairwise(bones):
            if bone == "metacarpal" and finger != "thumb":
                continue
            near, far = joints[f"{finger}_{bone}"], joints[f"{finger}_{beyond}"]
            along = _unit(far - near)
            around = vertices[owner == f"{finger}_{bone}"] - near
            across = around - np.outer(around @ along, along)
            middle = (
                across.max(0) + across.min(0)
            ) / 2  # joints lie nearer the back of the hand than the pad
            middle -= along * (along @ middle)
            # The ball of the thumb and the web beside it are soft: things sink in.
            quantile = 0.1 if bone == "metacarpal" else 0.5
            radius = float(np.quantile(np.linalg.norm(across - middle, axis=1), quantile))
            end = float((around @ along).max()) - radius if beyond == "tip" else (far - near) @ along
            capsules[f"{finger}_{bone}"] = _Capsule(near + middle, near + middle + along * end, radius)
    return capsules


def _palm(vertices: Array, owner: npt.NDArray[Any], joints: Mapping[str, Array]) -> Array:
    metacarpals = [f"{finger}_metacarpal" for finger in FINGERS if finger != "thumb"]
    around = vertices[np.isin(owner, metacarpals)]
    knuckles = min(joints[f"{finger}_proximal"][0] for finger in ("index", "middle", "ring"))
    low, high = np.percentile(around, [10, 90], axis=0)
    low[0], high[0] = joints["thumb_metacarpal"][0] / 2, knuckles
    return np.stack([low, high])


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def _rotation(axis: Array, angle: float) -> Array:
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def _fingertip(anatomy: _Anatomy, finger: Finger, angles: Array) -> Array:
    """(3,) where the tip of a finger is in the hand frame, metres."""
    point = anatomy.joints[f"{finger}_tip"]
    # From the outermost hinge inwards: each turns all that lies beyond it. Abduction carries flexion along.
    for i in _outermost_first(finger):
        pivot = anatomy.joints[f"{finger}_{_HINGES[i][1]}"]
        point = pivot + _rotation(anatomy.axes[i], angles[i]) @ (point - pivot)
    return point


def _outermost_first(finger: Finger) -> tuple[int, ...]:
    first = 4 * FINGERS.index(finger)
    return (first + 3, first + 2, first, first + 1)


def add_hand(
    spec: mujoco.MjSpec,
    side: Side,
    skin_rgba: Sequence[float],
    sleeve_rgba: Sequence[float],
    scale: float = 1.0,
) -> None:
    """Add a hand in a sleeve to a model that is being built; `Hand` poses it once compiled.

    All names begin with the side. The root is the mocap body `right_wrist`; under it are a body for each of
    the 25 WebXR joints (`right_index_proximal`) and `right_forearm`, hinges (`right_index_proximal_flexion`,
    `right_wrist_flexion`), contact geoms (`right_index_proximal_contact`, `right_palm_contact`) that touch
    objects but no hand, and sites: each fingertip (`right_index_tip`), the palm at the fingers' roots, where
    a held handle lies (`right_palm`), and where thumb and index finger meet (`right_pinch`). It is drawn as
    the skin `right_hand` and the geom `right_sleeve`, with materials `right_skin` and `right_sleeve`.

    Args:
        spec: edited in place.
        side: of the wearer.
        skin_rgba: (4,) 0..1.
        sleeve_rgba: (4,) 0..1.
        scale: size of the hand; at 1 the wrist is 19 cm from the end of the middle finger.

    Raises:
        ValueError: an unknown side, or a scale that is not positive.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; it is one of {', '.join(SIDES)}")
    if scale <= 0:
        raise ValueError(f"scale is {scale}; it must be positive, as 1.0")
    anatomy = _anatomy(side)
    for part, rgba in (("skin", skin_rgba), ("sleeve", sleeve_rgba)):
        spec.add_material(name=f"{side}_{part}", rgba=rgba, specular=0.12, shininess=0.3)
    wrist = spec.worldbody.add_body(name=f"{side}_wrist", mocap=True)
    _add_fingers(spec, wrist, side, anatomy, scale)
    _add_forearm(spec, wrist, side, scale)
    low, high = scale * anatomy.palm
    _add_contact(
        wrist, f"{side}_palm_contact", mujoco.mjtGeom.mjGEOM_BOX, pos=(low + high) / 2, size=(high - low) / 2
    )
    crease = [scale * anatomy.joints["middle_proximal"][0], (low[1] + high[1]) / 2, high[2]]
    wrist.add_site(group=HIDDEN_GROUP, name=f"{side}_palm", pos=crease)
    tips = [_fingertip(anatomy, finger, SHAPES["pinch"]) for finger in ("thumb", "index")]
    wrist.add_site(group=HIDDEN_GROUP, name=f"{side}_pinch", pos=scale * np.mean(tips, axis=0))
    _add_skin(spec, side, anatomy, scale)


def _add_fingers(spec: mujoco.MjSpec, wrist: Any, side: Side, anatomy: _Anatomy, scale: float) -> None:
    for finger, bones in _BONES.items():
        parent, origin = wrist, np.zeros(3)
        for bone in bones:
            name, joint = f"{finger}_{bone}", scale * anatomy.joints[f"{finger}_{bone}"]
            parent = parent.add_body(name=f"{side}_{name}", pos=joint - origin)
            origin = joint
            # A body's first joint carries the later ones along.
            hinges = [i for i in reversed(_outermost_first(finger)) if _HINGES[i][1] == bone]
            for i in hinges:
                _add_hinge(spec, parent, f"{side}_{JOINTS[i]}", anatomy.axes[i], LIMITS[i])
            if name in anatomy.capsules:
                capsule = anatomy.capsules[name]
                ends = np.concatenate([scale * capsule.start - joint, scale * capsule.end - joint])
                kind = mujoco.mjtGeom.mjGEOM_CAPSULE
                size = [scale * capsule.radius, 0, 0]
                _add_contact(parent, f"{side}_{name}_contact", kind, fromto=ends, size=size)
        parent.add_site(group=HIDDEN_GROUP, name=f"{side}_{finger}_tip")


def _add_forearm(spec: mujoco.MjSpec, wrist: Any, side: Side, scale: float) -> None:
    forearm = wrist.add_body(name=f"{side}_forearm")
    thumbwards = 1.0 if side == "left" else -1.0
    deviation, flexion = np.array([0.0, 0.0, -thumbwards]), np.array([0.0, 1.0, 0.0])
    _add_hinge(spec, forearm, f"{side}_wrist_deviation", deviation, WRIST_LIMITS[1])
    _add_hinge(spec, forearm, f"{side}_wrist_flexion", flexion, WRIST_LIMITS[0])
    vertices, faces = _sleeve()
    mesh = spec.add_mesh(name=f"{side}_sleeve")
    mesh.uservert, mesh.userface = (scale * vertices).ravel(), faces.ravel()
    forearm.add_geom(
        name=f"{side}_sleeve",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=f"{side}_sleeve",
        material=f"{side}_sleeve",
        contype=0,
        conaffinity=0,
    )


def _sleeve() -> tuple[Array, npt.NDArray[np.int64]]:
    """(V, 3) vertices in the forearm's frame, metres, and (F, 3) faces of a closed tube."""
    turn = 2 * np.pi * np.arange(_SLEEVE_SECTORS) / _SLEEVE_SECTORS
    rings = [
        np.stack([np.full_like(turn, x), half_width * np.cos(turn), half_thickness * np.sin(turn)], axis=1)
        for x, half_width, half_thickness in _SLEEVE_RINGS
    ]
    middles = np.array([[_SLEEVE_RINGS[0][0], 0.0, 0.0], [_SLEEVE_RINGS[-1][0], 0.0, 0.0]])
    vertices = np.concatenate([*rings, middles])
    here = np.arange(_SLEEVE_SECTORS)
    beside = np.roll(here, -1)
    faces = []
    for ring in range(len(rings) - 1):
        a, b = here + ring * _SLEEVE_SECTORS, beside + ring * _SLEEVE_SECTORS
        c, d = a + _SLEEVE_SECTORS, b + _SLEEVE_SECTORS
        faces += [np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)]
    last = (len(rings) - 1) * _SLEEVE_SECTORS
    front, back = np.full_like(here, len(vertices) - 2), np.full_like(here, len(vertices) - 1)
    faces += [np.stack([front, here, beside], axis=1), np.stack([back, last + beside, last + here], axis=1)]
    return vertices, np.concatenate(faces)


def _add_hinge(spec: mujoco.MjSpec, body: Any, name: str, axis: Array, limits: Array) -> None:
    limits = np.rad2deg(limits) if spec.compiler.degree else limits
    body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, range=limits, limited=True)


def _add_contact(body: Any, name: str, kind: mujoco.mjtGeom, **shape: Any) -> None:
    # With objects' default contype and conaffinity of 1, these touch objects and no hand.
    body.add_geom(name=name, type=kind, contype=0, conaffinity=1, group=HIDDEN_GROUP, **shape)


def _add_skin(spec: mujoco.MjSpec, side: Side, anatomy: _Anatomy, scale: float) -> None:
    skin = spec.add_skin(name=f"{side}_hand", material=f"{side}_skin")
    skin.vert = (scale * anatomy.vertices).ravel()
    skin.face = anatomy.faces.ravel()
    skin.bodyname = [f"{side}_{bone}" for bone in anatomy.weights]
    joints = {**anatomy.joints, "forearm": anatomy.joints["wrist"]}
    skin.bindpos = scale * np.concatenate([joints[bone] for bone in anatomy.weights])
    skin.bindquat = np.tile([1.0, 0.0, 0.0, 0.0], len(anatomy.weights))
    moved = [np.flatnonzero(weight) for weight in anatomy.weights.values()]
    skin.vertid = moved
    skin.vertweight = [weight[ids] for weight, ids in zip(anatomy.weights.values(), moved, strict=True)]


def angles_of(shape: Shape) -> Array:
    """Joint angles, (20,) radians in the order of `JOINTS`.

    Args:
        shape: a name in `SHAPES`; or angles by the joints' names, those left out being zero; or (20,) angles.

    Raises:
        ValueError: an unknown shape or joint, another number of angles, or an angle outside `LIMITS`.
    """
    if isinstance(shape, str):
        if shape not in SHAPES:
            raise ValueError(f"unknown hand shape {shape!r}; the shapes are {', '.join(SHAPES)}")
        return SHAPES[shape].copy()
    if isinstance(shape, Mapping):
        unknown = ", ".join(sorted(set(shape) - set(JOINTS)))
        if unknown:
            raise ValueError(f"unknown joints {unknown}; the joints are {', '.join(JOINTS)}")
        shape = [shape.get(joint, 0.0) for joint in JOINTS]
    angles = np.array(shape, np.float64)
    if angles.shape != (len(JOINTS),):
        raise ValueError(f"angles of shape {angles.shape}; a hand has ({len(JOINTS)},), see JOINTS")
    within = (angles >= _LEAST) & (angles <= _GREATEST)  # not a number is not within
    if not within.all():
        i = int(within.argmin())
        low, high = LIMITS[i]
        raise ValueError(
            f"{JOINTS[i]} is {angles[i]:.3f} rad; it bends from {low:.3f} to {high:.3f}: clip to LIMITS"
        )
    return angles


def blend(a: Shape, b: Shape, t: float) -> Array:
    """Angles on the way from one shape to another, (20,) radians: `a` at t = 0, `b` at t = 1, 0 <= t <= 1."""
    return (1.0 - t) * angles_of(a) + t * angles_of(b)


class Hand:
    """One hand of a compiled model.

    Args:
        model: with a hand that `add_hand` added.
        side: of the wearer.

    Attributes:
        side: of the wearer.
        geoms: ids of each finger's three contact geoms, from the palm outwards.
        palm_geom: id of the palm's contact geom.
        contacts: ids of all of these.
        sleeve_geom: id of the sleeve's geom.
        skin: id of the skin.

    Raises:
        ValueError: the model has no such hand.
    """

    def __init__(self, model: mujoco.MjModel, side: Side) -> None:
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, f"{side}_wrist")
        if body < 0 or model.body_mocapid[body] < 0:
            raise ValueError(
                f"the model has no {side} hand; call add_hand(spec, {side!r}, ...) before compiling"
            )
        self.side: Side = side
        self.geoms: Mapping[Finger, tuple[int, ...]] = {
            finger: tuple(
                model.geom(f"{side}_{finger}_{bone}_contact").id
                for bone in _BONES[finger][:-1]
                if finger == "thumb" or bone != "metacarpal"
            )
            for finger in FINGERS
        }
        self.palm_geom: int = model.geom(f"{side}_palm_contact").id
        self.contacts = (self.palm_geom, *itertools.chain.from_iterable(self.geoms.values()))
        self.sleeve_geom: int = model.geom(f"{side}_sleeve").id
        self.skin: int = model.skin(f"{side}_hand").id
        self._materials = [model.material(f"{side}_{part}").id for part in ("skin", "sleeve")]
        self._mocap = int(model.body_mocapid[body])
        self._qpos = np.array([model.joint(f"{side}_{joint}").qposadr[0] for joint in JOINTS])
        self._wrist_qpos = [model.joint(f"{side}_wrist_{m}").qposadr[0] for m in ("flexion", "deviation")]
        self._keypoints = np.array([model.body(f"{side}_{bone}").id for bone in KEYPOINTS])
        self._anchors: dict[str, Array] = {
            "wrist": np.zeros(3),
            "palm": model.site(f"{side}_palm").pos.copy(),
            "pinch": model.site(f"{side}_pinch").pos.copy(),
        }

    def place(
        self,
        data: mujoco.MjData,
        position: npt.ArrayLike,
        quaternion: npt.ArrayLike,
        anchor: Anchor = "wrist",
    ) -> None:
        """Put the hand somewhere; its pose follows with the next `mj_forward` or `mj_kinematics`.

        Args:
            data: written.
            position: (3,) where the anchor goes in the world, metres.
            quaternion: (4,) of the hand frame in the world.
            anchor: the point of the hand to put there: the wrist, the palm's surface at the fingers' roots,
                or where thumb and index finger meet in the shape `pinch`.

        Raises:
            ValueError: an unknown anchor.
        """
        if anchor not in self._anchors:
            raise ValueError(f"unknown anchor {anchor!r}; the anchors are {', '.join(self._anchors)}")
        turn = np.array(quaternion, np.float64)
        mujoco.mju_normalize4(turn)
        offset = np.empty(3)
        mujoco.mju_rotVecQuat(offset, self._anchors[anchor], turn)
        data.mocap_pos[self._mocap] = np.asarray(position) - offset
        data.mocap_quat[self._mocap] = turn

    def pose(self, data: mujoco.MjData, shape: Shape) -> None:
        """Bend the fingers to a shape; seen after `mj_forward` or `mj_kinematics`."""
        data.qpos[self._qpos] = angles_of(shape)

    def angles(self, data: mujoco.MjData) -> Array:
        """The fingers' angles, (20,) radians."""
        return data.qpos[self._qpos]

    def aim_forearm(self, data: mujoco.MjData, elbow: npt.ArrayLike) -> None:
        """Turn the forearm towards a point as far as the wrist bends; the hand stays where it was placed.

        Args:
            data: with the hand placed; written.
            elbow: (3,) in the world, metres.
        """
        back = np.empty(4)
        mujoco.mju_negQuat(back, data.mocap_quat[self._mocap])
        direction = np.empty(3)
        mujoco.mju_rotVecQuat(direction, np.asarray(elbow) - data.mocap_pos[self._mocap], back)
        x, y, z = direction.tolist()
        thumbwards = y if self.side == "left" else -y
        bends = (math.atan2(z, math.hypot(x, y)), math.atan2(thumbwards, -x))
        for address, bend, (low, high) in zip(self._wrist_qpos, bends, _WRIST_LIMITS, strict=True):
            data.qpos[address] = min(max(bend, low), high)

    def keypoints(self, data: mujoco.MjData) -> Array:
        """(21, 3) world positions of `KEYPOINTS` after `mj_forward` or `mj_kinematics`, metres."""
        return data.xpos[self._keypoints]

    def paint(self, model: mujoco.MjModel, skin_rgba: npt.ArrayLike, sleeve_rgba: npt.ArrayLike) -> None:
        """Change the colours, (4,) RGBA 0..1, of the next pictures."""
        model.mat_rgba[self._materials] = [skin_rgba, sleeve_rgba]


@dataclass(frozen=True)
class Grip:
    """How fingers closed on something.

    Attributes:
        angles: (20,) radians.
        touching: fingers of which a part is within `CONTACT_GAP` of the object.
    """

    angles: Array
    touching: tuple[Finger, ...]


_LEVELS = np.array([0, 0, 1, 2])  # of a finger's four joints: the first of its three links that each moves


def close_until_contact(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    hand: Hand,
    shape: Shape,
    object_geoms: Sequence[int],
) -> Grip:
    """Close the fingers from how they are towards a shape, each until it touches.

    As tendons do it: when a link of a finger touches, the joints up to it stop and the joints beyond it close
    on, until their links touch or the shape is reached. The thumb comes last and stops at the other fingers
    too. Steps are at most as long as the way to the object (conservative advancement), so that no finger
    passes through it, however thin it is.

    Args:
        model: with the hand and the object.
        data: with the hand placed and the fingers off the object; left in the pose found, its contacts known.
        hand: that closes.
        shape: to close towards.
        object_geoms: ids of the geoms to close on, meshes as their convex hulls.

    Raises:
        ValueError: no geoms, or a finger that is deep in one of them at the start.
    """
    if not len(object_geoms):
        raise ValueError("object_geoms is empty; name the geoms to close on, or use Hand.pose")
    links = [link for finger in FINGERS for link in hand.geoms[finger]]
    obstacles = {link: list(object_geoms) for link in links}
    mujoco.mj_kinematics(model, data)
    gaps = Gaps(model, obstacles)
    _check_start(model, gaps(data), links)
    goal = angles_of(shape)
    _close(model, data, hand, FINGERS[1:], goal, obstacles)
    fingers = [link for finger in FINGERS[1:] for link in hand.geoms[finger][1:]]
    with_fingers = {link: [*object_geoms, *fingers] for link in hand.geoms["thumb"][1:]}
    _close(model, data, hand, FINGERS[:1], goal, {**obstacles, **with_fingers})
    mujoco.mj_collision(model, data)
    nearest = gaps(data).reshape(len(FINGERS), -1).min(1)
    touching = [finger for finger, gap in zip(FINGERS, nearest, strict=True) if gap <= CONTACT_GAP]
    return Grip(hand.angles(data), tuple(touching))


def _check_start(model: mujoco.MjModel, gaps: Array, links: Sequence[int]) -> None:
    depth = -gaps.min()
    if depth > _DEEPEST_START:
        name = model.geom(links[int(gaps.argmin())]).name
        raise ValueError(
            f"{name} starts {1000 * depth:.1f} mm inside the object; open the hand or place it further off"
        )


class Gaps:
    """Measures how far geoms are from others, and spares itself those that cannot be the nearest.

    Args:
        model: with all of them.
        obstacles: by geom, those that it may come near to; each has at least one.

    Attributes:
        geoms: whose distances are measured.
    """

    def __init__(self, model: mujoco.MjModel, obstacles: Mapping[int, Sequence[int]]) -> None:
        self.geoms = list(obstacles)
        self._model = model
        self._others = sorted({other for others in obstacles.values() for other in others})
        meets = np.array([[other in others for other in self._others] for others in obstacles.values()])
        # A plane has no bounding sphere, and 0 stands for that.
        bound = np.where(model.geom_rbound > 0, model.geom_rbound, np.inf)
        spheres = bound[self.geoms][:, None] + bound[self._others]
        self._spheres = np.where(meets, spheres, -np.inf)
        self._ends = np.empty(6)

    def __call__(self, data: mujoco.MjData) -> Array:
        """Distance of each geom from the nearest of its obstacles, metres; negative inside it."""
        apart = data.geom_xpos[self.geoms][:, None] - data.geom_xpos[self._others]
        least = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart)) - self._spheres
        order = least.argsort(axis=1)
        bounds = np.take_along_axis(least, order, axis=1)
        rows = zip(self.geoms, order.tolist(), bounds.tolist(), strict=True)
        return np.array([self._nearest(data, geom, row, bound) for geom, row, bound in rows])

    def _nearest(self, data: mujoco.MjData, geom: int, row: Sequence[int], bounds: Sequence[float]) -> float:
        """The distance, where the others come in the order `row` of how near they can be, `bounds`."""
        nearest = _FAR
        for index, bound in zip(row, bounds, strict=True):
            if bound >= nearest:
                break
            other = self._others[index]
            nearest = min(nearest, mujoco.mj_geomDistance(self._model, data, geom, other, _FAR, self._ends))
        return nearest


def _close(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    hand: Hand,
    fingers: Sequence[Finger],
    goal: Array,
    obstacles: Mapping[int, Sequence[int]],
) -> None:
    """Move `fingers` towards `goal`, (20,) radians, until their links are at their obstacles."""
    links = np.array([hand.geoms[finger] for finger in fingers])
    measure = Gaps(model, {link: obstacles[link] for link in links.ravel().tolist()})
    joints = [i for i, hinge in enumerate(_HINGES) if hinge[0] in fingers]
    start = hand.angles(data)
    travel = (goal - start)[joints].reshape(len(links), len(_LEVELS))
    reach = _reach(model, links)
    done = np.zeros_like(travel)  # share of its travel that each joint has made
    free = np.zeros(len(links), int)  # level of each finger from which on it still moves
    while True:
        angles = start.copy()
        angles[joints] += (done * travel).ravel()
        hand.pose(data, angles)
        mujoco.mj_kinematics(model, data)
        gaps = measure(data).reshape(links.shape)
        stopped = np.where(gaps <= CONTACT_GAP, np.arange(1, links.shape[1] + 1), 0)
        free = np.maximum(free, stopped.max(1))
        moves = (free[:, None] <= _LEVELS) & (done < 1.0)
        speeds = np.einsum("flj,fj->fl", reach, np.abs(travel) * moves)
        if not speeds.any():
            return
        ways = np.where(speeds > 0, (gaps - CONTACT_GAP / 2) / np.maximum(speeds, 1e-12), np.inf)
        done = np.minimum(done + moves * ways.min(1, keepdims=True).clip(max=1.0), 1.0)


def _reach(model: mujoco.MjModel, links: npt.NDArray[np.int64]) -> Array:
    """(F, 3, 4) how far any point of a link is from a joint that moves it, at most, metres; else 0."""
    lengths = 2 * (model.geom_size[links, 0] + model.geom_size[links, 1])
    until = np.cumsum(lengths, axis=1)
    before = until - lengths
    moved = np.arange(links.shape[1])[:, None] >= _LEVELS
    return (until[:, :, None] - before[:, None, _LEVELS]) * moved
