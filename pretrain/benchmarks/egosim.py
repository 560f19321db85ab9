"""EgoSim's held-out clips, judged as the field's benchmarks do, and by what only a simulator knows exactly.

`annotations` is the narrations.csv of a data set that `pretrain.sim` wrote, or the hod.csv that
`pretrain.hod` made of it, whose original narrations are taken; `videos` is the data set's folder. The rows
are those whose column `split` is `source.split`. Four tasks:

- **retrieval** as in EK-100: the relevancy of a caption to a clip is the mean of the overlap of their verbs
  (one each) and of their nouns (kinds of object and target).
- **verb** classification as in EK-100 and EGTEA, among all verbs of EgoSim.
- **multiple choice** as in EgoMCQ: a narration and five clips of other videos (inter), or the clips of its
  own video (intra: as many as it has narrations, 2 to 4), whose narrations all differ.
- **motion queries**: a clip and texts that differ in one thing alone: the acting hand, the direction, the
  object, or whether the action came off (contact). They are made of the row's own narration: hand and
  direction are added to it ("C pushes the box with the left hand", "C pushes the box to the left"), the
  object's noun is replaced by nouns of other kinds that the verb can be done to, and "C picks up the cup"
  stands against "C tries to pick up the cup". Of the last, as many successes as failures are asked about, of
  the same verbs where there are enough, so that saying "success" always is right half of the time.

Everything is drawn by hashes of names, so it is the same on every machine. Needs the `sim` extra, whose verbs
and nouns the texts are made of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pretrain.benchmarks import Source, files
from pretrain.benchmarks.tasks import (
    Captioned,
    Classification,
    Examples,
    MultipleChoice,
    Problem,
    Question,
    Retrieval,
    Task,
    retrieval,
)
from pretrain.data.narrations import Narrated, read_narrations
from pretrain.sim.actions import VERBS, Verb
from pretrain.sim.library import KINDS
from pretrain.sim.seeds import stable_hash, stable_rng

_CHOICES = 5  # clips of an inter-video question and texts about an object, as in EgoMCQ
_NAME = "EgoSim"
_HANDS = {"left": "with the left hand", "right": "with the right hand"}
_WAYS = {
    "left": "to the left",
    "right": "to the right",
    "away": "away from the body",
    "towards": "towards the body",
    "clockwise": "clockwise",
    "counterclockwise": "counterclockwise",
}
_COLUMNS = (
    *("split", "verb", "hand", "direction", "outcome"),
    *("kind", "colour", "target_kind", "target_colour"),
)


def evaluation(source: Source) -> Examples:
    """The four tasks on the split `source.split`: "test" or "validation" (or "train", to compare with)."""
    clips, problems = _read(source, source.split)
    if not clips:
        raise ValueError(f"{source.annotations} has no usable row of split {source.split!r}")
    questions, unclear = _motion_queries(clips)
    tasks: list[Task] = [
        retrieval(f"{_NAME} retrieval", [_captioned(clip) for clip in clips]),
        _classification(clips),
        _multiple_choice(clips),
        questions,
    ]
    return Examples(tasks, [*problems, *unclear])


def training(source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:
    """Splits train, and validation to select on."""
    tasks: list[Task] = []
    problems: list[Problem] = []
    for split in ("train", "validation"):
        clips, unusable = _read(source, split)
        if not clips:
            raise ValueError(f"{source.annotations} has no usable row of split {split!r}")
        captioned = [_captioned(clip) for clip in clips]
        tasks.append(
            retrieval(f"{_NAME} retrieval", captioned) if kind is Retrieval else _classification(clips)
        )
        problems += unusable
    return Examples(tasks, problems)


def _read(source: Source, split: str) -> tuple[list[Narrated], list[Problem]]:
    every = read_narrations(source.videos, source.annotations.resolve(), column="text")
    clips, problems = [], files.rejected(source.annotations, every)
    for clip in every.where(split=split):
        reason = _unusable(clip)
        if reason:
            problems.append(Problem(f"{clip.video_id} row {clip.row}", reason))
        else:
            clips.append(clip)
    return clips, problems


def _unusable(clip: Narrated) -> str:
    """Why a row cannot be used; "" if it can."""
    missing = [column for column in _COLUMNS if column not in clip.more]
    if missing:
        return f"it has no column {', '.join(missing)}: EgoSim's rows have them"
    verb, kinds = clip.more["verb"], [clip.more["kind"], clip.more["target_kind"]]
    strange = [f"verb {verb!r}"] if verb not in VERBS else []
    strange += [f"kind {kind!r}" for kind in kinds if kind and kind not in KINDS]
    return f"EgoSim knows no {', no '.join(strange)}" if strange else ""


def _captioned(clip: Narrated) -> Captioned:
    nouns = frozenset(filter(None, (clip.more["kind"], clip.more["target_kind"])))
    return Captioned(clip, clip.texts[0], frozenset([clip.more["verb"]]), nouns)


# Classification


def _classification(clips: Sequence[Narrated]) -> Classification:
    verbs = list(VERBS)
    labels = np.array([verbs.index(clip.more["verb"]) for clip in clips], np.int64)
    prompts = [_prompts(VERBS[verb]) for verb in verbs]
    return Classification(
        f"{_NAME} verbs", clips, prompts, labels, {"verb": np.arange(len(verbs))}, per_class=True
    )


def _prompts(verb: Verb) -> tuple[str, ...]:
    """What a narrator says of the verb: of "something", or by its name of the one thing it is done to."""
    one, other = (
        f"the {kinds[0]}" if len(kinds) == 1 else "something" for kinds in (verb.kinds, verb.targets)
    )
    return tuple(f"C {phrase.format(o=one, t=other)}" for phrase in verb.phrases)


# Multiple choice


def _multiple_choice(clips: Sequence[Narrated]) -> MultipleChoice:
    texts = [clip.texts[0] for clip in clips]
    by_video = defaultdict(list)
    for row, clip in enumerate(clips):
        by_video[clip.video_id].append(row)
    questions = [
        question
        for row, clip in enumerate(clips)
        for question in (_inter(clips, row), _intra(clips, row, by_video[clip.video_id]))
        if question is not None
    ]
    return MultipleChoice(f"{_NAME} multiple choice", clips, texts, questions)


def _inter(clips: Sequence[Narrated], row: int) -> Question | None:
    """Five clips of five videos whose narrations differ; None if there are not so many."""
    own = clips[row]
    rng = stable_rng("inter", own.video_id, own.row)
    chosen, videos, said = [row], {own.video_id}, {own.texts[0]}
    for other in rng.permutation(len(clips)).tolist():
        if len(chosen) == _CHOICES:
            break
        clip = clips[other]
        if clip.video_id not in videos and clip.texts[0] not in said:
            chosen.append(other)
            videos.add(clip.video_id)
            said.add(clip.texts[0])
    return _question("inter-video", chosen, row, rng) if len(chosen) == _CHOICES else None


def _intra(clips: Sequence[Narrated], row: int, same_video: Sequence[int]) -> Question | None:
    """The clips of the same video, each with another narration; None if there is only this one."""
    own = clips[row]
    said = {own.texts[0]: row}
    for other in same_video:
        said.setdefault(clips[other].texts[0], other)
    rng = stable_rng("intra", own.video_id, own.row)
    return _question("intra-video", list(said.values()), row, rng) if len(said) > 1 else None


def _question(kind: str, chosen: list[int], answer: int, rng: np.random.Generator) -> Question:
    order = [chosen[place] for place in rng.permutation(len(chosen))]
    return Question(kind, tuple(order), (answer,), order.index(answer))


# Motion queries


_GROUPS = ("object", "target")


@dataclass(frozen=True)
class _Said:
    """A narration taken apart.

    Attributes:
        phrase: of the verb that was used; None where the action failed, and it is told by its base form.
        object: noun phrase of the object, as "the red cup".
        target: likewise, "" where the verb has none.
    """

    phrase: str | None
    object: str
    target: str


def _take_apart(clip: Narrated) -> _Said:
    """The parts of a row's narration.

    Raises:
        ValueError: the text is none that EgoSim says of such a row.
    """
    verb, text, more = VERBS[clip.more["verb"]], clip.texts[0], clip.more
    failed = more["outcome"] != "success"
    object_, target = (
        _noun_pattern(group, more[kind], more[colour])
        for group, kind, colour in zip(
            _GROUPS, ("kind", "target_kind"), ("colour", "target_colour"), strict=True
        )
    )
    for template in [f"tries to {verb.base}"] if failed else verb.phrases:
        match = re.fullmatch(f"C {template.format(o=object_, t=target)}", text)
        if match:
            parts = match.groupdict()
            return _Said(None if failed else template, *(parts.get(key, "") for key in _GROUPS))
    raise ValueError(f"{text!r} is not what EgoSim says of {verb.name!r} here: keep the narrations it wrote")


def _noun_pattern(group: str, kind: str, colour: str) -> str:
    nouns = "|".join(map(re.escape, KINDS[kind].nouns)) if kind else ""
    return f"(?P<{group}>the (?:{re.escape(colour)} )?(?:{nouns}))"


def _motion_queries(clips: Sequence[Narrated]) -> tuple[MultipleChoice, list[Problem]]:
    parts: dict[int, _Said] = {}
    problems = []
    for row, clip in enumerate(clips):
        try:
            parts[row] = _take_apart(clip)
        except ValueError as error:
            problems.append(Problem(f"{clip.video_id} row {clip.row} (motion queries)", str(error)))
    texts: list[str] = []
    questions: list[Question] = []
    for kind, candidates in _CANDIDATES.items():
        rows = _balanced(clips, list(parts)) if kind == "contact" else list(parts)
        for row in rows:
            said = candidates(clips[row], parts[row])
            if len(said) > 1:
                order = stable_rng(kind, clips[row].video_id, clips[row].row).permutation(len(said)).tolist()
                places = tuple(range(len(texts), len(texts) + len(said)))
                texts += [said[place] for place in order]
                questions.append(Question(kind, (row,), places, order.index(0)))
    return MultipleChoice(f"{_NAME} motion queries", clips, texts, questions), problems


def _hands(clip: Narrated, _: _Said) -> list[str]:
    # Which hand begins is all that a verb of both hands would ask, and its narration does not leave it open.
    hand = clip.more["hand"]
    if hand not in _HANDS or len(VERBS[clip.more["verb"]].hands) < 2:
        return []
    others = [way for name, way in _HANDS.items() if name != hand]
    return [f"{clip.texts[0]} {way}" for way in (_HANDS[hand], *others)]


def _directions(clip: Narrated, _: _Said) -> list[str]:
    verb, direction = VERBS[clip.more["verb"]], clip.more["direction"]
    if direction not in verb.directions:
        return []
    others = [name for name in verb.directions if name != direction]
    return [f"{clip.texts[0]} {_WAYS[name]}" for name in (direction, *others)]


def _objects(clip: Narrated, said: _Said) -> list[str]:
    verb, colour = VERBS[clip.more["verb"]], clip.more["colour"]
    own = {clip.more["kind"], clip.more["target_kind"]}
    kinds = sorted(
        (kind for kind in verb.kinds if kind not in own and not _same_noun(kind, said.object)),
        key=lambda kind: stable_hash("object", clip.video_id, clip.row, kind),
    )
    shown = f"the {colour} " if said.object.startswith(f"the {colour} ") else "the "
    others = [_say(verb, said, object_=f"{shown}{kind}") for kind in kinds[: _CHOICES - 1]]
    return [clip.texts[0], *others]


def _outcomes(clip: Narrated, said: _Said) -> list[str]:
    verb = VERBS[clip.more["verb"]]
    if not verb.fails:
        return []
    done = f"C {verb.phrases[0].format(o=said.object, t=said.target)}"
    tried = f"C tries to {verb.base.format(o=said.object, t=said.target)}"
    return [clip.texts[0], done if said.phrase is None else tried]


_CANDIDATES: dict[str, Callable[[Narrated, _Said], list[str]]] = {
    "hand": _hands,
    "direction": _directions,
    "object": _objects,
    "contact": _outcomes,
}
"""What makes the texts of each kind of motion query, the true one first; fewer than two are no question."""


def _same_noun(kind: str, phrase: str) -> bool:
    return any(phrase.endswith(f" {noun}") for noun in KINDS[kind].nouns)


def _say(verb: Verb, said: _Said, object_: str) -> str:
    template = f"tries to {verb.base}" if said.phrase is None else said.phrase
    return f"C {template.format(o=object_, t=said.target)}"


def _balanced(clips: Sequence[Narrated], rows: Sequence[int]) -> list[int]:
    """The failures, and for each a success: of the same verb, else of any that may fail."""
    able = [row for row in rows if VERBS[clips[row].more["verb"]].fails]
    failed = [row for row in able if clips[row].more["outcome"] != "success"]
    spare = sorted(
        set(able) - set(failed), key=lambda row: stable_hash("contact", clips[row].video_id, clips[row].row)
    )
    chosen: list[int] = []
    for row in failed:
        same = [other for other in spare if clips[other].more["verb"] == clips[row].more["verb"]]
        for other in (same or spare)[:1]:
            spare.remove(other)
            chosen += [row, other]
    return chosen
