"""Result rows to numbers one can believe: `last`, `best` and `held_out` with intervals, as tables.

Tables lead with `held_out`, the policy picked by `best` and run again on fresh seeds, because the best of
many evaluations flatters (`expected_best` says how far).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from egorep.intervals import Interval, mean_interval
from robot_eval.comparison import ALL_TASKS, CONDITION, compare, paired_difference, successes
from robot_eval.intervals import Difference, cluster_wilson, expected_best, holm

__all__ = [
    "ALL_TASKS",
    "CONDITION",
    "Difference",
    "Interval",
    "ResultTable",
    "cluster_wilson",
    "compare",
    "encoder_order",
    "expected_best",
    "holm",
    "overall",
    "paired_difference",
    "result_tables",
    "successes",
    "summarise",
    "table_markdown",
    "table_text",
]

GROUP = ["suite", "task", "encoder", *CONDITION]
# Rows of one policy seed must agree on these, or they are results of different experiments.
_SETTINGS = ["render", "camera", "demos", "success_rule", "encoder_fingerprint", "demos_fingerprint"]


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per encoder, task and condition, from the rows of `read_results`.

    Rates are in [0, 1] and are means over policy seeds; NaN where the rows for them are absent, as `last` and
    `best` are under variation "unseen".

    Returns:
        The columns suite, task, encoder, policy, protocol, train_variation, variation, success_rule; n_seeds,
        evaluations (per seed, during training), episodes (held out, all seeds together); `last` (the greatest
        checkpoint), `best` (the best checkpoint of each seed), `held_out` with `low` and `high` (95 %), and
        held_out_any and held_out_last_step (the same episodes under either success rule).

    Raises:
        ValueError: two rows for the same policy seed and checkpoint: the folder mixes experiments.
    """
    _check_one_experiment(frame)
    records = [
        dict(zip(GROUP, key, strict=True)) | _summary(rows) for key, rows in frame.groupby(GROUP, sort=True)
    ]
    return pd.DataFrame(records)


def overall(summary: pd.DataFrame) -> pd.DataFrame:
    """The mean over tasks per encoder and condition, every task with the same weight.

    Returns:
        The columns encoder, policy, protocol, train_variation, variation; tasks (how many have a held-out
        result); last, best, held_out, low, high. The means are NaN for an encoder that lacks one of the
        condition's tasks, since a mean over fewer tasks compares with nothing.
    """
    records = []
    for condition, rows in summary.groupby(CONDITION, sort=True):
        wanted = len(rows[["suite", "task"]].drop_duplicates())
        for encoder, tasks in rows.groupby("encoder", sort=True):
            head = {"encoder": encoder} | dict(
                zip(CONDITION, cast("tuple[str, ...]", condition), strict=True)
            )
            records.append(head | _mean_over_tasks(tasks, wanted))
    return pd.DataFrame(records)


def encoder_order(summary: pd.DataFrame) -> list[str]:
    """The encoders, best first by mean held-out success over everything; ties and missing ones by name."""
    means = summary.groupby("encoder")["held_out"].mean().fillna(-1.0)
    return sorted(map(str, means.index), key=lambda encoder: (-means[encoder], encoder))


@dataclass(frozen=True)
class ResultTable:
    """The held-out rates of one condition: what text, Markdown and the HTML page all render.

    `cells[i][j]` belongs to `encoders[i]` and `columns[j]`, None where there is no result; the last column is
    the mean over tasks.
    """

    condition: dict[str, str]
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
    """One table per (policy, protocol, training variation, judged variation), best encoder first."""
    means = overall(summary)
    tables = []
    for condition, rows in summary.groupby(CONDITION, sort=True):
        named = dict(zip(CONDITION, map(str, cast("tuple[str, ...]", condition)), strict=True))
        same = (means[CONDITION] == list(named.values())).all(axis=1)
        tables.append(_result_table(named, rows, means[same]))
    return tables


def table_text(summary: pd.DataFrame) -> str:
    """A summary's tables for a terminal: `0.85 [0.74, 0.92]`, held out, encoders down and tasks across."""
    return _render(summary, _text_grid, "{title}\n")


def table_markdown(summary: pd.DataFrame) -> str:
    """A summary's tables for a README."""
    return _render(summary, _markdown_grid, "**{title}**\n")


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
    }


def _interval(clusters: list[list[bool]]) -> Interval:
    return cluster_wilson(clusters) if clusters else Interval(np.nan, np.nan, np.nan)


def _mean_over_tasks(tasks: pd.DataFrame, wanted: int) -> dict[str, Any]:
    known = tasks.dropna(subset=["held_out"])
    mean = Interval(np.nan, np.nan, np.nan)
    if len(known) == wanted:
        mean = mean_interval([Interval(*each) for each in known[["held_out", "low", "high"]].to_numpy()])
    complete = len(tasks) == wanted
    return {
        "tasks": len(known),
        "last": tasks["last"].mean(skipna=False) if complete else np.nan,
        "best": tasks["best"].mean(skipna=False) if complete else np.nan,
        "held_out": mean.estimate,
        "low": mean.low,
        "high": mean.high,
    }


def _result_table(condition: dict[str, str], rows: pd.DataFrame, means: pd.DataFrame) -> ResultTable:
    several_suites = rows["suite"].nunique() > 1
    names = rows[["suite", "task"]].to_numpy()
    table = rows.assign(label=[f"{suite}/{task}" if several_suites else str(task) for suite, task in names])
    encoders, tasks = encoder_order(rows), list(dict.fromkeys(table["label"]))
    known = {(str(row.encoder), str(row.label)): _cell(row) for row in table.itertuples()} | {
        (str(row.encoder), "mean"): _cell(row) for row in means.itertuples()
    }
    columns = [*tasks, "mean"]
    return ResultTable(
        condition=condition,
        encoders=encoders,
        columns=columns,
        cells=[[known.get((encoder, column)) for column in columns] for encoder in encoders],
        legend=_legend(rows),
        note=_note({task: table[table["label"] == task]["held_out"] for task in tasks}),
    )


def _cell(row: Any) -> Interval | None:
    return None if np.isnan(row.held_out) else Interval(row.held_out, row.low, row.high)


def _legend(rows: pd.DataFrame) -> str:
    per_seed = (rows["episodes"] / rows["n_seeds"]).round().astype(int)
    rule = {"any": "at any step", "last": "at the last step"}
    rules = " or ".join(rule.get(name, name) for name in sorted(set(rows["success_rule"])))
    return (
        f"{_span(rows['n_seeds'])} policy seeds x {_span(per_seed)} episodes. Success {rules} of the policy "
        "picked by best, run again on fresh seeds (held_out), with a 95 % Wilson interval over seeds and "
        "episodes (episodes of a seed as one cluster); the mean weighs tasks equally."
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
    blocks = []
    for table in result_tables(summary):
        title = f"{table.condition['policy']} policy, protocol {table.condition['protocol']}, {table.title}"
        body = [
            [name, *map(format_cell, cells)] for name, cells in zip(table.encoders, table.cells, strict=True)
        ]
        lines = [heading.format(title=title), *grid([["encoder", *table.columns], *body]), "", table.legend]
        blocks.append("\n".join([*lines, *([table.note] if table.note else [])]))
    return "\n\n".join(blocks) + "\n"


def format_cell(cell: Interval | None) -> str:
    """`0.85 [0.74, 0.92]`, or a dash where there is no result."""
    return "-" if cell is None else f"{cell.estimate:.2f} [{cell.low:.2f}, {cell.high:.2f}]"


def _text_grid(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _markdown_grid(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
