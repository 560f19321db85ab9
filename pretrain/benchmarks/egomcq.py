"""EgoMCQ: which of five clips of Ego4D does a narration describe?

Source: Lin et al. 2022, "Egocentric Video-Language Pretraining" (EgoVLP), and its egomcq.json (`annotations`
is that file), an object with a question under each key "0", "1", ...:

    {"query": {"clip_text": "#C C picks a bag", ...},
     "choices": {"0": {"video_uid": "...", "clip_start": 2.9, "clip_end": 3.7, "clip_text": "..."},
                 ... "4": ...},
     "answer": 3,
     "types": 1}

Type 1 is inter-video (the clips are of different videos), type 2 intra-video (of one). Published evaluation
code partly has the two names exchanged, so the types are compared with the videos of the choices. Videos are
Ego4D's, `<video_uid>.mp4`, as files or folders of chunks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.benchmarks import Source, files
from pretrain.benchmarks.tasks import (
    Classification,
    Examples,
    MultipleChoice,
    Problem,
    Question,
    Retrieval,
)
from pretrain.data.narrations import Narrated

_ORIGIN = "egomcq.json comes from github.com/showlab/EgoVLP"
_KINDS = {1: "inter-video", 2: "intra-video"}


def evaluation(source: Source) -> Examples:
    """All questions; `source.split` is "test"."""
    if source.split != "test":
        raise ValueError(f"EgoMCQ has one split, 'test'; got {source.split!r}")
    files.require([source.annotations], _ORIGIN)
    content = _read(source.annotations)
    reader = _Reader(source.videos)
    questions, problems = [], []
    for name, entry in content.items():
        try:
            questions.append(reader.question(entry))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(Problem(f"{source.annotations.name} question {name}", _reason(error)))
    task = MultipleChoice("EgoMCQ", reader.clips, reader.texts, questions)
    _check_types(source.annotations, task)
    return Examples([task], problems)


def training(source: Source, kind: type[Retrieval] | type[Classification]) -> Examples:  # noqa: ARG001
    """EgoMCQ has no training set.

    Raises:
        ValueError: always.
    """
    raise ValueError("EgoMCQ is for evaluation only: fine-tune on ek100_mir, ek100_cls, egtea or egosim")


class _Reader:
    """Collects clips and texts while it makes questions of entries."""

    def __init__(self, videos: Path) -> None:
        self.clips: list[Narrated] = []
        self.texts: list[str] = []
        self._find = lru_cache(maxsize=None)(lambda video_id: files.find_video(videos, video_id))

    def question(self, entry: Mapping[str, Any]) -> Question:
        kind = _KINDS[int(entry["types"])]
        choices = [entry["choices"][str(number)] for number in range(len(entry["choices"]))]
        answer, text = int(entry["answer"]), str(entry["query"]["clip_text"])
        if not 0 <= answer < len(choices):
            raise ValueError(f"answer {answer} is none of {len(choices)} choices")
        clips = [self._clip(choice) for choice in choices]
        first = len(self.clips)
        self.clips += clips
        self.texts.append(text)
        return Question(kind, tuple(range(first, len(self.clips))), (len(self.texts) - 1,), answer)

    def _clip(self, choice: Mapping[str, Any]) -> Narrated:
        start, end = (max(float(choice[key]), 0.0) for key in ("clip_start", "clip_end"))
        if not start < end:
            raise ValueError(f"a clip ends at {end} s and begins at {start} s")
        video_id, text = str(choice["video_uid"]), str(choice.get("clip_text", ""))
        return Narrated(video_id, self._find(video_id), start, end, (text,), len(self.clips))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} wants an object with a question under each key")  # noqa: TRY004 - of a file
    return content


def _check_types(path: Path, task: MultipleChoice) -> None:
    """Refuse a file whose inter-video questions stay within one video more often than the others."""
    share = {}
    for kind in _KINDS.values():
        questions = [question for question in task.questions if question.kind == kind]
        share[kind] = _within_one_video(task.clips, questions)
    if share["inter-video"] > share["intra-video"]:
        raise ValueError(
            f"{path}: {share['inter-video']:.0%} of the questions of type 1 choose among clips of one video, "
            f"and {share['intra-video']:.0%} of type 2; type 1 wants different videos, type 2 one"
        )


def _within_one_video(clips: Sequence[Narrated], questions: Sequence[Question]) -> float:
    single = [len({clips[clip].video_id for clip in question.clips}) == 1 for question in questions]
    return float(np.mean(single)) if single else float("nan")


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
