"""Results: a table to read, and JSON and Parquet that say what produced every number."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from egorep.files import replacing
from pretrain.benchmarks.tasks import Classification, Figure, Problem, Retrieval, Task

_PACKAGES = ("egorep", "numpy", "torch", "av")
_HEAD = ("task", "measure", "value", "95 % interval", "chance", "over")
_NAMED = 20  # problems that are printed; the JSON has them all


@dataclass(frozen=True)
class Result:
    """Figures, and all that they depend on.

    Attributes:
        benchmark, split: what was evaluated.
        method: "zeroshot", or how the model was fine-tuned.
        encoder: name of the encoder.
        checkpoint: its weights, "" where the name says it all.
        encoder_fingerprint: of weights, preprocessing and pooling.
        data_fingerprint: of clips, texts and labels, see `data_fingerprint`.
        clips, clips_read: how many there are, and of how many the figures speak.
        figures: the numbers.
        problems: what could not be evaluated.
    """

    benchmark: str
    split: str
    method: str
    encoder: str
    checkpoint: str
    encoder_fingerprint: str
    data_fingerprint: str
    clips: int
    clips_read: int
    figures: Sequence[Figure]
    problems: Sequence[Problem]

    def write(self, out: Path, name: str) -> None:
        """Write `<out>/<name>.json` and `<out>/<name>.parquet`, the latter with a row per figure."""
        figures = [_record(figure) for figure in self.figures]
        identity: dict[str, Any] = {
            key: value for key, value in asdict(self).items() if key not in ("figures", "problems")
        }
        found = versions()
        problems = [problem._asdict() for problem in self.problems]
        content = {**identity, "versions": found, "figures": figures, "problems": problems}
        with replacing(out / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        described = {**identity, "problems": len(problems), "versions": json.dumps(found, sort_keys=True)}
        with replacing(out / f"{name}.parquet") as temporary:
            pd.DataFrame([{**described, **figure} for figure in figures]).to_parquet(temporary)

    def text(self) -> str:
        """A table in per cent (median ranks as they are), and what could not be evaluated."""
        rows = [_HEAD, *map(_cells, self.figures)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = ("<", "<", ">", ">", ">", ">")
        lines = [
            "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True))
            for row in rows
        ]
        head = f"{self.benchmark} ({self.split}), {self.method}: {self.encoder} {self.checkpoint}".rstrip()
        return "\n".join([head, *lines, *self._losses()])

    def _losses(self) -> list[str]:
        if not self.problems:
            return [f"all {self.clips} clips were read"]
        head = (
            f"NOT EVALUATED: {len(self.problems)} entries; "
            f"the figures are over {self.clips_read} of {self.clips} clips"
        )
        return [head, *listed(self.problems)]


def listed(problems: Sequence[Problem]) -> list[str]:
    """Lines that name the first problems, and how many more there are."""
    shown = [f"  {problem.name}: {problem.reason}" for problem in problems[:_NAMED]]
    more = len(problems) - len(shown)
    return [*shown, *([f"  and {more} more, see the JSON file"] if more else [])]


def data_fingerprint(tasks: Sequence[Task]) -> str:
    """Hash of what tasks ask: their clips' videos and segments, texts, labels, questions and relevancies."""
    digest = hashlib.blake2b(digest_size=16)
    for task in tasks:
        segments = [(clip.video_id, clip.start, clip.end) for clip in task.clips]
        digest.update(json.dumps([task.name, segments]).encode())
        digest.update(_asked(task))
    return digest.hexdigest()


def _asked(task: Task) -> bytes:
    if isinstance(task, Classification):
        return json.dumps([task.prompts, task.labels.tolist()]).encode()
    if isinstance(task, Retrieval):
        return json.dumps(task.texts).encode() + task.relevancy.tobytes()
    return json.dumps([task.texts, task.questions]).encode()


def _record(figure: Figure) -> Mapping[str, Any]:
    numbers = {**figure.interval._asdict(), "chance": figure.chance}
    return {
        "task": figure.task,
        "measure": figure.measure,
        **{name: None if math.isnan(number) else number for name, number in numbers.items()},
        "items": figure.items,
    }


def _cells(figure: Figure) -> tuple[str, ...]:
    scale = 1 if figure.measure.startswith("median rank") else 100

    def shown(number: float) -> str:
        return "-" if math.isnan(number) else f"{scale * number:.1f}"

    value, low, high = map(shown, figure.interval)
    interval = f"[{low}, {high}]"
    return (figure.task, figure.measure, value, interval, shown(figure.chance), str(figure.items))


def versions() -> Mapping[str, str]:
    """Of Python and of the packages that decide figures."""
    found = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **found}
