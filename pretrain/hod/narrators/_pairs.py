"""Random requests to teach narrators on: random tracks, and narrations of EgoSim's training split."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from pretrain.hod.motion import describe
from pretrain.hod.prompt import Request
from pretrain.hod.tracks import Tracks

_INSTANTS = 16
_SIZE = 0.12  # half the side of a box
_NOISE = 0.006  # of a centre


def random_request(seed: int) -> Request:
    """A request of random tracks and a random narration, unrelated but for their seed.

    Args:
        seed: any whole number; the same gives the same in every process.
    """
    rng = np.random.default_rng([seed, 11])
    tracks = random_tracks(rng)
    return Request(f"random/{seed}", random_narration(rng), describe(tracks), tracks)


def random_narration(rng: np.random.Generator) -> str:
    """What a narrator may say of a clip in EgoSim's training split; imports the simulator."""
    from pretrain.sim.actions import FAILURES, VERBS, Action, Outcome, narration
    from pretrain.sim.draws import COMBINATIONS

    outcomes = ("success", "success", "success", *FAILURES)
    pairs = sorted(pair for pair, split in COMBINATIONS.split_of.items() if split == "train")
    name, kind = pairs[int(rng.integers(len(pairs)))]
    verb = VERBS[name]
    target = str(rng.choice([t for t in verb.targets if t != kind])) if verb.targets else ""
    return narration(
        Action(
            verb=name,
            hand="right",
            name="object",
            kind=kind,
            colour=_colour(kind, rng),
            target="target" if target else "",
            target_kind=target,
            target_colour=_colour(target, rng) if target else "",
            direction="",
            speed="normal",
            outcome=cast(Outcome, str(rng.choice(outcomes)) if verb.fails else "success"),
            seed=int(rng.integers(2**31)),
        )
    )


def _colour(kind: str, rng: np.random.Generator) -> str:
    from pretrain.sim.library import KINDS

    return str(rng.choice(KINDS[kind].colours))


def random_tracks(rng: np.random.Generator) -> Tracks:
    """Hands that rest, go, or go and come back; mostly one touches something for a while."""
    empty = Tracks.empty(np.sort(rng.uniform(0, rng.uniform(1, 6), _INSTANTS)))
    boxes, contact = empty.boxes.copy(), empty.contact.copy()
    both = rng.uniform() < 0.1
    actor = int(rng.integers(2))
    way = _way(rng, moves=True)
    for side in range(2):
        acts = both or side == actor
        if rng.uniform() < (0.02 if acts else 0.15):  # not seen
            continue
        own = way if both else _way(rng, moves=acts or rng.uniform() < 0.25)
        boxes[:, side] = _boxes(rng, own + _home(side))
        if rng.uniform() < 0.95:
            contact[:, side] = _contact(rng, acts)
        held = boxes[:, side] + np.float32(0.04)
        held[contact[:, side] != 1] = np.nan
        boxes[:, side + 2] = held
    if both:
        boxes[:, 4] = boxes[:, 2]
        boxes[:, 2:4] = np.nan
    boxes[rng.uniform(size=boxes.shape[:2]) < 0.04] = np.nan
    visible = ~np.isnan(boxes[..., 0])
    scores = np.where(visible, rng.uniform(0.5, 1, visible.shape), np.nan).astype(np.float32)
    return Tracks(empty.seconds, boxes, scores, empty.interpolated, empty.keypoints, contact)


def _home(side: int) -> npt.NDArray[np.float64]:
    return np.array([0.35 if side == 0 else 0.65, 0.7])


def _way(rng: np.random.Generator, moves: bool) -> npt.NDArray[np.float64]:
    """(F, 2) displacements."""
    if not moves:
        return np.zeros((_INSTANTS, 2))
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.5)
    goal = far * np.array([np.cos(angle), -np.sin(angle)])
    u = np.linspace(0, 1, _INSTANTS)
    turn = rng.uniform(0.4, 0.7)
    back = rng.uniform() < 0.5
    share = np.where(u < turn, u / turn, (1 - u) / (1 - turn)) if back else u
    return share[:, None] * goal


def _boxes(rng: np.random.Generator, centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    noisy = centres + rng.normal(0, _NOISE, centres.shape)
    return np.hstack([noisy - _SIZE, noisy + _SIZE]).clip(0, 1).astype(np.float32)


def _contact(rng: np.random.Generator, acts: bool) -> npt.NDArray[np.float32]:
    """(F,) from the start, to the end, both, in between, or never."""
    contact = np.zeros(_INSTANTS, np.float32)
    if rng.uniform() < (0.1 if acts else 0.8):
        return contact
    first = 0 if rng.uniform() < 0.4 else int(rng.integers(3, 9))
    last = _INSTANTS if rng.uniform() < 0.5 else int(rng.integers(first + 2, _INSTANTS - 2))
    contact[first:last] = 1
    return contact
