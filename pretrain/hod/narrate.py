"""Clips narrated and checked: a sentence that fails is written anew, then replaced by the template's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pretrain.hod.check import CheckResult, CheckSettings, SlotCounts, check, quality
from pretrain.hod.narrators import Narrator
from pretrain.hod.narrators.template import sentence
from pretrain.hod.prompt import Request, core


@dataclass(frozen=True)
class NarrateSettings:
    """How narrations are made.

    Attributes:
        attempts: sentences that a narrator may write for a clip before the template replaces them.
        check: what they must say.
    """

    attempts: int = 3
    check: CheckSettings = field(default_factory=CheckSettings)


@dataclass(frozen=True)
class Narration:
    """A clip's sentence.

    Attributes:
        text: the sentence.
        by: who wrote it.
        attempt: which of the narrator's attempts it is, from 0; that of the template's is `attempts`.
        result: of its check. Template sentences that replace others are checked too.
        quality: 0..1, see `check.quality`; NaN for a request without tracks.
    """

    text: str
    by: Literal["narrator", "template"]
    attempt: int
    result: CheckResult
    quality: float


@dataclass
class NarrationCounts:
    """What became of the sentences.

    Attributes:
        total: clips.
        at_once: first sentences that passed.
        retried: later ones that passed.
        replaced: sentences by the template in place of the narrator's.
        silent: first attempts that gave no sentence.
        before: checks of the first sentences, silent ones left out.
        after: checks of the sentences that are kept.
    """

    total: int = 0
    at_once: int = 0
    retried: int = 0
    replaced: int = 0
    silent: int = 0
    before: SlotCounts = field(default_factory=SlotCounts)
    after: SlotCounts = field(default_factory=SlotCounts)

    def add(self, narration: Narration) -> None:
        """Count the sentence that is kept for one clip."""
        self.total += 1
        self.after.add(narration.result)
        if narration.by == "template":
            self.replaced += 1
        elif narration.result.passed:
            self.at_once += narration.attempt == 0
            self.retried += narration.attempt > 0

    def summary(self) -> str:
        """Three lines."""
        return (
            f"{self.total} narrated: {self.at_once} passed at once, {self.retried} after another attempt, "
            f"{self.replaced} replaced by the template ({self.silent} had no first sentence)\n"
            f"before: {self.before.summary()}\nafter: {self.after.summary()}"
        )


def narrate_checked(
    requests: Sequence[Request],
    narrator: Narrator,
    settings: NarrateSettings | None = None,
    counts: NarrationCounts | None = None,
) -> list[Narration]:
    """Sentences for clips, each checked against its tracks.

    Args:
        requests: the clips.
        narrator: writes; one that is deterministic makes this so.
        settings: how often it may try, and what is checked.
        counts: are added to.

    Returns:
        One for each request, in their order.

    Raises:
        ValueError: a request without an original narration, or no attempt is allowed.
        NarratorError: the narrator cannot work at all.
    """
    limits, counted = settings or NarrateSettings(), counts or NarrationCounts()
    _refuse_bad(requests, limits)
    kept: dict[int, Narration] = {}
    for attempt in range(limits.attempts if narrator.retries else 1):
        left = [i for i in range(len(requests)) if i not in kept]
        texts = narrator.write([requests[i] for i in left], attempt) if left else []
        for i, text in zip(left, texts, strict=True):
            narration = None if not text else _judged(requests[i], text, "narrator", attempt, limits)
            if attempt == 0:
                _count_first(counted, narration)
            if narration is not None and (narration.result.passed or narrator.name == "template"):
                kept[i] = narration
    for i, request in enumerate(requests):
        if i not in kept:
            kept[i] = _judged(request, sentence(request), "template", limits.attempts, limits)
        counted.add(kept[i])
    return [kept[i] for i in range(len(requests))]


def _refuse_bad(requests: Sequence[Request], limits: NarrateSettings) -> None:
    if limits.attempts < 1:
        raise ValueError(f"attempts={limits.attempts}; a narrator wants at least 1")
    for request in requests:
        if not core(request.original):
            raise ValueError(f"request {request.key!r} has no original narration; leave such rows out")


def _judged(
    request: Request, text: str, by: Literal["narrator", "template"], attempt: int, limits: NarrateSettings
) -> Narration:
    result = check(text, request.motion, request.original, limits.check)
    worth = quality(request.tracks, result) if request.tracks else math.nan
    return Narration(text, by, attempt, result, worth)


def _count_first(counts: NarrationCounts, narration: Narration | None) -> None:
    if narration is None:
        counts.silent += 1
    else:
        counts.before.add(narration.result)
