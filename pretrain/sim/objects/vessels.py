"""Vessels: cups, bowls, bottles, pots and what else holds things or pours."""

from __future__ import annotations

import numpy as np

from pretrain.sim.design import DARK, METAL, WOOD, BodyDesign, Grasp, Sketch, Spot, around, from_above
from pretrain.sim.objects.shared import MOVABLE, one, settled
from pretrain.sim.shapes import (
    Paint,
    Solid,
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
    vec,
)

_ON_EDGE = 0.006  # metres: how far below a rim its pinch grasp holds


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
    return one(solids, [around("side", height / 2, low + high), _rim(high, height, 0.003)], spots)


@MOVABLE.kind("mug", "coffee mug")
def _mug(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height = s.size(0.036, 0.043), s.size(0.08, 0.105)
    solids, spots = _vessel(
        radius * s.size(0.92, 1.0), radius, height, 0.004, s.paint("bands", "spots", "label")
    )
    ear, hook = _handle(radius - 0.003, height * 0.52, s.size(0.022, 0.028), 0.005, s.plain)
    return one(
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
    return one(settled(solids), [_rim(radius, height, wall)], _openings(foot, radius, height, wall))


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
    return one(solids, [edge], [Spot("inside", (0, 0, wall), Z, foot, height - wall)])


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
    return one(
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
    return one(solids, [around("side", height / 2, 2 * radius)], [Spot("lip", (0, edge, height), Y, edge)])


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
    return one(solids, [around("side", top * 0.45, 2 * radius), cap])


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
    return one(
        solids,
        [Grasp("side", (0, 0, wall / 2), Y, X, side, "power")],
        [Spot("lip", (0, half, height - 0.02), Y)],
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
    return one(solids, [from_above("handle", middle, 0.022, "power")], spots)


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
    return one(solids, grasps, spots)


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
    return one(settled(solids), [hook, lid], [Spot("lip", vec(spout[-1]), (-1.0, 0.0, 0.0), 0.006)])


def _belly_felt(radius: float, height: float) -> list[Solid]:
    return [
        cylinder(radius * 0.5, height * 0.3, (0, 0, height * 0.15), None),
        egg((radius, radius, height * 0.5), (0, 0, height * 0.5), None),
    ]


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
    return one(
        settled(solids),
        [from_above("stem", (0, 0, cone + stem * 0.5), 1.7 * narrow, closing=X, swing=np.pi)],
    )


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
    return one(solids, [right, left], [inside])
