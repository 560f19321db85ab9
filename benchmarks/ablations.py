"""What each part of pretraining is worth: variants that differ in one thing, over seeds.

They are judged on EgoSim's held-out clips, by words and by linear probes of their features, and on Meta-World
under varied looks, by how well a linear map reads the expert's action from what a policy would see.

Every variant is trained and judged by the commands that users have, so a run that was stopped goes on, and
what is finished is not done again. Results are kept in a CSV, which is enough to make the tables again.
Differences are to the first variant of a group, paired by seed.

    python benchmarks/ablations.py data/egosim data/egosim_hod [--groups narrations losses] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from scipy.stats import t as student

from egorep.figures import styled

WORDS = {
    "mAP": ("EgoSim retrieval", "mAP"),
    "verbs": ("EgoSim verbs", "verb top-1"),
    "inter-video": ("EgoSim multiple choice", "inter-video"),
    "intra-video": ("EgoSim multiple choice", "intra-video"),
    "hand": ("EgoSim motion queries", "hand"),
    "object": ("EgoSim motion queries", "object"),
    "direction": ("EgoSim motion queries", "direction"),
    "contact": ("EgoSim motion queries", "contact"),
}
PROBES = {  # targets of `pretrain.probe`, whose scores are averaged; R2 of 0 and AUROC of 50 know nothing
    "hand, R2": (("left hand", "right hand"), 0.0),
    "contact, AUROC": (("left contact", "right contact"), 50.0),
    "object, R2": (("object",), 0.0),
}
ROBOTS = "imitation, R2"
ROBOT_TASKS = ("assembly-v3", "button-press-v3", "hammer-v3")
ROBOT_RUN = (
    "suite=metaworld",
    f"tasks=[{','.join(ROBOT_TASKS)}]",
    "variation=train",
    "demos=25",
    "seeds=1",
    "probes=only",
)
JUDGES = {"words": set(WORDS), "probes": set(PROBES), "robots": {ROBOTS}}
TABLES = (tuple(WORDS), (*PROBES, ROBOTS))
MEASURES = tuple(name for names in TABLES for name in names)
ACROSS = 4  # panels of a plot
IDENTITY = ("training_rows", "epochs", "more_epochs")
COLUMNS = (*IDENTITY, "variant", "seed", "measure", "value", "chance", "cpu_seconds")
RECIPES = OmegaConf.load(
    Path(__file__).parents[1] / "configs" / "pretrain" / "model" / "egovideo_tiny.yaml"
).recipes
LEFT_OUT = "left_out"  # the split of rows that a smaller data set is without


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: in tables, and of the folder of its runs.
        settings: overrides of `pretrain.train`.
        start: the variant whose run of the same seed it goes on from.
        share: of the training videos.
        detected: learns from detected hands and objects instead of true ones.
        longer: is trained from nothing for as long as a run and what goes on from it.
    """

    name: str
    settings: tuple[str, ...] = ()
    start: str | None = None
    share: float = 1.0
    detected: bool = False
    longer: bool = False


BASE = Variant("base")
COTRAIN = ("stage=cotrain", "patch_dropout=0.0")  # the spatial adapter needs whole pictures, so all get them
ONWARDS = tuple(f"{key}={RECIPES.cotrain[key]}" for key in ("batch", "learning_rate", "warmup", "together"))
WHOLE_FRAMES = "model.architecture={slow_frames: 16, vision: {num_frames: 16}}"
GROUPS: dict[str, list[Variant]] = {
    "narrations": [
        BASE,
        Variant("original alone", ("texts=[text]",)),
        Variant("HOD alone", ("texts=[caption]",)),
    ],
    "losses": [
        BASE,
        Variant("no boxes", ("losses.boxes=0",)),
        Variant("no tracks", ("losses.tracks=0",)),
    ],
    "size": [BASE, Variant("half of the clips", share=0.5), Variant("a quarter", share=0.25)],
    "detection": [BASE, Variant("detected tracks", detected=True)],
    "pathways": [
        Variant("slow alone", ONWARDS, start="base"),
        Variant("slow-fast, no adapter", (*COTRAIN, "model.architecture={adapter: none}"), start="base"),
        Variant("slow-fast, adapter", COTRAIN, start="base"),
        Variant(
            "slow-fast, spatial adapter",
            (*COTRAIN, "model.architecture={adapter: spatial_temporal}"),
            start="base",
        ),
    ],
    "co-training": [
        Variant("co-training", ("stage=cotrain",), start="base"),
        Variant(
            "16 frames end to end",
            (WHOLE_FRAMES, f"patch_dropout={RECIPES.cotrain.patch_dropout}"),
            longer=True,
        ),
    ],
}


@dataclass(frozen=True)
class Plan:
    """Where everything is, and how long runs are."""

    sim: Path
    hod: Path
    detected: Path | None
    out: Path
    kept: Path
    epochs: float
    more_epochs: float

    def folder(self, variant: Variant, seed: int) -> Path:
        """Of a run."""
        return self.out / variant.name.replace(" ", "_").replace(",", "") / str(seed)

    def run(self, variant: Variant, seed: int, judges: Sequence[str]) -> None:
        """Train a variant, judge it by some of `JUDGES`, and keep its results, as far as that is not done."""
        kept = self._kept()
        own = set(kept[(kept["variant"] == variant.name) & (kept["seed"] == seed)]["measure"])
        folder = self.folder(variant, seed)
        by = {"words": self._by_words, "probes": self._by_probes, "robots": self._on_robots}
        for name in judges:
            if JUDGES[name] <= own:
                continue
            cost = self._train(variant, seed)
            rows = [
                (*self._identity, variant.name, seed, measure, round(value, 2), round(chance, 2), round(cost))
                for measure, value, chance in by[name](folder)
            ]
            there = self.kept.is_file()
            pd.DataFrame(rows, columns=COLUMNS).to_csv(self.kept, mode="a", header=not there, index=False)

    def _by_words(self, folder: Path) -> Iterator[tuple[str, float, float]]:
        """Each of `WORDS`, its value and chance, in percent."""
        judged = (f"data={self.sim}", f"checkpoint={folder}", "benchmark=egosim")
        figures = _found(folder / "judged" / "egosim.parquet", "pretrain.zeroshot", *judged)
        figures = figures.set_index(["task", "measure"])
        for name, place in WORDS.items():
            yield name, 100 * float(figures["estimate"][place]), 100 * float(figures["chance"][place])

    def _by_probes(self, folder: Path) -> Iterator[tuple[str, float, float]]:
        """Each of `PROBES` likewise, of the class token."""
        probed = (f"data={self.sim}", f"encoders=[egovideo_tiny@{folder}]")
        figures = _found(folder / "probed" / "probes.parquet", "pretrain.probe", *probed)
        scores = figures[figures["probe"] == "linear"].set_index("target")["estimate"]
        for name, (targets, nothing) in PROBES.items():
            yield name, 100 * float(scores[list(targets)].mean()), nothing

    def _on_robots(self, folder: Path) -> Iterator[tuple[str, float, float]]:
        """The mean of `ROBOTS` over tasks likewise, of the patch tokens' grid and proprioception."""
        encoder = f"encoders=[egovideo_tiny@{folder}:grid]"
        figures = _found(folder / "robots" / "probes.parquet", "robot_eval", *ROBOT_RUN, encoder)
        scores = figures[(figures["probe"] == "linear") & (figures["target"] == "imitation")]["estimate"]
        yield ROBOTS, 100 * float(scores.mean()), 0.0

    def _train(self, variant: Variant, seed: int) -> float:
        """CPU seconds that training took, with those of what it goes on from."""
        before = self._train(_named(variant.start), seed) if variant.start else 0.0
        folder = self.folder(variant, seed)
        if not (folder / "model" / "config.json").is_file():
            began = _cpu_seconds()
            _command("pretrain.train", *self._training(variant, seed), f"out={folder}")
            _add_cost(folder / "cost.json", _cpu_seconds() - began)
        own: float = json.loads((folder / "cost.json").read_text())["cpu_seconds"]
        return before + own

    def _training(self, variant: Variant, seed: int) -> list[str]:
        data = self.detected if variant.detected else self.hod
        assert data is not None
        # Smaller data sets are seen more often: every run of a group takes as many steps.
        epochs = self.more_epochs if variant.start else self.epochs + variant.longer * self.more_epochs
        epochs /= variant.share
        settings = [f"data={data}", f"seed={seed}", f"epochs={epochs:g}", "evaluate_every=1000"]
        if variant.start is not None:
            settings.append(f"init={self.folder(_named(variant.start), seed)}")
        if variant.share < 1:
            settings.append(f"csv={_smaller(data / 'hod.csv', variant.share).name}")
            settings.append(f"warmup={RECIPES.backbone.warmup / variant.share:g}")
        return [*settings, *variant.settings]

    @property
    def _identity(self) -> tuple[float, ...]:
        """What all results hang on: how many rows there are to train on, and how long that is done."""
        rows = pd.read_csv(self.hod / "hod.csv", usecols=["split"])["split"]
        return float((rows == "train").sum()), self.epochs, self.more_epochs

    def _kept(self) -> pd.DataFrame:
        """Results of all finished runs on these data and of this length.

        Raises:
            ValueError: the file has results of others.
        """
        if not self.kept.is_file():
            return pd.DataFrame(columns=COLUMNS)
        kept = pd.read_csv(self.kept)
        wanted = dict(zip(IDENTITY, self._identity, strict=True))
        found = kept[list(IDENTITY)].drop_duplicates().to_dict("records")
        if found != [wanted]:
            raise ValueError(
                f"{self.kept} has results of {found}, not of {wanted}: give another file as --kept"
            )
        return kept

    def results(self, variants: Sequence[Variant], seeds: Sequence[int]) -> pd.DataFrame:
        """A row per variant, seed and measure of finished runs."""
        kept = self._kept()
        return kept[kept["variant"].isin([v.name for v in variants]) & kept["seed"].isin(seeds)]


def _found(path: Path, module: str, *settings: str) -> pd.DataFrame:
    """The table at `path`, which a command with these settings writes into its folder, if it is not there."""
    if not path.is_file():
        _command(module, *settings, f"out={path.parent}")
    return pd.read_parquet(path)


def _named(name: str) -> Variant:
    return next(variant for group in GROUPS.values() for variant in group if variant.name == name)


def _command(module: str, *settings: str) -> None:
    subprocess.run([sys.executable, "-m", module, *settings], check=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _add_cost(path: Path, seconds: float) -> None:
    """Add to what earlier parts of a run cost; one that was killed says nothing of its last part."""
    before = json.loads(path.read_text())["cpu_seconds"] if path.is_file() else 0.0
    path.write_text(json.dumps({"cpu_seconds": before + seconds}) + "\n")


def _smaller(path: Path, share: float) -> Path:
    """A CSV beside `path` in which only the first `share` of the training videos are of the split train."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    videos = sorted({row["video_id"] for row in rows if row["split"] == "train"})
    kept = set(videos[: round(share * len(videos))])
    smaller = path.with_name(f"hod_{share:g}.csv")
    with smaller.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            left_out = row["split"] == "train" and row["video_id"] not in kept
            writer.writerow(row | {"split": LEFT_OUT} if left_out else row)
    return smaller


def difference(values: pd.DataFrame, variant: str, reference: str) -> tuple[float, float] | None:
    """Mean difference over the seeds that both have, and half of its 95 % interval (Student's t)."""
    pivot = values.pivot(index="seed", columns="variant", values="value")
    if not {variant, reference} <= set(pivot.columns):
        return None
    pairs = (pivot[variant] - pivot[reference]).dropna()
    if len(pairs) < 2:
        return None
    half = student.ppf(0.975, len(pairs) - 1) * pairs.std() / np.sqrt(len(pairs))
    return float(pairs.mean()), float(half)


def table(results: pd.DataFrame, variants: Sequence[Variant], measures: Sequence[str]) -> Iterator[str]:
    """Markdown: means over seeds, and under them the differences to the first variant."""
    yield "| | seeds | " + " | ".join(measures) + " | CPU minutes |"
    yield "|---" * (len(measures) + 3) + "|"
    chances = results.groupby("measure")["chance"].first()
    yield f"| *chance* | | {' | '.join(_cell(chances, name) for name in measures)} | |"
    for variant in variants:
        own = results[results["variant"] == variant.name]
        if own.empty:
            continue
        means = own.groupby("measure")["value"].mean()
        cells = " | ".join(_cell(means, name) for name in measures)
        minutes = own["cpu_seconds"].mean() / 60
        yield f"| {variant.name} | {own['seed'].nunique()} | {cells} | {minutes:.0f} |"
        if variant is variants[0]:
            continue
        changes = [
            difference(results[results["measure"] == name], variant.name, variants[0].name)
            for name in measures
        ]
        shown = [f"{change[0]:+.1f} ± {change[1]:.1f}" if change else "" for change in changes]
        yield "| *difference* | | " + " | ".join(shown) + " | |"


def _cell(values: pd.Series[float], name: str) -> str:
    """A number, or nothing where a run has not come so far."""
    return f"{values[name]:.1f}" if name in values else ""


def _measured(results: pd.DataFrame, measures: Sequence[str]) -> list[str]:
    """Those of `measures` of which there are results."""
    return [name for name in measures if name in set(results["measure"])]


def figure(results: pd.DataFrame, variants: Sequence[Variant]) -> Figure:
    """A panel per measure that there is: every seed a dot, the mean a bar, chance a line."""
    names = [variant.name for variant in variants if variant.name in set(results["variant"])]
    measures = _measured(results, MEASURES)
    rows = -(-len(measures) // ACROSS)
    with styled():
        drawn = Figure(figsize=(9.6, 1.0 + 0.3 * len(names) * rows), layout="constrained")
        axes = list(drawn.subplots(rows, ACROSS, sharey=True, squeeze=False).flat)
        for spare in axes[len(measures) :]:
            spare.remove()
        for place, (axis, measure) in enumerate(zip(axes, measures, strict=False)):
            axis.set_title(measure)
            for chance in results[results["measure"] == measure]["chance"].unique():
                axis.axvline(chance, color="#8A8F98", linestyle="--", linewidth=1)
            for row, name in enumerate(names):
                values = results[(results["variant"] == name) & (results["measure"] == measure)]["value"]
                axis.barh(row, values.mean(), color="#C9DDF0", height=0.7)
                axis.plot(values, [row] * len(values), "o", color="#0072B2", markersize=4)
            if place == 0:
                axis.invert_yaxis()
                axis.set_yticks(range(len(names)), names)
    return drawn


def main() -> None:
    """Run the chosen groups seed by seed; print the tables, and draw the plots, of what is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sim", type=Path, help="EgoSim clips")
    parser.add_argument("hod", type=Path, help="HOD data of them, from ground truth")
    parser.add_argument("--detected", type=Path, help="HOD data of the same clips by a detector")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES))
    parser.add_argument("--epochs", type=float, default=5, help="from nothing")
    parser.add_argument("--more-epochs", type=float, default=1, help="of what goes on from a run")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--kept", type=Path, help="CSV of finished runs; those in it are not done again")
    given = parser.parse_args()
    kept = given.kept or given.out / "results.csv"
    plan = Plan(given.sim, given.hod, given.detected, given.out, kept, given.epochs, given.more_epochs)
    chosen = {name: [v for v in GROUPS[name] if given.detected or not v.detected] for name in given.groups}
    for seed in given.seeds:
        for variants in chosen.values():
            for variant in variants:
                plan.run(variant, seed, given.judges)
    for name, variants in chosen.items():
        results = plan.results(variants, given.seeds)
        for measures in filter(None, (_measured(results, names) for names in TABLES)):
            sys.stdout.write("\n".join([f"\n{name}\n", *table(results, variants, measures)]) + "\n")
        figure(results, variants).savefig(plan.out / f"{name}.png", dpi=150)


if __name__ == "__main__":
    main()
