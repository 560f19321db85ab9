"""Which probe tells how well policies will do: probes of runs against the success of their policies.

An encoder's success is that of held-out episodes, at their last step, under what policies learnt from; its
probe's score is that of the same demonstrations' features. Both are means over the tasks that have both.
Printed are rank correlations (Spearman's) over encoders, and within tasks. Of several runs with the same cell
the one that is named first counts.

    python benchmarks/probes_and_success.py runs/table_none runs/five_train [--plot imitation.png]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import spearmanr

from egorep.figures import styled
from robot_eval.plots import colours
from robot_eval.probe_results import TARGETS, read_probes
from robot_eval.results import read_results

CELL = ["suite", "task", "train_variation", "encoder_fingerprint"]
ENCODER = ["train_variation", "encoder"]
LEAST = 4  # encoders of a task that can be ordered at all
PLOTTED = "imitation", "linear"
MARKERS = {"none": "o", "train": "D"}


def joined(runs: Sequence[Path], probed: Sequence[Path]) -> pd.DataFrame:
    """A row per cell, target and kind of probe, with its `estimate` and the policies' `success`.

    Args:
        runs: of policies and probes.
        probed: of probes alone.
    """
    results = pd.concat([read_results(run) for run in runs], keys=range(len(runs)), names=["run"])
    held_out = results[(results["role"] == "held_out") & (results["variation"] == results["train_variation"])]
    rates = held_out.assign(success=held_out["success_last"].map(lambda flags: sum(flags) / len(flags)))
    success = rates.groupby([*CELL, "run"])["success"].mean().groupby(CELL).first()
    probes = pd.DataFrame([asdict(row) for run in [*runs, *probed] for row in read_probes(run)])
    probes = probes.drop_duplicates([*CELL, "target", "probe"])
    return probes.join(success, on=CELL, how="inner")


def correlations(data: pd.DataFrame) -> Iterator[str]:
    """Markdown: for each target and kind of probe, over encoders and within tasks."""
    yield "| probe | | over encoders | n | within tasks | n |"
    yield "|---|---|---|---|---|---|"
    for target in TARGETS:
        for kind, rows in data[data["target"] == target].groupby("probe"):
            means = rows.groupby(ENCODER)[["estimate", "success"]].mean()
            over = spearmanr(means["estimate"], means["success"]).statistic
            tasks = [
                spearmanr(task["estimate"], task["success"]).statistic
                for _, task in rows.groupby(["suite", "task", "train_variation"])
                if len(task) >= LEAST and task["success"].nunique() > 1 and task["estimate"].nunique() > 1
            ]
            within = sum(tasks) / len(tasks) if tasks else float("nan")
            yield f"| {target} | {kind} | {over:.2f} | {len(means)} | {within:.2f} | {len(tasks)} |"


def figure(data: pd.DataFrame) -> Figure:
    """Success against the plotted probe: a point per encoder and kind of demonstrations."""
    rows = data[(data["target"] == PLOTTED[0]) & (data["probe"] == PLOTTED[1])]
    means = rows.groupby(ENCODER)[["estimate", "success"]].mean().reset_index()
    paint = colours(means["encoder"].tolist())
    with styled():
        drawn = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = drawn.subplots()
        for kind, encoder, estimate, success in means.to_numpy():
            axes.plot(estimate, success, MARKERS[kind], color=paint[encoder])
        axes.set(xlabel=f"R2 of {' probe, '.join(PLOTTED)}", ylabel="held-out success", ylim=(0, 1))
        names = [Patch(color=paint[name], label=name) for name in dict.fromkeys(means["encoder"])]
        kinds = [Line2D([], [], marker=m, color="#59616C", ls="", label=kind) for kind, m in MARKERS.items()]
        drawn.legend(handles=[*names, *kinds], loc="outside right center", frameon=False)
    return drawn


def main() -> None:
    """Print the correlations; draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, with probes")
    parser.add_argument("--probed", nargs="+", type=Path, default=[], help="runs whose policies do not count")
    parser.add_argument("--plot", type=Path, help="file of a picture")
    given = parser.parse_args()
    data = joined(given.runs, given.probed)
    sys.stdout.write("\n".join(correlations(data)) + "\n")
    if given.plot is not None:
        figure(data).savefig(given.plot, dpi=150)


if __name__ == "__main__":
    main()
