"""Movable household objects, each kind a function that draws one individual from random sizes and paints.

The conventions are those of `design`. Containers have the spot "inside" (at their floor, axis up, inner
radius, depth); what pours has "lip" (at the rim, axis towards the side that it pours to: tilt about axis
cross z); tools have "tip" (the working end, and the way it works). What lies flat is grasped from above.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pretrain.sim.design import DARK, METAL, WOOD, BodyDesign, Grasp, Shelf, Sketch, Spot, around, from_above
from pretrain.sim.shapes import (
    Mesh,
    Paint,
    Solid,
    Vec,
    X,
    Y,
    Z,
    arc,
    ball,
    bent_rods,
    box,
    cylinder,
    drawn_only,
    egg,
    hidden,
    lathe,
    prism,
    ring_wall,
    rod,
    seen,
    tube,
    turned,
    vec,
)

MOVABLE = Shelf()

_STRONG = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")
_DOWN: Vec = (0.0, 0.0, -1.0)
_LYING = turned(Y, np.pi / 2)  # takes z to x
_ACROSS = turned(X, np.pi / 2)  # takes z to -y
_ON_EDGE = 0.006  # metres: how far below a rim its pinch grasp holds


def _one(solids: list[Solid], grasps: list[Grasp], spots: list[Spot] | None = None) -> tuple[BodyDesign, ...]:
    return (BodyDesign("", tuple(solids), tuple(grasps), tuple(spots or ())),)


def _vessel(
    low: float, high: float, height: float, wall: float, paint: Paint, floor: float = 0.004
) -> tuple[list[Solid], list[Spot]]:
    """A straight-walled vessel of outer radii `low` at the base and `high` at the rim."""
    profile = [(0, 0), (low, 0), (high, height), (high - wall, height), (low - wall, floor), (0, floor)]
    solids = [seen(lathe(profile), paint), cylinder(low, floor, (0, 0, floor / 2), None)]
    solids += ring_wall((low, floor), (high, height), wall)
    return solids, _openings(min(low, high) - wall, high, height, floor)


def _openings(inner: float, rim: float, height: float, floor: float) -> list[Spot]:
    return [
        Spot("inside", (0, 0, floor), Z, inner, height - floor),
        Spot("lip", (0, rim, height), Y, rim),
    ]


def _rim(radius: float, height: float, wall: float) -> Grasp:
    """A pinch of the rim at +x, fingers inside; it may be anywhere round the rim."""
    at = (radius - wall / 2, 0.0, height - _ON_EDGE)
    return from_above("rim", at, wall, closing=X, swing=np.pi)


def _handle(at: float, z: float, reach: float, radius: float, paint: Paint) -> tuple[list[Solid], Grasp]:
    """A ring-shaped ear on the side at +x, and the hook grasp of it."""
    path = arc(reach, -np.pi / 2, np.pi / 2) * [1.0, 1.0, 1.15] + [at, 0.0, z]
    grasp = Grasp("handle", (at + reach, 0.0, z), (-1.0, 0.0, 0.0), Y, 2 * radius, "hook")
    return [seen(tube(path, radius, 8), paint), *bent_rods(path, radius)], grasp


@MOVABLE.kind("cup", "beaker", "tumbler")
def _cup(s: Sketch) -> tuple[BodyDesign, ...]:
    height, high = s.size(0.08, 0.12), s.size(0.034, 0.042)
    low = high * s.size(0.65, 0.95)
    solids, spots = _vessel(low, high, height, 0.003, s.paint("bands", "bars", "label"))
    return _one(solids, [around("side", height / 2, low + high), _rim(high, height, 0.003)], spots)


@MOVABLE.kind("mug", "coffee mug")
def _mug(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.036, 0.043), s.size(0.08, 0.105)
    solids, spots = _vessel(
        radius * s.size(0.92, 1.0), radius, height, 0.004, s.paint("bands", "spots", "label")
    )
    ear, hook = _handle(radius - 0.003, height * 0.52, s.size(0.022, 0.028), 0.005, s.plain)
    return _one(
        [*solids, *ear], [hook, around("side", height / 2, 2 * radius), _rim(radius, height, 0.004)], spots
    )


@MOVABLE.kind("bowl")
def _bowl(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height, wall = s.size(0.06, 0.085), s.size(0.045, 0.065), 0.004
    foot = 0.45 * radius
    rises = np.linspace(0.0, 1.0, 9)
    outer = [(foot + (radius - foot) * np.sin(rise * np.pi / 2) ** 0.9, height * rise**1.6) for rise in rises]
    inner = [(r - wall, z + wall * (1 - z / height)) for r, z in reversed(outer)]
    solids = [seen(lathe([(0, 0), *outer, *inner, (0, wall)]), s.paint("bands", "spots"))]
    middle = outer[5]
    solids += [cylinder(foot, wall, (0, 0, wall / 2), None)]
    solids += ring_wall(outer[0], middle, wall) + ring_wall(middle, (radius, height), wall)
    return _one(_settled(solids), [_rim(radius, height, wall)], _openings(foot, radius, height, wall))


@MOVABLE.kind("plate", "dish")
def _plate(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.08, 0.115), s.size(0.014, 0.02)
    foot, wall = 0.62 * radius, 0.004
    profile = [(0, 0), (foot, 0), (radius, height), (radius - 0.002, height + 0.003), (foot, wall), (0, wall)]
    ring = lathe(
        [(foot, wall), (0.8 * radius, 0.009), (0.8 * radius, 0.0105), (foot, wall + 0.0015), (foot, wall)]
    )
    solids = [seen(lathe(profile, 36), s.plain), cylinder(foot, wall, (0, 0, wall / 2), None)]
    if s.chance(0.5):
        solids.append(seen(ring, s.other))
    solids += ring_wall((foot, 0.003), (radius, height + 0.002), 0.004, 14)
    edge = from_above("rim", (radius - 0.008, 0.0, height - 0.001), 0.006, closing=X, swing=np.pi)
    return _one(solids, [edge], [Spot("inside", (0, 0, wall), Z, foot, height - wall)])


@MOVABLE.kind("bottle")
def _bottle(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height, neck = s.size(0.028, 0.038), s.size(0.19, 0.26), s.size(0.011, 0.014)
    shoulder, top = height * s.size(0.55, 0.65), height - 0.022
    bend = [
        (neck + (radius - neck) * (0.5 + 0.5 * np.cos(np.pi * k)), shoulder + 0.28 * height * k)
        for k in np.linspace(0, 1, 8)
    ]
    band = [(radius, 0.2 * height), (radius + 0.0008, 0.2 * height), (radius + 0.0008, 0.48 * height)]
    solids = [
        seen(lathe([(0, 0), (radius * 0.9, 0), (radius, 0.006), *bend, (neck, top), (0, top)]), s.plain),
        seen(lathe([*band, (radius, 0.48 * height), band[0]]), s.other),
        cylinder(radius, shoulder, (0, 0, shoulder / 2), None),
        hidden(rod((0, 0, shoulder), (0, 0, top), neck, None, round_ends=False)),
        cylinder(neck + 0.003, 0.022, (0, 0, height - 0.011), Paint((0.9, 0.9, 0.9))),
    ]
    lip = Spot("lip", (0, neck, height), Y, neck)
    return _one(
        solids,
        [around("side", shoulder / 2, 2 * radius), around("neck", top - 0.02, 2 * neck, "pinch")],
        [lip],
    )


@MOVABLE.kind("can", "tin", "soda can")
def _can(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.030, 0.038), s.size(0.09, 0.125)
    edge = 0.86 * radius
    sleeve = lathe(
        [(edge, 0.004), (radius, 0.010), (radius, height - 0.012), (edge, height - 0.004), (edge, 0.004)]
    )
    solids = [
        seen(sleeve, s.paint("label", "bars", "spots", share=0.6)),
        seen(
            lathe(
                [
                    (0, 0),
                    (edge, 0),
                    (edge, height),
                    (edge - 0.004, height),
                    (edge - 0.006, height - 0.004),
                    (0, height - 0.004),
                ]
            ),
            METAL,
        ),
        cylinder(radius, height - 0.014, (0, 0, height / 2), None),
        cylinder(edge, height - 0.001, (0, 0, (height - 0.001) / 2), None),
        drawn_only(box((0.016, 0.010, 0.001), (0.006, 0, height - 0.003), METAL)),
    ]
    return _one(solids, [around("side", height / 2, 2 * radius)], [Spot("lip", (0, edge, height), Y, edge)])


@MOVABLE.kind("jar")
def _jar(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.034, 0.042), s.size(0.085, 0.13)
    neck, lid = radius * 0.85, 0.018
    top = height - lid
    body = lathe([(0, 0), (radius * 0.93, 0), (radius, 0.008), (radius, top - 0.015), (neck, top), (0, top)])
    solids = [
        seen(body, s.paint("label", "bands")),
        cylinder(radius, top, (0, 0, top / 2), None),
        cylinder(neck + 0.004, lid, (0, 0, top + lid / 2), WOOD if s.chance(0.3) else s.other),
    ]
    cap = from_above("lid", (0, 0, top + lid / 2), 2 * (neck + 0.004), "power", X, np.pi)
    return _one(solids, [around("side", top * 0.45, 2 * radius), cap])


@MOVABLE.kind("box", "cardboard box")
def _box(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, height = s.size(0.08, 0.14), s.size(0.05, 0.08), s.size(0.05, 0.12)
    tape = Paint(s.other.rgb, 0.2)
    solids = [
        box((length, width, height), (0, 0, height / 2), s.plain),
        drawn_only(box((length + 0.0008, 0.018, height + 0.0004), (0, 0, height / 2 + 0.0002), tape)),
    ]
    return _one(
        solids, [from_above("top", (0, 0, height - 0.02), width, "power"), *_sides(length, width, height)]
    )


def _sides(length: float, width: float, height: float) -> list[Grasp]:
    """Flat hands that push a block at its four sides, at half height."""
    z = min(height / 2, 0.04)
    return [
        Grasp("push right", (-length / 2, 0.0, z), X, Y, 0.0, "flat"),
        Grasp("push left", (length / 2, 0.0, z), (-1.0, 0.0, 0.0), Y, 0.0, "flat"),
        Grasp("push away", (0.0, -width / 2, z), Y, X, 0.0, "flat"),
        Grasp("push back", (0.0, width / 2, z), (0.0, -1.0, 0.0), X, 0.0, "flat"),
    ]


@MOVABLE.kind("carton", "milk carton", colours=("white", "red", "blue", "green", "orange", "yellow"))
def _carton(s: Sketch) -> tuple[BodyDesign, ...]:
    side, height = s.size(0.06, 0.072), s.size(0.17, 0.21)
    wall, half = height - 0.05, side / 2
    roof = prism([(-half, wall), (half, wall), (0.003, height - 0.014), (-0.003, height - 0.014)], side)
    solids = [
        box((side, side, wall), (0, 0, wall / 2), s.paint("label", "spots")),
        seen(roof, s.other if s.chance(0.4) else s.plain),
        box((side, 0.006, 0.016), (0, 0, height - 0.008), s.plain),
        box((side, half, 0.03), (0, 0, wall + 0.015), None),
    ]
    if s.chance(0.5):
        solids.append(
            rod((0, 0.016, wall + 0.016), (0, 0.026, wall + 0.028), 0.009, s.other, round_ends=False)
        )
    return _one(
        solids,
        [Grasp("side", (0, 0, wall / 2), Y, X, side, "power")],
        [Spot("lip", (0, half, height - 0.02), Y)],
    )


@MOVABLE.kind("book")
def _book(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.17, 0.22), s.size(0.12, 0.15), s.size(0.018, 0.035)
    page, cover = thick - 0.006, s.paint("label", "lines", "spots", share=0.5)
    solids = [
        box((width, length, 0.003), (0, 0, 0.0015), s.plain),
        box((width, length, 0.003), (0, 0, thick - 0.0015), cover),
        box((width - 0.012, length - 0.008, page), (-0.002, 0, thick / 2), Paint((0.93, 0.9, 0.82), 0.0)),
        box((0.003, length, thick), (-width / 2 + 0.0015, 0, thick / 2), s.plain),
        drawn_only(box((width * 0.6, 0.02, 0.0008), (0, length * 0.22, thick), Paint(s.other.rgb, 0.3))),
    ]
    edge = Grasp("edge", (width / 2 - 0.015, 0, thick / 2), (-1.0, 0.0, 0.0), Z, thick, "pinch")
    return _one(solids, [edge, Grasp("cover", (0, 0, thick), _DOWN, X, 0.0, "flat")])


@MOVABLE.kind("sponge", colours=("yellow", "pink", "green", "blue", "orange"))
def _sponge(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.09, 0.11), s.size(0.055, 0.07), s.size(0.028, 0.04)
    scour = Paint((0.12, 0.32, 0.16), 0.0) if s.chance(0.6) else Paint(s.other.rgb, 0.0)
    foam = Paint(s.plain.rgb, 0.0, "spots", vec(np.array(s.plain.rgb) * 0.85))
    solids = [
        box((length, width, thick), (0, 0, thick / 2), foam),
        drawn_only(box((length + 0.0006, width + 0.0006, 0.009), (0, 0, thick - 0.0044), scour)),
    ]
    grasps = [from_above("top", (0, 0, thick * 0.6), width, "power"), *_sides(length, width, thick)]
    return _one(solids, grasps, [Spot("tip", (0, 0, 0), _DOWN)])


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
    return _one(solids, [from_above("handle", (0, 0, 0.009), 0.020, "power")], [edge])


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
    return _one(
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
    return _one(
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
    return _one(solids, [from_above("handle", (0, 0, 0.010), 0.020, "power")], [tip])


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
    return _one(_settled(solids), [from_above("handle", (0, 0, 0.014), 0.028, "power")], [face])


def _settled(solids: list[Solid]) -> list[Solid]:
    """The same solids moved so that the lowest lies on the table."""
    low = min(float(solid.points()[:, 2].min()) for solid in solids)
    return [replace(solid, at=(solid.at[0], solid.at[1], solid.at[2] - low)) for solid in solids]


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
    return _one(_settled(solids), [from_above("handle", (0, 0, radius), 2 * radius, "power")], [tip])


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
    return _one(_settled(solids), [grasp], [Spot("tip", (np.cos(open_by) * blade, 0, 0.006), X)])


_TURN = np.linspace(0.0, 2 * np.pi, 19)


@MOVABLE.kind("phone", "mobile phone", "smartphone")
def _phone(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.14, 0.165), s.size(0.068, 0.078), s.size(0.008, 0.010)
    screen = Paint((0.08, 0.10, 0.14), 1.0) if s.chance(0.5) else Paint((0.20, 0.42, 0.65), 0.9)
    icons = [
        drawn_only(box((0.009, 0.009, 0.0006), (x, y, thick + 0.0004), Paint(s.other.rgb, 0.2)))
        for x in (-0.035, -0.018, 0.0)
        for y in (-0.018, 0.0, 0.018)
    ]
    solids = [
        box((length, width, thick), (0, 0, thick / 2), s.plain),
        drawn_only(box((length - 0.014, width - 0.008, 0.0008), (0, 0, thick), screen)),
        *icons,
    ]
    press = Grasp("screen", (0.02, 0, thick), _DOWN, Y, 0.0, "flat")
    return _one(solids, [from_above("sides", (0, 0, thick / 2), width, "power"), press])


@MOVABLE.kind("ball")
def _ball(s: Sketch) -> tuple[BodyDesign, ...]:
    radius = s.size(0.026, 0.042)
    solids = [ball(radius, (0, 0, radius), s.paint("bars", "spots", "bands", share=0.6))]
    top = from_above("top", (0, 0, radius), 2 * radius, "power", X, np.pi)
    return _one(solids, [top, around("side", radius, 2 * radius)])


def _fruit(
    profile: list[tuple[float, float]], s: Sketch, radius: float, height: float
) -> tuple[BodyDesign, ...]:
    solids = [
        seen(lathe(profile, 24), s.plain),
        egg((radius, radius, height / 2), (0, 0, height / 2), None),
        rod((0, 0, height * 0.82), (0.003, 0, height + 0.006), 0.0018, Paint((0.25, 0.15, 0.06), 0.1)),
    ]
    top = from_above("top", (0, 0, height / 2), 2 * radius, "power", X, np.pi)
    return _one(solids, [top, around("side", height / 2, 2 * radius)])


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
    return _one(_settled(solids), [grasp])


@MOVABLE.kind("lemon", colours=("yellow",))
def _lemon(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, length = s.size(0.026, 0.032), s.size(0.075, 0.09)
    along = np.linspace(-1.0, 1.0, 17)
    outline = radius * (np.sqrt(np.clip(1 - (along / 0.92) ** 2, 0, 1)) * 0.86 + 0.14 * (1 - along**6))
    profile = [(float(r), float(x * length / 2)) for r, x in zip(outline, along, strict=True)]
    solids = [
        seen(lathe(profile, 20), Paint((0.93, 0.80, 0.12), 0.3), (0, 0, radius), _LYING),
        egg((length * 0.46, radius, radius), (0, 0, radius), None),
    ]
    return _one(solids, [from_above("middle", (0, 0, radius), 2 * radius, "power")])


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
    return _one(
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
    return _one(
        solids,
        [from_above("top", (0, 0, height * 0.55), width, "power"), *_sides(length, width * 0.92, height)],
    )


@MOVABLE.kind("pan", "frying pan", colours=("black", "grey", "red", "blue", "green", "orange"))
def _pan(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height, long = s.size(0.085, 0.11), s.size(0.035, 0.045), s.size(0.13, 0.16)
    wall, inside = 0.004, Paint((0.12, 0.12, 0.13), 0.5)
    solids, spots = _vessel(radius * 0.85, radius, height, wall, s.plain)
    solids += [
        drawn_only(cylinder(radius * 0.84, 0.001, (0, 0, 0.005), inside)),
        rod((radius - 0.004, 0, height * 0.75), (radius + 0.03, 0, height * 0.85), 0.007, METAL),
        rod((radius + 0.03, 0, height * 0.85), (radius + long, 0, height + 0.012), 0.011, DARK),
    ]
    middle = (radius + 0.03 + (long - 0.03) * 0.5, 0.0, height * 0.92 + 0.006)
    return _one(solids, [from_above("handle", middle, 0.022, "power")], spots)


@MOVABLE.kind(
    "pot", "saucepan", "cooking pot", colours=("grey", "red", "blue", "green", "orange", "black", "white")
)
def _pot(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.07, 0.09), s.size(0.075, 0.11)
    solids, spots = _vessel(radius * 0.97, radius, height, 0.004, s.plain)
    grasps = [_rim(radius, height, 0.004)]
    z = height * 0.78
    for side, name in ((1.0, "right handle"), (-1.0, "left handle")):
        path = arc(0.026, -np.pi / 2, np.pi / 2)[:, [0, 2, 1]] * [0.9, 1.2, 1.0] * [side, 1, 1] + [
            side * (radius - 0.003),
            0,
            z,
        ]
        solids += [seen(tube(path, 0.0055, 8), DARK), *bent_rods(path, 0.0055)]
        grip = (side * (radius + 0.0205), 0.0, z)
        grasps.append(Grasp(name, grip, (-side, 0.0, 0.0), Z, 0.011, "hook"))
    return _one(solids, grasps, spots)


@MOVABLE.kind("teapot", "pot of tea")
def _teapot(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.048, 0.06), s.size(0.085, 0.105)
    angles = np.linspace(-1.15, 1.2, 13)
    belly = [(radius * np.cos(a) ** 0.8, height * (0.5 + 0.52 * np.sin(a) / np.sin(1.2))) for a in angles]
    belly = [(r, max(0.0, z)) for r, z in belly]
    top = belly[-1][1]
    low = belly[0]
    spout = np.array(
        [
            (-radius * 0.8, 0, height * 0.35),
            (-radius * 1.25, 0, height * 0.5),
            (-radius * 1.5, 0, height * 0.8),
            (-radius * 1.85, 0, height * 0.98),
        ]
    )
    ear, hook = _handle(radius * 0.85, height * 0.52, 0.034, 0.0055, s.plain)
    solids = [
        seen(lathe([(0, low[1]), *belly, (0, top)]), s.paint("spots", "bands")),
        *_belly_felt(radius, height),
        seen(tube(spout, [0.014, 0.011, 0.008, 0.006], 10), s.plain),
        *bent_rods(spout, 0.008, every=1),
        ball(0.009, (0, 0, top + 0.008), s.other),
        *ear,
    ]
    lid = from_above("knob", (0, 0, top + 0.010), 0.016, swing=np.pi)
    return _one(_settled(solids), [hook, lid], [Spot("lip", vec(spout[-1]), (-1.0, 0.0, 0.0), 0.006)])


def _belly_felt(radius: float, height: float) -> list[Solid]:
    return [
        cylinder(radius * 0.5, height * 0.3, (0, 0, height * 0.15), None),
        egg((radius, radius, height * 0.5), (0, 0, height * 0.5), None),
    ]


@MOVABLE.kind("cutting board", "chopping board", colours=("brown", "white", "green", "red", "blue", "yellow"))
def _cutting_board(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.24, 0.32), s.size(0.15, 0.2), s.size(0.012, 0.02)
    paint = WOOD if s.plain.rgb[0] < 0.45 and s.plain.rgb[1] < s.plain.rgb[0] else s.plain
    groove = vec(np.array(paint.rgb) * 0.75)
    border = [
        drawn_only(box(size, at, Paint(groove, 0.1)))
        for size, at in (
            ((length - 0.03, 0.004, 0.0008), (0, width / 2 - 0.015, thick)),
            ((length - 0.03, 0.004, 0.0008), (0, 0.015 - width / 2, thick)),
            ((0.004, width - 0.03, 0.0008), (length / 2 - 0.015, 0, thick)),
            ((0.004, width - 0.03, 0.0008), (0.015 - length / 2, 0, thick)),
        )
    ]
    solids = [
        box((length, width, thick), (0, 0, thick / 2), paint),
        box((0.05, 0.05, thick), (length / 2 + 0.025, 0, thick / 2), paint),
        drawn_only(cylinder(0.011, 0.001, (length / 2 + 0.028, 0, thick), DARK)),
        *border,
    ]
    handle = from_above("handle", (length / 2 + 0.025, 0, thick / 2), 0.05)
    edge = Grasp("edge", (-length / 2 + 0.015, 0, thick / 2), X, Z, thick, "pinch")
    return _one(solids, [handle, edge])


@MOVABLE.kind("block", "cube", "toy block")
def _block(s: Sketch) -> tuple[BodyDesign, ...]:
    side = s.size(0.035, 0.06)
    solids = [box((side, side, side), (0, 0, side / 2), s.paint("label", "spots", "bars"))]
    return _one(solids, [from_above("top", (0, 0, side * 0.55), side), *_sides(side, side, side)])


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
    tip = Spot("tip", (grip / 2 + head / 2, 0, 0), _DOWN)
    return _one(_settled(solids), [from_above("handle", middle, 0.02, "power")], [tip])


@MOVABLE.kind("remote", "remote control", colours=("black", "grey", "white"))
def _remote(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.15, 0.19), s.size(0.042, 0.052), s.size(0.016, 0.022)
    pale = Paint((0.75, 0.75, 0.75), 0.2) if s.plain.rgb[0] < 0.3 else Paint((0.2, 0.2, 0.22), 0.2)
    keys = [
        drawn_only(cylinder(0.004, 0.002, (x, y, thick + 0.0006), pale))
        for x in np.linspace(-length * 0.36, length * 0.18, 5)
        for y in (-0.011, 0.0, 0.011)
    ]
    power = cylinder(0.005, 0.004, (length * 0.38, 0, thick + 0.001), Paint((0.8, 0.1, 0.1), 0.3))
    press = Grasp("button", (length * 0.38, 0, thick + 0.003), _DOWN, Y, 0.0, "flat")
    solids = [box((length, width, thick), (0, 0, thick / 2), s.plain), *keys, power]
    return _one(solids, [from_above("sides", (0, 0, thick / 2), width, "power"), press])


@MOVABLE.kind("candle")
def _candle(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.022, 0.035), s.size(0.07, 0.14)
    melt = Paint((0.95, 0.90, 0.75), 0.2)
    solids = [
        cylinder(radius, height, (0, 0, height / 2), s.paint("bands", "bars", share=0.25)),
        drawn_only(cylinder(radius * 0.7, 0.001, (0, 0, height), melt)),
        rod((0, 0, height - 0.004), (0.002, 0, height + 0.012), 0.0016, DARK),
        drawn_only(egg((0.005, 0.005, 0.011), (0.002, 0, height + 0.022), Paint((1.0, 0.75, 0.2), 1.0))),
    ]
    if not s.chance(0.5):
        solids.pop()  # not lit
    return _one(solids, [around("side", height / 2, 2 * radius)])


@MOVABLE.kind("funnel")
def _funnel(s: Sketch) -> tuple[BodyDesign, ...]:
    # It rests on its wide end.
    wide, cone, stem = s.size(0.045, 0.06), s.size(0.055, 0.075), s.size(0.04, 0.055)
    narrow, wall, height = 0.009, 0.0025, cone + stem
    outer = [(wide, 0.0), (wide, 0.008), (narrow + 0.001, cone), (narrow * 0.75, height)]
    inner = [(r - wall, z) for r, z in reversed(outer)]
    solids = [seen(lathe([*outer, *inner, outer[0]]), s.plain)]
    solids += ring_wall((wide, 0.0), (narrow, cone), wall, 12)
    solids.append(hidden(rod((0, 0, cone), (0, 0, height), narrow * 0.8, None, round_ends=False)))
    return _one(
        _settled(solids),
        [from_above("stem", (0, 0, cone + stem * 0.5), 1.7 * narrow, closing=X, swing=np.pi)],
    )


@MOVABLE.kind("tape", "roll of tape", colours=("brown", "white", "grey", "red", "blue", "yellow", "green"))
def _tape(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, inner, height = s.size(0.04, 0.052), s.size(0.024, 0.03), s.size(0.02, 0.045)
    core = Paint((0.78, 0.66, 0.46), 0.0)
    tube_ = lathe([(radius, 0), (radius, height), (inner + 0.003, height), (inner + 0.003, 0), (radius, 0)])
    card = lathe(
        [(inner + 0.003, 0), (inner + 0.003, height), (inner, height), (inner, 0), (inner + 0.003, 0)]
    )
    solids = [
        seen(tube_, s.plain),
        seen(card, core),
        *ring_wall((radius, 0.0), (radius, height), radius - inner, 12),
    ]
    rim = from_above("rim", ((radius + inner) / 2, 0, height - 0.008), radius - inner, closing=X, swing=np.pi)
    return _one(solids, [rim, around("side", height / 2, 2 * radius)])


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
            _LYING,
        ),
        drawn_only(box((0.035, 0.003, 0.002), (-half + 0.02, 0, 2 * radius), METAL)),
    ]
    return _one(
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
    return _one(solids, [*grasps, from_above("middle", (0, 0, radius), 2 * radius, "power")])


@MOVABLE.kind("soap", "bar of soap", colours=("white", "pink", "green", "yellow", "turquoise", "orange"))
def _soap(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.07, 0.09), s.size(0.045, 0.06), s.size(0.022, 0.03)
    dent = Paint(vec(np.array(s.plain.rgb) * 0.88), 0.5)
    angles = 2 * np.pi * np.arange(12) / 12
    # A circle pushed into the corners: bulging sides, no sharp edge.
    outline = [
        (
            np.sign(np.cos(a)) * abs(np.cos(a)) ** 0.6 * width / 2,
            (1 + np.sign(np.sin(a)) * abs(np.sin(a)) ** 0.8) * thick / 2,
        )
        for a in angles
    ]
    solids = [
        seen(prism(outline, length * 0.86), s.plain),
        seen(prism([(y * 0.86, thick / 2 + (z - thick / 2) * 0.8) for y, z in outline], length), s.plain),
        box((length * 0.93, width * 0.93, thick * 0.85), (0, 0, thick / 2), None),
        box((length * 0.7, width * 0.6, thick), (0, 0, thick / 2), None),
        drawn_only(box((length * 0.5, width * 0.4, 0.001), (0, 0, thick), dent)),
    ]
    return _one(solids, [from_above("middle", (0, 0, thick / 2), width)])


@MOVABLE.kind("basket", "bin")
def _basket(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, height, wall = s.size(0.16, 0.22), s.size(0.11, 0.15), s.size(0.06, 0.09), 0.005
    paint = s.paint("bars", "bands", "spots", share=0.7)
    solids = [
        box((length, width, 0.005), (0, 0, 0.0025), paint),
        box((length, wall, height), (0, (width - wall) / 2, height / 2), paint),
        box((length, wall, height), (0, (wall - width) / 2, height / 2), paint),
        box((wall, width, height), ((length - wall) / 2, 0, height / 2), paint),
        box((wall, width, height), ((wall - length) / 2, 0, height / 2), paint),
    ]
    right = from_above("right rim", (length / 2 - wall / 2, 0, height - 0.008), wall, closing=X)
    left = from_above("left rim", (wall / 2 - length / 2, 0, height - 0.008), wall, closing=X)
    inside = Spot("inside", (0, 0, 0.005), Z, min(length, width) / 2 - wall, height - 0.005)
    return _one(solids, [right, left], [inside])


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
    return _one(
        solids,
        [from_above("handle", (0, 0, thick / 2), wide, "power")],
        [Spot("tip", (half + wide * 0.5, 0, thick / 2), X)],
    )


def _shifted(solids: list[Solid], x: float) -> list[Solid]:
    return [replace(solid, at=(solid.at[0] + x, solid.at[1], solid.at[2])) for solid in solids]
