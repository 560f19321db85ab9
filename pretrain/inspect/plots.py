"""The plots of the page. Hands are red and blue, objects from yellow to green, as on the clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from egorep.figures import STYLE, styled
from pretrain.data.flip import TRACKS
from pretrain.hod.motion import DIRECTIONS
from pretrain.inspect.agreement import MEASURES, Agreement
from pretrain.inspect.drawing import COLOURS
from pretrain.inspect.summary import STILL, UNKNOWN, Coverage

# What is neither a hand nor an object.
PLAIN, STRONG, FAINT = "#8A93A0", "#5B4A9E", "#D3D7DE"
VERDICT_COLOURS = {"ok": "#1E7F4B", "wrong": "#B0480B", "unsaid": FAINT}
"""Of the check's verdicts; others are drawn as what is not said."""

PAGE_STYLE = {**STYLE, "axes.labelcolor": "#4A525C", "xtick.color": "#4A525C", "xtick.major.pad": 5}
_SIZE = 5.2, 2.7  # inches
_BINS = 20
_ARROWS = "\N{RIGHTWARDS ARROW}\N{NORTH EAST ARROW}\N{UPWARDS ARROW}\N{NORTH WEST ARROW}"
_ARROWS += "\N{LEFTWARDS ARROW}\N{SOUTH WEST ARROW}\N{DOWNWARDS ARROW}\N{SOUTH EAST ARROW}"


def coverage_figure(coverage: Coverage) -> Figure:
    """Share of the instants at which each track has a box: detected, and filled in (pale)."""
    figure, axes = _axes("Coverage: share of instants with a box")
    with styled(PAGE_STYLE):
        rows, colours = np.arange(len(TRACKS)), [COLOURS[name] for name in TRACKS]
        instants = max(coverage.instants, 1)
        detected, filled = coverage.detected / instants, coverage.filled / instants
        axes.barh(rows, detected, color=colours, height=0.62)
        axes.barh(rows, filled, left=detected, color=colours, height=0.62, alpha=0.4)
        for row, share in enumerate(detected + filled):
            axes.text(share + 0.015, row, f"{share:.0%}".replace("%", " %"), va="center", fontsize=8.5)
        axes.set(xlim=(0, 1.12), ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(rows, [name.replace("_", " ") for name in TRACKS])
        _percent(axes)
    return figure


def directions_figure(directions: Mapping[str, Counter[str]]) -> Figure:
    """Which way each hand sets out, of the clips in which it moves."""
    with styled(PAGE_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        most = max((counts[way] for counts in directions.values() for way in DIRECTIONS), default=0)
        angles = np.arange(len(DIRECTIONS)) * 2 * np.pi / len(DIRECTIONS)
        for number, (side, counts) in enumerate(directions.items()):
            axes = cast(PolarAxes, figure.add_subplot(1, len(directions), number + 1, projection="polar"))
            lengths = [counts[way] for way in DIRECTIONS]
            axes.bar(angles, lengths, width=0.66, color=COLOURS[f"{side}_hand"])
            axes.set_xticks(angles, list(_ARROWS), fontsize=12)
            axes.set_ylim(0, max(most, 1) * 1.05)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.tick_params(axis="y", labelsize=7.5)
            axes.spines["polar"].set_visible(False)
            axes.set_title(f"Ways of the {side} hand", loc="center")
            axes.set_xlabel(
                f"{sum(lengths)} move, {counts[STILL]} stay still,\n{counts[UNKNOWN]} {UNKNOWN}", fontsize=8.5
            )
    return figure


def lengths_figure(originals: Sequence[str], captions: Sequence[str]) -> Figure:
    """Words of the original narrations, and of the HOD ones where there are any."""
    figure, axes = _axes("Words of a narration")
    with styled(PAGE_STYLE):
        groups = [("original", originals, PLAIN), ("HOD", captions, STRONG)]
        counted = [(name, [len(text.split()) for text in texts], hue) for name, texts, hue in groups if texts]
        longest = max((max(words) for _, words, _ in counted), default=1)
        edges = np.arange(-0.5, longest + 1.5, max(1, round(longest / 40)))
        edges = edges if edges[-1] > longest else np.append(edges, longest + 0.5)
        axes.hist(
            [words for _, words, _ in counted],
            edges.tolist(),
            color=[hue for *_, hue in counted],
            label=[f"{name}: median {np.median(words):.0f}" for name, words, _ in counted],
        )
        axes.set(xlabel="words", ylabel="clips")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _legend(axes, len(counted))
    return figure


def quality_figure(qualities: Sequence[float], accepted: Sequence[bool | None]) -> Figure:
    """Quality of the clips, those that were accepted apart from the others."""
    figure, axes = _axes("Quality")
    with styled(PAGE_STYLE):
        names = {True: ("accepted", STRONG), False: ("not accepted", PLAIN), None: ("not judged", FAINT)}
        parts = {
            key: [value for value, said in zip(qualities, accepted, strict=True) if said is key]
            for key in names
        }
        kept = [key for key, values in parts.items() if values]
        axes.hist(
            [parts[key] for key in kept],
            _edges(),
            stacked=True,
            color=[names[key][1] for key in kept],
            label=[f"{names[key][0]}: {len(parts[key])}" for key in kept],
        )
        axes.set(xlabel="quality", ylabel="clips", xlim=(0, 1))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _legend(axes, len(kept))
    return figure


def checks_figure(verdicts: Mapping[str, Counter[str]]) -> Figure:
    """Verdicts of the check on each slot, as shares of the clips."""
    figure, axes = _axes("Check of the HOD narrations")
    with styled(PAGE_STYLE):
        for row, counts in enumerate(verdicts.values()):
            left, total = 0.0, sum(counts.values())
            for kind in VERDICT_COLOURS:
                count = counts[kind] if kind in ("ok", "wrong") else total - counts["ok"] - counts["wrong"]
                axes.barh(row, count / total, left=left, color=VERDICT_COLOURS[kind], height=0.62)
                left += count / total
        axes.set(xlim=(0, 1), ylim=(len(verdicts) - 0.5, -0.5))
        axes.set_yticks(range(len(verdicts)), list(verdicts))
        _percent(axes)
        handles = [
            Patch(color=VERDICT_COLOURS[kind], label=label)
            for kind, label in (("ok", "ok"), ("wrong", "wrong"), ("unsaid", "not said"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def agreement_figures(agreements: Sequence[Agreement]) -> list[Figure]:
    """How clips are spread over each measure of agreement, and its mean over all instants, two by two."""
    measures, total = list(MEASURES.items()), sum(agreements, Agreement())
    figures = []
    with styled(PAGE_STYLE):
        for first in range(0, len(measures), 2):
            figure = Figure(figsize=_SIZE, layout="constrained")
            for number, (name, words) in enumerate(measures[first : first + 2]):
                axes = figure.add_subplot(1, 2, number + 1)
                values = [getattr(each, name).value for each in agreements if getattr(each, name).count]
                axes.set_title(f"Truth: {words}")
                axes.set(xlim=(0, 1), xlabel=_mean_words(getattr(total, name).value), xticks=[0, 0.5, 1])
                axes.set_ylabel("" if number else "clips")
                axes.hist(values, _edges(), color=STRONG)
                axes.axvline(getattr(total, name).value, color="#1B1F24", linewidth=1.2, linestyle="--")
                axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            figures.append(figure)
    return figures


def _axes(title: str) -> tuple[Figure, Axes]:
    """Built without pyplot, so nothing stays open."""
    with styled(PAGE_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
    return figure, axes


def _edges() -> list[float]:
    edges: list[float] = np.linspace(0, 1, _BINS + 1).tolist()
    return edges


def _mean_words(mean: float) -> str:
    return "not known" if np.isnan(mean) else f"mean {mean:.2f}"


def _legend(axes: Axes, columns: int) -> None:
    """Above the plot, beside its title: bars may be anywhere in it."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, 0.98),
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        columnspacing=1.2,
        handlelength=1.2,
    )


def _percent(axes: Axes) -> None:
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
