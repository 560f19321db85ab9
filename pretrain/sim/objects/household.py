"""What else lies about in a household: boxes, books, toys, things to write and wash with."""

from __future__ import annotations

import numpy as np

from pretrain.sim.design import DARK, WOOD, BodyDesign, Grasp, Sketch, around, from_above
from pretrain.sim.objects.shared import DOWN, MOVABLE, one, sides
from pretrain.sim.shapes import (
    Paint,
    X,
    Y,
    Z,
    ball,
    box,
    cylinder,
    drawn_only,
    egg,
    lathe,
    prism,
    ring_wall,
    rod,
    seen,
    vec,
)


@MOVABLE.kind("box", "cardboard box")
def _box(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, height = s.size(0.08, 0.14), s.size(0.05, 0.08), s.size(0.05, 0.12)
    tape = Paint(s.other.rgb, 0.2)
    solids = [
        box((length, width, height), (0, 0, height / 2), s.plain),
        drawn_only(box((length + 0.0008, 0.018, height + 0.0004), (0, 0, height / 2 + 0.0002), tape)),
    ]
    return one(
        solids, [from_above("top", (0, 0, height - 0.02), width, "power"), *sides(length, width, height)]
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
    return one(solids, [edge, Grasp("cover", (0, 0, thick), DOWN, X, 0.0, "flat")])


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
    press = Grasp("screen", (0.02, 0, thick), DOWN, Y, 0.0, "flat")
    return one(solids, [from_above("sides", (0, 0, thick / 2), width, "power"), press])


@MOVABLE.kind("ball")
def _ball(s: Sketch) -> tuple[BodyDesign, ...]:
    radius = s.size(0.026, 0.042)
    solids = [ball(radius, (0, 0, radius), s.paint("bars", "spots", "bands", share=0.6))]
    top = from_above("top", (0, 0, radius), 2 * radius, "power", X, np.pi)
    return one(solids, [top, around("side", radius, 2 * radius)])


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
    return one(solids, [handle, edge])


@MOVABLE.kind("block", "cube", "toy block")
def _block(s: Sketch) -> tuple[BodyDesign, ...]:
    side = s.size(0.035, 0.06)
    solids = [box((side, side, side), (0, 0, side / 2), s.paint("label", "spots", "bars"))]
    return one(solids, [from_above("top", (0, 0, side * 0.55), side), *sides(side, side, side)])


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
    press = Grasp("button", (length * 0.38, 0, thick + 0.003), DOWN, Y, 0.0, "flat")
    solids = [box((length, width, thick), (0, 0, thick / 2), s.plain), *keys, power]
    return one(solids, [from_above("sides", (0, 0, thick / 2), width, "power"), press])


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
    return one(solids, [around("side", height / 2, 2 * radius)])


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
    return one(solids, [rim, around("side", height / 2, 2 * radius)])


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
    return one(solids, [from_above("middle", (0, 0, thick / 2), width)])
