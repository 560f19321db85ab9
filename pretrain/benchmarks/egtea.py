"""EGTEA Gaze+: 106 actions in a kitchen, judged by mean class accuracy and top-1.

Source: Li, Liu and Rehg 2018, "In the Eye of Beholder"; the archives ACTION_ANNOTATIONS (`annotations`) and
TRIMMED_ACTION_CLIPS (`videos`, usually named cropped_clips):

- `action_idx.txt`: a class per line, its name and then its number from 1: "Cut bell_pepper 12".
- `train_split1.txt`, `test_split1.txt` (and 2, 3): a clip per line: its name, then the numbers of action,
  verb and nouns: "OP01-R01-PastaSalad-1002316-1004005-F024051-F024101 3 2 7".
- videos: `<first three parts of the clip's name>/<clip>.mp4`, each as long as its action.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pretrain.benchmarks import Source, files, holdout
from pretrain.benchmarks.tasks import Classification, Examples, Problem, Retrieval
from pretrain.data.narrations import Narrated
from pretrain.data.video import UnreadableVideoError, probe

_ORIGIN = "they come from cbs.ic.gatech.edu/fpv, ACTION_ANNOTATIONS"
_NAME = "EGTEA"


def evaluation(source: Source) -> Examples:
    """The test set of a split; `source.split` is "1" (which papers report), "2" or "3"."""
    clips, labels, classes, problems = _read(source, "test")
    return Examples([_task(clips, labels, classes)], problems)


def training(source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:
    """The training set of a split, a tenth of whose recordings are kept to select on."""
    if kind is not Classification:
        raise ValueError("EGTEA trains classification only: set task=classification")
    clips, labels, classes, problems = _read(source, "train")
    rows = list(zip(clips, labels, strict=True))
    parts = holdout.by_video(rows, lambda row: _recording(row[0].video_id))
    tasks = [_task([clip for clip, _ in part], [label for _, label in part], classes) for part in parts]
    return Examples(tasks, problems)


def _read(source: Source, part: str) -> tuple[list[Narrated], list[int], Mapping[int, str], list[Problem]]:
    if source.split not in ("1", "2", "3"):
        raise ValueError(f"EGTEA has splits 1, 2 and 3; got {source.split!r}")
    names, table = source.annotations / "action_idx.txt", f"{part}_split{source.split}.txt"
    files.require([names, source.annotations / table], _ORIGIN)
    classes = _classes(names)
    clips, labels, problems = [], [], []
    for number, line in enumerate((source.annotations / table).read_text().splitlines()):
        words = line.split()
        if not words:
            continue
        try:
            label = int(words[1])
            clip = _clip(source.videos, words[0], number, classes[label])
        except (IndexError, KeyError, ValueError) as error:
            reason = (
                str(error) if isinstance(error, UnreadableVideoError) else f"line {line!r} names no class"
            )
            problems.append(Problem(f"{table} line {number + 1} ({words[0]})", reason))
            continue
        clips.append(clip)
        labels.append(label)
    return clips, labels, classes, problems


def _clip(videos: Path, name: str, number: int, action: str) -> Narrated:
    path = videos / _recording(name) / f"{name}.mp4"
    return Narrated(name, path, 0.0, probe(path).seconds, (action,), number)


def _recording(clip: str) -> str:
    return "-".join(clip.split("-")[:3])


def _task(clips: list[Narrated], labels: list[int], classes: Mapping[int, str]) -> Classification:
    numbers = sorted(classes)
    prompts = [(f"C {classes[number]}",) for number in numbers]
    own = np.searchsorted(numbers, labels).astype(np.int64)
    return Classification(_NAME, clips, prompts, own, {"action": np.arange(len(numbers))}, per_class=True)


def _classes(path: Path) -> Mapping[int, str]:
    """Names by number: "Cut bell_pepper 12" is "cut bell pepper"."""
    classes = {}
    for line in filter(str.strip, path.read_text().splitlines()):
        name, _, number = line.strip().rpartition(" ")
        if not name or not number.isdigit():
            raise ValueError(f"{path} wants lines of a name and a number, got {line!r}")
        classes[int(number)] = name.replace("_", " ").replace("/", " or ").lower()
    return classes
