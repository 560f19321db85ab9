"""What a sentence claims of hands: which way they go, that they rest, what they touch. Rules, no model.

Left and right are treacherous in English (see `pretrain.data.flip`): here they are a hand's side only before
a part of the body or where a hand's phrase ends ("with her left."), and a way only where a phrase
of direction ends ("to the right,", "moves left and"), so that "right away", "left over", "left the room" and
"to the right of the pan" claim nothing. Likewise "up" and "down" after "pick", "put" and their like belong to
the verb. Ways in depth ("forward", "towards the camera") cannot be seen in the picture and are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from pretrain.hod.motion import SIDES, Side

Kind = Literal["direction", "still", "contact", "unseen", "hands"]
Touch = Literal["touch", "begin", "end", "throughout", "at first", "at the end", "in between"]


@dataclass(frozen=True)
class Mention:
    """Words for hands.

    Attributes:
        start, end: where they are.
        sides: that they mean.
        tool: whether something is done with the hand, as in "with her left hand".
        denied: whether that is denied, as in "without the left hand".
    """

    start: int
    end: int
    sides: tuple[Side, ...]
    tool: bool
    denied: bool


@dataclass(frozen=True)
class Claim:
    """One thing said.

    Attributes:
        kind: of what.
        value: an angle in degrees as in `motion.Leg`, a `Touch`, or what the hands do to each other.
        sides: of the hands it is said of; empty where no hand is named.
        negated: whether it is denied.
        group: claims of one group are of one mention of a hand, in order.
    """

    kind: Kind
    value: float | str
    sides: tuple[Side, ...]
    negated: bool
    group: int


_PART = (
    r"(?:hands?|palms?|fists?|arms?|forearms?|wrists?|thumbs?|handed"
    r"|(?:(?:index|middle|ring|little) )?fingers?)"
)
_OWNER = r"(?:(?:the|his|her|its|their|a|one|c's) )?"
_BOTH = (
    rf"(?:(?:both|two|each)(?: of (?:the|his|her|their))?(?: {_PART})"
    rf"|left and right {_PART}|right and left {_PART})"
)
_VERBS = r"(?:stays?|staying|moves?|moving|remains?|is|does|goes|rests?|keeps?|holds?|slides?|touches|lies)"
_STOP = r"(?=\s*(?:$|[.,;:!?]))"
_MENTION = re.compile(
    r"(?P<tool>\b(?:(?P<denied>(?:not|never) (?:with|using|by|in) |without (?:using )?)"
    r"|(?:with|using|by|via|uses?|in) ))?"
    rf"{_OWNER}(?:(?P<both>\b{_BOTH}|\bhands\b)"
    rf"|\b(?P<side>left|right) {_PART}\b|\b(?P<other>other|opposite) {_PART}\b"
    rf"|(?(tool)(?P<bare>left|right)(?:{_STOP}|(?= (?:and|while|as)\b))|(?!))"
    rf"|(?<=the )(?P<subject>left|right)(?= (?:one )?{_VERBS}\b))"
)

# What ends the words of one hand: a new subject.
_BREAK = re.compile(r"[.;:!?]|,? ?\b(?:while|whereas|but|as|when)\b|, and\b|\band (?=(?:the|his|her|its) )")
_NEGATION = re.compile(r"\b(?:not|never|without|no|neither|nor|nothing)\b|n't\b")

_NEXT = (
    r"(?=\s*(?:$|[.,;:!?])| (?:side\b(?! of)|(?:and|then|while|as|a|with|using|in|before|after|again|slowly|"
    r"quickly|slightly|from|by|until|at|on|for|without|when|but|or|to|along|across|through|together|once)\b))"
)
_GO = (
    r"(?:mov(?:es?|ed|ing)|slid(?:es?|ing)?|shift(?:s|ed|ing)?|go(?:es|ing)?|swing(?:s|ing)?|drift(?:s|ing)?"
    r"|sweep(?:s|ing)?|travel(?:s|l?ing)?|glid(?:es?|ing)|reach(?:es|ing)?|head(?:s|ing)?|push(?:es|ing)?"
    r"|pull(?:s|ing)?|drag(?:s|ging)?|back|diagonally|then)"
)
_VERTICAL = r"(?P<{0}>up|down)(?:wards?)?"
_ACROSS = rf"(?:(?:to|towards?) (?:the |its |his |her )?)?(?P<across>left|right)(?:wards?\b|\b{_NEXT})"
_WAY = re.compile(
    rf"\b{_VERTICAL.format('v1')}\b,?(?: and| then)?(?: slightly| a little)? {_ACROSS}"
    rf"|\b(?:upper|top|(?P<low>lower|bottom)) (?P<corner>left|right)\b"
    rf"|\b(?:to|towards?) (?:the |its |his |her )?(?:far )?(?P<to>left|right)\b{_NEXT}"
    rf"(?: (?:and |, )?{_VERTICAL.format('v2')}\b)?"
    rf"|\b{_GO}(?: it| them| the \w+(?: \w+)?)?(?: \w+ly| slightly| a little)? (?P<go>left|right)\b{_NEXT}"
    rf"(?: (?:and |, )?{_VERTICAL.format('v3')}\b)?"
    rf"|\b(?P<wards>left|right)wards?\b|\b{_VERTICAL.format('v4')}\b"
    r"|\b(?:(?P<rise>ris(?:es|ing)|rais(?:es|ing)|ascend(?:s|ing))|lower(?:s|ing)|descend(?:s|ing))\b"
)
_PARTICLE = re.compile(
    r"\b(?:pick|put|set|lay|tip|clean|open|fill|hang|shut|break|fold|tidy|tie|wrap|mix|hold|place|press|close|face"
    r"|turn|wip|wash|cut|chop|us|warm|heat|tear|screw|upsid|palm|side|knock|look|sit|stand|lying|lie|flipp?)"
    r"(?:t?s|t?ed|t?ing|es|e|d|ing|tting|ting)?(?: (?!and\b|then\b|mov)[\w']+){0,3} $"
)
_STILL = re.compile(
    r"\b(?:stay|remain|keep|kept|is|are|being|lie|hold)(?:s|ing)? (?:\w+ly )?"
    r"(?:still|put|in place|at rest|idle)\b"
    r"|\b(?:motionless|stationary|unmoving|idle|resting|rests)\b"
    r"|\b(?:(?:does|do|did) not|doesn't|don't|without|not) mov(?:e|ing)\b(?! (?:up|down|left|right|to)\b)"
)
_UNSEEN = re.compile(
    r"\b(?:not (?:visible|seen|in (?:view|sight))|unseen|invisible|hidden"
    r"|out of (?:view|sight|frame|the picture))\b"
)
_TOUCH = re.compile(
    r"\b(?:(?P<none>no contact|(?:touch|hold)(?:es|s|ing)? nothing|empty(?: handed)?)"
    r"|(?:in|with|keep\w* (?:in )?|stay\w* in |remain\w* in )\s?contact"
    r"(?P<when>(?: with \w+ \w+)? (?:throughout|at first|at the end|in between|all along|all the time))?"
    r"|(?P<begin>(?:ma(?:kes?|king)|com(?:es?|ing) into|establish\w*) contact|tak(?:es?|ing) hold"
    r"|grab(?:s|bing)?)"
    r"|(?P<end>let(?:s|ting)? go|releas(?:es?|ing)|los(?:es?|ing) contact|break(?:s|ing)? contact)"
    r"|(?P<touch>touch(?:es|ing)?|hold(?:s|ing)?|grip(?:s|ping)?|grasp(?:s|ing)?|clutch(?:es|ing)?"
    r"|carr(?:y|ies|ying)|in contact|with contact))\b"
)
_HANDS = re.compile(
    r"\bhands? (?:\w+ )?(?:mov|com|draw|spread|go|pull)\w* "
    r"(?P<how>apart|closer|towards each other|together)\b"
)

_ANGLES = {"right": 0.0, "up": 90.0, "left": 180.0, "down": -90.0}
_DIAGONALS = {
    ("up", "right"): 45.0,
    ("up", "left"): 135.0,
    ("down", "left"): -135.0,
    ("down", "right"): -45.0,
}


def normal(text: str) -> str:
    """The text in small letters, hyphens and strange characters as single spaces."""
    return " ".join(re.sub(r"[^a-z0-9.,;:!?' ]", " ", text.lower().replace("\u2019", "'")).split())


def mentions(text: str) -> list[Mention]:
    """Every mention of hands in a `normal` text; "the other hand" is that beside the one mentioned before."""
    found: list[Mention] = []
    for match in _MENTION.finditer(text):
        sides = _sides(match, found[-1].sides if found else ())
        # "with the left hand and the right": the second belongs to the first.
        joined = found and found[-1].tool and text[found[-1].end : match.start()] == " and "
        if joined and not match["denied"]:
            last = found.pop()
            found.append(Mention(last.start, match.end(), _union(last.sides, sides), True, last.denied))
        else:
            tool, denied = bool(match["tool"]), bool(match["denied"])
            found.append(Mention(match.start(), match.end(), sides, tool, denied))
    return found


def _sides(match: re.Match[str], before: tuple[Side, ...]) -> tuple[Side, ...]:
    if match["both"]:
        return SIDES
    if match["other"]:
        return tuple(side for side in SIDES if len(before) == 1 and side not in before)
    return (cast(Side, match["side"] or match["bare"] or match["subject"]),)


def _union(one: tuple[Side, ...], other: tuple[Side, ...]) -> tuple[Side, ...]:
    return tuple(side for side in SIDES if side in one or side in other)


def claims(text: str, hands: list[Mention]) -> list[Claim]:
    """What a `normal` text claims.

    Args:
        text: where words that claim nothing (those of the original narration) are blanked.
        hands: the mentions in the whole text.
    """
    # The words for the hands themselves are no ways: "to the left hand".
    bare = text
    for hand in hands:
        bare = bare[: hand.start] + "_" * (hand.end - hand.start) + bare[hand.end :]
    found = []
    for kind, value, start, end in sorted(_all(bare, text), key=lambda item: item[2]):
        group = _group(bare, hands, start, end)
        sides = hands[group].sides if group >= 0 else ()
        negated = kind not in ("still", "unseen") and value != "none" and _negated(bare, start)
        found.append(Claim(kind, value, sides, negated, group))
    return found


def _all(bare: str, text: str) -> Iterator[tuple[Kind, float | str, int, int]]:
    for match in _STILL.finditer(bare):
        yield "still", "", *match.span()
    for match in _UNSEEN.finditer(bare):
        yield "unseen", "", *match.span()
    for match in _HANDS.finditer(text):
        yield "hands", match["how"], *match.span()
    for match in _TOUCH.finditer(bare):
        yield "contact", _touch(match), *match.span()
    for match in _WAY.finditer(bare):
        angle = _angle(match)
        if not (abs(angle) == 90.0 and _belongs_to_verb(bare, match)):
            yield "direction", angle, *match.span()


def _touch(match: re.Match[str]) -> str:
    for name in ("none", "begin", "end"):
        if match[name]:
            return name
    when = (match["when"] or "").strip()
    if when.startswith("all") or when.endswith(("all along", "all the time")):
        return "throughout"
    known = ("throughout", "at first", "at the end", "in between")
    return next((name for name in known if when.endswith(name)), "touch")


def _angle(match: re.Match[str]) -> float:
    vertical = next((match[name] for name in ("v1", "v2", "v3", "v4") if match[name]), None)
    across = next((match[name] for name in ("across", "corner", "to", "go", "wards") if match[name]), None)
    if match["corner"]:
        vertical = "down" if match["low"] else "up"
    if vertical and across:
        return _DIAGONALS[vertical, across]
    if vertical or across:
        return _ANGLES[vertical or across or ""]
    return 90.0 if match["rise"] else -90.0


def _belongs_to_verb(text: str, match: re.Match[str]) -> bool:
    """Whether "up" or "down" is a verb's, as in "picks the cup up", or a position's, as in "palm down"."""
    if match["v4"] is None:
        return False
    up_to = re.match(r" to\b", text[match.end() :]) is not None
    clause = re.split(r"[.,;:!?]|\b(?:while|as|which)\b", text[: match.start()])[-1]
    return up_to or _PARTICLE.search(clause) is not None


def _group(text: str, hands: list[Mention], start: int, end: int) -> int:
    """Index of the mention that a claim is about, -1 for none.

    It is the last one before it, unless a new clause began since and names its hand after the claim: "while
    the cup is moved up with the right hand".
    """
    before = max((i for i, hand in enumerate(hands) if hand.start < end and not hand.denied), default=-1)
    since = hands[before].end if before >= 0 else 0
    opened = before < 0 or _BREAK.search(text, since, max(start, since)) is not None
    after = next((i for i, hand in enumerate(hands) if hand.start >= end), -1)
    if opened and after >= 0 and hands[after].tool and not _BREAK.search(text, end, hands[after].start):
        return after
    return before


def _negated(text: str, start: int) -> bool:
    """Whether a negation stands before `start` in its clause."""
    clause = re.split(r"[.,;:!?]|\b(?:while|and|but|as|then|which)\b", text[:start])[-1]
    return _NEGATION.search(clause) is not None
