"""Solids that objects and rooms are made of: MuJoCo primitives, and meshes generated here.

A `Solid` is a shape at a place in its body's frame with a `Paint`. It may be only seen (a lathe's mesh), only
felt (the ring of hidden boxes inside a cup's wall, because MuJoCo collides convex shapes alone), or both.
Lengths are in metres, angles in radians, quaternions are (w, x, y, z).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import numpy.typing as npt

Vec = tuple[float, float, float]
Quat = tuple[float, float, float, float]
Array = npt.NDArray[np.float64]

UPRIGHT: Quat = (1.0, 0.0, 0.0, 0.0)
X: Vec = (1.0, 0.0, 0.0)
Y: Vec = (0.0, 1.0, 0.0)
Z: Vec = (0.0, 0.0, 1.0)

SEEN_GROUP, HIDDEN_GROUP = 1, 3  # MuJoCo draws groups 0-2 unless told otherwise

_SHARP = np.deg2rad(35.0)  # a profile's corner above which light does not flow round it


@dataclass(frozen=True)
class Paint:
    """How a solid looks.

    Attributes:
        rgb: colour, 0..1 each.
        shine: 0 (cloth) .. 1 (polished metal).
        pattern: name of the object pattern (`textures.OBJECT_PATTERNS`) that is drawn over `rgb`.
        second: the pattern's other colour.
        alpha: 0 (clear) .. 1 (opaque).
    """

    rgb: Vec
    shine: float = 0.3
    pattern: str = "plain"
    second: Vec = (1.0, 1.0, 1.0)
    alpha: float = 1.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface: vertices (V, 3) in metres and faces (F, 3), counter-clockwise seen from outside."""

    vertices: Array
    faces: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Solid:
    """One geom.

    Attributes:
        shape: MuJoCo's geom type.
        size: half-extents as MuJoCo takes them for `shape`; not used for a mesh.
        at: its centre in the body's frame.
        turn: its rotation in the body's frame.
        paint: how it looks; None if it is not seen.
        felt: whether hands and other objects touch it.
        mesh: for `mjGEOM_MESH`.
    """

    shape: mujoco.mjtGeom
    size: Vec
    at: Vec
    turn: Quat = UPRIGHT
    paint: Paint | None = None
    felt: bool = True
    mesh: Mesh | None = None

    def points(self) -> Array:
        """(N, 3): points of the body's frame whose convex hull encloses the solid, and closely."""
        local = self.mesh.vertices if self.mesh is not None else _outline(self.shape, self.size)
        return local @ rotation(self.turn).T + np.array(self.at)


def box(size: Vec, at: Vec, paint: Paint | None, turn: Quat = UPRIGHT, felt: bool = True) -> Solid:
    """A box of full lengths `size` along x, y and z, centred at `at`."""
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    return Solid(mujoco.mjtGeom.mjGEOM_BOX, half, at, turn, paint, felt)


def cylinder(
    radius: float, height: float, at: Vec, paint: Paint | None, turn: Quat = UPRIGHT, felt: bool = True
) -> Solid:
    """A cylinder of full `height` along z before `turn`, centred at `at`."""
    return Solid(mujoco.mjtGeom.mjGEOM_CYLINDER, (radius, height / 2, 0.0), at, turn, paint, felt)


def ball(radius: float, at: Vec, paint: Paint | None) -> Solid:
    """A sphere centred at `at`."""
    return Solid(mujoco.mjtGeom.mjGEOM_SPHERE, (radius, 0.0, 0.0), at, UPRIGHT, paint)


def egg(radii: Vec, at: Vec, paint: Paint | None, turn: Quat = UPRIGHT) -> Solid:
    """An ellipsoid of the given radii, centred at `at`."""
    return Solid(mujoco.mjtGeom.mjGEOM_ELLIPSOID, radii, at, turn, paint)


def rod(start: Vec, end: Vec, radius: float, paint: Paint | None, round_ends: bool = True) -> Solid:
    """A capsule whose caps are centred at `start` and `end`, or a cylinder between the two."""
    first, second = np.array(start), np.array(end)
    length = float(np.linalg.norm(second - first))
    shape = mujoco.mjtGeom.mjGEOM_CAPSULE if round_ends else mujoco.mjtGeom.mjGEOM_CYLINDER
    centre = vec((first + second) / 2)
    return Solid(shape, (radius, length / 2, 0.0), centre, turn_z_to(vec(second - first)), paint)


def seen(mesh: Mesh, paint: Paint, at: Vec = (0.0, 0.0, 0.0), turn: Quat = UPRIGHT) -> Solid:
    """A mesh that is only drawn; what is felt of it is added by hidden primitives."""
    return Solid(mujoco.mjtGeom.mjGEOM_MESH, (0.0, 0.0, 0.0), at, turn, paint, False, mesh)


def hidden(solid: Solid) -> Solid:
    """The same solid, felt and not drawn."""
    return replace(solid, paint=None)


def drawn_only(solid: Solid) -> Solid:
    """The same solid, drawn and not felt."""
    return replace(solid, felt=False)


def ring_wall(
    low: tuple[float, float], high: tuple[float, float], thickness: float, parts: int = 10
) -> list[Solid]:
    """Hidden boxes round the z axis: the wall of a cup, between outer (radius, z) `low` and `high`."""
    (r0, z0), (r1, z1) = low, high
    slant, length = float(np.arctan2(r1 - r0, z1 - z0)), float(np.hypot(r1 - r0, z1 - z0))
    middle = (r0 + r1) / 2 - thickness / 2
    width = 2 * max(r0, r1) * np.tan(np.pi / parts)
    walls = []
    for angle in 2 * np.pi * np.arange(parts) / parts:
        turn = product(turned(Z, float(angle)), turned(Y, slant))
        at = (middle * np.cos(angle), middle * np.sin(angle), (z0 + z1) / 2)
        walls.append(box((thickness, float(width), length), vec(at), None, turn))
    return walls


def lathe(profile: Sequence[tuple[float, float]], sides: int = 28) -> Mesh:
    """Turns a profile about the z axis.

    Args:
        profile: (radius, z) points of a closed cross-section: from the axis round the outside back to the
            axis, or round a ring. It is sharp where it bends by more than 35 degrees.
        sides: corners of the circle.
    """
    points = np.array(profile, np.float64)
    steps = np.diff(points, axis=0)
    directions = np.arctan2(steps[:, 1], steps[:, 0])
    bend = np.abs((np.diff(directions) + np.pi) % (2 * np.pi) - np.pi)
    runs = np.split(np.arange(len(steps)), np.flatnonzero(bend > _SHARP) + 1)
    strips = [_strip(points[run[0] : run[-1] + 2], sides) for run in runs]
    return _outward(_joined(strips))


def tube(path: npt.ArrayLike, radii: float | Sequence[float], sides: int = 12) -> Mesh:
    """A round tube along `path` (N, 3), with one radius or one per point, closed by flat caps."""
    line = np.asarray(path, np.float64)
    radius = np.broadcast_to(np.asarray(radii, np.float64), (len(line),))
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # The path's least axis of spread: never parallel to a plane curve, so the frame does not flip.
    aside = np.linalg.svd(line - line.mean(0))[2][2]
    angles = 2 * np.pi * np.arange(sides) / sides
    rings = []
    for point, tangent, r in zip(line, along, radius, strict=True):
        first = aside - tangent * (aside @ tangent)
        first /= np.linalg.norm(first)
        second = cross(tangent, first)
        rings.append(point + r * (np.outer(np.cos(angles), first) + np.outer(np.sin(angles), second)))
    caps = [_fan(rings[0], line[0], flip=True), _fan(rings[-1], line[-1], flip=False)]
    return _outward(_joined([_grid(np.array(rings)), *caps]))


def prism(outline: Sequence[tuple[float, float]], length: float) -> Mesh:
    """Extrudes a convex outline of (y, z) points, given in order, along x, centred on x = 0."""
    flat = np.array(outline, np.float64)
    pieces = []
    for (y0, z0), (y1, z1) in zip(flat, np.roll(flat, -1, axis=0), strict=True):
        side = [(-length / 2, y0, z0), (length / 2, y0, z0), (length / 2, y1, z1), (-length / 2, y1, z1)]
        pieces.append(Mesh(np.array(side), np.array([(0, 1, 2), (0, 2, 3)], np.int32)))
    fan = np.array([(0, i, i + 1) for i in range(1, len(flat) - 1)], np.int32)
    for x, faces in ((-length / 2, fan), (length / 2, fan[:, ::-1])):
        pieces.append(Mesh(np.column_stack([np.full(len(flat), x), flat]), faces))
    return _outward(_joined(pieces))


def arc(radius: float, start: float, end: float, points: int = 12) -> Array:
    """(points, 3): an arc about the origin in the xz plane, from angle `start` to `end` above the x axis."""
    angles = np.linspace(start, end, points)
    return np.column_stack([radius * np.cos(angles), np.zeros(points), radius * np.sin(angles)])


def bent_rods(path: Array, radius: float, every: int = 3) -> list[Solid]:
    """Hidden capsules along `path` (N, 3): what a tube's mesh feels like."""
    knots = [*path[:-1:every], path[-1]]
    return [rod(vec(a), vec(b), radius, None) for a, b in itertools.pairwise(knots)]


def vec(values: npt.ArrayLike) -> Vec:
    """Three plain floats."""
    x, y, z = np.asarray(values, np.float64)
    return float(x), float(y), float(z)


def cross(first: Array, second: Array) -> Array:
    """(3,) the cross product of two vectors; `np.cross`, made for arrays of them, takes 30 times as long."""
    a, b, c = first.tolist()
    x, y, z = second.tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


def turned(axis: Vec, angle: float) -> Quat:
    """The rotation by `angle` about the unit vector `axis`."""
    quat = np.empty(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(axis), angle)
    return _quat(quat)


def turn_z_to(direction: Vec) -> Quat:
    """The shortest rotation that takes the z axis to `direction` (of any length)."""
    quat = np.empty(4)
    mujoco.mju_quatZ2Vec(quat, np.array(direction))
    return _quat(quat)


def product(first: Quat, second: Quat) -> Quat:
    """The rotation `second`, followed by `first`."""
    quat = np.empty(4)
    mujoco.mju_mulQuat(quat, np.array(first), np.array(second))
    return _quat(quat)


def rotation(quat: Quat) -> Array:
    """(3, 3): the matrix of a rotation."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.array(quat))
    return matrix.reshape(3, 3)


def quat_of(matrix: Array) -> Quat:
    """The rotation of a (3, 3) matrix whose columns are the turned axes."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix, np.float64).ravel())
    return _quat(quat)


def _quat(values: Array) -> Quat:
    w, x, y, z = values
    return float(w), float(x), float(y), float(z)


def _outline(shape: mujoco.mjtGeom, size: Vec) -> Array:
    if shape in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        cap = size[0] if shape == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
        angles = 2 * np.pi * np.arange(16) / 16
        circle = size[0] * np.column_stack([np.cos(angles), np.sin(angles)])
        ends = [np.column_stack([circle, np.full(16, z)]) for z in (-size[1], size[1])]
        return np.vstack([*ends, [[0.0, 0.0, size[1] + cap], [0.0, 0.0, -size[1] - cap]]])
    half = np.full(3, size[0]) if shape == mujoco.mjtGeom.mjGEOM_SPHERE else np.array(size)
    if shape == mujoco.mjtGeom.mjGEOM_BOX:
        signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, -1).T
        return signs * half
    turns, rises = np.meshgrid(2 * np.pi * np.arange(16) / 16, np.linspace(-np.pi / 2, np.pi / 2, 9))
    sphere = np.stack([np.cos(rises) * np.cos(turns), np.cos(rises) * np.sin(turns), np.sin(rises)], -1)
    return sphere.reshape(-1, 3) * half


def _strip(points: Array, sides: int) -> Mesh:
    angles = 2 * np.pi * np.arange(sides) / sides
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    rings = [np.column_stack([r * circle, np.full(sides, z)]) for r, z in points]
    mesh = _grid(np.array(rings))
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Mesh(mesh.vertices, mesh.faces[area > 1e-12])


def _grid(rings: Array) -> Mesh:
    """Quads between neighbouring rings (R, S, 3), each ring closed."""
    count, sides = rings.shape[:2]
    row, column = np.divmod(np.arange((count - 1) * sides), sides)
    here, beside = row * sides + column, row * sides + (column + 1) % sides
    above, across = here + sides, beside + sides
    faces = np.concatenate([np.column_stack([here, beside, across]), np.column_stack([here, across, above])])
    return Mesh(rings.reshape(-1, 3), faces.astype(np.int32))


def _fan(ring: Array, centre: Array, flip: bool) -> Mesh:
    sides = len(ring)
    first = np.arange(sides)
    faces = np.column_stack([np.full(sides, sides), first, (first + 1) % sides])
    return Mesh(np.vstack([ring, centre]), (faces[:, ::-1] if flip else faces).astype(np.int32))


def _joined(pieces: Sequence[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    faces = [piece.faces + int(start) for piece, start in zip(pieces, starts, strict=True)]
    used, renumbered = np.unique(np.concatenate(faces), return_inverse=True)
    vertices = np.concatenate([piece.vertices for piece in pieces])[used]
    return Mesh(vertices, renumbered.reshape(-1, 3).astype(np.int32))


def _outward(mesh: Mesh) -> Mesh:
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    volume = float(np.einsum("ij,ij->", first, np.cross(second, third)))
    return mesh if volume > 0 else Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]))
