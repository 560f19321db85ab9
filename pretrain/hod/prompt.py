"""The prompt of a narrator: hand-object dynamics in words, the original narration, and the task.

It has the shape of EgoHOD's (arXiv 2503.00986, appendix): a heading, five entries in the order of `TRACKS`,
the narration, the task. There the entries are lists of boxes; here they are words, which small models follow
better, and boxes can be added for models that read numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from pretrain.hod.motion import Motion, MotionSettings, Side, hands_words, lines
from pretrain.hod.tracks import Tracks

SYSTEM = "You narrate what hands do."
"""What instruction-tuned models are told first."""
HEADING = "Hand Object Dynamics"
ENTRIES = ("left hand", "right hand", "left hand object", "right hand object", "two hand object")

_TASK = (
    "Write one sentence: the original narration, which hand does it, and how each hand moves. "
    "Take sides, directions and contact from above; name no other object."
)


@dataclass(frozen=True)
class Request:
    """One clip to narrate.

    Attributes:
        key: names the row; it also chooses among equally good wordings.
        original: what the data set says.
        motion: what the tracks say.
        tracks: where boxes are to be shown too.
    """

    key: str
    original: str
    motion: Motion
    tracks: Tracks | None = None


def core(original: str) -> str:
    """A narration without Ego4D's marks ("#C", "#unsure") and without spaces and stops at its end."""
    bare = re.sub(r"#(?:c|o|unsure|summary)\b", " ", original, flags=re.IGNORECASE)
    return " ".join(bare.split()).rstrip(" .,;:!")


def prompt(request: Request, coordinates: int = 0, settings: MotionSettings | None = None) -> str:
    """What a narrator reads.

    Args:
        request: the clip; its `tracks` are needed for coordinates.
        coordinates: at how many instants, evenly spread, boxes follow each entry; 0: none.
        settings: what the words mean.

    Raises:
        ValueError: coordinates are wanted of a request without tracks.
    """
    if coordinates and request.tracks is None:
        raise ValueError(
            f"request {request.key!r} has no tracks, of which coordinates={coordinates} are wanted"
        )
    rows = [HEADING]
    for index, (entry, words) in enumerate(zip(ENTRIES, lines(request.motion, settings), strict=True)):
        boxes = _boxes(request.tracks, index, coordinates) if request.tracks and coordinates else ""
        rows.append(f"{entry}: {words}{boxes}")
    acts = f"acting: {acting(request.motion.acts)}" if request.motion.acts else ""
    rows += [acts, hands_words(request.motion), f"original narration: {core(request.original)}", _TASK]
    return "\n".join(row for row in rows if row)


def first_sentence(answer: str) -> str:
    """A model's answer up to the end of its first sentence or line, without thoughts, label and quotes."""
    bare = re.sub(r"<think>.*?</think>", " ", answer, flags=re.DOTALL)
    bare = re.sub(r"^\s*(?:sentence|narration) ?:", "", bare, flags=re.IGNORECASE).strip()
    bare = bare.strip("\"'\u201c\u201d")
    return " ".join(re.split(r"\n|(?<=[.!?])\s", bare, maxsplit=1)[0].split())


def acting(sides: tuple[Side, ...]) -> str:
    """Hands in words: "the left hand", "both hands"."""
    return "both hands" if len(sides) == 2 else f"the {sides[0]} hand"


def _boxes(tracks: Tracks, index: int, count: int) -> str:
    """Boxes x1 y1 x2 y2 in hundredths of the picture's sides, "-" where there is none."""
    chosen = np.linspace(0, len(tracks.seconds) - 1, count).round().astype(int)
    start = tracks.seconds[0]
    shown = []
    for i in chosen:
        box = tracks.boxes[i, index]
        numbers = "-" if np.isnan(box).any() else " ".join(f"{100 * side:.0f}" for side in box)
        shown.append(f"{tracks.seconds[i] - start:.1f} s: {numbers}")
    return f" [{'; '.join(shown)}]"
