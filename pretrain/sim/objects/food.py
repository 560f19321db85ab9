"""Food: fruit, vegetables and bread."""

from __future__ import annotations

import numpy as np

from pretrain.sim.design import BodyDesign, Sketch, Spot, around, from_above
from pretrain.sim.objects.shared import LYING, MOVABLE, one, settled, sides
from pretrain.sim.shapes import (
    Paint,
    X,
    Y,
    bent_rods,
    box,
    drawn_only,
    egg,
    hidden,
    lathe,
    prism,
    rod,
    seen,
    tube,
    turned,
    vec,
)


def _fruit(
    profile: list[tuple[float, float]], s: Sketch, radius: float, height: float
) -> tuple[BodyDesign, ...]:
    solids = [
        seen(lathe(profile, 24), s.plain),
        egg((radius, radius, height / 2), (0, 0, height / 2), None),
        rod((0, 0, height * 0.82), (0.003, 0, height + 0.006), 0.0018, Paint((0.25, 0.15, 0.06), 0.1)),
    ]
    top = from_above("top", (0, 0, height / 2), 2 * radius, "power", X, np.pi)
    return one(solids, [top, around("side", height / 2, 2 * radius)])


@MOVABLE.kind("apple", colours=("red", "green", "yellow"))
def _apple(s: Sketch) -> tuple[BodyDesign, ...]:
    radius = s.size(0.033, 0.041)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 15)
    rounds = [(radius * np.cos(a) * (1 + 0.08 * np.sin(a)), 0.92 * radius * (1 + np.sin(a))) for a in angles]
    dent = [(r, z - 0.22 * radius * np.exp(-((r / (0.35 * radius)) ** 2)) * (z > radius)) for r, z in rounds]
    return _fruit([(0.0, dent[0][1]), *dent[1:-1], (0.0, dent[-1][1])], s, radius, 1.8 * radius)


@MOVABLE.kind("pear", colours=("green", "yellow", "brown"))
def _pear(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.030, 0.037), s.size(0.085, 0.105)
    rises = np.linspace(0.0, 1.0, 17)
    outline = np.sqrt(np.clip(1 - (2 * rises - 1) ** 2, 0, 1)) * (1.0 - 0.62 * rises**1.3) / 0.72
    return _fruit(
        [(float(radius * r), float(height * z)) for r, z in zip(outline, rises, strict=True)],
        s,
        radius * 0.95,
        height,
    )


@MOVABLE.kind("banana", colours=("yellow", "green"))
def _banana(s: Sketch) -> tuple[BodyDesign, ...]:
    bend, radius = s.size(0.085, 0.11), s.size(0.015, 0.019)
    angles = np.linspace(-0.8, 0.8, 15)
    path = np.column_stack([bend * np.sin(angles), bend * (np.cos(angles) - 0.93), np.full(15, radius)])
    shape = radius * np.array(
        [0.25, 0.3, 0.6, *np.linspace(0.8, 1, 4), *np.linspace(1, 0.8, 5), 0.6, 0.35, 0.3]
    )
    solids = [seen(tube(path, [float(r) for r in shape], 10), s.plain)]
    solids += bent_rods(path[2:-2] - [0.0, 0.0, 0.1 * radius], radius * 0.9, every=2)
    for end, inner in ((path[0], path[1]), (path[-1], path[-2])):
        solids.append(
            rod(vec(inner), vec(end + (end - inner) * 0.3), radius * 0.32, Paint((0.2, 0.14, 0.05), 0.1))
        )
    grasp = from_above("middle", (0, 0.07 * bend, radius), 2 * radius, "power")
    return one(settled(solids), [grasp])


@MOVABLE.kind("lemon", colours=("yellow",))
def _lemon(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, length = s.size(0.026, 0.032), s.size(0.075, 0.09)
    along = np.linspace(-1.0, 1.0, 17)
    outline = radius * (np.sqrt(np.clip(1 - (along / 0.92) ** 2, 0, 1)) * 0.86 + 0.14 * (1 - along**6))
    profile = [(float(r), float(x * length / 2)) for r, x in zip(outline, along, strict=True)]
    solids = [
        seen(lathe(profile, 20), Paint((0.93, 0.80, 0.12), 0.3), (0, 0, radius), LYING),
        egg((length * 0.46, radius, radius), (0, 0, radius), None),
    ]
    return one(solids, [from_above("middle", (0, 0, radius), 2 * radius, "power")])


@MOVABLE.kind("carrot", colours=("orange",))
def _carrot(s: Sketch) -> tuple[BodyDesign, ...]:
    length, radius = s.size(0.12, 0.17), s.size(0.013, 0.018)
    leaf = Paint((0.16, 0.45, 0.12), 0.1)
    profile = [
        (0.0, -length / 2),
        (radius * 0.7, -length / 2),
        (radius, -length / 2 + 0.012),
        (radius * 0.75, 0.0),
        (radius * 0.3, length * 0.42),
        (0.0, length / 2),
    ]
    tilt = turned(Y, np.pi / 2)
    leaves = [
        rod((-length / 2 + 0.004, 0, radius), (-length / 2 - 0.045, y, radius + z), 0.003, leaf)
        for y, z in ((-0.015, 0.006), (0.0, 0.012), (0.016, 0.004))
    ]
    solids = [
        seen(lathe(profile, 16), s.plain, (0, 0, radius), tilt),
        hidden(rod((-length / 2 + radius, 0, radius), (0, 0, radius * 0.95), radius * 0.95, None)),
        hidden(rod((0, 0, radius), (length * 0.42, 0, radius), radius * 0.5, None)),
        *leaves,
    ]
    return one(
        solids,
        [from_above("thick end", (-length * 0.25, 0, radius), 1.8 * radius)],
        [Spot("tip", (length / 2, 0, radius), X)],
    )


@MOVABLE.kind("bread", "loaf of bread", colours=("brown",))
def _bread(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, height = s.size(0.15, 0.20), s.size(0.075, 0.088), s.size(0.07, 0.09)
    angles = np.linspace(0, np.pi, 11)
    arch = [(width / 2 * np.cos(a), height * (0.62 + 0.38 * np.sin(a))) for a in angles]
    base = [(-width / 2 * 0.92, 0.0), (width / 2 * 0.92, 0.0)]
    crust, crumb = Paint((0.62, 0.36, 0.14), 0.05), Paint((0.93, 0.82, 0.60), 0.0)
    cuts = [
        drawn_only(
            rod((x, -width * 0.25, height * 0.985), (x + 0.014, width * 0.25, height * 0.985), 0.004, crumb)
        )
        for x in np.linspace(-length * 0.3, length * 0.3, 4)
    ]
    end = prism([(y * 0.93, 0.003 + z * 0.93) for y, z in [*arch, *base]], 0.002)
    solids = [
        seen(prism([*arch, *base], length), crust),
        seen(end, crumb, (length / 2, 0, 0)),
        box((length, width * 0.92, height * 0.62), (0, 0, height * 0.31), None),
        hidden(egg((length / 2, width / 2, height * 0.38), (0, 0, height * 0.62), None)),
        *cuts,
    ]
    return one(
        solids,
        [from_above("top", (0, 0, height * 0.55), width, "power"), *sides(length, width * 0.92, height)],
    )
