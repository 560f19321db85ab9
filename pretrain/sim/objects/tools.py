"""Tools and cutlery: what is held by a handle and has a working end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pretrain.sim.design import DARK, METAL, WOOD, BodyDesign, Sketch, Spot, from_above
from pretrain.sim.objects.shared import DOWN, LYING, MOVABLE, one, settled, sides
from pretrain.sim.shapes import (
    Mesh,
    Paint,
    Solid,
    X,
    Z,
    bent_rods,
    box,
    cylinder,
    drawn_only,
    lathe,
    prism,
    ring_wall,
    rod,
    seen,
    tube,
    turned,
    vec,
)

_STRONG = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")


@MOVABLE.kind("sponge", colours=("yellow", "pink", "green", "blue", "orange"))
def _sponge(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.09, 0.11), s.size(0.055, 0.07), s.size(0.028, 0.04)
    scour = Paint((0.12, 0.32, 0.16), 0.0) if s.chance(0.6) else Paint(s.other.rgb, 0.0)
    foam = Paint(s.plain.rgb, 0.0, "spots", vec(np.array(s.plain.rgb) * 0.85))
    solids = [
        box((length, width, thick), (0, 0, thick / 2), foam),
        drawn_only(box((length + 0.0006, width + 0.0006, 0.009), (0, 0, thick - 0.0044), scour)),
    ]
    grasps = [from_above("top", (0, 0, thick * 0.6), width, "power"), *sides(length, width, thick)]
    return one(solids, grasps, [Spot("tip", (0, 0, 0), DOWN)])


@MOVABLE.kind("knife", "kitchen knife")
def _knife(s: Sketch) -> tuple[BodyDesign, ...]:
    grip, blade, wide = s.size(0.10, 0.12), s.size(0.12, 0.19), s.size(0.026, 0.042)
    tip = grip / 2 + blade
    # Lying on its side, edge towards -y: an outline in the plane, seen from above.
    outline = [(grip / 2, 0.010), (grip / 2, 0.010 - wide), (tip - 0.05, 0.010 - wide), (tip, 0.006)]
    solids = [
        seen(_flat(outline, 0.0025, 0.005), METAL),
        box((blade - 0.05, wide, 0.0025), (grip / 2 + (blade - 0.05) / 2, 0.010 - wide / 2, 0.00625), None),
        box((0.05, wide / 2, 0.0025), (tip - 0.025, 0.010 - wide / 4, 0.00625), None),
        box((grip, 0.020, 0.015), (0, 0, 0.0075), s.plain),
        drawn_only(cylinder(0.003, 0.0156, (-grip / 4, 0, 0.0078), METAL)),
        drawn_only(cylinder(0.003, 0.0156, (grip / 4, 0, 0.0078), METAL)),
    ]
    edge = Spot("tip", (grip / 2 + blade / 2, 0.010 - wide, 0.006), (0.0, -1.0, 0.0))
    return one(solids, [from_above("handle", (0, 0, 0.009), 0.020, "power")], [edge])


def _flat(outline: list[tuple[float, float]], thick: float, low: float) -> Mesh:
    """A plate of a convex outline in the xy plane, from z = `low` upwards."""
    upright = prism([(y, -x) for x, y in outline], thick)  # about x, then turned so that x becomes z
    turn = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    return Mesh(upright.vertices @ turn.T + np.array([0.0, 0.0, low + thick / 2]), upright.faces)


def _cutlery_handle(s: Sketch, length: float) -> list[Solid]:
    paint = METAL if s.plain.rgb[0] == s.plain.rgb[1] else s.plain
    return [
        box((length * 0.6, 0.015, 0.008), (-length * 0.2, 0, 0.004), paint),
        rod((length * 0.08, 0, 0.005), (length * 0.55, 0, 0.005), 0.0035, METAL),
    ]


@MOVABLE.kind("spoon", "tablespoon")
def _spoon(s: Sketch) -> tuple[BodyDesign, ...]:
    length, wide = s.size(0.13, 0.17), s.size(0.017, 0.024)
    at, deep = length * 0.55 + wide * 1.2, 0.012
    rises = np.linspace(0.0, 1.0, 6)
    outer = [(np.sin(rise * np.pi / 2), deep * (1 - np.cos(rise * np.pi / 2))) for rise in rises]
    inner = [(r * 0.93, z + 0.0015) for r, z in reversed(outer)]
    hollow = lathe([*outer, *inner], 24)
    mesh = Mesh(hollow.vertices * [1.45 * wide, wide, 1.0], hollow.faces)
    solids = [*_cutlery_handle(s, length), seen(mesh, METAL, (at, 0, 0.0))]
    solids += [box((2.3 * wide, 1.5 * wide, 0.010), (at, 0, 0.005), None)]
    return one(
        solids, [from_above("handle", (-length * 0.2, 0, 0.005), 0.015)], [Spot("tip", (at, 0, 0.004), X)]
    )


@MOVABLE.kind("fork")
def _fork(s: Sketch) -> tuple[BodyDesign, ...]:
    length, wide = s.size(0.12, 0.15), s.size(0.022, 0.027)
    start, tine = length * 0.55, s.size(0.045, 0.055)
    prongs = [
        rod((start + 0.014, y, 0.005), (start + tine, y, 0.005), 0.0020, METAL)
        for y in np.linspace(-wide / 2 + 0.002, wide / 2 - 0.002, 4)
    ]
    palm = box((0.02, wide, 0.004), (start + 0.008, 0, 0.005), METAL)
    handle = from_above("handle", (-length * 0.2, 0, 0.005), 0.015)
    return one(
        [*_cutlery_handle(s, length), palm, *prongs], [handle], [Spot("tip", (start + tine, 0, 0.005), X)]
    )


@MOVABLE.kind("spatula", "turner")
def _spatula(s: Sketch) -> tuple[BodyDesign, ...]:
    grip, neck, wide = s.size(0.10, 0.12), s.size(0.07, 0.10), s.size(0.06, 0.08)
    start = grip / 2 + neck
    slots = [
        drawn_only(box((0.05, 0.006, 0.0045), (start + 0.042, y, 0.004), DARK)) for y in (-0.018, 0.0, 0.018)
    ]
    solids = [
        rod((-grip / 2, 0, 0.010), (grip / 2, 0, 0.010), 0.010, s.plain),
        rod((grip / 2, 0, 0.010), (start + 0.01, 0, 0.005), 0.004, METAL),
        box((0.085, wide, 0.004), (start + 0.0425, 0, 0.004), s.plain if s.chance(0.5) else METAL),
        *slots,
    ]
    tip = Spot("tip", (start + 0.085, 0, 0.004), X)
    return one(solids, [from_above("handle", (0, 0, 0.010), 0.020, "power")], [tip])


@MOVABLE.kind("hammer")
def _hammer(s: Sketch) -> tuple[BodyDesign, ...]:
    shaft, head, thick = s.size(0.20, 0.26), s.size(0.085, 0.11), s.size(0.011, 0.014)
    end, z = shaft * 0.72, s.size(0.014, 0.016)
    steel = Paint((0.35, 0.36, 0.38), 0.8)
    claw = prism([(-thick, z - 0.010), (thick, z - 0.010), (thick, z + 0.010), (-thick, z + 0.010)], 0.03)
    solids = [
        rod((-shaft * 0.28, 0, z), (shaft * 0.18, 0, z), 0.014, s.plain),
        rod((shaft * 0.18, 0, z), (end, 0, z), 0.009, WOOD, round_ends=False),
        rod((end, -head / 2, z), (end, head * 0.15, z), thick, steel, round_ends=False),
        rod((end, -head / 2 - 0.008, z), (end, -head / 2 + 0.010, z), thick + 0.002, steel, round_ends=False),
        seen(claw, steel, (end, head * 0.2, 0.0)),
        rod((end, head * 0.15, z), (end - 0.022, head / 2, z), 0.007, steel),
        rod((end, head * 0.15, z), (end + 0.012, head / 2, z), 0.007, steel),
    ]
    face = Spot("tip", (end, -head / 2 - 0.008, z), (0.0, -1.0, 0.0), thick)
    return one(settled(solids), [from_above("handle", (0, 0, 0.014), 0.028, "power")], [face])


@MOVABLE.kind("screwdriver", colours=_STRONG)
def _screwdriver(s: Sketch) -> tuple[BodyDesign, ...]:
    grip, shaft, radius = s.size(0.085, 0.11), s.size(0.08, 0.13), s.size(0.012, 0.016)
    solids = [
        rod((-grip / 2 + radius, 0, radius), (grip / 2 - radius, 0, radius), radius, s.plain),
        drawn_only(rod((-0.012, 0, radius), (0.012, 0, radius), radius + 0.0004, DARK, round_ends=False)),
        rod((grip / 2 - 0.01, 0, radius), (grip / 2 + shaft, 0, radius), 0.0035, METAL, round_ends=False),
        box((0.012, 0.009, 0.002), (grip / 2 + shaft, 0, radius), METAL),
    ]
    tip = Spot("tip", (grip / 2 + shaft + 0.006, 0, radius), X)
    return one(settled(solids), [from_above("handle", (0, 0, radius), 2 * radius, "power")], [tip])


@MOVABLE.kind("scissors", "pair of scissors")
def _scissors(s: Sketch) -> tuple[BodyDesign, ...]:
    ring, blade, open_by = s.size(0.019, 0.024), s.size(0.08, 0.11), s.size(0.10, 0.20)
    solids: list[Solid] = []
    for side in (-1.0, 1.0):
        turn = turned(Z, side * open_by)
        # Each half runs straight through the pivot: its ring lies on one side, its blade on the other.
        end = (np.cos(open_by) * blade, side * np.sin(open_by) * blade)
        centre = (-np.cos(open_by) * 0.055, -side * (np.sin(open_by) * 0.055 + ring * 0.75))
        loop = np.column_stack(
            [1.25 * ring * np.cos(_TURN), ring * np.sin(_TURN), np.full(len(_TURN), 0.006)]
        )
        path = loop + np.array([*centre, 0.0])
        z = 0.006 + side * 0.0012
        solids += [
            seen(tube(path, 0.005, 8), s.plain),
            *bent_rods(path, 0.005),
            rod(
                (centre[0] + ring * 0.8, centre[1] + side * ring * 0.5, 0.006), (0, 0, 0.006), 0.005, s.plain
            ),
            box((blade, 0.013, 0.002), (end[0] / 2, end[1] / 2, z), METAL, turn),
        ]
    solids.append(cylinder(0.005, 0.008, (0, 0, 0.0065), DARK))
    grasp = from_above("handles", (-0.055, 0, 0.006), 2 * (np.sin(open_by) * 0.055 + 1.75 * ring), "power")
    return one(settled(solids), [grasp], [Spot("tip", (np.cos(open_by) * blade, 0, 0.006), X)])


_TURN = np.linspace(0.0, 2 * np.pi, 19)


@MOVABLE.kind("brush", "scrubbing brush")
def _brush(s: Sketch) -> tuple[BodyDesign, ...]:
    grip, head, hair = s.size(0.11, 0.14), s.size(0.06, 0.08), s.size(0.022, 0.03)
    wide, z = s.size(0.03, 0.045), hair + 0.008
    bristle = Paint((0.92, 0.88, 0.75), 0.0, "bars", (0.72, 0.66, 0.5))
    solids = [
        box((head - 0.006, wide - 0.006, hair), (grip / 2 + head / 2, 0, hair / 2), bristle),
        box((head, wide, 0.014), (grip / 2 + head / 2, 0, hair + 0.006), s.plain),
        rod((-grip / 2, 0, 0.011), (grip / 2 + 0.005, 0, z), 0.010, s.plain),
    ]
    middle = (0.0, 0.0, (0.011 + z) / 2)
    tip = Spot("tip", (grip / 2 + head / 2, 0, 0), DOWN)
    return one(settled(solids), [from_above("handle", middle, 0.02, "power")], [tip])


@MOVABLE.kind("pen", "marker pen", colours=(*_STRONG, "black", "grey"))
def _pen(s: Sketch) -> tuple[BodyDesign, ...]:
    length, radius = s.size(0.12, 0.145), s.size(0.006, 0.009)
    half, white = length / 2, Paint((0.9, 0.9, 0.88), 0.4)
    solids = [
        rod(
            (-half, 0, radius),
            (half * 0.35, 0, radius),
            radius,
            s.plain if s.chance(0.5) else white,
            round_ends=False,
        ),
        rod((half * 0.35, 0, radius), (half - 0.012, 0, radius), radius * 0.98, s.plain, round_ends=False),
        seen(
            lathe([(0, 0), (radius * 0.9, 0), (0.0015, 0.014), (0, 0.014)], 12),
            DARK,
            (half - 0.013, 0, radius),
            LYING,
        ),
        drawn_only(box((0.035, 0.003, 0.002), (-half + 0.02, 0, 2 * radius), METAL)),
    ]
    return one(
        solids, [from_above("middle", (0, 0, radius), 2 * radius)], [Spot("tip", (half, 0, radius), X)]
    )


@MOVABLE.kind("rolling pin", colours=("brown", "white", "red", "blue", "green", "grey"))
def _rolling_pin(s: Sketch) -> tuple[BodyDesign, ...]:
    length, radius = s.size(0.18, 0.24), s.size(0.022, 0.028)
    roller = WOOD if s.chance(0.6) or s.plain.rgb[0] < 0.45 else Paint((0.85, 0.84, 0.8), 0.6)
    solids = [rod((-length / 2, 0, radius), (length / 2, 0, radius), radius, roller, round_ends=False)]
    grasps = []
    for side, name in ((1.0, "right handle"), (-1.0, "left handle")):
        ends = ((side * length / 2, 0.0, radius), (side * (length / 2 + 0.065), 0.0, radius))
        solids.append(rod(*ends, 0.011, s.plain))
        grasps.append(from_above(name, (side * (length / 2 + 0.035), 0, radius), 0.022, "power"))
    return one(solids, [*grasps, from_above("middle", (0, 0, radius), 2 * radius, "power")])


@MOVABLE.kind("wrench", "spanner", colours=("grey", "black", "red", "blue"))
def _wrench(s: Sketch) -> tuple[BodyDesign, ...]:
    length, wide, thick = s.size(0.15, 0.21), s.size(0.018, 0.022), 0.009
    steel = METAL if s.plain.rgb[0] > 0.3 and s.plain.rgb[0] < 0.6 else s.plain
    ring = lathe(
        [(wide * 0.95, 0), (wide * 0.95, thick), (wide * 0.5, thick), (wide * 0.5, 0), (wide * 0.95, 0)], 20
    )
    half = length / 2
    solids = [
        box((length - 2 * wide, wide, thick * 0.7), (0, 0, thick / 2), steel),
        seen(ring, steel, (-half, 0, 0)),
        *_shifted(ring_wall((wide * 0.95, 0), (wide * 0.95, thick), wide * 0.45), -half),
    ]
    for side in (-1.0, 1.0):
        turn = turned(Z, side * 0.35)
        solids.append(
            box((wide * 1.5, wide * 0.55, thick), (half - 0.002, side * wide * 0.68, thick / 2), steel, turn)
        )
    return one(
        solids,
        [from_above("handle", (0, 0, thick / 2), wide, "power")],
        [Spot("tip", (half + wide * 0.5, 0, thick / 2), X)],
    )


def _shifted(solids: list[Solid], x: float) -> list[Solid]:
    return [replace(solid, at=(solid.at[0] + x, solid.at[1], solid.at[2])) for solid in solids]
