"""The loop of fine-tuning: epochs, selection on the validation part, checkpoints, and the final judgement."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from egorep import Encoder
from egorep.backbones import VisionLanguageBackbone
from egorep.commands import ConfigError
from egorep.egovideo import EgoVideoBackbone
from egorep.files import replacing
from pretrain.benchmarks.features import clip_format, encode_clips, encode_texts
from pretrain.benchmarks.probes import AttentiveProbe, Learner, LinearProbe, WholeModel, multi_instance_nce
from pretrain.benchmarks.report import Result, data_fingerprint
from pretrain.benchmarks.setup import EncoderChoice, worker_count
from pretrain.benchmarks.tasks import (
    Classification,
    Examples,
    Figure,
    Ints,
    Mask,
    MultipleChoice,
    Problem,
    Retrieval,
    Task,
)
from pretrain.data.loader import EvaluationClips, evaluation_loader
from pretrain.data.skipping import SkipCounter, TooManySkippedError
from pretrain.data.video import UnreadableVideoError
from pretrain.metrics import Floats

if TYPE_CHECKING:
    from pretrain.finetune import FinetuneSettings

_logger = logging.getLogger(__name__)

_TEXTS = 256  # texts in one pass

Texts = torch.Tensor | list[str]


class Inputs(Protocol):
    """What a learner is shown of a task's clips."""

    def batches(self, rows: Sequence[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Of the rows, a batch at a time, those that could be read and what is shown of them."""

    def problems(self) -> list[Problem]:
        """The clips that could not be read so far."""


class FeatureInputs:
    """Frozen features of a task's clips, all in memory: (N, D)."""

    def __init__(self, encoder: Encoder, task: Task, cache: Path, batch: int, workers: int) -> None:
        found = encode_clips(encoder, task.clips, cache, workers)
        self.features = torch.from_numpy(found.features).to(encoder.device)
        self.read = found.read
        self._problems = list(found.problems)
        self._batch = batch

    def batches(self, rows: Sequence[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """See `Inputs`."""
        for part in _chunks(rows, self._batch):
            kept = [row for row in part if self.read[row]]
            if kept:
                yield kept, self.features[kept]

    def problems(self) -> list[Problem]:
        """See `Inputs`."""
        return self._problems


class ClipInputs:
    """Clips that are read anew in every epoch, as they are or as what `prepare` makes of them."""

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        batch: int,
        workers: int,
    ) -> None:
        self._clips = EvaluationClips(task.clips, clip_format(encoder))
        self._prepare = prepare
        self._batch, self._workers = batch, workers
        self._failed: dict[str, str] = {}

    def batches(self, rows: Sequence[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """See `Inputs`."""
        loader = evaluation_loader(self._clips, rows, self._batch, self._workers)
        for part, (clips, failures) in zip(_chunks(rows, self._batch), loader, strict=True):
            self._failed.update((one.name, str(one.error)) for one in failures if one is not None)
            good = [place for place, failure in enumerate(failures) if failure is None]
            if good:
                yield [part[place] for place in good], self._prepare(clips[good])

    def problems(self) -> list[Problem]:
        """See `Inputs`."""
        return [Problem(name, reason) for name, reason in self._failed.items()]


class _Best(NamedTuple):
    epoch: int
    value: float


@dataclass(frozen=True)
class _Part:
    """A task with what is shown of its clips and texts."""

    task: Task
    inputs: Inputs
    texts: Texts

    def labels(self) -> Ints:
        """(N,) class of each clip; in retrieval the index of its own caption."""
        if isinstance(self.task, Classification):
            return self.task.labels
        assert isinstance(self.task, Retrieval)
        return own_captions(self.task)


class Finetuning:
    """One run.

    Args:
        settings: of the command, checked.
        choice: the encoder to begin from.
        training: a task to train on, and one to select on.
        evaluation: tasks of the test part; those of other kinds are left out.

    Raises:
        ConfigError: the encoder cannot be loaded or knows no text where texts are needed; or the benchmark
            has no clip for a part.
    """

    def __init__(
        self, settings: FinetuneSettings, choice: EncoderChoice, training: Examples, evaluation: Examples
    ) -> None:
        self._settings, self._choice = settings, choice
        self._classifies = settings.task == "classification"
        kinds = (Classification,) if self._classifies else (Retrieval, MultipleChoice)
        tasks = [*training.tasks, *(task for task in evaluation.tasks if isinstance(task, kinds))]
        for task in tasks:
            if not task.clips:
                raise ConfigError(f"{task.name} has a part without any clip that can be used")
        self._known = [
            *(Problem(f"training: {name}", reason) for name, reason in training.problems),
            *evaluation.problems,
        ]
        self._out = Path(settings.out)
        self._encoder = choice.load("cls" if self._classifies else "joint", settings.device, settings.batch)
        if not self._classifies and not isinstance(self._encoder.backbone, VisionLanguageBackbone):
            raise ConfigError(
                f"encoder {choice.name!r} knows no text: task=retrieval wants an egovideo encoder"
            )
        self._parts = [self._part(task) for task in tasks]
        self._learner = self._new_learner().to(settings.device)
        self._optimiser = torch.optim.AdamW(_groups(self._learner, settings.weight_decay))
        self._data = data_fingerprint(tasks)
        self._skipped = SkipCounter(settings.limit_share)

    def run(self) -> Result:
        """Train, or go on, and judge the best epoch.

        Raises:
            ConfigError: `out` holds another run, or too many training clips cannot be read.
        """
        epoch, best = self._resume()
        while epoch < self._settings.epochs:
            try:
                loss = self._train(epoch)
            except TooManySkippedError as error:
                raise ConfigError(f"training stopped: {error}") from error
            chosen = self._figures(self._parts[1])[0]
            value = chosen.interval.estimate
            _logger.info("epoch %d: loss %.4f, %s %.4f", epoch + 1, loss, chosen.measure, value)
            if best.epoch < 0 or value > best.value:
                best = _Best(epoch, value)
                _save(self._out / "best.pt", self._learner.state_dict())
            epoch += 1
            self._save_state(epoch, best)
        self._learner.load_state_dict(_load(self._out / "best.pt"))
        self._save_model()
        return self._judge(best)

    def _part(self, task: Task) -> _Part:
        encoder, settings, workers = self._encoder, self._settings, worker_count(self._settings.workers)
        inputs: Inputs
        if settings.mode == "linear":
            inputs = FeatureInputs(encoder, task, self._cache, settings.batch, workers)
        elif settings.mode == "attentive":
            inputs = ClipInputs(
                encoder, task, lambda clips: encoder.tokens(clips).flatten(1, 3), settings.batch, workers
            )
        else:
            inputs = ClipInputs(
                encoder, task, lambda clips: clips.to(encoder.device), settings.batch, workers
            )
        return _Part(task, inputs, self._texts(task))

    def _texts(self, task: Task) -> Texts:
        if isinstance(task, Classification):
            return []
        if self._settings.mode == "full":
            return list(task.texts)
        features = encode_texts(self._encoder, task.texts, self._cache)
        return torch.from_numpy(features).to(self._encoder.device)

    @property
    def _cache(self) -> Path:
        return self._out / "features.sqlite"

    def _new_learner(self) -> Learner:
        part, mode = self._parts[0], self._settings.mode
        classes = len(part.task.prompts) if isinstance(part.task, Classification) else None
        # Only this draws: the encoder and the order of clips have seeds of their own.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._settings.seed)
            if mode == "full":
                return WholeModel(self._encoder, classes)
            if mode == "attentive":
                size = self._encoder.image_size
                tokens = self._encoder.tokens(np.zeros((1, size, size, 3), np.uint8))
                return AttentiveProbe(tokens.shape[-1], classes, self._encoder.dim)
            assert isinstance(part.inputs, FeatureInputs)
            return LinearProbe(part.inputs.features[part.inputs.read], classes)

    def _train(self, epoch: int) -> float:
        """One epoch; the mean loss of its batches."""
        part, settings = self._parts[0], self._settings
        count = len(part.task.clips)
        order = np.random.default_rng([settings.seed, epoch]).permutation(count).tolist()
        steps = math.ceil(count / settings.batch)
        labels, losses = part.labels(), []
        if isinstance(part.inputs, FeatureInputs):  # all are read by now
            self._account(int(part.inputs.read.sum()))
        self._learner.train()
        batches = part.inputs.batches(order)
        for number, (rows, inputs) in enumerate(tqdm(batches, total=steps, desc=f"epoch {epoch + 1}")):
            share = (epoch * steps + number) / (settings.epochs * steps)
            for group in self._optimiser.param_groups:
                group["lr"] = settings.highest_learning_rate * (1 + math.cos(math.pi * share)) / 2
            loss = self._loss(part, rows, inputs, labels)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            losses.append(loss.item())
            self._account(len(rows))
        self._account(0)  # of batches that had nothing
        return float(np.mean(losses))

    def _account(self, read: int) -> None:
        """Count training clips that were read, and those that turned out unreadable since the last time."""
        self._skipped.succeeded += read
        for problem in self._parts[0].inputs.problems()[self._skipped.skipped :]:
            self._skipped.skip(problem.name, UnreadableVideoError(problem.reason))

    def _loss(self, part: _Part, rows: list[int], inputs: torch.Tensor, labels: Ints) -> torch.Tensor:
        outputs, own = self._learner(inputs), labels[rows]
        if isinstance(part.task, Classification):
            return functional.cross_entropy(outputs, torch.from_numpy(own).to(outputs.device))
        assert isinstance(part.task, Retrieval)
        together = torch.from_numpy(part.task.relevancy[np.ix_(np.array(rows), own)] == 1).to(outputs.device)
        return multi_instance_nce(outputs, self._learner.text(_picked(part.texts, own)), together)

    @torch.no_grad()
    def _figures(self, part: _Part) -> list[Figure]:
        self._learner.train(False)
        outputs, read = self._outputs(part)
        if isinstance(part.task, Classification):
            return part.task.score(outputs, read)
        parts = [
            self._learner.text(_picked(part.texts, np.array(rows)))
            for rows in _chunks(range(len(part.texts)), _TEXTS)
        ]
        return part.task.score(outputs @ torch.cat(parts).cpu().numpy().T, read)

    def _outputs(self, part: _Part) -> tuple[Floats, Mask]:
        """(N, K) of all clips, zeros where one was not read, and (N,) whether it was."""
        read = np.zeros(len(part.task.clips), bool)
        found: dict[int, Floats] = {}
        for rows, inputs in part.inputs.batches(range(len(read))):
            found.update(zip(rows, self._learner(inputs).float().cpu().numpy(), strict=True))
        if not found:
            raise ConfigError(
                f"{part.task.name}: none of {len(read)} clips can be read; {part.inputs.problems()[0].reason}"
            )
        read[list(found)] = True
        outputs = np.zeros((len(read), len(next(iter(found.values())))), np.float32)
        for row, output in found.items():
            outputs[row] = output
        return outputs, read

    def _judge(self, best: _Best) -> Result:
        settings = self._settings
        judged = self._parts[2:]
        figures = [figure for part in judged for figure in self._figures(part)]
        clips = {(clip.path, clip.start, clip.end) for part in judged for clip in part.task.clips}
        failed = {problem for part in judged for problem in part.inputs.problems()}
        seen = {problem for part in self._parts[:2] for problem in part.inputs.problems()}
        return Result(
            benchmark=settings.benchmark.name,
            split=settings.benchmark.split,
            method=f"{settings.task} {settings.mode}, epoch {best.epoch + 1} of {settings.epochs}",
            encoder=self._choice.name,
            checkpoint="" if self._choice.checkpoint is None else str(self._choice.checkpoint),
            encoder_fingerprint=self._encoder.fingerprint,
            data_fingerprint=self._data,
            clips=len(clips),
            clips_read=len(clips) - len(failed),
            figures=figures,
            problems=[
                *self._known,
                *(Problem(f"training: {name}", reason) for name, reason in sorted(seen)),
                *sorted(failed),
            ],
        )

    def _identity(self) -> str:
        """All that decides the learnt weights; another run's state is never read."""
        places = ("out", "data", "device", "workers", "benchmark", "checkpoint", "encoder")
        decides = {key: value for key, value in asdict(self._settings).items() if key not in places}
        decides |= {"encoder": self._encoder.fingerprint, "data": self._data}
        return json.dumps(decides, sort_keys=True)

    def _resume(self) -> tuple[int, _Best]:
        path = self._out / "last.pt"
        if not path.is_file():
            return 0, _Best(-1, math.nan)
        state = _load(path)
        if state["identity"] != self._identity():
            raise ConfigError(f"out={self._out} holds a run with other settings or data: choose another out")
        self._learner.load_state_dict(state["learner"])
        self._optimiser.load_state_dict(state["optimiser"])
        return int(state["epoch"]), _Best(int(state["best_epoch"]), float(state["best_value"]))

    def _save_state(self, epoch: int, best: _Best) -> None:
        state = {
            "identity": self._identity(),
            "epoch": epoch,
            "best_epoch": best.epoch,
            "best_value": best.value,
            "learner": self._learner.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        _save(self._out / "last.pt", state)

    def _save_model(self) -> None:
        """Of a whole EgoVideo write `<out>/model`, which `checkpoint=<out>` then finds."""
        if not isinstance(self._learner, WholeModel) or not isinstance(
            self._learner.backbone, EgoVideoBackbone
        ):
            return
        draft, final = self._out / ".model", self._out / "model"
        shutil.rmtree(draft, ignore_errors=True)
        self._learner.backbone.model.save_pretrained(draft)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)


def own_captions(task: Retrieval) -> Ints:
    """(N,) index of each clip's own caption: of those with its text the first of relevancy 1.

    Raises:
        ValueError: a clip has none; names it.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(task.texts):
        places.setdefault(text, []).append(place)
    own = []
    for row, clip in enumerate(task.clips):
        found = [place for place in places.get(clip.texts[0], []) if task.relevancy[row, place] == 1]
        if not found:
            raise ValueError(f"{clip.video_id} row {clip.row}: no caption {clip.texts[0]!r} belongs to it")
        own.append(found[0])
    return np.array(own, np.int64)


def _groups(learner: Learner, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [weight for weight in learner.parameters() if weight.requires_grad and weight.ndim > 1]
    vectors = [weight for weight in learner.parameters() if weight.requires_grad and weight.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def _picked(texts: Texts, rows: Ints) -> Texts:
    return [texts[row] for row in rows.tolist()] if isinstance(texts, list) else texts[rows]


def _chunks(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    return (list(rows[start : start + size]) for start in range(0, len(rows), size))


def _save(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)
