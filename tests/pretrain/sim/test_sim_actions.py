from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from pretrain.sim.actions import FAILURES, PACES, VERBS, Action, kinds_of_verbs, narration
from pretrain.sim.clip import Plan, plan
from pretrain.sim.grasping import DEEPEST
from pretrain.sim.hand import SIDES
from pretrain.sim.library import KINDS
from pretrain.sim.motion import Infeasible

ACTION = Action("pick up", "left", "action 0", "cup", "red", "", "", "", "", "normal", "success", 3)


def test_there_are_at_least_24_verbs_of_known_kinds() -> None:
    assert len(VERBS) >= 24
    for verb in VERBS.values():
        assert set(verb.kinds) <= set(KINDS), verb.name
        assert set(verb.targets) <= set(KINDS), verb.name
    assert set(kinds_of_verbs()) == set(VERBS)
    assert 0.05 < sum(FAILURES.values()) < 0.3
    assert PACES["fast"] < PACES["normal"] < PACES["slow"]


@pytest.mark.parametrize("verb", list(VERBS))
def test_narrations_are_short_and_name_neither_hand_nor_direction(verb: str) -> None:
    made = VERBS[verb]
    target = made.targets[0] if made.targets else ""
    texts = set()
    for seed in range(60):
        action = dataclasses.replace(
            ACTION,
            verb=verb,
            kind=made.kinds[0],
            colour=KINDS[made.kinds[0]].colours[0],
            target="action 1" if target else "",
            target_kind=target,
            target_colour=KINDS[target].colours[0] if target else "",
            direction=made.directions[0] if made.directions else "",
            seed=seed,
        )
        texts.add(narration(action))
        assert narration(action) == narration(dataclasses.replace(action, hand="right", speed="fast"))
    assert len(texts) > 1
    for text in texts:
        assert re.fullmatch(r"C [a-z ]+", text), text
        assert "  " not in text
        assert len(text.split()) <= 16
        assert not {"left", "right", "clockwise", "towards"} & set(text.split())


def test_a_failure_is_told_as_an_attempt() -> None:
    text = narration(dataclasses.replace(ACTION, outcome="slips"))
    assert text.startswith("C tries to pick up the ")


def test_records_hold_every_parameter() -> None:
    assert Action(**ACTION.record()) == ACTION  # type: ignore[arg-type]


def first(verb: str, seeds: range, **wanted: str) -> tuple[Plan, int]:
    """A plan in which that verb succeeds with those parameters, and the number of its segment."""
    for seed in seeds:
        try:
            made = plan(seed, "train", verb)
        except Infeasible:
            continue
        for number, segment in enumerate(made.segments):
            action = segment.action
            if (action.verb, action.outcome) == (verb, "success") and all(
                getattr(action, key) == value for key, value in wanted.items()
            ):
                return made, number
    pytest.fail(f"no {verb} with {wanted} in {seeds}")


def travel(made: Plan, number: int) -> np.ndarray:
    """(3,) how far the object went, metres."""
    segment = made.segments[number]
    qpos = made.stage.scene.objects[segment.action.name].parts[""].qpos
    start, end = (round(time * 30) - 1 for time in (segment.start, segment.end))
    return made.stage.frames[end].qpos[qpos : qpos + 3] - made.stage.frames[start].qpos[qpos : qpos + 3]


@pytest.mark.parametrize(
    ("verb", "direction", "axis", "sign"),
    [
        ("push", "left", 0, -1),
        ("push", "right", 0, 1),
        ("slide", "left", 0, -1),
        ("slide", "towards", 1, -1),
        ("pull", "towards", 1, -1),
    ],
)
def test_directions_are_the_wearers(verb: str, direction: str, axis: int, sign: int) -> None:
    made, number = first(verb, range(40), direction=direction)
    moved = travel(made, number)
    assert sign * moved[axis] > 0.04
    assert abs(moved[1 - axis]) < 0.02
    assert abs(moved[2]) < 0.003


def test_pushed_off_centre_a_thing_turns() -> None:
    yaws = []
    for seed in range(6):
        made, number = first("push", range(6 * seed, 6 * seed + 40))
        segment = made.segments[number]
        qpos = made.stage.scene.objects[segment.action.name].parts[""].qpos
        start, end = (made.stage.frames[round(time * 30) - 1].qpos for time in (segment.start, segment.end))
        yaws.append(2 * np.arccos(min(1.0, abs(start[qpos + 3 : qpos + 7] @ end[qpos + 3 : qpos + 7]))))
    assert max(yaws) > 0.05
    assert max(yaws) < 0.5, "a little"


def test_what_is_picked_up_is_held_above_the_table() -> None:
    made, number = first("pick up", range(10))
    assert travel(made, number)[2] > 0.06
    action = made.segments[number].action
    end = made.stage.frames[round(made.segments[number].end * 30) - 1]
    assert end.touched[SIDES.index(action.side), made.stage.names.index(action.name)]


@pytest.mark.slow
@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_succeeds_in_some_scene(verb: str) -> None:
    made, _ = first(verb, range(12))
    assert max(frame.depth for frame in made.stage.frames) <= DEEPEST
    assert max(frame.sunk for frame in made.stage.frames) <= DEEPEST
