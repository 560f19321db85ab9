"""Poses, and paths of them over time.

Wrists follow minimum-jerk paths (Flash and Hogan, 1985): speed and acceleration are zero at both ends.
Metres, seconds, radians; quaternions are (w, x, y, z).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pretrain.sim.shapes import Array, Quat, Vec, Z, cross, product, quat_of, rotation, turned, vec


@dataclass(frozen=True)
class Pose:
    """A place (3,) in metres and a rotation (4,) as a unit quaternion, of one frame in another."""

    at: Array
    turn: Array

    @property
    def quat(self) -> Quat:
        """The rotation as a tuple."""
        w, x, y, z = self.turn.tolist()
        return w, x, y, z

    @functools.cached_property
    def axes(self) -> Array:
        """(3, 3) whose columns are the turned x, y and z axes."""
        return rotation(self.quat)

    def __matmul__(self, other: Pose) -> Pose:
        """The pose in the outer frame of what has pose `other` in this one."""
        return Pose(self.point(other.at), np.array(product(self.quat, other.quat)))

    def point(self, local: npt.ArrayLike) -> Array:
        """(3,) a local point in the outer frame."""
        return self.at + self.axes @ np.asarray(local)

    def inverse(self) -> Pose:
        """The outer frame's pose in this one."""
        return Pose(-(self.axes.T @ self.at), self.turn * [1.0, -1.0, -1.0, -1.0])

    def moved(self, by: npt.ArrayLike) -> Pose:
        """The same rotation, (3,) metres further in the outer frame."""
        return Pose(self.at + np.asarray(by), self.turn)

    def turned(self, axis: npt.ArrayLike, angle: float, about: npt.ArrayLike) -> Pose:
        """Turned round the point `about` (3,) of the outer frame by `angle` about `axis` (3,)."""
        turn = turned(vec(np.asarray(axis, np.float64)), angle)
        at = np.asarray(about) + rotation(turn) @ (self.at - np.asarray(about))
        return Pose(at, np.array(product(turn, self.quat)))


def pose(at: npt.ArrayLike, x: npt.ArrayLike, z: npt.ArrayLike) -> Pose:
    """A frame at `at` with its x axis along `x` and its z axis as near `z` as that allows; (3,) each."""
    first = unit(np.asarray(x, np.float64))
    third = np.asarray(z, np.float64)
    third = unit(third - first * (first @ third))
    return Pose(
        np.asarray(at, np.float64),
        np.array(quat_of(np.column_stack([first, cross(third, first), third]))),
    )


def shift(x: float, y: float, z: float) -> Array:
    """(3,) so far along each axis."""
    return np.array([x, y, z])


def unit(vector: Array) -> Array:
    """The same direction (3,), 1 long."""
    return vector / math.sqrt(vector @ vector)


def minimum_jerk(u: float) -> float:
    """Share of the way made at share `u` of the time, both 0..1; speed and acceleration end at zero."""
    u = min(max(u, 0.0), 1.0)
    return u**3 * (10.0 + u * (6.0 * u - 15.0))


def between(first: Array, second: Array, t: float) -> Array:
    """The rotation (4,) at share `t` of the shorter way from `first` to `second`, at even speed."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > 0.9995:
        return unit((1 - t) * first + t * second)
    angle = math.acos(cosine)
    return (math.sin((1 - t) * angle) * first + math.sin(t * angle) * second) / math.sin(angle)


Path = Callable[[float], Pose]
"""Where a wrist is at share 0..1 of a movement's time."""


def curve(
    start: Pose, end: Pose, leave: npt.ArrayLike = (0, 0, 0), arrive: npt.ArrayLike = (0, 0, 0)
) -> Path:
    """A minimum-jerk movement along a cubic Bezier curve.

    Args:
        start: at 0.
        end: at 1.
        leave: (3,) metres from the start to the curve's second control point.
        arrive: (3,) metres from the end back to its third: from where it comes.
    """
    points = np.array([start.at, start.at + np.asarray(leave), end.at + np.asarray(arrive), end.at])

    def at(u: float) -> Pose:
        s = minimum_jerk(u)
        weights = np.array([(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3])
        return Pose(weights @ points, between(start.turn, end.turn, min(1.0, 1.15 * s)))

    return at


def straight(start: Pose, end: Pose) -> Path:
    """A minimum-jerk movement along a straight line."""

    def at(u: float) -> Pose:
        s = minimum_jerk(u)
        return Pose((1 - s) * start.at + s * end.at, between(start.turn, end.turn, s))

    return at


def swung(start: Pose, axis: npt.ArrayLike, about: npt.ArrayLike, angle: Callable[[float], float]) -> Path:
    """A turn about a fixed line: at time u by `angle(u)` about `axis` (3,) through `about` (3,)."""
    return lambda u: start.turned(axis, angle(u), about)


def eased(angle: float) -> Callable[[float], float]:
    """For `swung`: to `angle`, minimum-jerk."""
    return lambda u: angle * minimum_jerk(u)


def waves(size: float, times: float) -> Callable[[float], float]:
    """To and fro `times` times by up to `size`, fading in and out."""
    return lambda u: float(
        size * np.sin(2 * np.pi * times * u) * np.sin(np.pi * min(max(u, 0.0), 1.0)) ** 0.5
    )


def level(at: npt.ArrayLike, yaw: float) -> Pose:
    """A thing that stands upright at `at` (3,), turned by `yaw` about the vertical."""
    return Pose(np.asarray(at, np.float64), np.array(turned(Z, yaw)))


def with_at(where: Pose, at: Vec | Array) -> Pose:
    """The same rotation at another place."""
    return replace(where, at=np.asarray(at, np.float64))
