from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, ndcg_score, top_k_accuracy_score

from pretrain import metrics


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(700, 13))  # more queries than are ranked at a time


@pytest.fixture
def graded() -> np.ndarray:
    rng = np.random.default_rng(1)
    relevancy = rng.choice([0, 0, 0, 0.25, 0.5, 1.0], size=(700, 13))
    relevancy[:, 3] = 1.0
    return relevancy


def test_average_precision_by_hand() -> None:
    similarity = np.array([[0.9, 0.1, 0.8, 0.2]])
    # In the order of similarity: 1, 0.5, 0, 1. Precision at the found items: 1 / 1 and (1 + 0.5 + 0 + 1) / 4.
    relevancy = np.array([[1.0, 1.0, 0.5, 0.0]])
    assert metrics.average_precision(similarity, relevancy) == pytest.approx([(1 + 2.5 / 4) / 2])


def test_average_precision_is_scikit_learns_where_relevancy_is_binary(scores: np.ndarray) -> None:
    binary = (np.random.default_rng(2).random(scores.shape) < 0.3).astype(float)
    binary[:, 0] = 1
    wanted = [average_precision_score(*row) for row in zip(binary, scores, strict=True)]
    assert metrics.average_precision(scores, binary) == pytest.approx(wanted, abs=1e-12)


def test_ndcg_by_hand() -> None:
    # The worked example of the challenge's code: 0.9371789900735429.
    similarity = np.array([[1.0, 0.7, 0.4, 0.0], [0.3, 0.9, 0.6, 0.1], [0.2, 0.5, 0.8, 0.4]])
    relevancy = np.array([[1.0, 0.5, 0.25, 0.0], [0.0, 1.0, 0.4, 0.0], [0.5, 0.3, 1.0, 0.0]])
    # Rows one and two are ideal; row three ranks 1, 0.3 and then the item of 0.
    third = (1 + 0.3 / math.log2(3) + 0) / (1 + 0.5 / math.log2(3) + 0.3 / 2)
    assert metrics.ndcg(similarity, relevancy) == pytest.approx([1, 1, third])
    assert metrics.ndcg(similarity, relevancy).mean() == pytest.approx(0.9371789900735429, abs=1e-15)


def test_ndcg_is_scikit_learns_at_the_number_of_relevant_items(
    scores: np.ndarray, graded: np.ndarray
) -> None:
    wanted = [
        ndcg_score(relevancy[None], row[None], k=int((relevancy > 0).sum()))
        for row, relevancy in zip(scores, graded, strict=True)
    ]
    assert metrics.ndcg(scores, graded) == pytest.approx(wanted, abs=1e-12)


def test_a_query_without_a_relevant_item_has_no_score() -> None:
    similarity = np.array([[0.3, 0.2], [0.3, 0.2]])
    relevancy = np.array([[0.5, 0.0], [0.0, 0.0]])
    assert np.isnan(metrics.average_precision(similarity, relevancy)).tolist() == [True, True]
    assert np.isnan(metrics.ndcg(similarity, relevancy)).tolist() == [False, True]
    assert np.isnan(metrics.best_rank(similarity, relevancy)).all()
    assert metrics.bootstrap(metrics.ndcg(similarity, relevancy)).estimate == 1


def test_equally_similar_items_stand_in_their_order() -> None:
    relevancy = np.array([[0.0, 1.0, 0.0]])
    assert metrics.best_rank(np.zeros((1, 3)), relevancy) == [2]
    assert metrics.average_precision(np.zeros((1, 3)), relevancy) == [0.5]


@pytest.mark.parametrize(
    ("measure", "chance"),
    [
        (metrics.average_precision, metrics.chance_average_precision),
        (metrics.ndcg, metrics.chance_ndcg),
    ],
)
def test_chance_is_the_mean_over_random_orders(measure: object, chance: object, graded: np.ndarray) -> None:
    relevancy = np.repeat(graded[:2], 20_000, axis=0)
    similarity = np.random.default_rng(3).random(relevancy.shape)
    drawn = measure(similarity, relevancy).reshape(2, -1)  # type: ignore[operator]
    assert chance(graded[:2]) == pytest.approx(drawn.mean(1), abs=0.006)  # type: ignore[operator]


def test_recall_and_its_chance(graded: np.ndarray) -> None:
    assert metrics.recall_at(np.array([1.0, 3.0, 6.0, np.nan]), 5) == pytest.approx(2 / 3)
    relevancy = np.repeat(graded[:1], 20_000, axis=0)
    ranks = metrics.best_rank(np.random.default_rng(4).random(relevancy.shape), relevancy)
    assert metrics.chance_recall_at(graded[:1], 2) == pytest.approx(metrics.recall_at(ranks, 2), abs=0.01)
    assert metrics.chance_recall_at(graded[:1], 50) == 1


def test_caption_relevancy_by_hand() -> None:
    cup, both = frozenset({"cup"}), frozenset({"cup", "table"})
    relevancy = metrics.caption_relevancy(
        [frozenset({"take"}), frozenset({"put"})], [cup, both], [frozenset({"take"})] * 2, [both, cup]
    )
    assert relevancy == pytest.approx(np.array([[0.75, 1.0], [0.5, 0.25]]))
    assert relevancy.dtype == np.float32


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_scikit_learns(scores: np.ndarray, k: int) -> None:
    labels = np.random.default_rng(5).integers(13, size=len(scores))
    wanted = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(13))
    assert metrics.top_k_hits(scores, labels, k).mean() == pytest.approx(wanted)


def test_a_model_that_tells_no_classes_apart_hits_nothing() -> None:
    assert not metrics.top_k_hits(np.zeros((4, 3)), np.arange(4) % 3, 1).any()
    assert metrics.choice_credit([0.5, 0.5, 0.1], 0) == 0.5
    assert metrics.choice_credit([0.5, 0.6, 0.1], 0) == 0


def test_mean_class_accuracy_is_scikit_learns(scores: np.ndarray) -> None:
    labels = np.random.default_rng(6).choice(13, p=np.arange(13) / 78, size=len(scores))
    hits = metrics.top_k_hits(scores, labels, 1)
    wanted = balanced_accuracy_score(labels, scores.argmax(1))
    mean = metrics.mean_class_accuracy(hits, labels)
    assert mean.estimate == pytest.approx(wanted)
    assert mean.low < mean.estimate < mean.high


def test_intervals_by_hand() -> None:
    # Wilson for 8 of 10: (0.4902, 0.9433), as in Newcombe 1998 and every table.
    assert metrics.accuracy([1] * 8 + [0] * 2) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    assert metrics.accuracy(np.ones(10)) == pytest.approx((1.0, 0.72247, 1.0), abs=1e-5)
    assert math.isnan(metrics.accuracy([]).estimate)


def test_bootstrap_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(7).normal(0.4, 0.2, size=900)
    interval = metrics.bootstrap(values)
    half = 1.96 * values.std() / 30
    assert interval == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.002)
    assert interval == metrics.bootstrap(values)


@pytest.mark.parametrize(
    ("similarity", "relevancy", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"got \(2, 3\) and \(3, 2\)"),
        (np.full((1, 2), np.nan), np.zeros((1, 2)), "not finite"),
        (np.zeros((1, 2)), np.array([[0, 2.0]]), "0..1; got 0.0 to 2.0"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "neither 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    similarity: np.ndarray, relevancy: np.ndarray, message: str
) -> None:
    for measure in (metrics.average_precision, metrics.ndcg, metrics.best_rank):
        with pytest.raises(ValueError, match=message):
            measure(similarity, relevancy)
