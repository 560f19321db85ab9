"""Encoders against each other on the same policy seeds and episodes: far sharper than two intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd

from robot_eval.intervals import Difference, cluster_difference, holm, mean_difference

CONDITION = ["policy", "protocol", "train_variation", "variation"]
ALL_TASKS = "all tasks"
_PAIR = ["suite", "task", "seed", "episode_seed"]


def successes(row: Any) -> list[bool]:
    """The outcomes of a result row under its own success rule, one per episode."""
    return list(row.success_any if row.success_rule == "any" else row.success_last)


def strict_successes(row: Any) -> list[bool] | None:
    """Likewise by the strict measure; None where the row does not say."""
    strict = row.strict_any if row.success_rule == "any" else row.strict_last
    return None if strict is None else list(strict)


def paired_difference(a: pd.DataFrame, b: pd.DataFrame) -> Difference:
    """How much more often `a` succeeds than `b` on the same policy seeds and the same held-out episodes.

    Args:
        a: the result rows of one encoder under one condition; suites have equal weight, and tasks within one.
        b: those of the other encoder.

    Raises:
        ValueError: no held-out episode, an episode without its partner (the message counts them), or rows of
            more than one condition.
    """
    first, second = _outcomes(a), _outcomes(b)
    unmatched = len(first.index.symmetric_difference(second.index))
    if unmatched:
        raise ValueError(f"{unmatched} episodes have no partner on the same (task, seed, episode seed)")
    if first.empty:
        raise ValueError("no held-out episodes to compare")
    second = second.reindex(first.index)
    suites = [_suite_difference(part, second.loc[part.index]) for _, part in first.groupby(level="suite")]
    return mean_difference(suites)


def compare(frame: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """Paired differences between encoders, per task and over all tasks, under every condition.

    Where there are several suites, there is a line for each of them too.

    Args:
        frame: result rows.
        baseline: the encoder that all others are held against; all pairs when None.

    Returns:
        One line per pair and task (`ALL_TASKS` for all of a suite's, and with the suite "" for all there are,
        every suite with the same weight) with the condition, encoder_a, encoder_b, the fields of `Difference`
        (`estimate` is a minus b), p_holm (`p_value` adjusted by Holm over the lines of
        the same condition) and note. Where two encoders cannot be paired, as in a run cut short, the numbers
        are NaN and the note says why.

    Raises:
        ValueError: `baseline` is not an encoder of the frame.
    """
    if baseline is not None and baseline not in set(frame["encoder"]):
        raise ValueError(f"baseline {baseline!r} has no results; there are {sorted(set(frame['encoder']))}")
    held_out = frame[frame["role"] == "held_out"]
    tables = []
    for condition, rows in held_out.groupby(CONDITION, sort=True):
        head = dict(zip(CONDITION, cast("tuple[str, ...]", condition), strict=True))
        lines = pd.DataFrame([head | line for line in _comparisons(rows, baseline)])
        if not lines.empty:
            tables.append(lines.assign(p_holm=holm(lines["p_value"].tolist())))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _suite_difference(a: pd.Series[Any], b: pd.Series[Any]) -> Difference:
    tasks = a.groupby(level="task")
    return mean_difference(
        [cluster_difference(_by_seed(part), _by_seed(b.loc[part.index])) for _, part in tasks]
    )


def _outcomes(rows: pd.DataFrame) -> pd.Series[Any]:
    """Held-out success per episode, indexed by (suite, task, seed, episode_seed)."""
    held_out = rows[rows["role"] == "held_out"]
    lines = [
        (row.suite, row.task, row.seed, episode, success)
        for row in held_out.itertuples()
        for episode, success in zip(cast("list[int]", row.episode_seeds), successes(row), strict=True)
    ]
    outcomes = pd.DataFrame(lines, columns=[*_PAIR, "success"]).set_index(_PAIR)["success"].sort_index()
    if outcomes.index.has_duplicates:
        raise ValueError("rows of more than one condition: an episode of a policy seed occurs twice")
    return outcomes


def _by_seed(outcomes: pd.Series[Any]) -> list[list[bool]]:
    return [list(cluster) for _, cluster in outcomes.groupby(level="seed")]


def _comparisons(rows: pd.DataFrame, baseline: str | None) -> Iterator[dict[str, Any]]:
    encoders = sorted(set(rows["encoder"]))
    pairs = list(itertools.combinations(encoders, 2))
    if baseline is not None:
        pairs = [(encoder, baseline) for encoder in encoders if encoder != baseline and baseline in encoders]
    scopes: list[tuple[tuple[str, str], pd.DataFrame]] = [
        ((str(suite), str(task)), part) for (suite, task), part in rows.groupby(["suite", "task"], sort=True)
    ]
    if rows["suite"].nunique() > 1:
        scopes += [((str(suite), ALL_TASKS), part) for suite, part in rows.groupby("suite", sort=True)]
    scopes.append((("", ALL_TASKS), rows))
    for ((suite, task), part), (a, b) in itertools.product(scopes, pairs):
        line = {"suite": suite, "task": task, "encoder_a": a, "encoder_b": b}
        yield line | _comparison(part[part["encoder"] == a], part[part["encoder"] == b])


def _comparison(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    try:
        return {**paired_difference(a, b)._asdict(), "note": ""}
    except ValueError as error:
        return {**dict.fromkeys(Difference._fields, np.nan), "note": str(error)}
