"""What is drawn for a clip: the things on the table, how they stand at first, and each action.

Draws know what is feasible as far as that is cheap to know: nobody closes a closed door, or puts into a cup
what does not fit. The rest turns out when an action is played.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np

from pretrain.sim.actions import (
    FAILURES,
    FIXED,
    PACES,
    VERBS,
    Action,
    Handed,
    Outcome,
    Speed,
    Verb,
    kinds_of_verbs,
)
from pretrain.sim.arms import inwards
from pretrain.sim.hand import SIDES
from pretrain.sim.library import KINDS
from pretrain.sim.motion import Stage
from pretrain.sim.poses import Pose
from pretrain.sim.scene import SceneObject, Wanted, Zone
from pretrain.sim.splits import Combinations, Split, split_combinations

COMBINATIONS: Combinations = split_combinations(kinds_of_verbs())
"""Which split shows which verb done to which kind of object."""

_ZONES: tuple[Zone, ...] = ("left", "right", "both")
_WIDE_OPEN = (0.6, 1.0)  # least and greatest share at which a part stands that is open
_ACROSS = 0.16  # metres past the wearer's middle that a hand reaches to the other side
_Item = TypeVar("_Item")


def verbs_of(split: Split) -> tuple[str, ...]:
    """The verbs that clips of `split` may show."""
    return tuple(
        verb.name
        for verb in VERBS.values()
        if any(COMBINATIONS.allowed(split, verb.name, kind) for kind in verb.kinds)
    )


def wanted(split: Split, lead: Verb, rng: np.random.Generator) -> list[Wanted]:
    """The leading verb's object and target, and one or two things more."""
    kinds = [kind for kind in lead.kinds if COMBINATIONS.allowed(split, lead.name, kind)]
    chosen = [_one(kinds, rng)]
    if lead.targets:
        chosen.append(_one([kind for kind in lead.targets if kind not in chosen], rng))
    for _ in range(int(rng.integers(1, 3))):
        kind = _one(list(KINDS), rng)
        if kind not in chosen and not (kind in FIXED and any(other in FIXED for other in chosen)):
            chosen.append(kind)
    return [Wanted(kind, _one(_ZONES, rng)) for kind in chosen]


def set_out(stage: Stage, lead: Verb, rng: np.random.Generator) -> None:
    """Some drawers, doors and the like are open at the start, and some pegs in their holes.

    What the leading verb is done to, `action 0`, stands as the verb needs it.
    """
    for name, item in stage.scene.objects.items():
        if item.placed.role == "distractor":
            continue
        before = stage.mark()
        if rng.uniform() < 0.5:
            _open(stage, name, item, rng)
        if name == "action 0" and not lead.ready(stage, name):
            stage.rewind(before)
            if not lead.ready(stage, name):
                _open(stage, name, item, rng)


def _open(stage: Stage, name: str, item: SceneObject, rng: np.random.Generator) -> None:
    for body in item.design.bodies:
        if body.joint in ("slide", "hinge") and item.placed.kind not in ("button", "nail"):
            stage.set_share(name, body.name, float(rng.uniform(*_WIDE_OPEN)))
        if body.name == "peg":
            hole = item.design.root.spot("hole")
            deep = np.array(hole.position) + (hole.depth - 0.002) * np.array(hole.axis)
            root = stage.body_pose(name)
            stage.put(name, "peg", Pose(root.point(deep), root.turn))
    stage.settle()


def draw(stage: Stage, split: Split, wants: Verb | None, rng: np.random.Generator) -> Action | None:
    """An action that the present state allows, of the verb `wants` or any; None if this draw gives none."""
    verb = wants or VERBS[_one(verbs_of(split), rng)]
    hand = _one(verb.hands, rng)
    things = _things(stage, split, verb, hand)
    if not things:
        return None
    name = _one(things, rng)
    targets, directions = _targets(stage, verb, hand, name), verb.directions_for(stage, name)
    if not targets or not directions:
        return None
    target = _one(targets, rng)
    one, other = stage.scene.objects[name].placed, stage.scene.objects.get(target)
    return Action(
        verb.name,
        hand,
        name,
        one.kind,
        one.colour,
        target,
        other.placed.kind if other else "",
        other.placed.colour if other else "",
        _one(directions, rng),
        _one(cast(list[Speed], list(PACES)), rng),
        _outcome(stage, verb, name, rng),
        int(rng.integers(2**31)),
    )


def _things(stage: Stage, split: Split, verb: Verb, hand: Handed) -> list[str]:
    """Objects that the verb may be done to with that hand now, in that split."""
    held = [stage.held(side) for side in SIDES]
    ours = {name: item.placed for name, item in stage.scene.objects.items() if item.placed.role == "action"}
    fit = [
        name
        for name, placed in ours.items()
        if placed.kind in verb.kinds
        and COMBINATIONS.allowed(split, verb.name, placed.kind)
        and verb.ready(stage, name)
    ]
    if hand == "both":
        return fit if held == [None, None] else []
    own = stage.held(hand)
    if own is not None:
        return [own] if verb.held and own in fit else []
    if verb.name == "put down":
        return []
    if verb.held:  # it is picked up first, and that too must be of this split
        fit = [name for name in fit if _may_pick(split, ours[name].kind)]
    return [name for name in fit if name not in held and _reaches(stage, hand, name)]


def _reaches(stage: Stage, hand: Handed, name: str) -> bool:
    """Whether an object is not too far on the other hand's side."""
    return hand == "both" or inwards(hand) * stage.body_pose(name).at[0] < _ACROSS


def _may_pick(split: Split, kind: str) -> bool:
    """Whether clips of `split` may show that kind picked up; those of validation and test may show all."""
    return split != "train" or COMBINATIONS.allowed(split, "pick up", kind)


def _targets(stage: Stage, verb: Verb, hand: Handed, name: str) -> list[str]:
    """What the object may be brought to; [""] of a verb without targets."""
    if not verb.targets:
        return [""]
    held = [stage.held(side) for side in SIDES]
    return [
        other
        for other, item in stage.scene.objects.items()
        if other not in (name, *held)
        and item.placed.role == "action"
        and item.placed.kind in verb.targets
        and verb.fits(stage, name, other)
        and _reaches(stage, hand, other)
    ]


def _outcome(stage: Stage, verb: Verb, name: str, rng: np.random.Generator) -> Outcome:
    if not verb.fails:
        return "success"
    fixed = stage.scene.objects[name].design.stays
    failures = {outcome: share for outcome, share in FAILURES.items() if not (fixed and outcome == "slips")}
    outcomes: list[Outcome] = ["success", *failures]
    shares = [1.0 - sum(failures.values()), *failures.values()]
    return outcomes[int(rng.choice(len(outcomes), p=shares))]


def _one(items: Sequence[_Item], rng: np.random.Generator) -> _Item:
    return items[int(rng.integers(len(items)))]
