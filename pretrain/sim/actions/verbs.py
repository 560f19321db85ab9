"""Verbs and actions: what may be done to what, and what a narrator says of it.

An `Action` is a draw of independent parameters: verb, hand, object, target, direction, speed and outcome.
Narrations are short, as Ego4D's are: they name neither hand nor direction. One who only tries is said to try.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from pretrain.sim.articulated import ARTICULATED
from pretrain.sim.grasping import Suits
from pretrain.sim.hand import SIDES, Side
from pretrain.sim.library import KINDS
from pretrain.sim.motion import Stage
from pretrain.sim.objects import MOVABLE

Handed = Literal["left", "right", "both"]
Speed = Literal["slow", "normal", "fast"]
Outcome = Literal["success", "slips", "misses", "aborts"]

PACES: Mapping[Speed, float] = {"slow": 1.2, "normal": 0.8, "fast": 0.6}
"""By which durations are multiplied."""
FAILURES: Mapping[Outcome, float] = {"slips": 0.04, "misses": 0.04, "aborts": 0.04}
"""Share of the actions that fail in each way, of verbs that begin with a grasp."""
FIXED = tuple(ARTICULATED.kinds)
"""Kinds that are acted on where they stand."""
GRASPED = tuple(
    kind for kind in MOVABLE.kinds if kind not in ("teapot", "cutting board", "scissors", "funnel")
)
"""Kinds that a hand takes up."""


@dataclass(frozen=True)
class Action:
    """One draw.

    Attributes:
        verb: key of `VERBS`.
        hand: that acts.
        name, kind, colour: of the object.
        target, target_kind, target_colour: of the other object, "" if there is none.
        direction: one of the verb's, "" if it has none.
        speed: key of `PACES`.
        outcome: what comes of it.
        seed: of the details: ways, heights, amounts.
    """

    verb: str
    hand: Handed
    name: str
    kind: str
    colour: str
    target: str
    target_kind: str
    target_colour: str
    direction: str
    speed: Speed
    outcome: Outcome
    seed: int

    @property
    def side(self) -> Side:
        """The hand that acts first."""
        return "left" if self.hand == "left" else "right"

    def record(self) -> dict[str, str | int]:
        """The parameters, for the ground truth."""
        return asdict(self)


Act = Callable[[Stage, Action, np.random.Generator], None]


@dataclass(frozen=True)
class Verb:
    """A kind of action.

    Attributes:
        name: its key.
        phrases: what a narrator says; {o} is the object, {t} the target.
        base: of the first phrase, after "tries to".
        act: plays it.
        kinds: of the object.
        targets: kinds of the target; empty: it has none.
        directions: from which one is drawn; empty: it has none.
        held: whether the hand holds the object meanwhile; an empty hand picks it up first.
        fails: whether it begins with a grasp that may fail.
        hands: that can do it.
        grips: names of the grasps to pick the object up by; empty: any.
        opens: of a part that moves: True if the verb opens it, False if it closes it, None for other verbs.
        suits: for an object, which wrist poses will do to pick it up; None: all.
        ready: whether the object's state allows it, as a closed door cannot be closed.
        fits: whether object and target go together.
        free: of the directions, those that the object's state allows; None: all.
    """

    name: str
    phrases: tuple[str, ...]
    base: str
    act: Act
    kinds: tuple[str, ...]
    targets: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    held: bool = False
    fails: bool = False
    hands: tuple[Handed, ...] = SIDES
    grips: tuple[str, ...] = ()
    opens: bool | None = None
    suits: Callable[[Stage, Side, str], Suits] | None = None
    ready: Callable[[Stage, str], bool] = lambda *_: True
    fits: Callable[[Stage, str, str], bool] = lambda *_: True
    free: Callable[[Stage, str], tuple[str, ...]] | None = None

    def directions_for(self, stage: Stage, name: str) -> tuple[str, ...]:
        """The directions in which it can be done to an object now; ("",) of a verb without directions."""
        if not self.directions:
            return ("",)
        return self.directions if self.free is None else self.free(stage, name)


VERBS: dict[str, Verb] = {}
"""Every verb by name."""


def verb(
    name: str,
    phrases: Sequence[str],
    base: str,
    kinds: Sequence[str],
    targets: Sequence[str] = (),
    directions: Sequence[str] = (),
    **traits: Any,
) -> Callable[[Act], Act]:
    """Registers the decorated function as a verb; `traits` are the later fields of `Verb`."""

    def register(play: Act) -> Act:
        VERBS[name] = Verb(
            name, tuple(phrases), base, play, tuple(kinds), tuple(targets), tuple(directions), **traits
        )
        return play

    return register


def kinds_of_verbs() -> Mapping[str, Collection[str]]:
    """The kinds of object of each verb, for `splits.split_combinations`."""
    return {verb.name: verb.kinds for verb in VERBS.values()}


def narration(action: Action) -> str:
    """What a narrator says, as "C picks up the red cup"; hand and direction are left out."""
    verb = VERBS[action.verb]
    rng = np.random.default_rng(action.seed)
    shown = rng.uniform() < 0.7  # a narrator names a colour or not
    object_ = _noun(action.kind, action.colour if shown else "", rng)
    target = _noun(action.target_kind, action.target_colour if shown else "", rng) if action.target else ""
    if action.outcome != "success":
        return f"C tries to {verb.base.format(o=object_, t=target)}"
    phrase = verb.phrases[int(rng.integers(len(verb.phrases)))]
    return f"C {phrase.format(o=object_, t=target)}"


def _noun(kind: str, colour: str, rng: np.random.Generator) -> str:
    nouns = KINDS[kind].nouns
    # The usual name most of the time.
    noun = nouns[0] if rng.uniform() < 0.7 else nouns[int(rng.integers(len(nouns)))]
    return f"the {colour} {noun}" if colour else f"the {noun}"
