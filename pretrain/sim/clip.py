"""Clips: two to four actions in one continuous take, as pictures and as ground truth.

`plan` draws a scene and what is done in it from a seed and plays it on a `Stage`; `record` films that. Both
are deterministic: the same seed and split give the same clip in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.sim.actions import VERBS, Action, Verb, act, narration
from pretrain.sim.draws import draw, set_out, verbs_of, wanted
from pretrain.sim.filming import Filmer
from pretrain.sim.hand import SIDES, SKIN_TONES, add_hand, skin_colour
from pretrain.sim.motion import FPS, Infeasible, Stage
from pretrain.sim.scene import sample_recipe
from pretrain.sim.seeds import stable_hash, stable_rng
from pretrain.sim.splits import Split
from pretrain.sim.truth import Truth

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
    things = wanted(split, lead, rng)
    try:
        recipe = sample_recipe(stable_hash("scene", split, seed, attempt) % 2**31, split, things)
    except ValueError:  # they do not fit on the table together
        return None
    draft = recipe.draft()
    tone = int(rng.integers(len(SKIN_TONES)))
    skin = skin_colour(tone, rng)
    sleeve = np.append(rng.uniform(0.03, 0.9, 3), 1.0)
    scale = float(rng.uniform(0.92, 1.06))
    for side in SIDES:
        add_hand(draft.spec, side, skin.tolist(), sleeve.tolist(), scale)
    stage = Stage(draft.compile())
    set_out(stage, lead, rng)
    return stage


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
        for attempt in range(_DRAWS):
            wants = lead if place == when and attempt < _DRAWS // 2 else None
            action = draw(stage, split, wants, rng)
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
        if place == when and segments[-1].action.verb != lead.name:
            break  # the scene does not allow what it was made for
    return segments
