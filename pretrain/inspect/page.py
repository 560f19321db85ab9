"""A data set to one HTML page: numbers, plots and clips in a file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from tqdm import tqdm

from egorep.figures import to_svg
from egorep.files import replacing
from egorep.names import unknown
from pretrain.inspect.agreement import FOUND, MEASURES, Agreement, agree
from pretrain.inspect.dataset import Clip, Dataset
from pretrain.inspect.drawing import COLOURS, TAGS, clip_video
from pretrain.inspect.plots import (
    PAGE_STYLE,
    agreement_figures,
    checks_figure,
    coverage_figure,
    directions_figure,
    lengths_figure,
    quality_figure,
)
from pretrain.inspect.summary import Problem, Summary, one_line, spread, summarise

CHOICES = ("even", "random", "worst", "first")
"""Which clips are shown."""

_TEMPLATES = Path(__file__).with_name("templates")
_MOST_VALUES = 40  # of a column that can be filtered by
_DISTINCT = 0.8  # values of such a column for each row, at most
_EXAMPLES = 3  # of them, that are printed
_LISTED = 200  # problems that the page lists
_MARKS = {"ok": "\N{CHECK MARK}", "wrong": "\N{BALLOT X}"}
_NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class PageSettings:
    """What the page shows.

    Attributes:
        rows: clips that are shown, > 0.
        choose: which; a name of `CHOICES`. `worst` are those of lowest quality in the sample.
        seed: of `random`.
        size: longer side of the clips, pixels.
        sample: rows that are summed up, > 0, spread evenly over the CSV.

    Raises:
        ValueError: a value that cannot be.
    """

    rows: int = 48
    choose: str = "even"
    seed: int = 0
    size: int = 320
    sample: int = 5000

    def __post_init__(self) -> None:
        if self.choose not in CHOICES:
            raise unknown("choose", self.choose, CHOICES)
        for name, least in (("rows", 1), ("seed", 0), ("size", 32), ("sample", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Written:
    """What became of a page.

    Attributes:
        path: of the page.
        shown: clips on it.
        problems: rows that could not be shown or summed up.
        rejected: rows of the CSV that could not be used at all.
    """

    path: Path
    shown: int
    problems: tuple[Problem, ...]
    rejected: int


def write_page(dataset: Dataset, path: Path, settings: PageSettings) -> Written:
    """Write the page, whole or not at all. Rows that cannot be read are listed on it with the reason.

    Raises:
        ValueError: `choose` is worst, and no row of the sample has a quality.
    """
    summary = summarise(dataset, spread(settings.sample, len(dataset.rows)))
    places = chosen(dataset, summary, settings)
    cards, problems = _cards(dataset, places, settings.size)
    found = {**summary.problems, **problems}
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"{dataset.folder.resolve().name}: clips, tracks and narrations",
            facts=_facts(dataset, summary),
            sampled=len(summary.clips) + len(summary.problems),
            total=len(dataset.rows),
            plots=_plots(summary),
            notes=_notes(dataset, summary),
            legend=[(name.replace("_", " "), COLOURS[name], TAGS[name]) for name in COLOURS],
            tracks="tracks" if dataset.has_tracks else "truth" if dataset.has_truth else "",
            compared=bool(summary.agreements),
            least_overlap=FOUND,
            chosen=_chosen_words(settings),
            asked=len(places),
            cards=cards,
            judged=any(not math.isnan(card["clip"].quality) for card in cards),
            filters=_filters(cards, summary),
            problems=[found[place] for place in sorted(found)][:_LISTED],
            problem_count=len(found),
            rejected=dataset.rows.rejected[:_LISTED],
            rejected_count=len(dataset.rows.rejected),
            csv=dataset.csv,
            skipped=dataset.skipped[:_LISTED],
            skipped_count=len(dataset.skipped),
            script=Markup(script),  # our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Written(
        path, len(cards), tuple(found[place] for place in sorted(found)), len(dataset.rows.rejected)
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "clock": _clock}
    return environment


def chosen(dataset: Dataset, summary: Summary, settings: PageSettings) -> list[int]:
    """Places of the rows that are shown, in the order in which they are.

    Raises:
        ValueError: `choose` is worst, and no row of the sample has a quality.
    """
    total = len(dataset.rows)
    count = min(settings.rows, total)
    if settings.choose == "first":
        return list(range(count))
    if settings.choose == "random":
        return sorted(np.random.default_rng(settings.seed).choice(total, count, replace=False).tolist())
    if settings.choose == "even":
        return spread(count, total)
    qualities = summary.qualities
    if not qualities:
        raise ValueError(
            f"choose=worst wants a column quality, as pretrain.hod writes it; {dataset.csv} tells none"
        )
    return sorted(qualities, key=lambda place: (qualities[place], place))[:count]


def _chosen_words(settings: PageSettings) -> str:
    return {
        "even": "spread evenly over the data set",
        "random": f"drawn at random, seed {settings.seed}",
        "worst": "of the lowest quality, worst first",
        "first": "the first of the data set",
    }[settings.choose]


def _cards(
    dataset: Dataset, places: Sequence[int], size: int
) -> tuple[list[dict[str, Any]], dict[int, Problem]]:
    cards: list[dict[str, Any]] = []
    problems: dict[int, Problem] = {}
    for place in tqdm(places, desc="clips", disable=None):
        narrated = dataset.rows[place]
        try:
            cards.append(_card(dataset, dataset.clip(place), size))
        except ValueError as error:
            problems[place] = Problem(narrated.row, narrated.video_id, one_line(error))
    return cards, problems


def _card(dataset: Dataset, clip: Clip, size: int) -> dict[str, Any]:
    tracks = dataset.tracks(clip)
    truth = dataset.truth(clip) if dataset.has_tracks else None
    video = clip_video(clip.narrated, tracks, truth, size)
    narrated = clip.narrated
    more = {name: value for name, value in clip.more.items() if value}
    own = {"accepted": _accepted_words(clip), "source": clip.source, "attempts": clip.attempts}
    return {
        "clip": clip,
        "video": f"data:video/mp4;base64,{base64.b64encode(video).decode('ascii')}",
        "accepted": _accepted_words(clip),
        "chips": [_chip(slot, verdict) for slot, verdict in clip.verdicts.items()],
        "agreement": None if truth is None or tracks is None else _agreement_words(agree(tracks, truth)),
        "values": more | {name: value for name, value in own.items() if value},
        "more": more,
        "search": " ".join([narrated.video_id, clip.original, clip.caption, *more.values()]).casefold(),
    }


def _chip(slot: str, verdict: str) -> tuple[str, str, str]:
    """Class, sign and words of a verdict; all that are neither ok nor wrong look alike."""
    kind = verdict if verdict in _MARKS else "unsaid"
    return kind, _MARKS.get(verdict, _NONE), f"{slot}: {verdict}"


def _agreement_words(agreement: Agreement) -> list[tuple[str, str]]:
    return [(words, _number(getattr(agreement, name).value)) for name, words in MEASURES.items()]


def _accepted_words(clip: Clip) -> str:
    return "" if clip.accepted is None else "accepted" if clip.accepted else "not accepted"


def _filters(cards: Sequence[dict[str, Any]], summary: Summary) -> list[tuple[str, list[tuple[str, int]]]]:
    """Columns of few values, each with those that are shown and on how many clips.

    A column whose values hardly ever come twice names rows, and is left out.
    """
    everywhere: dict[str, set[str]] = {}
    for clip in summary.clips.values():
        for name, value in clip.more.items():
            everywhere.setdefault(name, set()).add(value)
    most = min(_MOST_VALUES, max(2, int(_DISTINCT * len(summary.clips))))
    filters = []
    for name in ("accepted", "source", "attempts", *everywhere):
        counts = Counter(card["values"].get(name, "") for card in cards)
        counts.pop("", None)
        if len(everywhere.get(name, ())) <= most and len(counts) > 1:
            filters.append((name, sorted(counts.items())))
    return filters


def _facts(dataset: Dataset, summary: Summary) -> list[tuple[str, str]]:
    clips = list(summary.clips.values())
    judged = [clip.accepted for clip in clips if clip.accepted is not None]
    lengths = [clip.narrated.end - clip.narrated.start for clip in clips]
    qualities, sources = summary.qualities, summary.sources
    facts = [
        ("Clips", f"{len(dataset.rows):,}"),
        ("Videos in the sample", f"{len({clip.narrated.video_id for clip in clips}):,}"),
        ("Median length", f"{np.median(lengths):.1f} s" if lengths else _NONE),
        ("Accepted", _share(sum(judged), len(judged))),
        ("Mean quality", _number(float(np.mean(list(qualities.values()))) if qualities else math.nan)),
        (
            "Written by",
            ", ".join(f"{name} {_share(count, sources.total())}" for name, count in sources.most_common()),
        ),
    ]
    facts += [(f"Truth: {words}", value) for words, value in _agreement_words(summary.agreement)]
    return [(name, value) for name, value in facts if value not in ("", _NONE)]


def _plots(summary: Summary) -> list[dict[str, Any]]:
    """Those for which there are data, each with what a reader who cannot see it is told."""
    clips, quality = summary.clips, summary.qualities
    captions = [clip.caption for clip in clips.values() if clip.caption]
    originals = [clip.original for clip in clips.values() if clip.original]
    figures: list[tuple[str, Figure]] = []
    if summary.coverage.instants:
        figures.append(("Share of instants at which each track has a box", coverage_figure(summary.coverage)))
        figures.append(("Ways of the left and the right hand", directions_figure(summary.directions)))
    if originals or captions:
        figures.append(("Words of the narrations", lengths_figure(originals, captions)))
    if quality:
        accepted = [clips[place].accepted for place in quality]
        figures.append(("Quality of the clips", quality_figure(list(quality.values()), accepted)))
    if summary.verdicts:
        figures.append(("Verdicts of the check on each slot", checks_figure(summary.verdicts)))
    if summary.agreements:
        agreed = agreement_figures(list(summary.agreements.values()))
        figures += [("Agreement of the tracks of hands with the ground truth", figure) for figure in agreed]
    return [
        {"label": label, "svg": Markup(to_svg(figure, f"p{number}", PAGE_STYLE))}  # our own SVG, not names
        for number, (label, figure) in enumerate(figures)
    ]


def _notes(dataset: Dataset, summary: Summary) -> list[str]:
    notes = []
    if not dataset.has_tracks:
        notes.append(
            "There is no tracks.zarr: boxes and ways are those of the ground truth."
            if dataset.has_truth
            else "There is no tracks.zarr beside the CSV, so nothing is drawn on the clips."
        )
    if not any(clip.caption for clip in summary.clips.values()):
        notes.append(f"{dataset.csv} has one narration for each clip, so no HOD narration stands beside it.")
    return notes


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} %" if total else ""


def _number(value: float) -> str:
    return _NONE if math.isnan(value) else f"{value:.2f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def said(written: Written) -> str:
    """What was written and what was not, in one or two lines."""
    size = written.path.stat().st_size / 1e6
    line = f"{written.path}: {written.shown} clips shown, {size:.1f} MB"
    if written.rejected:
        line += f"; rows of the CSV that cannot be used: {written.rejected}"
    if written.problems:
        named = [f"row {each.row} ({each.video_id}): {each.reason}" for each in written.problems[:_EXAMPLES]]
        line += f"\nrows that could not be read: {len(written.problems)}; first: {'; '.join(named)}"
    return line
