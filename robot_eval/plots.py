"""The plots of a report: success with intervals, and learning curves. One colour per encoder throughout."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from egorep.figures import styled
from robot_eval.stats import encoder_order, leading, overall, successes, suite_means
from robot_eval.variation import CHANGES

# Okabe & Ito (2008) without its yellow, which vanishes on white; then Tol's muted colours for long tables.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#332288",
    "#999933",
    "#44AA99",
)
# What is no picture encoder stays out of the colours: the two ends of the scale in greys.
GREYS = {"state": "#8A8F98", "oracle": "#22262B"}

_DASHES: dict[str, Literal["-", "--"]] = {"train": "-", "none": "--"}
_WIDTH = 9.6  # inches; the page shows it at its full text width


def colours(encoders: Sequence[str]) -> dict[str, str]:
    """A colour per encoder, safe for the colour-blind; the same set of names always gets the same colours."""
    named = sorted(set(encoders) - set(GREYS))
    return GREYS | {encoder: PALETTE[index % len(PALETTE)] for index, encoder in enumerate(named)}


def success_figure(summary: pd.DataFrame, paint: Mapping[str, str] | None = None) -> Figure:
    """Held-out success with intervals, encoders down: a panel per task and one for the mean.

    Of several suites, a panel per suite, the mean over its tasks, and one for the mean over suites. Filled
    markers were judged under what the policies learned on, hollow ones under the unseen variation; discs
    learned under variation "train" and squares under "none". Changes whose cost is known are left to
    `drops_figure`.

    Args:
        summary: lines of `summarise` for one policy and protocol.
        paint: colour per encoder; `colours` of the summary's by default.
    """
    summary = leading(summary)
    several = summary["suite"].nunique() > 1
    lines = suite_means(summary) if several else summary
    mean = f"mean over {'suites' if several else 'tasks'}"
    lines = lines.assign(panel=lines["suite" if several else "task"])
    data = pd.concat([lines, overall(summary).assign(panel=mean)])
    encoders, panels = encoder_order(summary), [*sorted(set(lines["panel"])), mean]
    conditions = sorted(set(map(tuple, lines[["train_variation", "variation"]].to_numpy())))
    row_height = 0.2 + 0.14 * len(conditions)
    figure, grid = _panels(len(panels), 0.75 + row_height * len(encoders))
    paint = paint or colours(encoders)
    with styled():
        for index, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
            axes.set_title(_label(panel), pad=6)
            _draw_rates(axes, data[data["panel"] == panel], encoders, conditions, paint)
            axes.set_yticks(
                range(len(encoders)), encoders if index % _columns(len(panels)) == 0 else [""] * len(encoders)
            )
    _condition_legend(figure, conditions)
    return figure


def drops_figure(summary: pd.DataFrame, paint: Mapping[str, str] | None = None) -> Figure | None:
    """What each change costs, with intervals: the mean over tasks and suites, a panel per change.

    Discs learned under variation "train" and squares under "none".

    Args:
        summary: as in `success_figure`.
        paint: likewise.

    Returns:
        The figure, or None where no cost is known.
    """
    means = overall(summary).dropna(subset=["drop"])
    if means.empty:
        return None
    encoders, panels = encoder_order(summary), [each for each in CHANGES if each in set(means["variation"])]
    learnt, paint = sorted(set(means["train_variation"])), paint or colours(encoders)
    figure, grid = _panels(len(panels), 0.75 + (0.2 + 0.14 * len(learnt)) * len(encoders))
    with styled():
        for index, (axes, change) in enumerate(zip(grid, panels, strict=False)):
            axes.set_title(change, pad=6)
            axes.axvline(0.0, color="#59616C", linewidth=0.8)
            rates = means[means["variation"] == change].assign(variation="none")
            rates[["held_out", "low", "high"]] = rates[["drop", "drop_low", "drop_high"]]
            _draw_rates(axes, rates, encoders, [(train, "none") for train in learnt], paint)
            axes.set_xlim(min(-0.22, means["drop_low"].min() - 0.02), 1.02)
            axes.set_yticks(
                range(len(encoders)), encoders if index % _columns(len(panels)) == 0 else [""] * len(encoders)
            )
    return figure


def curves_figure(frame: pd.DataFrame, paint: Mapping[str, str] | None = None) -> Figure | None:
    """Success at every checkpoint: the mean over policy seeds, with the single seeds thin behind it.

    Args:
        frame: result rows of one suite, policy and protocol.
        paint: as in `success_figure`.

    Returns:
        The figure, or None when nothing was evaluated during training.
    """
    during = frame[frame["role"] == "checkpoint"]
    if during.empty:
        return None
    during = during.assign(rate=[float(np.mean(successes(row))) for row in during.itertuples()])
    panels, paint = sorted(set(during["task"])), paint or colours(list(frame["encoder"]))
    figure, grid = _panels(len(panels), 2.35)
    with styled():
        for axes, task in zip(grid, panels, strict=False):
            axes.set_title(_label(task), pad=6)
            _draw_curves(axes, during[during["task"] == task], paint)
    names = sorted(set(during["encoder"]))
    handles = [Line2D([], [], color=paint[name], linewidth=2, label=name) for name in names]
    if during["train_variation"].nunique() > 1:
        handles += [
            Line2D([], [], color="#59616C", linestyle=dash, label=f"trained on {variation}")
            for variation, dash in _DASHES.items()
        ]
    _legend(figure, handles)
    return figure


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as PNG, on white."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as a `data:` URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _label(label: str) -> str:
    return label if len(label) <= 34 else f"{label[:33]}…"


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A grid of `count` panels, each `height` inches; built without pyplot, so nothing stays open."""
    columns = _columns(count)
    rows = math.ceil(count / columns)
    with styled():
        spacing = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
        figure = Figure(figsize=(_WIDTH, rows * height + 0.45), layout=spacing)
        axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    return figure, axes


def _columns(count: int) -> int:
    return 2 if count in (2, 4) else min(count, 3)


def _draw_rates(
    axes: Axes,
    rows: pd.DataFrame,
    encoders: list[str],
    conditions: list[tuple[str, str]],
    paint: Mapping[str, str],
) -> None:
    spread = 0.56 / max(1, len(conditions))
    known: Iterator[Any] = rows.dropna(subset=["held_out"]).itertuples()
    for row in known:
        condition = (row.train_variation, row.variation)
        shift = (conditions.index(condition) - (len(conditions) - 1) / 2) * spread
        y, colour = encoders.index(row.encoder) + shift, paint[row.encoder]
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="round")
        axes.plot([row.held_out], [y], clip_on=False, **_marker(condition, colour))
    axes.set(xlim=(-0.02, 1.02), ylim=(len(encoders) - 0.4, -0.6), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(_percent))
    axes.spines["left"].set_visible(False)


def _marker(condition: tuple[str, str], colour: str) -> dict[str, Any]:
    train, judged = condition
    return {
        "marker": "o" if train == "train" else "s",
        "markersize": 6.5 if train == "train" else 6,
        "color": colour,
        "markerfacecolor": "white" if judged == "unseen" else colour,
        "markeredgewidth": 1.6,
        "linestyle": "none",
    }


def _condition_legend(figure: Figure, conditions: list[tuple[str, str]]) -> None:
    names = [f"trained on {train}, judged on {judged}" for train, judged in conditions]
    handles = [
        Line2D([], [], label=name, **_marker(condition, "#59616C"))
        for name, condition in zip(names, conditions, strict=True)
    ]
    _legend(figure, handles)


def _draw_curves(axes: Axes, rows: pd.DataFrame, paint: Mapping[str, str]) -> None:
    for (encoder, train), part in rows.groupby(["encoder", "train_variation"], sort=True):
        look: dict[str, Any] = {"color": paint[str(encoder)], "linestyle": _DASHES[str(train)]}
        for _, seed in part.sort_values("checkpoint").groupby("seed"):
            axes.plot(seed["checkpoint"], seed["rate"], linewidth=0.8, alpha=0.35, **look)
        mean = part.groupby("checkpoint")["rate"].mean()
        axes.plot(mean.index, mean, linewidth=2, marker="o", markersize=3, **look)
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_steps))


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    with styled():
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=min(4, len(handles)),
            frameon=False,
            handletextpad=0.5,
        )


def _percent(value: float, _: int) -> str:
    return f"{value:.0%}".replace("%", " %")


def _steps(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
