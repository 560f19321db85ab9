"""EPIC-KITCHENS-100 action recognition: verb, noun and action (a pair of both) of a clip.

Source: Damen et al. 2022, "Rescaling Egocentric Vision"; files of the repository
epic-kitchens/epic-kitchens-100-annotations, here under `annotations`:

- `EPIC_100_validation.csv` and `EPIC_100_train.csv`: a clip per row, with verb_class and noun_class.
- `EPIC_100_verb_classes.csv` and `EPIC_100_noun_classes.csv`: id, key (as "turn-on", "board:chopping"),
  instances, category; 97 verbs and 300 nouns.

The classes are the pairs that occur in the two sets (3,806 of the published files), as in LaViLa's zero-shot
evaluation; a verb or a noun scores what the best of its pairs scores. The prompt of a pair is its two keys in
words, "take plate", which is how EPIC's own narrations are phrased.

Videos are `<participant>/<video_id>.MP4`, or folders of chunks `<participant>/<video_id>/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pretrain.benchmarks import Source, files, holdout
from pretrain.benchmarks.tasks import Classification, Examples, Problem, Retrieval
from pretrain.data.narrations import Narrated

_ORIGIN = "they come from github.com/epic-kitchens/epic-kitchens-100-annotations"
_NAME = "EK-100 CLS"

_Pair = tuple[int, int]


def evaluation(source: Source) -> Examples:
    """The validation set (the labels of the test set are not public); `source.split` is "validation"."""
    if source.split != "validation":
        raise ValueError(f"EK-100 CLS is evaluated on split 'validation'; got {source.split!r}")
    clips, labels, pairs, problems = _read(source, "validation")
    return Examples([_task(source, clips, labels, pairs)], problems)


def training(source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:
    """The training set, a tenth of whose videos are kept to select on."""
    if kind is not Classification:
        raise ValueError("EK-100 CLS trains classification; for retrieval take benchmark=ek100_mir")
    clips, labels, pairs, problems = _read(source, "train")
    rows = list(zip(clips, labels, strict=True))
    parts = holdout.by_video(rows, lambda row: row[0].video_id)
    tasks = [_task(source, [clip for clip, _ in part], [label for _, label in part], pairs) for part in parts]
    return Examples(tasks, problems)


def _read(source: Source, part: str) -> tuple[list[Narrated], list[_Pair], list[_Pair], list[Problem]]:
    """Clips of a part with their labels, all pairs there are, and the rows that cannot be used."""
    tables = {name: source.annotations / f"EPIC_100_{name}.csv" for name in ("train", "validation")}
    files.require([*tables.values(), *_class_files(source).values()], _ORIGIN)
    pairs: set[_Pair] = set()
    for path in tables.values():
        rows = files.read_rows(path, ["verb_class", "noun_class"])
        pairs.update((int(row["verb_class"]), int(row["noun_class"])) for row in rows)
    clips, problems = files.epic_clips(tables[part], source.videos, ["verb_class", "noun_class"])
    labels = [(int(clip.more["verb_class"]), int(clip.more["noun_class"])) for clip in clips]
    return clips, labels, sorted(pairs), problems


def _task(
    source: Source, clips: Sequence[Narrated], labels: Sequence[_Pair], pairs: Sequence[_Pair]
) -> Classification:
    names = {kind: _class_names(path) for kind, path in _class_files(source).items()}
    unknown = {
        f"{kind} {pair[place]}"
        for place, kind in enumerate(("verb", "noun"))
        for pair in pairs
        if pair[place] not in names[kind]
    }
    if unknown:
        raise ValueError(f"{source.annotations}: the class files do not name {', '.join(sorted(unknown))}")
    places = {pair: place for place, pair in enumerate(pairs)}
    prompts = [(f"{names['verb'][verb]} {names['noun'][noun]}",) for verb, noun in pairs]
    verbs, nouns = np.array(pairs, np.int64).T
    levels = {"action": np.arange(len(pairs)), "verb": verbs, "noun": nouns}
    own = np.array([places[label] for label in labels], np.int64)
    return Classification(_NAME, clips, prompts, own, levels)


def _class_files(source: Source) -> Mapping[str, Path]:
    return {kind: source.annotations / f"EPIC_100_{kind}_classes.csv" for kind in ("verb", "noun")}


def _class_names(path: Path) -> Mapping[int, str]:
    return {int(row["id"]): files.class_name(row["key"]) for row in files.read_rows(path, ["id", "key"])}
