"""Probes on data whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from egorep.probing import FOLDS, PROBES, Fold, Score, Target, _interval, _Said, grouped_folds, probe

EPISODES, STEPS, DIM = 20, 12, 24


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    return np.repeat(np.arange(EPISODES), STEPS)


@pytest.fixture(scope="module")
def hidden(rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
    """Numbers that features are made of: partly an episode's own, partly a step's."""
    of_episodes = rng.normal(size=(EPISODES, 6))[groups]
    return of_episodes + rng.normal(size=(len(groups), 6))


@pytest.fixture(scope="module")
def features(rng: np.random.Generator, hidden: np.ndarray) -> np.ndarray:
    mixed = hidden @ rng.normal(size=(6, DIM))
    return 100.0 * mixed + 5.0 + rng.normal(size=mixed.shape)


def divided(groups: np.ndarray, select: int, test: int) -> Fold:
    """By the number of the first group that is chosen on, and of the first that is judged on."""
    part = np.digitize(groups, (select, test))
    return Fold(*(np.flatnonzero(part == place) for place in range(3)))


def by_probe(scores: Sequence[Score]) -> dict[tuple[str, str], float]:
    return {(score.target, score.probe): score.interval.estimate for score in scores}


def test_what_features_hold_is_read_and_what_they_do_not_hold_is_not(
    rng: np.random.Generator, features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    targets = [
        Target("held", 0.01 * hidden[:, :3] + 7.0),
        Target("above", hidden[:, 0] > 0),
        Target("noise", rng.normal(size=(len(groups), 2))),
        Target("coin", rng.random(len(groups)) < 0.5),
    ]
    scores = probe(features, targets, groups, grouped_folds(groups))
    assert [(score.target, score.probe) for score in scores] == [
        (target.name, kind) for target in targets for kind in ("linear", "mlp")
    ]
    assert {score.target: score.measure for score in scores} == {
        "held": "R2",
        "above": "AUROC",
        "noise": "R2",
        "coin": "AUROC",
    }
    found = by_probe(scores)
    assert found["held", "linear"] > 0.98
    assert found["held", "mlp"] > 0.8
    assert min(found["above", "linear"], found["above", "mlp"]) > 0.95
    for kind in ("linear", "mlp"):
        assert -0.15 < found["noise", kind] < 0.05
        assert 0.35 < found["coin", kind] < 0.65
    for score in scores:
        assert score.interval.low <= score.interval.estimate <= score.interval.high


def test_a_perceptron_reads_what_no_line_can(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(40), 30)
    features = rng.normal(size=(len(groups), 4))
    target = Target("product", features[:, :1] * features[:, 1:2])
    found = by_probe(probe(features, [target], groups, [divided(groups, 24, 30)]))
    assert found["product", "linear"] < 0.1
    assert found["product", "mlp"] > 0.6


@pytest.mark.parametrize("dim", [3, 400])
def test_the_linear_probe_is_ridge_regression(rng: np.random.Generator, dim: int) -> None:
    """With few features, and the smallest penalty, it is least squares; with many it interpolates."""
    groups = np.repeat(np.arange(9), 10)
    features = rng.normal(size=(90, dim))
    values = features[:, :3] @ rng.normal(size=(3, 2))
    fold = divided(groups, 4, 6)
    train, select, test = fold
    scores = probe(features, [Target("t", values)], groups, [fold])
    linear = scores[0].interval.estimate
    assert linear > 0.9999 if dim == 3 else 0.0 < linear < 0.5
    if dim > 90:
        return
    known = np.concatenate([train, select])
    design = np.column_stack([np.ones(len(known)), features[known]])
    weights = np.linalg.lstsq(design, values[known], rcond=None)[0]
    said = np.column_stack([np.ones(len(test)), features[test]]) @ weights
    saved = ((values[test] - said) ** 2).sum() / ((values[test] - values[known].mean(0)) ** 2).sum()
    assert linear == pytest.approx(1.0 - saved, abs=1e-6)


def test_an_episodes_own_look_does_not_help_in_other_episodes(
    rng: np.random.Generator, groups: np.ndarray
) -> None:
    """Every episode has a look and a value of its own: only a row of the same episode would tell."""
    looks = rng.normal(size=(EPISODES, DIM))[groups]
    value = Target("value", rng.normal(size=EPISODES)[groups][:, None])
    grouped = by_probe(probe(looks, [value], groups, grouped_folds(groups)[:1]))
    mixed = np.arange(len(groups))  # as if every row were an episode
    leaking = by_probe(probe(looks, [value], mixed, grouped_folds(mixed)[:1]))
    assert max(grouped.values()) < 0.3
    assert min(leaking.values()) > 0.8


def test_a_feature_that_one_episode_alone_shows_does_not_drown_the_others(
    features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    hardly_seen = np.where(groups == 3, 1e3, 1e-3 * np.sin(np.arange(len(groups))))
    targets = [Target("held", hidden[:, :3])]
    found = by_probe(probe(np.c_[features, hardly_seen], targets, groups, grouped_folds(groups)))
    assert found["held", "linear"] > 0.9
    assert found["held", "mlp"] > 0.7


def test_folds_judge_every_group_once_and_share_none(groups: np.ndarray) -> None:
    names = np.array([f"episode {group}" for group in groups])
    folds = grouped_folds(names, seed=3)
    assert len(folds) == FOLDS
    for part in ("select", "test"):
        rows = np.concatenate([getattr(fold, part) for fold in folds])
        assert np.array_equal(np.sort(rows), np.arange(len(groups)))
    for fold in folds:
        sets = [set(names[part]) for part in fold]
        assert sum(map(len, sets)) == len(set.union(*sets)) == EPISODES


def test_scores_repeat_whatever_was_drawn_before(
    features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    targets = [Target("held", hidden[:, :2])]
    folds = grouped_folds(groups)[:1]
    first = probe(features, targets, groups, folds)
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the very state that must not matter
    before = torch.get_rng_state()
    assert probe(features, targets, groups, folds) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_a_kind_alone_says_what_it_says_beside_the_other(
    features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    asked = features, [Target("t", hidden), Target("above", hidden[:, 0] > 0)], groups, grouped_folds(groups)
    both = probe(*asked)
    for kind in PROBES:
        assert probe(*asked, kinds=(kind,)) == [score for score in both if score.probe == kind]


def test_the_unit_of_features_and_targets_does_not_matter(
    features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    folds = grouped_folds(groups)[:1]
    plain = by_probe(probe(features, [Target("t", hidden[:, :2])], groups, folds))
    scaled = by_probe(probe(1e-3 * features - 4, [Target("t", 1e3 * hidden[:, :2])], groups, folds))
    assert scaled == pytest.approx(plain, abs=1e-3)


def test_features_that_never_vary_say_nothing(hidden: np.ndarray, groups: np.ndarray) -> None:
    targets = [Target("t", hidden[:, :1]), Target("b", hidden[:, 0] > 0)]
    found = by_probe(probe(np.ones((len(groups), 3)), targets, groups, grouped_folds(groups)))
    for kind in ("linear", "mlp"):
        near = 1e-6 if kind == "linear" else 0.1  # the perceptron's own mean drifts a little
        assert found["t", kind] == pytest.approx(0.0, abs=near)
        assert found["b", kind] == pytest.approx(0.5, abs=near)


def test_a_target_that_does_not_vary_has_no_score(features: np.ndarray, groups: np.ndarray) -> None:
    still = [Target("still", np.full((len(groups), 2), 3.0)), Target("never", np.zeros(len(groups), bool))]
    for score in probe(features, still, groups, grouped_folds(groups)):
        assert np.isnan(score.interval).all()


def test_intervals_cover_the_truth_where_rows_of_a_group_depend_on_each_other() -> None:
    """Each of 25 groups has an error of its own that all its rows share; rows as groups would be too sure."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(25), 8)
    held: dict[str, list[bool]] = {"grouped": [], "rows": []}
    for _ in range(200):
        values = rng.normal(size=(len(groups), 1))
        errors = 0.3 * rng.normal(size=25)[groups] + 0.4 * rng.normal(size=len(groups))
        said = _Said(values + errors[:, None], np.zeros_like(values))
        for name, members in (("grouped", groups), ("rows", np.arange(len(groups)))):
            low, high = _interval(values, said, members)[1:]
            held[name].append(low <= 1 - (0.3**2 + 0.4**2) <= high)
    assert np.mean(held["grouped"]) > 0.88
    assert np.mean(held["rows"]) < np.mean(held["grouped"])


def test_auroc_is_scikit_learns(rng: np.random.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    groups = np.repeat(np.arange(12), 8)
    seen = rng.integers(0, 4, len(groups)).astype(float)[:, None]  # ties
    true = seen[:, 0] + rng.normal(size=len(groups)) > 1.5
    fold = divided(groups, 6, 8)
    test = fold.test
    linear = probe(seen, [Target("t", true)], groups, [fold])[0]
    assert linear.interval.estimate == pytest.approx(metrics.roc_auc_score(true[test], seen[test, 0]))


def changed(what: str, features: np.ndarray, hidden: np.ndarray, groups: np.ndarray) -> None:
    """Probe with one thing wrong."""
    target, folds = Target("t", hidden[:, :2]), grouped_folds(groups)
    broken = features.copy()
    broken[3, 1] = np.nan
    leaking = folds[0]._replace(select=folds[0].train[:5])
    unknown = np.where(np.arange(len(hidden)) == 2, np.nan, hidden[:, 0])[:, None]
    arguments = {
        "nan features": (broken, [target], groups, folds),
        "flat features": (features[:, 0], [target], groups, folds),
        "nan target": (features, [replace(target, values=unknown)], groups, folds),
        "flat target": (features, [replace(target, values=hidden[:, 0])], groups, folds),
        "short target": (features, [replace(target, values=hidden[:5])], groups, folds),
        "square truth": (features, [replace(target, values=hidden > 0)], groups, folds),
        "no target": (features, [], groups, folds),
        "same names": (features, [target, target], groups, folds),
        "short groups": (features, [target], groups[:5], folds),
        "leak": (features, [target], groups, [leaking]),
        "empty part": (features, [target], groups, [folds[0]._replace(select=np.empty(0, int))]),
        "judged twice": (features, [target], groups, [folds[0], folds[0]]),
    }
    probe(*arguments[what])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan features", "features must be finite"),
        ("flat features", r"features want the shape \(N, D\), got \(240,\)"),
        ("nan target", "target 't' must be finite"),
        ("flat target", r"'t' wants the shape \(240, K\), got float64 \(240,\)"),
        ("short target", r"'t' wants the shape \(240, K\), got float64 \(5, 6\)"),
        ("square truth", r"'t' wants the shape \(240,\), got bool \(240, 6\)"),
        ("no target", "distinct names, at least one"),
        ("same names", "distinct names, at least one"),
        ("short groups", "one entry for each of 240 rows"),
        ("leak", "groups have rows in two parts of a fold"),
        ("empty part", "every part of a fold wants rows"),
        ("judged twice", "judge a row twice"),
    ],
)
def test_what_cannot_be_probed_is_told(
    what: str, message: str, features: np.ndarray, hidden: np.ndarray, groups: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=message):
        changed(what, features, hidden, groups)


def test_too_few_groups_are_told() -> None:
    with pytest.raises(ValueError, match="at least 5 groups, got 4"):
        grouped_folds([0, 0, 1, 2, 3])
