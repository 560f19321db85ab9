"""Figures of retrieval, classification and multiple choice, with intervals and chance levels.

Multi-instance retrieval follows EPIC-KITCHENS-100 (Damen et al. 2022, "Rescaling Egocentric Vision", IJCV,
and the challenge's code, which comes from Wray et al. 2019, "Fine-Grained Action Retrieval Through Multiple
Parts-of-Speech Embeddings"): a relevancy 0..1 for every query and item instead of one right item.

Two things that the challenge's code leaves open are settled here. A query without any relevant item has no
score (there, 0 / 0 makes the whole mean NaN): it is left out, and the number of queries says so. Of equally
similar items the one of the lower index stands first, in mAP and nDCG alike (there, in nDCG the last, and in
mAP whatever an unstable sort gives).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from egorep.intervals import Interval, mean_interval, wilson

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

_BLOCK = 512  # queries ranked at a time: the test set of EK-100 has 9,668 x 3,842 pairs
_RESAMPLES = 1000


# Multi-instance retrieval


def average_precision(similarity: Floats, relevancy: Floats) -> Floats:
    """Average precision of every query, as EK-100 counts it.

    Only items of relevancy 1 are to be found, but at each of them the precision counts all relevancies so
    far, the partial ones too: AP = mean over found items of (sum of relevancies up to its rank) / rank. With
    relevancies of 0 and 1 alone it is the usual average precision.

    Args:
        similarity: (Q, N) of every query with every item, larger is more similar.
        relevancy: (Q, N) in 0..1.

    Returns:
        (Q,) in 0..1; NaN where no item has relevancy 1.

    Raises:
        ValueError: shapes that differ, values that are not finite, or relevancies beyond 0..1.
    """
    _check(similarity, relevancy)
    return _by_block(_average_precision, similarity, relevancy)


def ndcg(similarity: Floats, relevancy: Floats) -> Floats:
    """Normalised discounted cumulative gain of every query, as EK-100 counts it.

    The gain is the relevancy, the discount 1 / log2(rank + 1), and only the first k ranks count, where k is
    the query's number of items with a relevancy above 0.

    Args:
        similarity: (Q, N) of every query with every item, larger is more similar.
        relevancy: (Q, N) in 0..1.

    Returns:
        (Q,) in 0..1; NaN where no item has a relevancy above 0.

    Raises:
        ValueError: as `average_precision` does.
    """
    _check(similarity, relevancy)
    return _by_block(_ndcg, similarity, relevancy)


def chance_average_precision(relevancy: Floats) -> Floats:
    """(Q,) what `average_precision` is on average if the items come in random order; (Q, N) relevancies.

    A found item stands on every rank k equally often, and each of the k - 1 items before it has on average
    the relevancy that the other items have.
    """
    items = relevancy.shape[1]
    harmonic = float((1 / np.arange(1, items + 1)).sum()) / items
    others = (relevancy.sum(1) - 1) / max(items - 1, 1)
    return np.where((relevancy == 1).any(1), harmonic + (1 - harmonic) * others, np.nan)


def chance_ndcg(relevancy: Floats) -> Floats:
    """(Q,) what `ndcg` is on average if the items come in random order; (Q, N) relevancies."""
    discounts = _discounts(relevancy.shape[1])
    ideal = (_descending(relevancy) * discounts).sum(1)
    first = np.cumsum(discounts)[np.maximum((relevancy > 0).sum(1), 1) - 1]
    with np.errstate(invalid="ignore"):
        return relevancy.mean(1) * first / ideal


def best_rank(similarity: Floats, relevancy: Floats) -> Floats:
    """Rank of each query's first item of relevancy 1, from 1; NaN where there is none.

    Args:
        similarity: (Q, N) of every query with every item, larger is more similar.
        relevancy: (Q, N) in 0..1.

    Returns:
        (Q,); the median over the queries is the median rank, and the share that is at most k recall@k.

    Raises:
        ValueError: as `average_precision` does.
    """
    _check(similarity, relevancy)
    return _by_block(_best_rank, similarity, relevancy)


def recall_at(ranks: Floats, k: int) -> float:
    """Share of the queries whose `best_rank` is at most k; queries without a rank (NaN) are left out."""
    known = ranks[~np.isnan(ranks)]
    return float((known <= k).mean()) if len(known) else math.nan


def chance_recall_at(relevancy: Floats, k: int) -> float:
    """What `recall_at` is on average if the items come in random order; (Q, N) relevancies."""
    items, wanted = relevancy.shape[1], (relevancy == 1).sum(1)
    every = math.comb(items, min(k, items))
    missed = [math.comb(items - int(count), min(k, items)) / every for count in wanted if count]
    return 1 - float(np.mean(missed)) if missed else math.nan


def caption_relevancy(
    verbs: Sequence[frozenset[Any]],
    nouns: Sequence[frozenset[Any]],
    caption_verbs: Sequence[frozenset[Any]],
    caption_nouns: Sequence[frozenset[Any]],
) -> npt.NDArray[np.float32]:
    """Relevancy of captions to clips: the mean of the overlap of their verbs and of their nouns.

    Overlap is intersection over union of the sets of classes (EK-100, section on multi-instance retrieval);
    two empty sets overlap wholly.

    Args:
        verbs: classes of the N clips.
        nouns: likewise.
        caption_verbs: classes of the M captions.
        caption_nouns: likewise.

    Returns:
        (N, M) in 0..1.
    """
    return ((_overlap(verbs, caption_verbs) + _overlap(nouns, caption_nouns)) / 2).astype(np.float32)


# Classification and multiple choice


def top_k_hits(scores: Floats, labels: Ints, k: int) -> npt.NDArray[np.bool_]:
    """Whether each item's label is among its k best classes.

    Classes as good as the label stand before it, so a model that says the same of all classes hits nothing.

    Args:
        scores: (N, C), larger is better.
        labels: (N,) in 0..C-1.
        k: at least 1.

    Returns:
        (N,).
    """
    own = scores[np.arange(len(labels)), labels]
    return np.asarray((scores >= own[:, None]).sum(1) <= k)


def mean_class_accuracy(hits: npt.NDArray[np.bool_], labels: Ints) -> Interval:
    """Mean over the classes of each one's share of hits, so that rare classes count like frequent ones.

    Classes without an item are left out. The interval is MOVER's (Zou and Donner 2008) over the classes'
    Wilson intervals.

    Args:
        hits: (N,) whether each item was recognised.
        labels: (N,) its class.
    """
    rates = [accuracy(hits[labels == label]) for label in np.unique(labels)]
    if not rates:
        return Interval(math.nan, math.nan, math.nan)
    return mean_interval(rates)


def choice_credit(scores: Sequence[float], answer: int) -> float:
    """1 if the answer has the best score, 0 if not; 1 / m if it shares the best score with m - 1 others."""
    best = max(scores)
    return 1 / sum(score == best for score in scores) if scores[answer] == best else 0.0


def accuracy(hits: npt.ArrayLike) -> Interval:
    """Mean of hits, or of credits in 0..1, with Wilson's interval (1927); NaN of none.

    It takes the items as independent. Clips of one video are less than that, so it is rather too narrow.
    """
    values = np.asarray(hits, np.float64)
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    return wilson(float(values.mean()), len(values))


def bootstrap(values: Floats, statistic: Callable[[Floats], Floats] | None = None, seed: int = 0) -> Interval:
    """Mean, or another statistic, over queries, with the percentile bootstrap's interval; NaN is left out.

    Args:
        values: (Q,) one per query.
        statistic: of (R, Q) along the last axis; the mean by default.
        seed: of the 1,000 resamples of the queries.
    """
    statistic = statistic or (lambda rows: np.asarray(rows.mean(-1)))
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    drawn = [statistic(known[rng.integers(len(known), size=len(known))]) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(statistic(known)), float(low), float(high))


def _check(similarity: Floats, relevancy: Floats) -> None:
    if similarity.shape != relevancy.shape or similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(
            "similarity and relevancy want one shape (queries, items), neither 0; "
            f"got {similarity.shape} and {relevancy.shape}"
        )
    if not np.isfinite(similarity).all():
        raise ValueError("similarity is not finite everywhere: check the features")
    if not (relevancy.min() >= 0 and relevancy.max() <= 1):
        raise ValueError(f"relevancy wants 0..1; got {relevancy.min()} to {relevancy.max()}")


def _by_block(score: Callable[[Floats, Floats], Floats], similarity: Floats, relevancy: Floats) -> Floats:
    starts = range(0, len(similarity), _BLOCK)
    return np.concatenate(
        [score(similarity[start : start + _BLOCK], relevancy[start : start + _BLOCK]) for start in starts]
    )


def _ranked(similarity: Floats, relevancy: Floats) -> Floats:
    order = np.argsort(-similarity, axis=1, kind="stable")
    return np.take_along_axis(relevancy, order, axis=1).astype(np.float64)


def _average_precision(similarity: Floats, relevancy: Floats) -> Floats:
    ranked = _ranked(similarity, relevancy)
    found = ranked == 1
    precision = np.cumsum(ranked, axis=1) / np.arange(1, ranked.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        return (precision * found).sum(1) / found.sum(1)


def _ndcg(similarity: Floats, relevancy: Floats) -> Floats:
    discounts = _discounts(relevancy.shape[1])
    counted = np.arange(relevancy.shape[1]) < (relevancy > 0).sum(1)[:, None]
    gain = (_ranked(similarity, relevancy) * counted * discounts).sum(1)
    ideal = (_descending(relevancy) * discounts).sum(1)
    with np.errstate(invalid="ignore"):
        return gain / ideal


def _best_rank(similarity: Floats, relevancy: Floats) -> Floats:
    found = _ranked(similarity, relevancy) == 1
    return np.where(found.any(1), found.argmax(1) + 1.0, np.nan)


def _discounts(items: int) -> Floats:
    return 1 / np.log2(np.arange(items) + 2.0)


def _descending(relevancy: Floats) -> Floats:
    return np.sort(relevancy, axis=1)[:, ::-1].astype(np.float64)


def _overlap(one: Sequence[frozenset[Any]], other: Sequence[frozenset[Any]]) -> Floats:
    # Few of the sets differ from each other, so the overlap is computed once for each pair of different ones.
    sets, others = sorted(set(one), key=sorted), sorted(set(other), key=sorted)
    table = np.array([[len(a & b) / len(a | b) if a | b else 1.0 for b in others] for a in sets])
    place, other_place = {a: i for i, a in enumerate(sets)}, {b: j for j, b in enumerate(others)}
    return table[np.ix_([place[a] for a in one], [other_place[b] for b in other])]
