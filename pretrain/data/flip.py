"""Horizontal flip that keeps left and right true: pictures, boxes, tracks of hands, and words.

A mirror turns a left hand into a right hand. Flipping pictures alone, as the released EgoHOD code does,
teaches that the two words mean the same. Here all parts of a sample turn together, or none does: where a text
leaves open whether a "left" or "right" is a side, the sample stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# Order of the tracks along K; a mirror exchanges the first two, and the next two.
TRACKS = ("left_hand", "right_hand", "left_object", "right_object", "both_object")
_MIRRORED_TRACKS = [1, 0, 3, 2, 4]

_Kind = TypeVar("_Kind", bound=np.generic)

_SIDE = "(left|right)"
_OWNER = r"(?:the|his|her|its|their|my|your|\w+'s)"
# Parts that come in pairs. Things worn are missing: in "she left gloves on the table" left is a verb.
_BODY = (
    r"(?:(?:upper |lower |fore)?arms?|hands?|handed|wrists?|elbows?|shoulders?|palms?|fists?|thumbs?"
    r"|(?:(?:index|middle|ring|little|pinky) )?fingers?|legs?|feet|foot|knees?|ankles?|thighs?|hips?|toes?"
    r"|eyes?|ears?|cheeks?)\b"
)
# Not the right side up, nor the right side of a fabric. Halves and ends are missing: "she left half of it".
_PLACE = (
    r"(?:sides?|edges?|corners?)\b(?![- ](?:up|down|out|together|facing)\b)"
    r"(?! of (?:\w+ ){0,3}(?:fabric|cloth|material|textile|garment)\b)"
)
_PAIRED = rf"[- ](?:{_BODY}|{_PLACE})"
# What may follow a side that stands alone: "to the right of the pan", but not "to the right amount".
_STOP = r"\s*(?:$|[.,;:!?)\"])"
_NEXT = rf"(?={_STOP}| (?:and|then|while)\b)"
_NEXT_PLACE = rf"(?={_STOP}| (?:and|or|then|while|of|from|with|using|on|in|by)\b)"
_MOTION = (
    r"(?:(?:turn|lean|tilt|swing|steer|step|shift)(?:s|ed|ing)?|(?:mov|rotat|slid|swip)(?:es?|ed|ing)"
    r"|drag(?:s|ged|ging)?)"
)

# Each captures words that are sides. None asks which side it is: what can be flipped can be flipped back.
_RULES = [
    re.compile(rule, re.IGNORECASE)
    for rule in (
        rf"\b{_SIDE}{_PAIRED}",
        rf"\b{_SIDE}(?:-?most|-?wards?|hands?|handed)\b",
        rf"\b{_SIDE}(?: and | or |/){_SIDE}\b(?:{_NEXT}|(?= of\b|{_PAIRED}))",
        rf"\b{_SIDE}(?: to |-to-){_SIDE}\b",
        rf"\bfrom {_OWNER} {_SIDE} to {_OWNER} {_SIDE}\b(?:{_NEXT_PLACE}|(?={_PAIRED}))",
        rf"\b(?:to|towards?|from|on|onto|at) {_OWNER} {_SIDE}\b{_NEXT_PLACE}",
        rf"\b(?:with|using|in|into) {_OWNER} {_SIDE}\b{_NEXT}",
        rf"\b(?:to|towards?|from|{_MOTION}) {_SIDE}\b{_NEXT}",
        rf"\b(?:top|bottom|upper|lower)[- ]{_SIDE}\b(?={_STOP})",
    )
]

# Every word that a mirror may change, and, in front, words that only look like one.
_WORDS = re.compile(
    r"(?P<harmless>\b\w*(?:bright|fright|upright|alright|outright)\w*|\bleftovers?\b|\bcleft)"
    r"|(?P<turn>(?:counter-?|anti[- ]?)?clockwise)|left|right",
    re.IGNORECASE,
)
# Abbreviated or misspelt sides; a counter that may be a kitchen's; an article that would no longer fit.
_UNCLEAR = re.compile(
    r"\b[lr]\.?[- ]?h(?:ands?)?\b|\b(?:rigth|rigt|righ|rihgt|rght|lef|lefft|lft|letf)"
    r"(?:\b|[- ]?hand)|counter(?!-?clockwise)\W*clockwise|clock[- ]+wise|\ban anti[- ]?clockwise",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sample:
    """A clip with what is known about it.

    Attributes:
        frames: (T, H, W, 3) uint8.
        text: its narration.
        boxes: (F, K, 4) corners x1, y1, x2, y2 in 0..1 of the picture's sides, K as in `TRACKS`; NaN where
            not visible.
        visible: (F, K) bool.
    """

    frames: npt.NDArray[np.uint8]
    text: str
    boxes: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]


def flip(sample: Sample) -> Sample | None:
    """The sample in a mirror; None where its text cannot be flipped for sure (see `flip_text`).

    Raises:
        ValueError: parts of wrong shapes, or boxes beyond 0..1.
    """
    text = flip_text(sample.text)
    if text is None:
        return None
    boxes, visible = flip_hands(flip_boxes(sample.boxes)), flip_hands(sample.visible)
    return Sample(flip_clip(sample.frames), text, boxes, visible)


def flip_clip(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Mirror pictures left to right.

    Args:
        frames: (T, H, W, 3) uint8.

    Returns:
        The same shape, a contiguous copy: torch cannot view negative strides.

    Raises:
        ValueError: of another shape or type.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"a clip wants (T, H, W, 3) uint8 frames; got {frames.shape} {frames.dtype}")
    return np.ascontiguousarray(frames[:, :, ::-1])


def flip_boxes(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mirror boxes left to right; which track is whose hand stays (see `flip_hands`).

    Args:
        boxes: (..., 4) corners x1, y1, x2, y2 in 0..1 of the picture's sides; NaN where there is none.

    Returns:
        The same shape; where x1 <= x2 it is so again.

    Raises:
        ValueError: not (..., 4), or beyond 0..1, as pixels are.
    """
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes want (..., 4); got shape {boxes.shape}")
    if (boxes < 0).any() or (boxes > 1).any():
        raise ValueError(
            f"boxes want 0..1; got {np.nanmin(boxes)} to {np.nanmax(boxes)}: divide pixels by W, H"
        )
    mirrored = boxes[..., [2, 1, 0, 3]]
    mirrored[..., [0, 2]] = 1 - mirrored[..., [0, 2]]
    return mirrored


def flip_hands(tracks: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
    """Exchange the tracks of the two hands, and of the objects in them.

    Args:
        tracks: (F, K, ...), K as in `TRACKS`.

    Raises:
        ValueError: K is another.
    """
    if tracks.ndim < 2 or tracks.shape[1] != len(TRACKS):
        raise ValueError(
            f"tracks want (F, {len(TRACKS)}, ...): {', '.join(TRACKS)}; got shape {tracks.shape}"
        )
    return tracks[:, _MIRRORED_TRACKS]


def flip_text(text: str) -> str | None:
    """The text of the mirrored clip, or None where that is not sure.

    "left" and "right" change places, case kept, where they are sides beyond doubt: before a part of the body
    or a side, edge or corner ("left-hand drawer", "right index finger"), as leftmost or rightwards, together
    ("left and right", "from left to right"), and where a phrase of place ends ("to the right of the pan",
    "with her left.", "turns left,"). Words that only contain the letters (bright, leftover) stay. Any other
    occurrence may be a verb, an idiom or an adjective: "left the room", "left over", "right away", "the right
    tool". Then the answer is None, and so it is for misspelt or abbreviated sides ("rigth hand", "LH"), for
    "counter clockwise", which may speak of a kitchen counter, and for "an anticlockwise turn", whose article
    would not fit. A needless None costs a little augmentation; a wrong flip is a wrong label.

    Clockwise changes places with counterclockwise, because a mirror turns every sense of rotation.

    Flipping twice gives the text again, but for counter-clockwise and anticlockwise, which come back as
    counterclockwise.
    """
    sides = {
        match.span(side)
        for rule in _RULES
        for match in rule.finditer(text)
        for side in range(1, rule.groups + 1)
    }
    words = [match for match in _WORDS.finditer(text) if not match["harmless"]]
    if _UNCLEAR.search(text) or any(not match["turn"] and match.span() not in sides for match in words):
        return None
    return _WORDS.sub(lambda match: match[0] if match["harmless"] else _opposite(match[0]), text)


def _opposite(word: str) -> str:
    lower = word.lower()
    if lower in ("left", "right"):
        opposite = "right" if lower == "left" else "left"
    else:
        opposite = "counterclockwise" if lower == "clockwise" else "clockwise"
    if word.isupper():
        return opposite.upper()
    return opposite.capitalize() if word[0].isupper() else opposite
