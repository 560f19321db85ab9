"""Probes: what frozen features know, by how well a linear map and a small perceptron read a target from them.

Every division of the data has three parts that share no group (an episode, a video): a probe learns on the
first, one number of it is chosen on the second, it is fitted anew on both, and judged on the third. That
number is the penalty of the linear probe, which is ridge regression, and for how long the perceptron trains.
Inputs are standardised on what the probe learns from.

Numbers are scored by R2, and what is true or false by the area under the ROC curve (AUROC). For the latter,
too, probes regress, on 0 and 1: only the order of what they say counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from egorep.intervals import Interval

VERSION = 2
"""Raised when the same data get other scores: kept scores are keyed by it."""

LIMIT = 5.0
"""Probes and policies hold features within so many deviations of what they learn from: ridge regression from
features of varied scenes to positions does better so (`benchmarks/standardising.py`)."""

PROBES = ("linear", "mlp")
FOLDS = 5

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Penalties, in units of the mean of the inputs' squared singular values: from hardly any to nearly all.
_PENALTIES = tuple(10.0 ** (power / 2) for power in range(-12, 7))

# The perceptron. It stops early, so only its speed hangs on these.
_HIDDEN = 256
_BATCH = 128
_RATE = 2e-3
_DECAY = 1e-2
_CHECK_EVERY = 10  # steps
_CHECKS = 30  # at most
_PATIENCE = 4  # checks without a better one, for every target, before it stops

_RESAMPLES = 1000


@dataclass(frozen=True)
class Target:
    """Something to read from features.

    Attributes:
        name: in tables.
        values: (N, K) numbers that share a unit, or (N,) bool.
    """

    name: str
    values: npt.NDArray[Any]

    @property
    def is_binary(self) -> bool:
        """Whether it is true or false."""
        return self.values.dtype == np.bool_

    @property
    def measure(self) -> str:
        """What its score is: `AUROC` where it is true or false, else `R2`."""
        return "AUROC" if self.is_binary else "R2"

    @property
    def numbers(self) -> Floats:
        """(N, K) as regression takes them, 0 and 1 for what is false and true."""
        return _numbers(self.values)


class Fold(NamedTuple):
    """One division of the rows: indices of what is learnt from, chosen on and judged on."""

    train: Ints
    select: Ints
    test: Ints


class Score(NamedTuple):
    """How well a probe reads a target.

    Attributes:
        target: its name.
        probe: `linear` or `mlp`.
        measure: `R2`, at most 1: the share of the squared error of always saying the training part's mean
            that the probe saves, all K numbers together; 0 says as little as the mean, and below it a probe
            is worse. `AUROC`, 0..1: how often a true row scores above a false one; 0.5 is chance.
        interval: the score and its 95 % interval, the percentile bootstrap over the groups that are judged.
            NaN where the judged rows do not vary.
    """

    target: str
    probe: str
    measure: str
    interval: Interval


def grouped_folds(groups: npt.ArrayLike, seed: int = 0) -> list[Fold]:
    """Divisions for cross-validation: every group is judged once, chosen on once, and learnt from otherwise.

    Args:
        groups: (N,) of each row, such as the number of its episode.
        seed: deals the groups out to the folds.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FOLDS:
        raise ValueError(
            f"cross-validation wants at least {FOLDS} groups, got {len(names)}: "
            "give more episodes, or a division of your own"
        )
    dealt = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    part = dealt[members]
    return [
        Fold(*(np.flatnonzero(chosen) for chosen in (_others(part, fold), part == _next(fold), part == fold)))
        for fold in range(FOLDS)
    ]


def probe(
    features: npt.ArrayLike,
    targets: Sequence[Target],
    groups: npt.ArrayLike,
    folds: Sequence[Fold],
    kinds: Sequence[str] = PROBES,
) -> list[Score]:
    """How well a linear and a non-linear probe read each target from features.

    Deterministic on one machine with one number of threads, and no global random state is touched. The
    perceptron reads all targets together; each is read after as many steps as suit it best.

    Args:
        features: (N, D).
        targets: of the same N rows.
        groups: (N,) of each row; rows of a group depend on each other.
        folds: `grouped_folds`, or one `Fold` where the division is given.
        kinds: of probes, from `PROBES`.

    Returns:
        For each target a score of each kind.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, names that repeat, a part of a fold
            that is empty, a group in two parts of a fold, or a row that is judged twice.
    """
    inputs = np.asarray(features, np.float64)
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    _check(inputs, targets, np.asarray(groups))
    for fold in folds:
        _check_fold(fold, members)
    judged = np.concatenate([fold.test for fold in folds])
    if len(np.unique(judged)) < len(judged):
        raise ValueError("folds judge a row twice: the test parts must not overlap")
    goals = [target.numbers for target in targets]
    parts = [_read(inputs, goals, fold, seed, kinds) for seed, fold in enumerate(folds)]
    scores = []
    for place, target in enumerate(targets):
        for kind in kinds:
            said = _Said.joined([part[kind][place] for part in parts])
            interval = _interval(target.values[judged], said, members[judged])
            scores.append(Score(target.name, kind, target.measure, interval))
    return scores


# What probes say


class _Said(NamedTuple):
    """Of a fold's test rows: what a probe says, and what one says that knows no more than the mean."""

    probe: Floats
    mean: Floats

    @classmethod
    def joined(cls, parts: Sequence[_Said]) -> _Said:
        """Of several folds, one after the other."""
        return cls(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def _others(part: Ints, fold: int) -> npt.NDArray[np.bool_]:
    return (part != fold) & (part != _next(fold))


def _next(fold: int) -> int:
    return (fold + 1) % FOLDS


def _numbers(values: npt.NDArray[Any]) -> Floats:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _read(
    inputs: Floats, goals: Sequence[Floats], fold: Fold, seed: int, kinds: Sequence[str]
) -> dict[str, list[_Said]]:
    """What each kind of probe says of a fold's test rows, by target."""
    both = np.concatenate([fold.train, fold.select])
    first = _Task.of(inputs, goals, fold.train, fold.select)
    last = _Task.of(inputs, goals, both, fold.test)
    read = {"linear": lambda: _linear(first, last), "mlp": lambda: _mlp(first, last, seed)}
    return {
        kind: [
            _Said(rows.numpy() * scale + mean, np.broadcast_to(mean, rows.shape))
            for rows, mean, scale in zip(read[kind](), last.means, last.scales, strict=True)
        ]
        for kind in kinds
    }


@dataclass(frozen=True)
class _Task:
    """To learn from some rows and to predict others, float64, all standardised on the former.

    Features are held within `LIMIT` deviations: what a fixed scene hardly shows may stand hundreds of
    deviations away in one episode, and would be all that is judged. A target's numbers share one scale, so
    that errors weigh as they do in its own unit.

    Attributes:
        inputs, asked: (N, D) and (M, D) features.
        goals, answers: (N, S) and (M, S), the S numbers of all targets.
        means, scales: of each target.
        columns: of each target among the S numbers.
    """

    inputs: Tensor
    asked: Tensor
    goals: Tensor
    answers: Tensor
    means: list[Floats]
    scales: list[float]
    columns: list[slice]

    @classmethod
    def of(cls, inputs: Floats, goals: Sequence[Floats], known: Ints, asked: Ints) -> _Task:
        mean, deviation = inputs[known].mean(axis=0), inputs[known].std(axis=0)
        standard = ((inputs - mean) / np.where(deviation > 0, deviation, 1.0)).clip(-LIMIT, LIMIT)
        means = [goal[known].mean(axis=0) for goal in goals]
        variances = [float(goal[known].var(axis=0).mean()) for goal in goals]
        scales = [variance**0.5 if variance > 0 else 1.0 for variance in variances]
        scaled = np.concatenate(
            [(goal - m) / s for goal, m, s in zip(goals, means, scales, strict=True)], axis=1
        )
        ends = np.cumsum([goal.shape[1] for goal in goals]).tolist()
        columns = [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        return cls(
            inputs=torch.from_numpy(standard[known]),
            asked=torch.from_numpy(standard[asked]),
            goals=torch.from_numpy(scaled[known]),
            answers=torch.from_numpy(scaled[asked]),
            means=means,
            scales=scales,
            columns=columns,
        )

    def errors(self, answers: Tensor) -> list[float]:
        """The mean squared error of (M, S) answers, of each target."""
        squares = (answers - self.answers).square()
        return [float(squares[:, part].mean()) for part in self.columns]


def _linear(first: _Task, last: _Task) -> list[Tensor]:
    """Ridge regression: each target's test rows, by the penalty that suits it best."""
    ridge = _Ridge(first)
    errors = np.array([first.errors(ridge.predict(penalty)) for penalty in _PENALTIES])
    chosen = errors.argmin(axis=0)
    ridge = _Ridge(last)
    return [
        ridge.predict(_PENALTIES[place])[:, part] for place, part in zip(chosen, last.columns, strict=True)
    ]


class _Ridge:
    """Ridge regression for many penalties at the cost of one decomposition, of the smaller Gram matrix."""

    def __init__(self, task: _Task) -> None:
        inputs = task.inputs
        wide = inputs.shape[0] < inputs.shape[1]
        values, basis = torch.linalg.eigh(inputs @ inputs.T if wide else inputs.T @ inputs)
        self._values = values.clamp(min=0.0)
        self._asked = task.asked @ (inputs.T @ basis if wide else basis)
        self._goals = basis.T @ (task.goals if wide else inputs.T @ task.goals)
        # Features that never vary are 0 here, and any penalty does for them.
        self._unit = float(self._values.mean()) or 1.0

    def predict(self, penalty: float) -> Tensor:
        """(M, S) answers."""
        shrunk = self._goals / (self._values + penalty * self._unit)[:, None]
        return self._asked @ shrunk


def _mlp(first: _Task, last: _Task, seed: int) -> list[Tensor]:
    """A perceptron: each target's test rows, after as many steps as suit it best."""
    checks = [first.errors(answers) for answers in _Perceptron(first, seed).train(_patience(first))]
    chosen = np.array(checks).argmin(axis=0)
    network = _Perceptron(last, seed)
    answers = list(network.train(lambda check, _: check < int(chosen.max())))
    return [answers[place][:, part] for place, part in zip(chosen, last.columns, strict=True)]


def _patience(task: _Task) -> Callable[[int, Tensor], bool]:
    """Goes on while some target was read better than ever before within the last checks."""
    best = np.full(len(task.columns), np.inf)
    newest = np.zeros(len(task.columns), int)

    def goes_on(check: int, answers: Tensor) -> bool:
        errors = np.array(task.errors(answers))
        newest[errors < best] = check
        np.minimum(best, errors, out=best)
        return check - int(newest.max()) < _PATIENCE

    return goes_on


class _Perceptron:
    """One hidden layer that answers for all targets, each of which weighs the same in the loss."""

    def __init__(self, task: _Task, seed: int) -> None:
        self._inputs, self._asked, self._goals = (
            part.float() for part in (task.inputs, task.asked, task.goals)
        )
        self._draws = torch.Generator().manual_seed(seed)
        # Untrained it says the mean, so a target that cannot be read is not read.
        last = self._linear(_HIDDEN, self._goals.shape[1], bound=0.0)
        first = self._linear(self._inputs.shape[1], _HIDDEN, bound=self._inputs.shape[1] ** -0.5)
        self._network = nn.Sequential(first, nn.ReLU(), last)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), _RATE, weight_decay=_DECAY, fused=True
        )
        sizes = [part.stop - part.start for part in task.columns]
        self._weights = torch.cat([torch.full((size,), 1.0 / size) for size in sizes])

    def train(self, goes_on: Callable[[int, Tensor], bool]) -> Iterator[Tensor]:
        """Train until `goes_on` says no or time is up; give (M, S) float64 answers before and at checks."""
        batches = self._batches()
        for check in range(_CHECKS + 1):
            with torch.no_grad():
                answers = self._network(self._asked).double()
            yield answers
            if not goes_on(check, answers):
                return
            for _ in range(_CHECK_EVERY):
                self._step(next(batches))

    def _step(self, rows: Tensor) -> None:
        errors = (self._network(self._inputs[rows]) - self._goals[rows]).square().mean(0)
        self._optimiser.zero_grad()
        (errors * self._weights).sum().backward()
        self._optimiser.step()

    def _batches(self) -> Iterator[Tensor]:
        while True:
            yield from torch.randperm(len(self._inputs), generator=self._draws).split(_BATCH)

    def _linear(self, inputs: int, outputs: int, bound: float) -> nn.Linear:
        """A layer drawn uniformly, as torch's own are, from this network's generator."""
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        with torch.no_grad():
            for part in layer.parameters():
                part.uniform_(-bound, bound, generator=self._draws)
        return cast(nn.Linear, layer)


# Scores


def _interval(values: npt.NDArray[Any], said: _Said, groups: Ints) -> Interval:
    """The score of what was said of judged rows, whose `values` are true, with its bootstrap over groups."""
    groups = np.unique(groups, return_inverse=True)[1]
    count = int(groups.max()) + 1
    if values.dtype == np.bool_:
        # Relative to what each fold expects: a fold that judges many true rows has learnt from fewer, so the
        # answers of a probe that knows nothing would, pooled as they are, order rows the wrong way round.
        score = _area((said.probe - said.mean)[:, 0], values, groups, count)
    else:
        truth = _numbers(values)
        score = _saved(*(_sums((rows - truth) ** 2, groups, count) for rows in (said.probe, said.mean)))
    estimate = float(score(np.ones((1, count)))[0])
    if np.isnan(estimate):
        return Interval(np.nan, np.nan, np.nan)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    low, high = np.nanpercentile(score(drawn.astype(np.float64)), (2.5, 97.5))
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _sums(squares: Floats, groups: Ints, count: int) -> Floats:
    """(G,) over the rows of each group and over the target's numbers."""
    sums = np.zeros(count)
    np.add.at(sums, groups, squares.sum(axis=1))
    return sums


def _saved(error: Floats, of_mean: Floats) -> Callable[[Floats], Floats]:
    """R2 by (B, G) weights of groups, from the squared errors of the probe and of the mean."""
    return lambda weights: 1.0 - _divided(weights @ error, weights @ of_mean)


def _area(said: Floats, true: npt.NDArray[np.bool_], groups: Ints, count: int) -> Callable[[Floats], Floats]:
    """AUROC by (B, G) weights of groups: of all pairs of a true and a false row, ties counting half."""
    true_of, false_of = np.eye(count)[groups[true]], np.eye(count)[groups[~true]]
    above = (said[true][:, None] > said[~true]) + 0.5 * (said[true][:, None] == said[~true])
    above_of_groups = true_of.T @ above @ false_of  # (G, G)
    trues, falses = true_of.sum(axis=0), false_of.sum(axis=0)

    def area(weights: Floats) -> Floats:
        ordered = ((weights @ above_of_groups) * weights).sum(axis=1)
        return _divided(ordered, (weights @ trues) * (weights @ falses))

    return area


def _divided(part: Floats, whole: Floats) -> Floats:
    """Quotients, NaN where `whole` is 0."""
    quotients: Floats = np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    return quotients


# Errors


def _check(inputs: Floats, targets: Sequence[Target], groups: npt.NDArray[Any]) -> None:
    if inputs.ndim != 2 or not inputs.size:
        raise ValueError(f"features want the shape (N, D), got {inputs.shape}: one row an instant")
    if groups.shape != (len(inputs),):
        raise ValueError(f"groups want one entry for each of {len(inputs)} rows, got shape {groups.shape}")
    names = [target.name for target in targets]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"targets want distinct names, at least one, got {names}")
    if not np.isfinite(inputs).all():
        raise ValueError("features must be finite: leave out the rows that have none")
    for target in targets:
        _check_target(target, len(inputs))


def _check_target(target: Target, rows: int) -> None:
    shape = target.values.shape
    fits = shape == (rows,) if target.is_binary else len(shape) == 2 and shape[0] == rows and shape[1] > 0
    if not fits:
        wanted = f"({rows},)" if target.is_binary else f"({rows}, K)"
        raise ValueError(
            f"target {target.name!r} wants the shape {wanted}, got {target.values.dtype} {shape}"
        )
    if not np.isfinite(target.values).all():
        raise ValueError(f"target {target.name!r} must be finite: leave out the rows where it is not known")


def _check_fold(fold: Fold, members: Ints) -> None:
    sizes = {name: len(rows) for name, rows in fold._asdict().items()}
    if 0 in sizes.values():
        raise ValueError(f"every part of a fold wants rows, got {sizes}")
    train, select, test = (set(members[rows].tolist()) for rows in fold)
    shared = (train & select) | (train & test) | (select & test)
    if shared:
        raise ValueError(
            f"{len(shared)} groups have rows in two parts of a fold: divide by group, as `grouped_folds` does"
        )
