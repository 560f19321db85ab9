from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pretrain.sim.actions import FIXED, VERBS, Verb
from pretrain.sim.arms import inwards
from pretrain.sim.draws import COMBINATIONS, draw, set_out, verbs_of, wanted
from pretrain.sim.hand import SIDES, Side, add_hand
from pretrain.sim.motion import Infeasible, Stage
from pretrain.sim.scene import Wanted, sample_recipe
from pretrain.sim.splits import SPLITS, Split


def staged(*things: Wanted, seed: int = 1) -> Stage:
    draft = sample_recipe(seed, "train", things).draft()
    for side in SIDES:
        add_hand(draft.spec, side, (0.8, 0.6, 0.5, 1.0), (0.2, 0.2, 0.6, 1.0))
    return Stage(draft.compile())


@pytest.mark.parametrize("split", SPLITS)
def test_the_leading_verbs_object_is_wanted_first(split: Split) -> None:
    rng = np.random.default_rng(0)
    for name in verbs_of(split):
        verb = VERBS[name]
        things = wanted(split, verb, rng)
        kinds = [item.kind for item in things]
        assert COMBINATIONS.allowed(split, name, kinds[0])
        assert not verb.targets or kinds[1] in verb.targets
        assert len(set(kinds)) == len(kinds)
        assert sum(kind in FIXED for kind in kinds) <= 2


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("open drawer", "drawer"),
        ("close drawer", "drawer"),
        ("open door", "cupboard"),
        ("close door", "cupboard"),
        ("turn off", "faucet"),
        ("take out", "peg board"),
        ("insert", "peg board"),
    ],
)
def test_the_stage_is_set_for_the_leading_verb(verb: str, kind: str) -> None:
    for seed in range(4):
        stage = staged(Wanted(kind, "both"))
        set_out(stage, VERBS[verb], np.random.default_rng(seed))
        assert VERBS[verb].ready(stage, "action 0")


def draws(stage: Stage, verb: Verb, count: int = 40) -> list[str]:
    """The sides, objects, targets and directions drawn."""
    rng = np.random.default_rng(0)
    made = [draw(stage, "train", verb, rng) for _ in range(count)]
    return [f"{a.hand} {a.name} {a.target} {a.direction}" for a in made if a is not None]


def test_what_stands_there_already_is_not_drawn() -> None:
    stage = staged(Wanted("drawer", "both"))
    assert draws(stage, VERBS["open drawer"])
    assert not draws(stage, VERBS["close drawer"])
    stage.set_share("action 0", "drawer", 0.9)
    assert not draws(stage, VERBS["open drawer"])
    assert draws(stage, VERBS["close drawer"])


def test_only_directions_with_room_are_drawn() -> None:
    stage = staged(Wanted("slider", "both"))
    assert {text.split()[-1] for text in draws(stage, VERBS["move slider"])} == {"right"}
    stage.set_share("action 0", "cap", 1.0)
    assert {text.split()[-1] for text in draws(stage, VERBS["move slider"])} == {"left"}
    stage.set_share("action 0", "cap", 0.5)
    assert {text.split()[-1] for text in draws(stage, VERBS["move slider"])} == {"left", "right"}


@pytest.mark.parametrize("side", SIDES)
def test_no_hand_reaches_far_across(side: Side) -> None:
    for seed in range(6):
        stage = staged(Wanted("can", "left"), Wanted("block", "right"), seed=seed)
        rng = np.random.default_rng(seed)
        for _ in range(20):
            action = draw(stage, "train", VERBS["touch"], rng)
            assert action is not None
            if action.hand == side:
                assert inwards(side) * stage.body_pose(action.name).at[0] < 0.16


def test_what_does_not_fit_is_not_put_in() -> None:
    verb = dataclasses.replace(VERBS["place in"], kinds=("banana", "block", "ball"))
    stage = staged(Wanted("banana", "both"), Wanted("cup", "both"))
    assert not verb.fits(stage, "action 0", "action 1")
    stage = staged(Wanted("ball", "both"), Wanted("basket", "both"))
    assert verb.fits(stage, "action 0", "action 1")


def test_training_picks_up_only_what_it_may() -> None:
    held = [
        (verb.name, kind)
        for verb in VERBS.values()
        for kind in verb.kinds
        if verb.held
        and verb.name != "put down"
        and COMBINATIONS.allowed("train", verb.name, kind)
        and not COMBINATIONS.allowed("train", "pick up", kind)
    ]
    assert held, "else this proves nothing"
    for name, kind in held[:4]:
        verb = VERBS[name]
        target = [Wanted(next(k for k in verb.targets if k != kind), "both")] if verb.targets else []
        stage = staged(Wanted(kind, "both"), *target)
        assert not draws(stage, verb)


def test_act_refuses_what_stands_there_already() -> None:
    from pretrain.sim.actions import act

    stage = staged(Wanted("drawer", "both"))
    action = draw(stage, "train", VERBS["open drawer"], np.random.default_rng(0))
    assert action is not None
    with pytest.raises(Infeasible, match="it stands there already"):
        act(stage, dataclasses.replace(action, verb="close drawer"))
