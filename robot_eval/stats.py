"""Result rows to numbers one can believe: `last`, `best` and `held_out` with intervals, as tables.

Tables lead with `held_out`, the policy picked by `best` and run again on fresh seeds, because the best of
many evaluations flatters (`expected_best` says how far).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from egorep.intervals import Interval, mean_interval
from robot_eval.comparison import (
    ALL_TASKS,
    CONDITION,
    compare,
    paired_difference,
    strict_successes,
    successes,
)
from robot_eval.intervals import Difference, cluster_wilson, expected_best, holm
from robot_eval.variation import CHANGES

__all__ = [
    "ALL_TASKS",
    "CONDITION",
    "Difference",
    "DropRow",
    "DropTable",
    "Interval",
    "ResultTable",
    "cluster_wilson",
    "compare",
    "drop_tables",
    "encoder_order",
    "expected_best",
    "holm",
    "leading",
    "overall",
    "paired_difference",
    "result_tables",
    "strict_successes",
    "successes",
    "suite_means",
    "summarise",
    "table_markdown",
    "table_text",
    "text_grid",
]

GROUP = ["suite", "task", "encoder", *CONDITION]
# What policies that are judged under several variations share.
_LEARNT = ["policy", "protocol", "train_variation"]
_DROP = ["drop", "drop_low", "drop_high"]
_UNKNOWN = Interval(np.nan, np.nan, np.nan)
_MEANS = ["last", "best", "held_out", "held_out_strict"]
_TASKS_WEIGH = "the mean weighs tasks equally"
_DROP_LEGEND = (
    "Success under variation none, and how much of it is lost under one change at a time, each with a 95 % "
    "interval. Losses are paired: the same policies on the same layouts (Agresti and Min, the pairs of a "
    "seed as one cluster). Means weigh tasks equally, then suites."
)
_SUITES_WEIGH = "each suite's mean weighs its tasks equally, and their mean the suites"
# Rows of one policy seed must agree on these, or they are results of different experiments.
_SETTINGS = ["render", "camera", "demos", "success_rule", "encoder_fingerprint", "demos_fingerprint"]


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per encoder, task and condition, from the rows of `read_results`.

    Rates are in [0, 1] and are means over policy seeds; NaN where the rows for them are absent, as `last` and
    `best` are under variations for judging only.

    Returns:
        The columns suite, task, encoder, policy, protocol, train_variation, variation, success_rule; n_seeds,
        evaluations (per seed, during training), episodes (held out, all seeds together); `last` (the greatest
        checkpoint), `best` (the best checkpoint of each seed), `held_out` with `low` and `high` (95 %),
        held_out_any and held_out_last_step (the same episodes under either success rule), held_out_strict
        (by the strict measure under the row's own rule; NaN where results are older than it), and, of single
        changes (`robot_eval.variation.CHANGES`), `drop` with `drop_low` and `drop_high` (95 %): how much more
        often the same policies succeed in the same episodes under variation "none"; NaN where they were not
        all judged under it.

    Raises:
        ValueError: two rows for the same policy seed and checkpoint: the folder mixes experiments.
    """
    _check_one_experiment(frame)
    groups = dict(iter(frame.groupby(GROUP, sort=True)))
    records = []
    for key, rows in groups.items():
        line = dict(zip(GROUP, cast("tuple[str, ...]", key), strict=True))
        usual = groups.get((*key[:-1], "none")) if line["variation"] in CHANGES else None
        records.append(line | _summary(rows) | dict(zip(_DROP, _drop(usual, rows), strict=True)))
    return pd.DataFrame(records)


def suite_means(summary: pd.DataFrame) -> pd.DataFrame:
    """The mean over the tasks of each suite per encoder and condition, every task with the same weight.

    Returns:
        The columns encoder, policy, protocol, train_variation, variation, suite; tasks (how many have a
        held-out result); last, best, held_out, low, high, held_out_strict, drop, drop_low, drop_high. The
        means are NaN for an encoder that lacks one of the suite's tasks, since a mean over fewer tasks
        compares with nothing.
    """
    return _means(summary, [*CONDITION, "suite"], "task")


def overall(summary: pd.DataFrame) -> pd.DataFrame:
    """The mean over suites of `suite_means` per encoder and condition, every suite with the same weight.

    Returns:
        The columns of `suite_means` without the suite. The means are NaN for an encoder that lacks one of the
        condition's tasks.
    """
    return _means(suite_means(summary), CONDITION, "suite")


def encoder_order(summary: pd.DataFrame) -> list[str]:
    """The encoders, best first by mean held-out success over suites; ties and missing ones by name."""
    suites = summary.groupby(["encoder", "suite"])["held_out"].mean()
    means = suites.groupby("encoder").mean().fillna(-1.0)
    return sorted(map(str, means.index), key=lambda encoder: (-means[encoder], encoder))


def leading(summary: pd.DataFrame) -> pd.DataFrame:
    """The lines of the conditions that have tables of their own: all but those which `drop_tables` show."""
    dropped = summary.groupby(CONDITION)["drop"].transform(lambda drops: drops.notna().any())
    return summary[~dropped.astype(bool)]


@dataclass(frozen=True)
class ResultTable:
    """The held-out rates of one condition: what text, Markdown and the HTML page all render.

    `cells[i][j]` belongs to `encoders[i]` and `columns[j]`, None where there is no result. The columns are
    tasks of one `suite` or, where `suite` is empty, several suites; the last is their mean.
    """

    condition: dict[str, str]
    suite: str
    encoders: list[str]
    columns: list[str]
    cells: list[list[Interval | None]]
    legend: str
    note: str

    @property
    def title(self) -> str:
        """What the policies learned under and were judged under, in words."""
        train, judged = self.condition["train_variation"], self.condition["variation"]
        return f"trained on variation {train}, judged on {judged}"


def result_tables(summary: pd.DataFrame) -> list[ResultTable]:
    """Per (policy, protocol, training variation, judged variation) one table a suite, best encoder first.

    Where there are several suites, the table of their means comes before theirs. Changes whose cost is known
    stand in `drop_tables` instead.
    """
    tables = []
    for condition, rows in leading(summary).groupby(CONDITION, sort=True):
        named = dict(zip(CONDITION, map(str, cast("tuple[str, ...]", condition)), strict=True))
        if rows["suite"].nunique() > 1:
            means = suite_means(rows)
            tables.append(_result_table(named, "", rows, means.assign(label=means["suite"]), _SUITES_WEIGH))
        for suite, part in rows.groupby("suite", sort=True):
            lines = part.assign(label=part["task"])
            tables.append(_result_table(named, str(suite), part, lines, _TASKS_WEIGH))
    return tables


class DropRow(NamedTuple):
    """What changes cost one encoder on a task, a suite or everything: `cells[i]` belongs to `changes[i]`.

    `usual` is its success under variation "none"; a cell is None where there is no result.
    """

    scope: str
    encoder: str
    usual: Interval | None
    cells: list[Interval | None]


@dataclass(frozen=True)
class DropTable:
    """The drops in success of policies that learnt alike; means come first, and the best encoder.

    `learnt` is the policy, protocol and training variation.
    """

    learnt: dict[str, str]
    changes: Sequence[str]
    rows: list[DropRow]
    legend: str

    @property
    def title(self) -> str:
        """What is in it, in words."""
        return f"what each change costs, trained on variation {self.learnt['train_variation']}"


def drop_tables(summary: pd.DataFrame) -> list[DropTable]:
    """One table per policy, protocol and training variation, of those judged under "none" and a change."""
    tables = []
    for learnt, lines in summary.groupby(_LEARNT, sort=True):
        changed = set(lines.loc[lines["drop"].notna(), "variation"])
        if changed:
            named = dict(zip(_LEARNT, map(str, cast("tuple[str, ...]", learnt)), strict=True))
            changes = [change for change in CHANGES if change in changed]
            tables.append(DropTable(named, changes, _drop_rows(lines, changes), _DROP_LEGEND))
    return tables


def table_text(summary: pd.DataFrame) -> str:
    """A summary's tables for a terminal: `0.85 [0.74, 0.92]`, held out, encoders down and tasks across."""
    return _render(summary, text_grid, "{title}\n")


def table_markdown(summary: pd.DataFrame) -> str:
    """A summary's tables for a README."""
    return _render(summary, _markdown_grid, "**{title}**\n")


def _drop(usual: pd.DataFrame | None, changed: pd.DataFrame) -> Interval:
    """How much less often policies succeed under a change; NaN where episodes lack their partner."""
    if usual is None:
        return _UNKNOWN
    try:
        return Interval(*paired_difference(usual, changed)[:3])
    except ValueError:
        return _UNKNOWN


def _drop_rows(lines: pd.DataFrame, changes: Sequence[str]) -> list[DropRow]:
    several, order = lines["suite"].nunique() > 1, encoder_order(lines)
    parts = []
    if len(lines[["suite", "task"]].drop_duplicates()) > 1:
        parts.append(overall(lines).assign(scope="all suites" if several else ALL_TASKS))
    for suite, part in lines.groupby("suite", sort=True):
        if several and part["task"].nunique() > 1:
            parts.append(suite_means(part).assign(scope=f"{ALL_TASKS} of {suite}"))
        parts.append(part.assign(scope=(f"{suite} / " if several else "") + part["task"]))
    rows = []
    for scope, part in pd.concat(parts).groupby("scope", sort=False):
        known = {(line.encoder, line.variation): line for line in part.itertuples()}
        for encoder in (name for name in order if (name, "none") in known):
            cells = [_drop_cell(known.get((encoder, change))) for change in changes]
            rows.append(DropRow(str(scope), encoder, _cell(known[encoder, "none"]), cells))
    return rows


def _drop_cell(line: Any) -> Interval | None:
    known = line is not None and not np.isnan(line.drop)
    return Interval(line.drop, line.drop_low, line.drop_high) if known else None


def _check_one_experiment(frame: pd.DataFrame) -> None:
    # A seed has many checkpoints but one held-out evaluation, whose checkpoint therefore tells nothing apart.
    step = frame["checkpoint"].where(frame["role"] == "checkpoint", -1)
    repeated = frame[frame[[*GROUP, "seed", "role"]].assign(step=step).duplicated(keep=False)]
    if repeated.empty:
        return
    differ = [name for name in _SETTINGS if repeated[name].nunique() > 1]
    raise ValueError(
        f"{len(repeated)} result rows share a policy seed and checkpoint with another row; they differ in "
        f"{', '.join(differ) or 'nothing but the outcome'}. Different experiments need different run folders."
    )


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    during = rows[rows["role"] == "checkpoint"].sort_values("checkpoint")
    during = during.assign(rate=[float(np.mean(successes(row))) for row in during.itertuples()])
    seeds = during.groupby("seed")["rate"]
    held_out = rows[rows["role"] == "held_out"].sort_values("seed")
    interval = _interval([successes(row) for row in held_out.itertuples()])
    return {
        "success_rule": "/".join(sorted(set(rows["success_rule"]))),
        "n_seeds": (during if held_out.empty else held_out)["seed"].nunique(),
        "evaluations": during["checkpoint"].nunique(),
        "episodes": sum(map(len, held_out["episode_seeds"])),
        "last": seeds.last().mean() if len(during) else np.nan,
        "best": seeds.max().mean() if len(during) else np.nan,
        "held_out": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "held_out_any": _interval(list(held_out["success_any"])).estimate,
        "held_out_last_step": _interval(list(held_out["success_last"])).estimate,
        "held_out_strict": _strict_rate([strict_successes(row) for row in held_out.itertuples()]),
    }


def _strict_rate(clusters: list[list[bool] | None]) -> float:
    known = [cluster for cluster in clusters if cluster is not None]
    return _interval(known).estimate if len(known) == len(clusters) else np.nan


def _interval(clusters: list[list[bool]]) -> Interval:
    return cluster_wilson(clusters) if clusters else _UNKNOWN


def _means(lines: pd.DataFrame, groups: list[str], part: str) -> pd.DataFrame:
    """Means over the parts (tasks or suites) of each group, per encoder; NaN where an encoder lacks one."""
    records = []
    for group, rows in lines.groupby(groups, sort=True):
        head = dict(zip(groups, cast("tuple[str, ...]", group), strict=True))
        wanted = rows[part].nunique()
        for encoder, parts in rows.groupby("encoder", sort=True):
            records.append({"encoder": encoder} | head | _mean_of_parts(parts, wanted))
    return pd.DataFrame(records)


def _mean_of_parts(parts: pd.DataFrame, wanted: int) -> dict[str, Any]:
    complete = len(parts) == wanted
    means = {name: parts[name].mean(skipna=False) if complete else np.nan for name in _MEANS}
    held_out = _mean_of(parts[["held_out", "low", "high"]], complete, (0.0, 1.0))
    drop = _mean_of(parts[_DROP], complete, (-1.0, 1.0))
    return {
        "tasks": int(parts["tasks"].sum() if "tasks" in parts else parts["held_out"].notna().sum()),
        **means,
        "held_out": held_out.estimate,
        "low": held_out.low,
        "high": held_out.high,
        **dict(zip(_DROP, drop, strict=True)),
    }


def _mean_of(parts: pd.DataFrame, complete: bool, bounds: tuple[float, float]) -> Interval:
    if not complete or parts.isna().any(axis=None):
        return _UNKNOWN
    return mean_interval([Interval(*each) for each in parts.to_numpy()], bounds)


def _result_table(
    condition: dict[str, str], suite: str, rows: pd.DataFrame, lines: pd.DataFrame, weights: str
) -> ResultTable:
    """A table of `lines`, one per encoder and `label`, and of the mean of the summary's `rows` behind."""
    encoders, labels = encoder_order(rows), list(dict.fromkeys(lines["label"]))
    known = {(str(row.encoder), str(row.label)): _cell(row) for row in lines.itertuples()} | {
        (str(row.encoder), "mean"): _cell(row) for row in overall(rows).itertuples()
    }
    columns = [*labels, "mean"]
    return ResultTable(
        condition=condition,
        suite=suite,
        encoders=encoders,
        columns=columns,
        cells=[[known.get((encoder, column)) for column in columns] for encoder in encoders],
        legend=_legend(rows, weights),
        note=_note({label: lines[lines["label"] == label]["held_out"] for label in labels}) if suite else "",
    )


def _cell(row: Any) -> Interval | None:
    return None if np.isnan(row.held_out) else Interval(row.held_out, row.low, row.high)


def _legend(rows: pd.DataFrame, weights: str) -> str:
    per_seed = (rows["episodes"] / rows["n_seeds"]).round().astype(int)
    rule = {"any": "at any step", "last": "at the last step"}
    rules = " or ".join(rule.get(name, name) for name in sorted(set(rows["success_rule"])))
    return (
        f"{_span(rows['n_seeds'])} policy seeds x {_span(per_seed)} episodes. Success {rules} of the policy "
        "picked by best, run again on fresh seeds (held_out), with a 95 % Wilson interval over seeds and "
        f"episodes (episodes of a seed as one cluster); {weights}."
    )


def _span(values: pd.Series[Any]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}-{high}"


def _note(rates: dict[str, pd.Series[Any]]) -> str:
    """The tasks where every encoder is at 0 % or every one at 100 %; a single encoder separates nothing."""
    flat = [
        f"{task} (all at {values.iloc[0]:.0%})".replace("%", " %")
        for task, values in rates.items()
        if len(values) > 1 and (bool((values == 0.0).all()) or bool((values == 1.0).all()))
    ]
    return f"Does not separate encoders: {', '.join(flat)}." if flat else ""


def _render(summary: pd.DataFrame, grid: Callable[[list[list[str]]], list[str]], heading: str) -> str:
    blocks, several = [], summary["suite"].nunique() > 1
    said: set[str] = set()
    for table in result_tables(summary):
        title = f"{table.condition['policy']} policy, protocol {table.condition['protocol']}, {table.title}"
        title += f": {table.suite or 'all suites'}" if several else ""
        body = [
            [name, *map(format_cell, cells)] for name, cells in zip(table.encoders, table.cells, strict=True)
        ]
        lines = [heading.format(title=title), *grid([["encoder", *table.columns], *body])]
        below = [text for text in (table.legend, table.note) if text and text not in said]
        said.add(table.legend)
        blocks.append("\n".join([*lines, *(["", *below] if below else [])]))
    blocks += ["\n".join(_drop_lines(table, grid, heading)) for table in drop_tables(summary)]
    return "\n\n".join(blocks) + "\n"


def _drop_lines(table: DropTable, grid: Callable[[list[list[str]]], list[str]], heading: str) -> list[str]:
    title = f"{table.learnt['policy']} policy, protocol {table.learnt['protocol']}, {table.title}"
    body = [
        [row.encoder, row.scope, format_cell(row.usual), *map(_format_drop, row.cells)] for row in table.rows
    ]
    head = ["encoder", "task", "none", *table.changes]
    return [heading.format(title=title), *grid([head, *body]), "", table.legend]


def format_cell(cell: Interval | None) -> str:
    """`0.85 [0.74, 0.92]`, or a dash where there is no result."""
    return "-" if cell is None else f"{cell.estimate:.2f} [{cell.low:.2f}, {cell.high:.2f}]"


def _format_drop(cell: Interval | None) -> str:
    """`+0.30 [+0.12, +0.45]`: what is lost; a negative one is a gain."""
    return "-" if cell is None else f"{cell.estimate:+.2f} [{cell.low:+.2f}, {cell.high:+.2f}]"


def text_grid(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines for a terminal, the first underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _markdown_grid(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
