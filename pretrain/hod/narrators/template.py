"""The exact narrator: sentences put together from what the tracks say, the same in every process.

Which wording a sentence takes depends on a hash of the request's key, so that sentences are not all alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.hod.motion import SIDES, Hand, Motion, MotionSettings, Path, Side, path_words, when
from pretrain.hod.narrators import Narrator
from pretrain.hod.prompt import Request, acting, core

_NAMED = re.compile(r"\b(?:left|right|both|two|each|other|one)[- ]hands?\b", re.IGNORECASE)
_PARTICIPLES = {
    "moves": "moving",
    "move": "moving",
    "stays": "staying",
    "stay": "staying",
}


@dataclass(frozen=True)
class Settings:
    """It has none."""


@dataclass(frozen=True)
class Template:
    """A `Narrator`."""

    name: str = "template"
    batch: int = 4096
    deterministic: bool = True
    retries: bool = False

    def write(self, requests: Sequence[Request], attempt: int = 0) -> list[str | None]:  # noqa: ARG002
        """One sentence for each request; every attempt gives the same."""
        return [sentence(request) for request in requests]


def load(_: Settings) -> Narrator:
    """The narrator."""
    return Template()


def sentence(request: Request) -> str:
    """The sentence of one clip.

    "C picks up the red cup" becomes "C picks up the red cup with the left hand, which moves up and to the
    right, in contact at the end, while the right hand stays still." Hands that are not seen are not spoken
    of. Where it is not clear which hand acts, or the narration says so itself, both are described.
    """
    said = core(request.original)
    choice = _Choice(request.key)
    motion = request.motion
    if not motion.acts or _NAMED.search(said):
        ways = [f"the {side} hand {_does(motion.hand(side), choice)}" for side in _known(motion, SIDES)]
        link = choice.of("link", (", while ", "; ", ", as "))
        return f"{said}{link if ways else ''}{' and '.join(ways)}."
    using = "using" if re.search(r"\b(?:with|using)\b", said) else "with"
    hands = f"{said} {using} {acting(motion.acts)}"
    return f"{hands}{_both(motion, choice) if len(motion.acts) == 2 else _one(motion, choice)}."


class _Choice:
    """Draws that depend on a key alone."""

    def __init__(self, key: str) -> None:
        self._key = key

    def of(self, what: str, options: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{what}|{self._key}".encode()).digest()
        return options[int.from_bytes(digest[:4]) % len(options)]


def _known(motion: Motion, sides: Sequence[Side]) -> list[Side]:
    return [side for side in sides if motion.hand(side).path.known]


def _one(motion: Motion, choice: _Choice) -> str:
    """What follows "with the left hand"."""
    (side,) = motion.acts
    other: Side = "right" if side == "left" else "left"
    hand = motion.hand(side)
    shape = choice.of("shape", ("which", "moving", "it"))
    does = _does(hand, choice) if hand.path.known else ""
    own = {"which": f", which {does}", "moving": f", {_participles(does)}", "it": f"; it {does}"}[shape]
    rest = ""
    if _known(motion, [other]):
        rest = (
            choice.of("rest", (", while", ", and", ", as"))
            + f" the {other} hand {_does(motion.hand(other), choice)}"
        )
    return (own if does else "") + rest


def _both(motion: Motion, choice: _Choice) -> str:
    """What follows "with both hands"."""
    left, right = (motion.hand(side).path for side in SIDES)
    if left.known and right.known and _way(left) == _way(right):
        together = _way(left).replace("moves", "move").replace("stays", "stay")
        return choice.of("both", (f", which {together}", f", both {_participles(together)}"))
    ways = [f"the {side} hand {_way(motion.hand(side).path)}" for side in _known(motion, SIDES)]
    if not ways:
        return ""
    joint = choice.of("joint", (": ", "; "))
    return joint + choice.of("and", (" and ", " while ")).join(ways)


def _does(hand: Hand, choice: _Choice) -> str:
    """A hand's way and contact: "moves up, in contact at the end"."""
    contact = when(hand.contact)
    held = choice.of("contact", ("in", "with"))
    return f"{_way(hand.path)}, {held} contact {contact}" if contact else _way(hand.path)


def _way(path: Path) -> str:
    return path_words(path, MotionSettings())


def _participles(words: str) -> str:
    return " ".join(_PARTICIPLES.get(word, word) for word in words.split(" "))
