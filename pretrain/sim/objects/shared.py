"""What several kinds of movable objects are made of, and the shelf on which all stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pretrain.sim.design import BodyDesign, Grasp, Shelf, Spot
from pretrain.sim.shapes import (
    Solid,
    Vec,
    X,
    Y,
    turned,
)

MOVABLE = Shelf()
"""Every movable kind."""

DOWN: Vec = (0.0, 0.0, -1.0)
LYING = turned(Y, np.pi / 2)  # takes z to x


def one(solids: list[Solid], grasps: list[Grasp], spots: list[Spot] | None = None) -> tuple[BodyDesign, ...]:
    """The bodies of an object that is one rigid part."""
    return (BodyDesign("", tuple(solids), tuple(grasps), tuple(spots or ())),)


def sides(length: float, width: float, height: float) -> list[Grasp]:
    """Flat hands that push a block at its four sides, at half height."""
    z = min(height / 2, 0.04)
    return [
        Grasp("push right", (-length / 2, 0.0, z), X, Y, 0.0, "flat"),
        Grasp("push left", (length / 2, 0.0, z), (-1.0, 0.0, 0.0), Y, 0.0, "flat"),
        Grasp("push away", (0.0, -width / 2, z), Y, X, 0.0, "flat"),
        Grasp("push back", (0.0, width / 2, z), (0.0, -1.0, 0.0), X, 0.0, "flat"),
    ]


def settled(solids: list[Solid]) -> list[Solid]:
    """The same solids moved so that the lowest lies on the table."""
    low = min(float(solid.points()[:, 2].min()) for solid in solids)
    return [replace(solid, at=(solid.at[0], solid.at[1], solid.at[2] - low)) for solid in solids]
