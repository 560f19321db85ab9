"""`python -m pretrain.probe`: what frozen features know of hands and objects, where EgoSim knows it exactly.

A linear map and a small perceptron (`egorep.probing`) read from the features of a second of video where each
hand is and whether it touches something, where it goes, and where the object is that is touched. They learn
on EgoSim's split train, what is chosen is chosen on validation, and they are judged on test, whose objects,
surfaces and combinations of verb and object neither of the others has.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.files import replacing, writable_folder
from pretrain.benchmarks.setup import EncoderChoice, worker_count

if TYPE_CHECKING:
    from egorep import Encoder
    from pretrain.benchmarks.instants import Instants
    from pretrain.benchmarks.tasks import Problem

COMMAND = Command("pretrain.probe", "pretrain.configs", "probe")

_SOMETHING_MISSING = 1  # exit status where the figures are not over everything


@dataclass
class ProbeSettings:
    """configs/pretrain/probe.yaml."""

    data: str
    encoders: list[str]
    instants: int
    pool: str
    out: str
    device: str
    batch: int
    workers: int | None


@dataclass(frozen=True)
class ProbeFigure:
    """One number.

    Attributes:
        encoder, encoder_fingerprint: whose features were probed, as it was asked for.
        target, probe, measure, estimate, low, high: see `egorep.probing.Score`; None where the judged clips
            do not vary.
        clips, videos: how many are judged.
    """

    encoder: str
    encoder_fingerprint: str
    target: str
    probe: str
    measure: str
    estimate: float | None
    low: float | None
    high: float | None
    clips: int
    videos: int

    @property
    def text(self) -> str:
        """`0.85 [0.74, 0.92]`, or a dash."""
        if self.estimate is None:
            return "-"
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class ProbeResult:
    """Figures, and all that they depend on.

    Attributes:
        pool: of the features.
        data_fingerprint: of the clips and what is true of them.
        clips: how many there are.
        figures: the numbers.
        problems: clips that could not be read, by encoder.
    """

    pool: str
    data_fingerprint: str
    clips: int
    figures: Sequence[ProbeFigure]
    problems: Mapping[str, Sequence[Problem]]

    def write(self, out: Path) -> None:
        """Write `<out>/probes.json`, and `<out>/probes.parquet` with a row per figure."""
        import pandas as pd

        from pretrain.benchmarks.report import versions

        identity = {"pool": self.pool, "data_fingerprint": self.data_fingerprint}
        figures = [asdict(figure) for figure in self.figures]
        problems = {name: [each._asdict() for each in found] for name, found in self.problems.items()}
        about = {**identity, "clips": self.clips, "versions": versions()}
        with replacing(out / "probes.json") as temporary:
            content = json.dumps({**about, "figures": figures, "problems": problems}, indent=2)
            temporary.write_text(f"{content}\n", encoding="utf-8")
        with replacing(out / "probes.parquet") as temporary:
            pd.DataFrame([{**identity, **figure} for figure in figures]).to_parquet(temporary)

    def text(self) -> str:
        """A table with encoders across, and what could not be read."""
        encoders = list(dict.fromkeys(figure.encoder for figure in self.figures))
        cells: dict[tuple[str, ...], dict[str, str]] = {}
        for figure in self.figures:
            line = (figure.target, figure.measure, figure.probe)
            cells.setdefault(line, {})[figure.encoder] = figure.text
        rows = [("target", "measure", "probe", *encoders)]
        rows += [(*line, *(found[name] for name in encoders)) for line, found in cells.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)) for row in rows]
        judged = f"judged on up to {max(figure.clips for figure in self.figures)} clips of split test"
        return "\n".join([f"EgoSim, pool {self.pool}, {judged}", *map(str.rstrip, lines), *self._losses()])

    def _losses(self) -> list[str]:
        from pretrain.benchmarks.report import listed
        from pretrain.benchmarks.tasks import Problem

        found = [
            Problem(f"{encoder}, {problem.name}", problem.reason)
            for encoder, problems in self.problems.items()
            for problem in problems
        ]
        if not found:
            return [f"all {self.clips} clips were read"]
        return [f"NOT READ: {len(found)} of {self.clips} clips an encoder", *listed(found)]


def evaluate(
    settings: ProbeSettings, choices: Mapping[str, EncoderChoice], instants: Instants
) -> ProbeResult:
    """Encode the clips and probe their features, one encoder after the other.

    Args:
        settings: of the command.
        choices: encoders by the names that they were asked for.
        instants: what to ask.

    Raises:
        ConfigError: an encoder cannot be loaded or sees no pictures, the kept features cannot be read, or
            too few clips are there to probe.
    """
    from pretrain.benchmarks.features import encode_clips

    figures: list[ProbeFigure] = []
    problems: dict[str, Sequence[Problem]] = {}
    for name, choice in choices.items():
        encoder = choice.load(settings.pool, settings.device, settings.batch)
        if encoder.observation != "picture":
            raise ConfigError(f"encoder {name!r} looks at no picture: there is nothing to probe")
        workers = worker_count(settings.workers)
        try:
            found = encode_clips(encoder, instants.clips, Path(settings.out) / "features.sqlite", workers)
            figures += _figures(name, encoder, instants, found.features, found.read)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if found.problems:
            problems[name] = found.problems
    return ProbeResult(settings.pool, instants.fingerprint, len(instants.clips), figures, problems)


def _figures(name: str, encoder: Encoder, instants: Instants, features: Any, read: Any) -> list[ProbeFigure]:
    import numpy as np

    from egorep.probing import probe

    return [
        ProbeFigure(
            name,
            encoder.fingerprint,
            target,
            kind,
            measure,
            _known(interval.estimate),
            _known(interval.low),
            _known(interval.high),
            len(question.fold.test),
            len(np.unique(question.videos[question.fold.test])),
        )
        for question in instants.questions(read)
        for target, kind, measure, interval in probe(
            features[question.rows], question.targets, question.videos, [question.fold]
        )
    ]


def _known(number: float) -> float | None:
    """The number, None for NaN."""
    return None if math.isnan(number) else number


def _choices(encoders: Sequence[str]) -> dict[str, EncoderChoice]:
    """Encoders by the names that they were asked for, each with its weights."""
    from egorep.registry import EncoderName, validate_encoder_name

    if not encoders or len(set(encoders)) < len(encoders):
        raise ConfigError(f"encoders must be a list of distinct names, at least one, got {list(encoders)}")
    choices = {}
    for asked in encoders:
        try:
            named = EncoderName.read(asked)
            choices[asked] = EncoderChoice.of(named.with_checkpoint(None), named.checkpoint)
            validate_encoder_name(choices[asked].name, choices[asked].checkpoint)
        except (FileNotFoundError, ValueError) as error:
            raise ConfigError(str(error)) from error
    return choices


def _job(config: DictConfig) -> None:
    settings = typed(config, ProbeSettings)
    choices = _choices(settings.encoders)
    worker_count(settings.workers)
    if settings.instants < 1:
        raise ConfigError(f"instants={settings.instants}: give at least 1 clip of each video")
    from pretrain.benchmarks.instants import read_instants

    try:
        out = writable_folder("out", settings.out)
        instants = read_instants(Path(settings.data), settings.instants)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    result = evaluate(settings, choices, instants)
    result.write(out)
    sys.stdout.write(f"{result.text()}\n")
    if result.problems:
        raise SystemExit(_SOMETHING_MISSING)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
