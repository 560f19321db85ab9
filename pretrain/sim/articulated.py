"""Things with moving parts: each joint goes from 0 % (closed, up, off) to 100 %.

Most stand fixed on the table; a lidded pot and a peg are free bodies instead.
A handle's grasp belongs to the moving body, so it goes where the joint takes it. Fronts face -y, the wearer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretrain.sim.design import (
    DARK,
    METAL,
    WOOD,
    BodyDesign,
    Grasp,
    JointKind,
    Shelf,
    Sketch,
    Spot,
    from_above,
)
from pretrain.sim.shapes import (
    Paint,
    Solid,
    Vec,
    X,
    Y,
    Z,
    ball,
    bent_rods,
    box,
    cylinder,
    drawn_only,
    hidden,
    lathe,
    ring_wall,
    rod,
    seen,
    tube,
    turned,
    vec,
)

ARTICULATED = Shelf()

_DOWN: Vec = (0.0, 0.0, -1.0)
_FORWARD: Vec = (0.0, -1.0, 0.0)  # out of a front, towards the wearer
_BOARD = 0.012  # metres: of cabinets
_GAP = 0.0015  # metres: between what moves and what it moves in


def _fixed(solids: Sequence[Solid], spots: Sequence[Spot] = ()) -> BodyDesign:
    return BodyDesign("", tuple(solids), (), tuple(spots), "fixed")


def _mover(
    name: str,
    joint: JointKind,
    at: Vec,
    axis: Vec,
    limit: float,
    solids: Sequence[Solid],
    grasps: Sequence[Grasp],
    spots: Sequence[Spot] = (),
) -> BodyDesign:
    return BodyDesign(name, tuple(solids), tuple(grasps), tuple(spots), joint, at, axis, (0.0, limit))


def _carcass(width: float, depth: float, height: float, paint: Paint) -> list[Solid]:
    """A cabinet without its front, its open side at y = -depth / 2."""
    back = Paint(vec(np.array(paint.rgb) * 0.6), 0.1)
    return [
        box((width, depth, _BOARD), (0, 0, _BOARD / 2), paint),
        box((width, depth, _BOARD), (0, 0, height - _BOARD / 2), paint),
        box((_BOARD, depth, height), ((width - _BOARD) / 2, 0, height / 2), paint),
        box((_BOARD, depth, height), ((_BOARD - width) / 2, 0, height / 2), paint),
        box((width, 0.006, height), (0, depth / 2 - 0.003, height / 2), back),
    ]


def _bar_handle(at: Vec, length: float, upright: bool, paint: Paint) -> tuple[list[Solid], Grasp]:
    """A bar on two posts in front (-y) of the point `at` of a front, and the hook grasp of it."""
    along = np.array(Z if upright else X) * length / 2
    bar = np.array(at) + np.array(_FORWARD) * 0.045
    posts = [rod(vec(np.array(at) + k * along), vec(bar + k * along), 0.005, paint) for k in (-0.85, 0.85)]
    solids = [rod(vec(bar - along), vec(bar + along), 0.006, paint), *posts]
    return solids, Grasp("handle", vec(bar), Y, X if upright else Z, 0.012, "hook")


def _knob_handle(at: Vec, paint: Paint) -> tuple[list[Solid], Grasp]:
    """A round knob in front (-y) of the point `at` of a front, and the pinch grasp of it."""
    centre = np.array(at) + np.array(_FORWARD) * 0.028
    solids = [rod(at, vec(centre), 0.006, paint), ball(0.014, vec(centre), paint)]
    return solids, Grasp("handle", vec(centre), Y, X, 0.028, "pinch")


@ARTICULATED.kind("drawer", "drawer cabinet")
def _drawer(s: Sketch) -> tuple[BodyDesign, ...]:
    width, depth, height = s.size(0.22, 0.32), s.size(0.18, 0.22), s.size(0.11, 0.16)
    body = WOOD if s.chance(0.4) else Paint(s.other.rgb, 0.2)
    inner, tall, front = width - 2 * (_BOARD + _GAP), height - 2 * (_BOARD + _GAP), -depth / 2
    low = _BOARD + _GAP
    side, floor = tall * 0.75, Paint((0.75, 0.66, 0.52), 0.1)
    deep = depth - 0.02
    solids = [
        box((inner, 0.014, tall), (0, front - 0.007 + 0.012, low + tall / 2), s.plain),
        box((inner, deep, 0.006), (0, 0, low + 0.003), floor),
        box((0.006, deep, side), ((inner - 0.006) / 2, 0, low + side / 2), floor),
        box((0.006, deep, side), ((0.006 - inner) / 2, 0, low + side / 2), floor),
        box((inner, 0.006, side), (0, deep / 2 - 0.003, low + side / 2), floor),
    ]
    face = (0.0, front - 0.002, height / 2)
    handle, grasp = (
        _knob_handle(face, METAL) if s.chance(0.4) else _bar_handle(face, s.size(0.08, 0.12), False, METAL)
    )
    inside = Spot("inside", (0, 0, low + 0.006), Z, min(inner, deep) / 2 - 0.006, side)
    drawer = _mover(
        "drawer",
        "slide",
        (0, 0, 0),
        _FORWARD,
        s.size(0.55, 0.7) * depth,
        [*solids, *handle],
        [grasp],
        [inside],
    )
    return _fixed(_carcass(width, depth, height, body)), drawer


@ARTICULATED.kind("cupboard", "cabinet")
def _cupboard(s: Sketch) -> tuple[BodyDesign, ...]:
    width, depth, height = s.size(0.19, 0.25), s.size(0.14, 0.18), s.size(0.22, 0.30)
    body = WOOD if s.chance(0.4) else Paint(s.other.rgb, 0.2)
    shelf = box((width - 0.02, depth - 0.02, 0.008), (0, 0.005, height * 0.5), body)
    side = 1.0 if s.chance(0.5) else -1.0  # where the hinge is
    hinge = (side * width / 2, -depth / 2 - _GAP, 0.0)
    away = -side  # from the hinge to the free edge
    panel = (away * width / 2, -0.007, height / 2)
    inset = Paint(vec(np.array(s.plain.rgb) * 0.8), s.plain.shine)
    solids = [
        box((width, 0.014, height), panel, s.plain),
        drawn_only(box((width * 0.68, 0.0155, height * 0.75), panel, inset)),
    ]
    handle, grasp = _bar_handle((away * (width - 0.025), -0.014, height * 0.5), 0.13, True, METAL)
    # Turning about +z takes +x to +y: a door that reaches to +x from its hinge turns about -z to open.
    door = _mover("door", "hinge", hinge, (0.0, 0.0, -away), s.size(1.5, 2.0), [*solids, *handle], [grasp])
    return _fixed([*_carcass(width, depth, height, body), shelf]), door


@ARTICULATED.kind("button", "push button")
def _button(s: Sketch) -> tuple[BodyDesign, ...]:
    side, height, radius = s.size(0.08, 0.11), s.size(0.03, 0.05), s.size(0.022, 0.032)
    travel = s.size(0.008, 0.013)
    rim = lathe(
        [
            (radius + 0.008, 0),
            (radius + 0.008, 0.005),
            (radius + 0.001, 0.005),
            (radius + 0.001, 0),
            (radius + 0.008, 0),
        ]
    )
    case = Paint((0.85, 0.85, 0.83), 0.2) if s.plain.rgb[0] < 0.7 else DARK
    base = [
        box((side, side, height), (0, 0, height / 2), case),
        seen(rim, METAL, (0, 0, height)),
    ]
    rise = travel + 0.006
    cap = [cylinder(radius, rise, (0, 0, height + rise / 2), s.plain)]
    press = Grasp("top", (0, 0, height + rise), _DOWN, X, 0.0, "flat")
    return _fixed(base), _mover("cap", "slide", (0, 0, 0), _DOWN, travel, cap, [press])


@ARTICULATED.kind("knob", "dial")
def _knob(s: Sketch) -> tuple[BodyDesign, ...]:
    side, height, radius = s.size(0.11, 0.15), s.size(0.03, 0.06), s.size(0.024, 0.034)
    tall, reach = s.size(0.022, 0.03), radius + 0.012
    case = Paint((0.8, 0.8, 0.78), 0.2) if s.plain.rgb[0] < 0.7 else DARK
    marks = [
        drawn_only(
            box(
                (0.003, 0.008, 0.001),
                (reach * np.sin(a), reach * np.cos(a), height),
                s.plain,
                turned(Z, -float(a)),
            )
        )
        for a in np.linspace(-2.2, 2.2, 9)
    ]
    ribs = [
        drawn_only(
            cylinder(0.004, tall * 0.9, (radius * np.cos(a), radius * np.sin(a), tall * 0.45), s.plain)
        )
        for a in 2 * np.pi * np.arange(10) / 10
    ]
    white = Paint((0.95, 0.95, 0.95), 0.1) if min(s.plain.rgb) < 0.6 else Paint((0.8, 0.1, 0.1), 0.1)
    pointer = drawn_only(
        box(
            (0.005, radius, 0.002),
            (0, radius / 2, tall),
            white,
        )
    )
    grip = from_above("grip", (0, 0, tall * 0.6), 2 * radius, closing=X, swing=np.pi)
    knob = [cylinder(radius, tall, (0, 0, tall / 2), s.plain), *ribs, pointer]
    turn = _mover("knob", "hinge", (0, 0, height + 0.0005), _DOWN, s.size(2.0, 4.4), knob, [grip])
    return _fixed([box((side, side, height), (0, 0, height / 2), case), *marks]), turn


@ARTICULATED.kind("switch", "lever switch")
def _switch(s: Sketch) -> tuple[BodyDesign, ...]:
    width, depth, height = s.size(0.06, 0.09), s.size(0.09, 0.12), s.size(0.03, 0.05)
    long, lean = s.size(0.06, 0.085), s.size(0.4, 0.6)
    case = Paint((0.82, 0.82, 0.8), 0.2) if s.plain.rgb[0] < 0.7 else DARK
    base = [
        box((width, depth, height), (0, 0, height / 2), case),
        drawn_only(box((0.016, depth * 0.7, 0.001), (0, 0, height), DARK)),
    ]
    # At 0 the lever leans towards the wearer, at 100 % away.
    end = (0.0, -long * np.sin(lean), long * np.cos(lean))
    lever = [rod((0, 0, 0), end, 0.005, METAL), ball(0.012, end, s.plain)]
    grasp = from_above("lever", end, 0.024, closing=X)
    return _fixed(base), _mover(
        "lever", "hinge", (0, 0, height + 0.006), (-1.0, 0, 0), 2 * lean, lever, [grasp]
    )


@ARTICULATED.kind("faucet", "tap", colours=("grey", "black", "white", "red", "blue", "green", "yellow"))
def _faucet(s: Sketch) -> tuple[BodyDesign, ...]:
    height, reach, radius = s.size(0.16, 0.22), s.size(0.05, 0.065), s.size(0.009, 0.012)
    steel = (
        METAL if s.plain.rgb[0] == s.plain.rgb[1] and s.plain.rgb[0] > 0.2 else Paint((0.8, 0.8, 0.82), 0.9)
    )
    neck = np.vstack(
        [
            [(0, 0, 0.02)],
            [(0, 0, height - reach)],
            [
                (0, -reach + reach * np.cos(a), height - reach + reach * np.sin(a))
                for a in np.linspace(0.2, np.pi, 12)
            ],
            [(0, -2 * reach, height - reach - 0.025)],
        ]
    )
    base = [
        cylinder(0.028, 0.02, (0, 0, 0.01), steel),
        seen(tube(neck, radius, 12), steel),
        *bent_rods(neck, radius, every=2),
    ]
    stand, lever = 0.055, s.size(0.06, 0.085)
    side = 1.0 if s.chance(0.5) else -1.0
    at = (side * 0.06, 0.0, stand)
    base += [
        rod((0, 0, 0.012), (side * 0.06, 0, 0.012), 0.011, steel),
        rod((side * 0.06, 0, 0.0), (side * 0.06, 0, stand - 0.005), 0.015, steel, round_ends=False),
    ]
    grip = (side * lever * 0.75, 0.0, 0.016)
    handle = [
        cylinder(0.017, 0.014, (0, 0, 0.002), s.plain),
        rod((0, 0, 0.008), (side * lever, 0, 0.018), 0.007, s.plain),
    ]
    # Closed, the lever points aside; it opens towards the wearer.
    grasp = from_above("lever", grip, 0.014)
    turn = _mover("handle", "hinge", at, (0.0, 0.0, -side), s.size(1.2, 1.6), handle, [grasp])
    spout = Spot("lip", (0.0, -2 * reach, height - reach - 0.025), _DOWN, radius)
    return _fixed(base, [spout]), turn


@ARTICULATED.kind("chest", "box with a hinged lid", "lunch box")
def _chest(s: Sketch) -> tuple[BodyDesign, ...]:
    width, depth, height, wall = s.size(0.18, 0.26), s.size(0.13, 0.17), s.size(0.08, 0.12), 0.008
    inside = Paint((0.55, 0.5, 0.42), 0.05)
    body = s.paint("label", "bars", "spots")
    base = [
        box((width, depth, wall), (0, 0, wall / 2), inside),
        box((width, wall, height), (0, (wall - depth) / 2, height / 2), body),
        box((width, wall, height), (0, (depth - wall) / 2, height / 2), body),
        box((wall, depth, height), ((width - wall) / 2, 0, height / 2), body),
        box((wall, depth, height), ((wall - width) / 2, 0, height / 2), body),
    ]
    lid = [
        box((width + 0.006, depth + 0.006, 0.016), (0, -depth / 2, 0.008), s.other),
        box((0.04, 0.014, 0.012), (0, -depth - 0.008, 0.008), METAL),
    ]
    latch = Grasp("latch", (0, -depth - 0.008, 0.008), Y, Z, 0.012, "pinch")
    opening = Spot("inside", (0, 0, wall), Z, depth / 2 - wall, height - wall)
    hinge = (0.0, depth / 2, height + 0.001)
    # Turning back about +x raises what reaches towards the wearer.
    return _fixed(base, [opening]), _mover(
        "lid", "hinge", hinge, (-1.0, 0, 0), s.size(1.5, 1.9), lid, [latch]
    )


@ARTICULATED.kind(
    "lidded pot", "pot with a lid", colours=("grey", "red", "blue", "green", "orange", "black", "white")
)
def _lidded_pot(s: Sketch) -> tuple[BodyDesign, ...]:
    radius, height, wall = s.size(0.065, 0.085), s.size(0.07, 0.10), 0.004
    paint = s.plain
    profile = [
        (0, 0),
        (radius, 0),
        (radius, height),
        (radius - wall, height),
        (radius - wall, wall),
        (0, wall),
    ]
    pot = [seen(lathe(profile), paint), cylinder(radius, wall, (0, 0, wall / 2), None)]
    pot += ring_wall((radius, wall), (radius, height), wall)
    grasps = []
    for side, name in ((1.0, "right handle"), (-1.0, "left handle")):
        bar = [side * (radius + 0.02), 0.0, height * 0.75]
        pot += [rod((bar[0], -0.022, bar[2]), (bar[0], 0.022, bar[2]), 0.006, DARK)]
        pot += [
            rod((side * (radius - 0.002), y, bar[2]), (bar[0], y, bar[2]), 0.005, DARK)
            for y in (-0.022, 0.022)
        ]
        grasps.append(Grasp(name, vec(bar), (-side, 0.0, 0.0), Z, 0.012, "hook"))
    brim, dome = radius + 0.003, s.size(0.012, 0.022)
    cover = lathe([(0, 0), (brim, 0), (brim, 0.004), (radius * 0.55, dome), (0, dome + 0.003)])
    lid = [
        seen(cover, paint if s.chance(0.5) else s.other),
        cylinder(brim, 0.006, (0, 0, 0.003), None),
        hidden(cylinder(radius * 0.6, dome, (0, 0, dome / 2), None)),
        cylinder(0.007, 0.012, (0, 0, dome + 0.008), DARK),
        cylinder(0.016, 0.010, (0, 0, dome + 0.018), DARK),
    ]
    knob = from_above("knob", (0, 0, dome + 0.018), 0.032, closing=X, swing=np.pi)
    spots = (
        Spot("inside", (0, 0, wall), Z, radius - wall, height - wall),
        Spot("seat", (0, 0, height), Z, radius),
    )
    root = BodyDesign("", tuple(pot), tuple(grasps), spots)
    return root, BodyDesign("lid", tuple(lid), (knob,), at=(0, 0, height + 0.0005))


@ARTICULATED.kind("nail", "nail in a board")
def _nail(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, thick = s.size(0.14, 0.20), s.size(0.09, 0.12), s.size(0.040, 0.055)
    rise, head = s.size(0.022, 0.03), s.size(0.008, 0.011)
    pale = Paint((0.78, 0.62, 0.42), 0.05, "bands", (0.72, 0.55, 0.36))
    board = box((length, width, thick), (0, 0, thick / 2), pale if s.chance(0.3) else s.plain)
    nail = [
        rod((0, 0, rise + 0.003 - thick), (0, 0, rise), 0.0035, METAL, round_ends=False),
        cylinder(head, 0.004, (0, 0, rise + 0.002), METAL),
    ]
    hold = Grasp("shaft", (0, 0, rise * 0.6), Y, X, 0.007, "pinch", np.pi)
    top = Spot("head", (0, 0, rise + 0.004), Z, head)
    return _fixed([board]), _mover("nail", "slide", (0, 0, thick), _DOWN, rise - 0.001, nail, [hold], [top])


@ARTICULATED.kind("peg board", "board with a hole")
def _peg_board(s: Sketch) -> tuple[BodyDesign, ...]:
    side, thick, radius = s.size(0.10, 0.14), s.size(0.035, 0.05), s.size(0.012, 0.018)
    gap = radius + 0.002
    frame = (side - 2 * gap) / 2
    board = Paint(s.other.rgb, 0.2) if s.chance(0.5) else WOOD
    mid = gap + frame / 2
    solids = [
        box((side, frame, thick), (0, mid, thick / 2), board),
        box((side, frame, thick), (0, -mid, thick / 2), board),
        box((frame, 2 * gap, thick), (mid, 0, thick / 2), board),
        box((frame, 2 * gap, thick), (-mid, 0, thick / 2), board),
        drawn_only(box((2 * gap, 2 * gap, 0.002), (0, 0, 0.001), DARK)),
    ]
    hole = Spot("hole", (0, 0, thick), _DOWN, gap, thick - 0.002)
    square = s.chance(0.5)
    tall = s.size(0.07, 0.10)
    shaft = (
        box((1.7 * radius, 1.7 * radius, tall), (0, 0, tall / 2), s.plain)
        if square
        else cylinder(radius, tall, (0, 0, tall / 2), s.plain)
    )
    width = 1.7 * radius if square else 2 * radius
    swing = 0.0 if square else np.pi
    grasps = (
        from_above("top", (0, 0, tall - 0.012), width, closing=X, swing=swing),
        Grasp("side", (0, 0, tall * 0.65), Y, X, width, "pinch", swing),
    )
    beside = (side / 2 + 0.05) * (1.0 if s.chance(0.5) else -1.0)
    peg = BodyDesign(
        "peg", (shaft,), grasps, (Spot("tip", (0, 0, 0), _DOWN, radius),), at=(beside, s.size(-0.03, 0.03), 0)
    )
    return _fixed(solids, [hole]), peg


@ARTICULATED.kind("slider", "fader")
def _slider(s: Sketch) -> tuple[BodyDesign, ...]:
    length, width, height = s.size(0.20, 0.28), s.size(0.07, 0.10), s.size(0.025, 0.045)
    travel = length - 0.07
    case = Paint((0.8, 0.8, 0.78), 0.2) if s.plain.rgb[0] < 0.7 else DARK
    marks = [
        drawn_only(box((0.002, 0.012, 0.001), (x, width * 0.36, height), s.plain))
        for x in np.linspace(-travel / 2, travel / 2, 7)
    ]
    base = [
        box((length, width, height), (0, 0, height / 2), case),
        drawn_only(box((travel + 0.012, 0.008, 0.001), (0, 0, height), Paint((0.02, 0.02, 0.02), 0.0))),
        *marks,
    ]
    line = drawn_only(box((0.003, 0.031, 0.002), (0, 0, 0.028), Paint((0.95, 0.95, 0.95), 0.1)))
    cap = [
        rod((0, 0, 0.001), (0, 0, 0.012), 0.003, METAL, round_ends=False),
        box((0.022, 0.032, 0.018), (0, 0, 0.019), s.plain),
        line,
    ]
    grasp = from_above("cap", (0, 0, 0.020), 0.022, closing=X)
    push = Grasp("push right", (-0.011, 0, 0.019), X, Y, 0.0, "flat")
    back = Grasp("push left", (0.011, 0, 0.019), (-1.0, 0.0, 0.0), Y, 0.0, "flat")
    return _fixed(base), _mover("cap", "slide", (-travel / 2, 0, height), X, travel, cap, [grasp, push, back])


@ARTICULATED.kind("laptop", "laptop computer", colours=("grey", "black", "white", "blue", "pink"))
def _laptop(s: Sketch) -> tuple[BodyDesign, ...]:
    width, depth, thick = s.size(0.26, 0.31), s.size(0.17, 0.20), 0.014
    keys = Paint((0.3, 0.3, 0.32), 0.1, "keys", (0.08, 0.08, 0.09))
    base = [
        box((width, depth, thick), (0, 0, thick / 2), s.plain),
        *_keyboard(width * 0.86, depth * 0.45, thick, depth * 0.12, keys),
        drawn_only(
            box((width * 0.3, depth * 0.24, 0.001), (0, -depth * 0.3, thick), Paint((0.4, 0.4, 0.42), 0.3))
        ),
    ]
    screen = (
        Paint((0.25, 0.5, 0.8), 0.8, "lines", (0.9, 0.92, 0.95))
        if s.chance(0.6)
        else Paint((0.05, 0.06, 0.08), 0.9)
    )
    lid = [
        box((width, depth, 0.007), (0, -depth / 2, 0.0035), s.plain),
        drawn_only(box((width - 0.02, depth - 0.025, 0.001), (0, -depth / 2, 0.0), screen)),
        drawn_only(cylinder(0.012, 0.001, (0, -depth / 2, 0.007), s.other)),
    ]
    edge = Grasp("edge", (0, -depth + 0.008, 0.0035), Y, Z, 0.007, "pinch")
    return _fixed(base), _mover(
        "lid", "hinge", (0, depth / 2, thick + 0.001), (-1.0, 0, 0), s.size(1.7, 2.1), lid, [edge]
    )


def _keyboard(width: float, depth: float, z: float, y: float, paint: Paint) -> list[Solid]:
    black = Paint((0.07, 0.07, 0.08), 0.1)
    rows = [
        drawn_only(box((width / 11, depth / 5.5, 0.0016), (x, y + k, z), black))
        for k in (np.arange(4) - 1.5) * depth / 4
        for x in (np.arange(9) - 4) * width / 9
    ]
    return [drawn_only(box((width, depth, 0.0008), (0, y, z), paint)), *rows]
