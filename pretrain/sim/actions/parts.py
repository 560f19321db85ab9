"""Verbs done to things with moving parts: open, close, turn, press, insert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pretrain.sim.actions.carrying import pick, set_down
from pretrain.sim.actions.table import over
from pretrain.sim.actions.verbs import Act, Action, verb
from pretrain.sim.arms import bend
from pretrain.sim.grasping import HOOK_ANCHOR
from pretrain.sim.hand import SHAPES, Side, blend
from pretrain.sim.motion import Infeasible, Move, Stage
from pretrain.sim.poses import Pose, minimum_jerk, pose, shift, straight, unit, with_at

_DOWN = np.array([0.0, 0.0, -1.0])
_AJAR = 0.4  # share from which on a part counts as open
_FLAT_TIP = np.array([0.18, 0.0, 0.0])  # of the middle finger in the shape `flat`, hand frame
# Metres from a handle to where fingertips may push a front: above, below and beside it.
_BESIDE = ((0, 0, 0.065), (0, 0, -0.065), (0.085, 0, 0), (-0.085, 0, 0))
_PUSHES_BEND = np.deg2rad(60.0)  # between hand and forearm, at most, of one who pushes a front


def part_of(stage: Stage, name: str) -> str:
    """The part that is acted on: the one that moves; the root of what has none."""
    bodies = stage.scene.objects[name].design.bodies
    return next((body.name for body in bodies if body.joint in ("slide", "hinge")), "")


def _stands(stage: Stage, name: str) -> float:
    """Where the part that moves stands, 0..1."""
    return stage.share(name, part_of(stage, name))


def _shut(stage: Stage, name: str) -> bool:
    return _stands(stage, name) <= _AJAR


def _open(stage: Stage, name: str) -> bool:
    return not _shut(stage, name)


def _drive(stage: Stage, action: Action, to: float, seconds: float, upright: float = 0.0) -> None:
    """Take hold of a part, move its joint to the share `to`, let go."""
    side, name, part = action.side, action.name, part_of(stage, action.name)
    hooked = stage.grasp(side, name, part).kind == "hook"
    stage.follow(side, name, part, to, seconds, upright, HOOK_ANCHOR if hooked else None)
    stage.retreat(side)


def _mover(opens: tuple[float, float], upright: float = 0.0) -> Act:
    """An act that takes hold of a part, moves it to a share between two, and lets go."""

    def play(stage: Stage, action: Action, rng: np.random.Generator) -> None:
        _drive(stage, action, float(rng.uniform(*opens)), 0.9, upright)

    return play


def _opener(
    name: str,
    phrases: Sequence[str],
    base: str,
    kinds: Sequence[str],
    upright: float,
    shares: tuple[float, float] = (0.65, 1.0),
) -> None:
    verb(name, phrases, base, kinds, fails=True, opens=True, ready=_shut)(_mover(shares, upright))


_opener("open drawer", ("opens {o}", "pulls {o} open"), "open {o}", ("drawer",), 0.0)
_opener("open door", ("opens {o}", "opens the door of {o}"), "open {o}", ("cupboard",), 0.6, (0.45, 0.6))
_opener("open lid", ("opens {o}", "lifts the lid of {o}"), "open {o}", ("chest",), 0.5)
_opener("turn on", ("turns on {o}", "opens {o}"), "turn on {o}", ("faucet",), 0.3)
verb(
    "turn off",
    ("turns off {o}", "closes {o}"),
    "turn off {o}",
    ("faucet",),
    fails=True,
    opens=False,
    ready=_open,
)(_mover((0.0, 0.0), 0.3))


@verb("close drawer", ("closes {o}", "pushes {o} shut"), "close {o}", ("drawer",), opens=False, ready=_open)
def _close_drawer(stage: Stage, action: Action, _: np.random.Generator) -> None:
    _push_shut(stage, action)


@verb("close door", ("closes {o}", "shuts {o}"), "close {o}", ("cupboard",), opens=False, ready=_open)
def _close_door(stage: Stage, action: Action, _: np.random.Generator) -> None:
    _push_shut(stage, action)


def _push_shut(stage: Stage, action: Action) -> None:
    """Push a front with the fingertips beside its handle until it is shut."""
    side, name, part = action.side, action.name, part_of(stage, action.name)
    start = stage.mark()
    for near in _before_front(stage, side, name, part):
        try:
            stage.touch(side, near, SHAPES["flat"], near.axes[:, 0], name, part)
            stage.follow(side, name, part, 0.0, 0.9, 1.0, _FLAT_TIP)
            back = -0.06 * near.axes[:, 0] + shift(0, 0, 0.02)
            stage.glide(side, stage.wrists[side].moved(back), 0.3)
            stage.go_to_rest(side)
        except Infeasible:
            stage.rewind(start)
            continue
        return
    raise Infeasible(f"the {side} hand cannot push {name} shut")


def _before_front(stage: Stage, side: Side, name: str, part: str) -> list[Pose]:
    """Wrists whose fingertips are 4 cm before a front, beside its handle, and point where it goes."""
    handle = stage.scene.objects[name].design.body(part).grasp("handle")
    now, shut = stage.body_pose(name, part), stage.pose_at(name, part, 0.0)
    # A door turns while it is pushed: the hand points to the middle of where its front faces.
    inwards = now.axes @ np.array(handle.approach) + shut.axes @ np.array(handle.approach)
    if np.linalg.norm(inwards) < 0.5:
        raise Infeasible("it is open too wide to be pushed")
    wrists = []
    for beside in _BESIDE:
        front = now.point(np.array(handle.position) + beside)
        hand = pose(np.zeros(3), unit(inwards) - [0, 0, 0.1], _DOWN)
        wrists.append(with_at(hand, front - 0.02 * unit(inwards) - hand.point(_FLAT_TIP)))
    return [wrist for wrist in wrists if bend(side, wrist) < _PUSHES_BEND]


@verb(
    "close lid",
    ("closes {o}", "closes the lid of {o}"),
    "close {o}",
    ("chest", "laptop"),
    fails=True,
    opens=False,
    ready=_open,
)
def _close_lid(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name, part = action.side, action.name, part_of(stage, action.name)
    stage.grasp(side, name, part)
    ajar = 0.25
    stage.follow(side, name, part, ajar, 0.9, 0.75)
    stage.fingers(side, blend(stage.shapes[side], "reach", 0.6), 0.15)
    wrist = stage.wrists[side]

    def shut(u: float) -> None:  # it falls once the fingers are out
        stage.set_share(name, part, ajar * (1.0 - max(0.0, u - 0.5) ** 2 / 0.25))

    away = wrist.moved((0, -0.08, 0.03))
    stage.play(0.5, {side: Move(straight(wrist, away))}, shut)
    stage.go_to_rest(side)


# Knobs, sliders and levers go two ways


def _two_ways(less: str, more: str, room: float) -> Callable[[Stage, str], tuple[str, ...]]:
    """The directions in which a part can move by the share `room`; `more` opens it."""

    def free(stage: Stage, name: str) -> tuple[str, ...]:
        stands = _stands(stage, name)
        return (*((less,) if stands >= room else ()), *((more,) if stands <= 1.0 - room else ()))

    return free


def _by(stage: Stage, action: Action, more: str, least: float, rng: np.random.Generator) -> float:
    """The share to which a part moves in the action's direction, by at least `least`."""
    stands = _stands(stage, action.name)
    room = 1.0 - stands if action.direction == more else stands
    if room < least:
        raise Infeasible("it goes no further")
    made = float(rng.uniform(least, room))
    return stands + made if action.direction == more else stands - made


_LEAST = 0.3  # share of its range that a knob or slider is moved


@verb(
    "turn knob",
    ("turns {o}", "adjusts {o}"),
    "turn {o}",
    ("knob",),
    directions=("clockwise", "counterclockwise"),
    free=_two_ways("counterclockwise", "clockwise", _LEAST),
)
def _turn_knob(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    _drive(stage, action, _by(stage, action, "clockwise", _LEAST, rng), 0.8)


@verb(
    "move slider",
    ("moves {o}", "slides {o}"),
    "move {o}",
    ("slider",),
    directions=("left", "right"),
    free=_two_ways("left", "right", _LEAST),
)
def _move_slider(stage: Stage, action: Action, rng: np.random.Generator) -> None:
    _drive(stage, action, _by(stage, action, "right", _LEAST, rng), 0.7)


@verb(
    "flip lever",
    ("flips {o}", "moves the lever of {o}"),
    "flip {o}",
    ("switch",),
    directions=("away", "towards"),
    free=_two_ways("towards", "away", 0.5),
)
def _flip_lever(stage: Stage, action: Action, _: np.random.Generator) -> None:
    _drive(stage, action, 1.0 if action.direction == "away" else 0.0, 0.5, 0.5)


@verb(
    "press",
    ("presses {o}", "pushes {o}"),
    "press {o}",
    ("button",),
)
def _press(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    near = over(stage, side, stage.body_pose(name).at, name, index=True)
    stage.touch(side, near, SHAPES["point"], _DOWN, name, "cap")
    wrist = stage.wrists[side]
    low, high = stage.scene.objects[name].design.body("cap").limits
    for down in (True, False):
        shift = -(high - low) if down else (high - low)
        first = stage.wrists[side]

        def press(u: float, down: bool = down) -> None:
            done = minimum_jerk(u)
            stage.set_share(name, "cap", done if down else 1 - done)

        stage.play(0.2, {side: Move(straight(first, first.moved((0, 0, shift))))}, press)
        stage.wait(0.08)
    stage.glide(side, wrist.moved((0, -0.02, 0.08)), 0.3)
    stage.go_to_rest(side)


def _pegged(stage: Stage, name: str) -> bool:
    hole = stage.scene.objects[name].design.root.spot("hole")
    peg = stage.body_pose(name, "peg").at
    return float(np.linalg.norm(peg[:2] - stage.body_pose(name).point(hole.position)[:2])) < 0.01


def _unpegged(stage: Stage, name: str) -> bool:
    return not _pegged(stage, name)


@verb(
    "take out",
    ("takes the peg out of {o}", "pulls the peg out of {o}"),
    "take the peg out of {o}",
    ("peg board",),
    ready=_pegged,
)
def _take_out(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    pick(stage, side, name, (), "peg")
    stage.glide(side, stage.wrists[side].moved((0, 0, 0.07)), 0.6)
    board = stage.body_pose(name)
    beside = np.array(stage.scene.objects[name].design.body("peg").at)
    set_down(stage, side, board.point(beside) * [1, 1, 0])


@verb(
    "insert",
    ("puts the peg in {o}", "inserts the peg into {o}"),
    "insert the peg into {o}",
    ("peg board",),
    ready=_unpegged,
)
def _insert(stage: Stage, action: Action, _: np.random.Generator) -> None:
    side, name = action.side, action.name
    hole = stage.scene.objects[name].design.root.spot("hole")
    mouth = stage.body_pose(name).point(hole.position)
    turn = stage.body_pose(name)
    pick(stage, side, name, ("top",), "peg")
    over = with_at(turn, mouth + shift(0, 0, 0.03))
    stage.carry(side, stage.hand_for(side, over), 0.05)
    stage.glide(side, stage.hand_for(side, with_at(turn, mouth + shift(0, 0, 0.002 - hole.depth))), 0.6)
    stage.retreat(side)
