"""Clips: two to four actions in one continuous take, as pictures and as ground truth.

`plan` draws a scene and what is done in it from a seed and plays it on a `Stage`; `record` films that. Both
are deterministic: the same seed and split give the same clip in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import mujoco
import numpy as np
import numpy.typing as npt

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
    act,
    kinds_of_verbs,
    narration,
)
from pretrain.sim.filming import Filmer
from pretrain.sim.hand import SIDES, SKIN_TONES, Side, add_hand, skin_colour
from pretrain.sim.library import KINDS
from pretrain.sim.motion import FPS, Infeasible, Stage
from pretrain.sim.poses import Pose
from pretrain.sim.scene import Wanted, Zone, sample_recipe
from pretrain.sim.seeds import stable_hash, stable_rng
from pretrain.sim.splits import Combinations, Split, split_combinations
from pretrain.sim.truth import Truth

COMBINATIONS: Combinations = split_combinations(kinds_of_verbs())
"""Which split shows which verb done to which kind of object."""

_ACTIONS = (2, 4)  # least and most in a clip
_DRAWS = 14  # actions tried for each place in a clip
_SCENES = 60  # scenes tried for a clip
_PATIENCE = 6  # scenes tried for one leading verb


@dataclass(frozen=True)
class Segment:
    """One action in a clip: from `start` to `end` seconds, and what a narrator says."""

    start: float
    end: float
    text: str
    action: Action


@dataclass(frozen=True)
class Plan:
    """A clip before it is filmed.

    Attributes:
        seed, split: what it was drawn from.
        stage: with all frames played.
        segments: the actions in order.
        redrawn: how many actions were drawn and found infeasible, by verb.
    """

    seed: int
    split: Split
    stage: Stage
    segments: tuple[Segment, ...]
    redrawn: Mapping[str, int]


@dataclass(frozen=True)
class Clip:
    """A take as pictures and ground truth.

    Attributes:
        seed, split: `record` makes the clip from these.
        frames: (T, 224, 224, 3) uint8 RGB, at `motion.FPS`.
        segments: the actions in order.
        truth: of every frame.
        redrawn: how many infeasible draws there were, by verb.
    """

    seed: int
    split: Split
    frames: npt.NDArray[np.uint8]
    segments: tuple[Segment, ...]
    truth: Truth
    redrawn: Mapping[str, int]


def verbs_of(split: Split) -> tuple[str, ...]:
    """The verbs that clips of `split` may show."""
    return tuple(
        verb.name
        for verb in VERBS.values()
        if any(COMBINATIONS.allowed(split, verb.name, kind) for kind in verb.kinds)
    )


def record(seed: int, split: Split, verb: str | None = None) -> Clip:
    """The clip of this seed and split.

    Args:
        seed: any whole number.
        split: whose objects, textures and combinations are shown.
        verb: that it shows if it can be done at all; None draws one.

    Raises:
        Infeasible: no scene that was tried allows two actions.
        RuntimeError: there is no offscreen OpenGL.
        ValueError: clips of `split` never show `verb`.
    """
    with Filmer() as filmer:
        return film(plan(seed, split, verb), filmer)


def film(plan_: Plan, filmer: Filmer) -> Clip:
    """Pictures and ground truth of a plan."""
    frames, truth = filmer.film(plan_.stage)
    return Clip(plan_.seed, plan_.split, frames, plan_.segments, truth, plan_.redrawn)


def plan(seed: int, split: Split, verb: str | None = None) -> Plan:
    """What `record` films; same arguments, and errors but for OpenGL's."""
    shown = verbs_of(split)
    if verb is not None and verb not in shown:
        raise ValueError(f"clips of {split} never show {verb!r}; choose from {', '.join(shown)}")
    redrawn: dict[str, int] = {}
    for attempt in range(_SCENES):
        rng = stable_rng("clip", split, seed, verb or "", attempt)
        choice = stable_rng("lead", split, seed, attempt // _PATIENCE)
        lead = VERBS[verb or shown[int(choice.integers(len(shown)))]]
        stage = _stage(seed, split, lead, attempt, rng)
        if stage is None:
            continue
        segments = _play(stage, split, lead, rng, redrawn)
        if len(segments) >= _ACTIONS[0] and any(s.action.verb == lead.name for s in segments):
            return Plan(seed, split, stage, tuple(segments), redrawn)
    raise Infeasible(f"seed {seed} of {split}: no scene out of {_SCENES} allows {_ACTIONS[0]} actions")


def _stage(seed: int, split: Split, lead: Verb, attempt: int, rng: np.random.Generator) -> Stage | None:
    wanted = _wanted(split, lead, rng)
    try:
        recipe = sample_recipe(stable_hash("scene", split, seed, attempt) % 2**31, split, wanted)
    except ValueError:  # they do not fit on the table together
        return None
    draft = recipe.draft()
    tone = int(rng.integers(len(SKIN_TONES)))
    skin = skin_colour(tone, rng)
    sleeve = np.append(rng.uniform(0.03, 0.9, 3), 1.0)
    scale = float(rng.uniform(0.92, 1.06))
    for side in SIDES:
        add_hand(draft.spec, side, skin.tolist(), sleeve.tolist(), scale)
        _add_upper_sleeve(draft.spec, side, scale)
    stage = Stage(draft.compile())
    _set_out(stage, rng)
    return stage


def _set_out(stage: Stage, rng: np.random.Generator) -> None:
    """Some drawers, doors and the like are open at the start, and some pegs in their holes."""
    for name, item in stage.scene.objects.items():
        if item.placed.role == "distractor" or rng.uniform() < 0.5:
            continue
        for body in item.design.bodies:
            if body.joint in ("slide", "hinge") and item.placed.kind not in ("button", "nail"):
                stage.set_share(name, body.name, float(rng.uniform(0.6, 1.0)))
            if body.name == "peg":
                hole = item.design.root.spot("hole")
                deep = np.array(hole.position) + (hole.depth - 0.002) * np.array(hole.axis)
                root = stage.body_pose(name)
                stage.put(name, "peg", Pose(root.point(deep), root.turn))
    stage.settle()


def _add_upper_sleeve(spec: Any, side: Side, scale: float) -> None:
    # The hand's own sleeve ends before the elbow, which a camera that looks down at a far reach would see.
    spec.body(f"{side}_forearm").add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[-0.26 * scale, 0, 0, -0.55 * scale, 0, 0],
        size=[0.0435 * scale, 0, 0],
        material=f"{side}_sleeve",
        contype=0,
        conaffinity=0,
    )


def _wanted(split: Split, lead: Verb, rng: np.random.Generator) -> list[Wanted]:
    """The leading verb's object and target, and one or two things more."""
    kinds = [kind for kind in lead.kinds if COMBINATIONS.allowed(split, lead.name, kind)]
    chosen = [kinds[int(rng.integers(len(kinds)))]]
    if lead.targets:
        others = [kind for kind in lead.targets if kind not in chosen]
        chosen.append(others[int(rng.integers(len(others)))])
    spare = list(KINDS)
    for _ in range(int(rng.integers(1, 3))):
        kind = spare[int(rng.integers(len(spare)))]
        if kind not in chosen and not (kind in FIXED and any(other in FIXED for other in chosen)):
            chosen.append(kind)
    zones: tuple[Zone, ...] = ("left", "right", "both")
    return [Wanted(kind, zones[int(rng.integers(3))]) for kind in chosen]


def _play(
    stage: Stage, split: Split, lead: Verb, rng: np.random.Generator, redrawn: dict[str, int]
) -> list[Segment]:
    count, segments = int(rng.integers(_ACTIONS[0], _ACTIONS[1] + 1)), []
    when = int(rng.integers(0, 2))  # place of the leading verb
    try:
        stage.wait(float(rng.uniform(0.1, 0.4)))
    except Infeasible:
        return []
    for place in range(count):
        for draw in range(_DRAWS):
            wants = lead if place == when and draw < _DRAWS // 2 else None
            action = _draw(stage, split, wants, rng)
            if action is None:
                continue
            start = stage.mark()
            try:
                act(stage, action)
            except Infeasible:
                stage.rewind(start)
                redrawn[action.verb] = redrawn.get(action.verb, 0) + 1
                continue
            segments.append(Segment(start.frames / FPS, stage.time, narration(action), action))
            break
        else:
            break
    return segments


def _draw(stage: Stage, split: Split, wants: Verb | None, rng: np.random.Generator) -> Action | None:
    """An action that the present state allows; None if this draw gives none."""
    names = verbs_of(split)
    verb = wants or VERBS[names[int(rng.integers(len(names)))]]
    hand = verb.hands[int(rng.integers(len(verb.hands)))]
    things = [
        name
        for name in _things(stage, verb, hand)
        if COMBINATIONS.allowed(split, verb.name, stage.scene.objects[name].placed.kind)
    ]
    if not things:
        return None
    name = things[int(rng.integers(len(things)))]
    target = _target(stage, verb, name, rng)
    if target is None:
        return None
    outcome: Outcome = "success"
    if verb.fails:
        outcomes = cast(list[Outcome], ["success", *FAILURES])
        shares = [1.0 - sum(FAILURES.values()), *FAILURES.values()]
        outcome = outcomes[int(rng.choice(len(outcomes), p=shares))]
    speeds = cast(list[Speed], list(PACES))
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
        verb.directions[int(rng.integers(len(verb.directions)))] if verb.directions else "",
        speeds[int(rng.integers(len(speeds)))],
        outcome,
        int(rng.integers(2**31)),
    )


def _things(stage: Stage, verb: Verb, hand: Handed) -> list[str]:
    """Objects that the verb may be done to with that hand now."""
    held = {stage.held(side) for side in SIDES}
    ours = [name for name, item in stage.scene.objects.items() if item.placed.role == "action"]
    if hand == "both":
        free = held == {None}
        return [name for name in ours if free and stage.scene.objects[name].placed.kind in verb.kinds]
    own = stage.held(hand)
    if own is not None:
        return [own] if verb.held and stage.scene.objects[own].placed.kind in verb.kinds else []
    if verb.name == "put down":
        return []
    return [name for name in ours if name not in held and stage.scene.objects[name].placed.kind in verb.kinds]


def _target(stage: Stage, verb: Verb, name: str, rng: np.random.Generator) -> str | None:
    if not verb.targets:
        return ""
    held = {stage.held(side) for side in SIDES}
    fit = [
        other
        for other, item in stage.scene.objects.items()
        if other != name
        and other not in held
        and item.placed.role == "action"
        and item.placed.kind in verb.targets
    ]
    return fit[int(rng.integers(len(fit)))] if fit else None
