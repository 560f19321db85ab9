"""Tasks, and how each is scored from similarities of clips with texts (or from a classifier's logits)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from egorep.intervals import Interval
from pretrain import metrics
from pretrain.data.narrations import Narrated
from pretrain.metrics import Floats

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_TOP = (1, 5)
_RECALLS = (1, 5, 10)


class Problem(NamedTuple):
    """Something that could not be evaluated: a `name` that a reader finds it by, and why."""

    name: str
    reason: str


class Figure(NamedTuple):
    """One number of a result.

    Attributes:
        task: that it is of.
        measure: what was measured, as "mAP, video to text".
        interval: the estimate with its 95 % interval; NaN of nothing.
        items: how many it is an average over.
        chance: what guessing gives on average; NaN where that is not known.
    """

    task: str
    measure: str
    interval: Interval
    items: int
    chance: float


@dataclass(frozen=True)
class Retrieval:
    """Find the captions of a clip among all, and the clips of a caption.

    Attributes:
        name: of the task.
        clips: N of them.
        texts: M captions.
        relevancy: (N, M) in 0..1.
    """

    name: str
    clips: Sequence[Narrated]
    texts: Sequence[str]
    relevancy: Floats

    def score(self, similarity: Floats, read: Mask) -> list[Figure]:
        """Figures over the clips that were read.

        A caption of which no clip was read is no query, yet still one of the items to find from.

        Args:
            similarity: (N, M); rows of clips that were not read are ignored.
            read: (N,) whether a clip was read.
        """
        forward, relevancy = similarity[read], self.relevancy[read]
        return _mean_of_both(
            _direction(self.name, "video to text", forward, relevancy),
            _direction(self.name, "text to video", forward.T, relevancy.T),
        )


@dataclass(frozen=True)
class Classification:
    """Tell which class a clip belongs to.

    Attributes:
        name: of the task.
        clips: N of them.
        prompts: of each of the C classes some texts that say it.
        labels: (N,) class of each clip.
        levels: coarser and finer readings of the classes, such as EK-100's verbs and nouns of actions: for
            each its name and (C,) the group that each class belongs to. A group scores what its best class
            scores. The first level is what fine-tuning selects on.
        per_class: whether the mean over classes is reported beside the mean over clips.
    """

    name: str
    clips: Sequence[Narrated]
    prompts: Sequence[tuple[str, ...]]
    labels: Ints
    levels: Mapping[str, Ints]
    per_class: bool = False

    def score(self, scores: Floats, read: Mask) -> list[Figure]:
        """Figures over the clips that were read.

        Args:
            scores: (N, C) of each clip for each class, larger is better; rows of clips that were not read
                are ignored.
            read: (N,) whether a clip was read.
        """
        return [
            figure
            for name, groups in self.levels.items()
            for figure in self._level(name, groups, scores[read], groups[self.labels[read]])
        ]

    def _level(self, name: str, groups: Ints, scores: Floats, labels: Ints) -> list[Figure]:
        present, index = np.unique(groups, return_inverse=True)
        grouped = np.stack([scores[:, index == group].max(1) for group in range(len(present))], axis=1)
        places = np.searchsorted(present, labels)
        figures = []
        for k in _TOP:
            if k < len(present):
                hits = metrics.accuracy(metrics.top_k_hits(grouped, places, k))
                figures.append(Figure(self.name, f"{name} top-{k}", hits, len(labels), k / len(present)))
        if self.per_class:
            mean = metrics.mean_class_accuracy(metrics.top_k_hits(grouped, places, 1), places)
            figures.append(Figure(self.name, f"{name} mean class", mean, len(labels), 1 / len(present)))
        return figures


class Question(NamedTuple):
    """A multiple-choice question: one text and several clips, or one clip and several texts.

    Attributes:
        kind: questions of one kind are scored together.
        clips: indices of clips.
        texts: indices of texts; of the two, one has a single entry.
        answer: index of the right choice.
    """

    kind: str
    clips: tuple[int, ...]
    texts: tuple[int, ...]
    answer: int

    @property
    def choices(self) -> int:
        """How many there are."""
        return max(len(self.clips), len(self.texts))


@dataclass(frozen=True)
class MultipleChoice:
    """Questions, scored apart by kind; a question of which any clip was not read is left out.

    Attributes:
        name: of the task.
        clips, texts: that the questions speak of.
        questions: to answer.
    """

    name: str
    clips: Sequence[Narrated]
    texts: Sequence[str]
    questions: Sequence[Question]

    def score(self, similarity: Floats, read: Mask) -> list[Figure]:
        """Figures over the questions all of whose clips were read.

        Args:
            similarity: (N, M) of clips and texts; rows of clips that were not read are ignored.
            read: (N,) whether a clip was read.
        """
        scored: dict[str, list[float]] = {question.kind: [] for question in self.questions}
        chances = defaultdict(list)
        for question in self.questions:
            if read[list(question.clips)].all():
                scores = similarity[np.ix_(question.clips, question.texts)].ravel()
                scored[question.kind].append(metrics.choice_credit(scores.tolist(), question.answer))
                chances[question.kind].append(1 / question.choices)
        return [
            Figure(
                self.name,
                kind,
                metrics.accuracy(got),
                len(got),
                float(np.mean(chances[kind])) if got else math.nan,
            )
            for kind, got in scored.items()
        ]


Task = Retrieval | Classification | MultipleChoice


@dataclass(frozen=True)
class Examples:
    """What a benchmark's files hold.

    Attributes:
        tasks: that were read; of training data the one to train on and the one to select on.
        problems: rows that could not be used, by name.
    """

    tasks: Sequence[Task]
    problems: Sequence[Problem] = field(default_factory=list)


class Captioned(NamedTuple):
    """A clip with its caption, and the classes of verbs and nouns in it."""

    clip: Narrated
    text: str
    verbs: frozenset[str]
    nouns: frozenset[str]


def retrieval(name: str, rows: Sequence[Captioned]) -> Retrieval:
    """Multi-instance retrieval among rows, with relevancies from their classes as EK-100's are.

    Rows of one text and the same classes share a caption.

    Args:
        name: of the task.
        rows: at least one.
    """
    captions = list(dict.fromkeys(row[1:] for row in rows))
    relevancy = metrics.caption_relevancy(
        [row.verbs for row in rows],
        [row.nouns for row in rows],
        [verbs for _, verbs, _ in captions],
        [nouns for _, _, nouns in captions],
    )
    return Retrieval(name, [row.clip for row in rows], [text for text, _, _ in captions], relevancy)


def _direction(task: str, direction: str, similarity: Floats, relevancy: Floats) -> list[Figure]:
    queries = (relevancy == 1).any(1)
    if not queries.any():
        return []
    precision = metrics.average_precision(similarity, relevancy)
    gain = metrics.ndcg(similarity, relevancy)
    ranks = metrics.best_rank(similarity, relevancy)
    graded, count = ~np.isnan(gain), int(queries.sum())
    figures = [
        Figure(
            task,
            f"mAP, {direction}",
            metrics.bootstrap(precision),
            count,
            float(np.nanmean(metrics.chance_average_precision(relevancy))),
        ),
        Figure(
            task,
            f"nDCG, {direction}",
            metrics.bootstrap(gain),
            int(graded.sum()),
            float(np.nanmean(metrics.chance_ndcg(relevancy))),
        ),
    ]
    for k in _RECALLS:
        hits = metrics.accuracy(ranks[queries] <= k)
        chance = metrics.chance_recall_at(relevancy, k)
        figures.append(Figure(task, f"recall@{k}, {direction}", hits, count, chance))
    middle = metrics.bootstrap(ranks, lambda rows: np.asarray(np.median(rows)))
    figures.append(Figure(task, f"median rank, {direction}", middle, count, math.nan))
    return figures


def _mean_of_both(there: list[Figure], back: list[Figure]) -> list[Figure]:
    """Both directions, and in front the means of mAP and nDCG over them, as EK-100 ranks models by."""
    means = []
    for one, other in zip(there, back, strict=False):
        measure = one.measure.split(",")[0]
        if measure in ("mAP", "nDCG"):
            # The ends of the two intervals are averaged: the directions share their clips and captions.
            ends = zip(one.interval, other.interval, strict=True)
            interval = Interval(*(float(np.mean(pair)) for pair in ends))
            chance = (one.chance + other.chance) / 2
            means.append(Figure(one.task, measure, interval, one.items + other.items, chance))
    return [*means, *there, *back]
