"""Narrations checked against the tracks: hand, object, direction, contact, verb.

What a sentence says is read by rules (`claims`) and compared with the tracks; what the original narration
says is taken as true and must be kept. A claim that the tracks do not bear out is wrong, also where they
know nothing: an unseen hand that is said to move is an invention. Inventions without an article ("using
tongs") and ways in depth are not noticed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np

from pretrain.hod.claims import Claim, Mention, claims, mentions, normal
from pretrain.hod.motion import SIDES, Contact, Leg, Motion, Path, Side
from pretrain.hod.prompt import core
from pretrain.hod.tracks import Tracks

Verdict = Literal["ok", "wrong", "not said"]
SLOTS = ("hand", "object", "direction", "contact", "verb")


@dataclass(frozen=True)
class CheckSettings:
    """What a narration must say.

    Attributes:
        required: slots that it must say where the tracks or the original know them.
        longest: words that it may have; the text tower reads 77 tokens.
        tolerance: degrees between a way that is said and the one measured: 45, so that "up" passes for a way
            up and to the left, and 5 for noise.
    """

    required: tuple[str, ...] = ("hand", "object", "direction", "verb")
    longest: int = 60
    tolerance: float = 50.0


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        hand, object, direction, contact, verb: the verdict of each slot.
        missing: required slots that are not said although they are known.
        faults: each thing that is wrong, in words.
    """

    hand: Verdict
    object: Verdict
    direction: Verdict
    contact: Verdict
    verb: Verdict
    missing: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and nothing required is missing."""
        return not self.faults and not self.missing

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By slot."""
        return {slot: getattr(self, slot) for slot in SLOTS}


@dataclass
class SlotCounts:
    """Verdicts over many narrations.

    Attributes:
        total: narrations.
        passed: those that passed.
        verdicts: how often each slot had each verdict.
        missing: how often a slot was required and not said.
    """

    total: int = 0
    passed: int = 0
    verdicts: Counter[tuple[str, Verdict]] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, result: CheckResult) -> None:
        """Count one."""
        self.total += 1
        self.passed += result.passed
        self.verdicts.update(result.verdicts.items())
        self.missing.update(result.missing)

    def right(self, slot: str) -> float:
        """Share of ok among the narrations that say the slot or had to; NaN if there are none."""
        ok, wrong = self.verdicts[slot, "ok"], self.verdicts[slot, "wrong"]
        of = ok + wrong + self.missing[slot]
        return ok / of if of else float("nan")

    def summary(self) -> str:
        """One line: the share that passed, and the share of each slot that is right."""
        slots = ", ".join(f"{slot} {self.right(slot):.2f}" for slot in SLOTS)
        return f"{self.passed} of {self.total} passed; right: {slots}"


def check(text: str, motion: Motion, original: str, settings: CheckSettings | None = None) -> CheckResult:
    """Compare a narration with the tracks and with the original narration.

    Args:
        text: the narration, one sentence.
        motion: what the tracks say.
        original: the narration that it was made from.
        settings: what it must say.
    """
    limits = settings or CheckSettings()
    said = _read(text, original)
    source = _Source.of(original)
    acts = source.sides or motion.acts
    faults: list[str] = []
    hand = _hand(said, motion, acts, source, faults)
    direction = _all_right(said.of("direction", "still", "hands"), _Judge(motion, acts, limits).way, faults)
    if direction == "ok" and not _speaks_of_actor(said, motion, acts):
        direction = "not said"
    contact = _all_right(said.of("contact"), _Judge(motion, acts, limits).contact, faults)
    object_, verb = _object(said.text, source, faults), _verb(said.text, source, faults)
    if len(said.text.split()) > limits.longest:
        faults.append(f"it has more than {limits.longest} words")
    known = {
        "hand": bool(acts) and not source.hands,
        "object": bool(source.heads),
        "direction": any(_moves(motion, side) for side in acts or SIDES),
        "contact": any(motion.hand(side).contact.touches for side in acts or SIDES),
        "verb": bool(source.verb),
    }
    verdicts: dict[str, Verdict] = {
        "hand": hand,
        "object": object_,
        "direction": direction,
        "contact": contact,
        "verb": verb,
    }
    missing = [slot for slot in limits.required if known[slot] and verdicts[slot] == "not said"]
    return CheckResult(hand, object_, direction, contact, verb, tuple(missing), tuple(faults))


def _moves(motion: Motion, side: Side) -> bool:
    path = motion.hand(side).path
    return path.known and not path.still


# What the sentence says


@dataclass(frozen=True)
class _Said:
    """A narration, read.

    Attributes:
        text: normal.
        start: where the words of the original, or their verb, begin.
        hands: mentions outside the words of the original.
        claims: likewise.
    """

    text: str
    start: int
    hands: list[Mention]
    claims: list[Claim]

    def of(self, *kinds: str) -> list[Claim]:
        return [claim for claim in self.claims if claim.kind in kinds]


def _read(text: str, original: str) -> _Said:
    whole, given = normal(text), normal(core(original))
    kept = re.search(rf"\b{re.escape(given)}\b", whole) if given else None
    if kept is None:
        verb = _Source.of(original).verb
        start = next((m.start() for m in re.finditer(r"[a-z']+", whole) if root(m[0]) == verb), 0)
        return _Said(whole, start, mentions(whole), claims(whole, mentions(whole)))
    # The annotator's own words are true, and claim nothing of the tracks.
    bare = whole[: kept.start()] + "~" * len(given) + whole[kept.end() :]
    return _Said(whole, kept.start(), mentions(bare), claims(bare, mentions(bare)))


# Hand


def _hand(said: _Said, motion: Motion, acts: tuple[Side, ...], source: _Source, faults: list[str]) -> Verdict:
    before = len(faults)
    claimed, denied = _claimed(said)
    if claimed and set(claimed) != set(acts):
        faults.append(f"it acts with {_names(claimed)}; the tracks say {_names(acts)}")
    faults += [f"{side} hand denied" for side in denied if side in acts]
    unseen = {side for claim in said.of("unseen") for side in claim.sides}
    faults += [f"the {side} hand is seen" for side in sorted(unseen) if motion.hand(side).path.known]
    for side in sorted({side for hand in said.hands for side in hand.sides} - unseen - set(denied)):
        if motion.hand(side).path.seen == 0 and side not in acts:
            faults.append(f"the {side} hand is not seen")
    if len(faults) > before:
        return "wrong"
    return "ok" if claimed or denied or unseen or source.sides else "not said"


def _names(sides: Sequence[Side]) -> str:
    return " and ".join(sides) or "neither"


_CLAUSE_END = re.compile(r"[.;:!?]|, (?:while|as|and|which|but)\b|\b(?:while|whereas|as|which)\b")


def _claimed(said: _Said) -> tuple[tuple[Side, ...], tuple[Side, ...]]:
    """Sides that are said to act, and sides of which that is denied.

    A hand acts that is the tool in the clause of the original's words ("with the left hand"), or stands
    before them as their subject ("C's left hand picks up", "C uses the left hand to pick up").
    """
    end = _CLAUSE_END.search(said.text, said.start)
    until = end.start() if end else len(said.text)
    chosen = [hand for hand in said.hands if hand.start < until and (hand.tool or hand.start < said.start)]
    return _together(h for h in chosen if not h.denied), _together(h for h in chosen if h.denied)


def _together(hands: Iterable[Mention]) -> tuple[Side, ...]:
    sides = {side for hand in hands for side in hand.sides}
    return tuple(side for side in SIDES if side in sides)


def _speaks_of_actor(said: _Said, motion: Motion, acts: tuple[Side, ...]) -> bool:
    """Whether the way of a hand that acts is said, if one of them moves."""
    moving = {side for side in acts if _moves(motion, side)}
    spoken = [claim.sides or acts for claim in said.of("direction", "still", "hands")]
    return not moving or any(moving & set(sides) for sides in spoken)


# Direction and contact


def _all_right(found: list[Claim], judge: Callable[[list[Claim]], bool], faults: list[str]) -> Verdict:
    """Judge the claims of each mention of a hand together, for ways are said in order."""
    before = len(faults)
    for _, group in groupby(found, key=lambda claim: (claim.group, claim.kind, claim.negated)):
        members = list(group)
        if not judge(members):
            words = ", ".join(f"{claim.kind} {claim.value}".strip() for claim in members)
            denied = " denied" if members[0].negated else ""
            whose = " and ".join(members[0].sides) or "acting"
            faults.append(f"{words}{denied}, of the {whose} hand: not so in the tracks")
    if len(faults) > before:
        return "wrong"
    return "ok" if found else "not said"


@dataclass(frozen=True)
class _Judge:
    """Compares claims with the motion; those of no hand are of the hands that act, else of any."""

    motion: Motion
    acts: tuple[Side, ...]
    limits: CheckSettings

    def way(self, members: list[Claim]) -> bool:
        """Whether ways, rest, or what the hands do to each other are as in the tracks."""
        first = members[0]
        if first.kind == "hands":
            return all(self._hands(str(claim.value)) != claim.negated for claim in members)
        true = self._still if first.kind == "still" else self._goes
        named = first.sides or self.acts
        every = all(true(side, members) for side in named) if named else any(true(s, members) for s in SIDES)
        if not first.negated:
            return every
        return all(not true(side, [claim]) for side in named or SIDES for claim in members) and all(
            self.motion.hand(side).path.known for side in named
        )

    def contact(self, members: list[Claim]) -> bool:
        """Whether contacts are as in the tracks."""
        named = members[0].sides or self.acts
        hands = [self.motion.hand(side).contact for side in named or SIDES]
        quantifier = all if named else any
        return all(
            quantifier(_touches(contact, str(claim.value), claim.negated) for contact in hands)
            for claim in members
        )

    def _hands(self, how: str) -> bool:
        wanted = {"apart": ("move apart",), "together": ("together", "come closer")}
        return self.motion.together in wanted.get(how, ("come closer",))

    def _still(self, side: Side, _: list[Claim]) -> bool:
        return self.motion.hand(side).path.still

    def _goes(self, side: Side, members: list[Claim]) -> bool:
        angles = [float(claim.value) for claim in members]
        return any(self._follows(path, angles) for path in self.motion.paths_of(side))

    def _follows(self, path: Path, angles: list[float]) -> bool:
        """Whether the ways are those of the path in order, or all that from its first to its last place."""
        if path.net and all(self._near(path.net, angle) for angle in angles):
            return True
        at = 0
        for angle in angles:
            while at < len(path.legs) and not self._near(path.legs[at], angle):
                at += 1
        return at < len(path.legs)

    def _near(self, leg: Leg, angle: float) -> bool:
        return abs((leg.angle - angle + 180) % 360 - 180) <= self.limits.tolerance


def _touches(contact: Contact, how: str, negated: bool) -> bool:
    if not contact.known:
        return False
    begins, ends = contact.begins is not None, contact.ends is not None
    true = {
        "none": not contact.touches,
        "touch": contact.touches,
        "begin": contact.touches and begins,
        "end": contact.touches and ends,
        "throughout": contact.throughout,
        "at first": contact.touches and not begins and ends,
        "at the end": contact.touches and begins and not ends,
        "in between": contact.touches and begins and ends,
    }
    return true[how] != negated


# Object and verb: what the original says must be kept


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COLOURS = _words(
    "red orange yellow green turquoise blue purple pink brown white grey gray black silver golden"
)
_LITTLE = _words(
    """a an the this that these those some any another his her its their my your one two both each c and or
    then of to in on at by with from into onto over under off out up down for as while which who it them him
    he she they is are be being was been has have not no without using again back aside closer together
    away towards toward across around through along open shut left right other hand hands upside tries
    try trying"""
)
_DETERMINERS = _words("the a an his her its their another some this that")
_PLAIN = _words(
    """hand palm finger thumb wrist arm fist object item thing picture frame view image scene camera wearer
    person way side direction air end start beginning middle distance bit little moment time contact hold grip
    grasp movement motion rest body first long same short left right other one while second"""
)
_SUBJECTS = _words("c o x y the a an to camera wearer person man woman lady guy someone he she and i")
_TRIES = frozenset(("try", "attempt", "fail"))
_OPPOSITES = {"on": "off", "off": "on", "up": "down", "down": "up", "in": "out", "out": "in", "into": "out"}
_IRREGULAR = {
    "took": "take",
    "taken": "take",
    "held": "hold",
    "kept": "keep",
    "left": "leave",
    "slid": "slide",
    "tore": "tear",
    "broke": "break",
    "threw": "throw",
    "shook": "shake",
    "hung": "hang",
}


def root(word: str) -> str:
    """A word without its ending, so that forms of one word agree: picks, picking -> pick; places -> plac."""
    word = _IRREGULAR.get(word.removesuffix("'s"), word.removesuffix("'s"))
    for ending, instead in (
        ("ies", "y"),
        ("ied", "y"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
        ("e", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 2 and not word.endswith("ss"):
            word = word[: -len(ending)] + instead
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt"
    return word[:-1] if doubled else word


@dataclass(frozen=True)
class _Source:
    """An original narration.

    Attributes:
        verb: root of its verb.
        particle: of the verb, as "up"; "" if it has none.
        heads: roots of the nouns of its objects.
        words: roots of all its words.
        tries: whether it is an attempt.
        sides: of the hands that it names.
        hands: whether it speaks of hands, named or not.
    """

    verb: str
    particle: str
    heads: tuple[str, ...]
    words: frozenset[str]
    tries: bool
    sides: tuple[Side, ...]
    hands: bool

    @classmethod
    def of(cls, original: str) -> _Source:
        words = re.findall(r"[a-z0-9']+", normal(core(original)))
        verb = next(
            (i for i, word in enumerate(words) if word not in _SUBJECTS and root(word) not in _TRIES), 0
        )
        content = [i for i, word in enumerate(words) if i == verb or (i > verb and word not in _LITTLE)]
        # A phrase is a run of content words; its last one is its noun.
        heads = [words[i] for i in content[1:] if i + 1 not in content and not words[i].endswith("ly")]
        particle = next((word for word in words[verb + 1 :] if word in _OPPOSITES), "")
        named = [hand for hand in mentions(" ".join(words)) if hand.sides]
        return cls(
            root(words[verb]) if content else "",
            particle,
            tuple(dict.fromkeys(root(head) for head in heads)),
            frozenset(root(word) for word in words),
            _tries(words),
            _together(named),
            not {"hand", "hands"}.isdisjoint(words),
        )


def _tries(words: Iterable[str]) -> bool:
    return not _TRIES.isdisjoint(root(word) for word in words)


def _object(text: str, source: _Source, faults: list[str]) -> Verdict:
    words = re.findall(r"[a-z0-9']+|[.,;:!?]", text)
    strange = [phrase for phrase in _phrases(words) if not _known(phrase, source)]
    colours = [word for word in words if word in _COLOURS and root(word) not in source.words]
    faults += [f"{' '.join(phrase)!r} is not in the original" for phrase in strange]
    faults += [f"{colour!r} is not in the original" for colour in colours]
    if strange or colours:
        return "wrong"
    roots = {root(word) for word in words}
    return "ok" if source.heads and roots.issuperset(source.heads) else "not said"


def _phrases(words: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Up to four words after each determiner, until a little word or a stop."""
    for i, word in enumerate(words):
        if word in _DETERMINERS:
            phrase = []
            for follower in words[i + 1 : i + 5]:
                if (follower in _LITTLE and root(follower) not in _PLAIN) or not follower[0].isalnum():
                    break
                phrase.append(follower)
            if phrase:
                yield tuple(phrase)


def _known(phrase: Iterable[str], source: _Source) -> bool:
    return any(root(word) in source.heads or word in _PLAIN or root(word) in _PLAIN for word in phrase)


def _verb(text: str, source: _Source, faults: list[str]) -> Verdict:
    words = re.findall(r"[a-z0-9']+|[.,;:!?]", text)
    at = next((i for i, word in enumerate(words) if root(word) == source.verb), None)
    if at is None or not source.verb:
        return "not said"
    before = len(faults)
    if _tries(words) != source.tries:
        faults.append("it tries" if not source.tries else "it succeeds where the original only tries")
    if re.search(r"(?:\bnot|\bnever|n't|\bwithout)(?: \w+ly)? $", " ".join(words[:at]) + " "):
        faults.append("the verb is denied")
    clause = words[at + 1 : at + 6]
    opposite = _OPPOSITES.get(source.particle, "")
    if opposite in clause and source.particle not in clause and root(opposite) not in source.words:
        faults.append(f"{opposite!r} instead of {source.particle!r}")
    return "wrong" if len(faults) > before else "ok"


# Quality


def quality(tracks: Tracks, result: CheckResult) -> float:
    """How far a clip's narration can be trusted, 0..1: seen * sure * found * said.

    - seen: share of the instants at which at least one hand is visible;
    - sure: mean confidence of the detector over the boxes of hands;
    - found: 1 minus half the share of those boxes that were interpolated;
    - said: share of the five slots that are not wrong, required and missing ones counting as wrong.
    """
    hands = tracks.visible[:, :2]
    if not hands.any():
        return 0.0
    wrong = sum(verdict == "wrong" for verdict in result.verdicts.values()) + len(result.missing)
    seen = hands.any(1).mean()
    sure = np.nanmean(tracks.scores[:, :2][hands])
    found = 1 - tracks.interpolated[:, :2][hands].mean() / 2
    return float(seen * sure * found * (1 - wrong / len(SLOTS)))
