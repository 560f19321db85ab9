"""The loop: batches to gradients to weights, with checkpoints and evaluation on the way."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from egorep.models.egovideo import EgoVideo
from egorep.models.text import tokenize
from egorep.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing
from pretrain.data.loader import (
    Batch,
    Batches,
    ClipFormat,
    EvaluationClips,
    Failure,
    TrainingClips,
    evaluation_loader,
    training_loader,
)
from pretrain.data.motion import MOTION_SIZE, Motion
from pretrain.data.skipping import SkipCounter
from pretrain.training.accumulation import backward_whole
from pretrain.training.checkpoints import CheckpointError, Checkpoints, check_same_run
from pretrain.training.config import TrainConfig
from pretrain.training.evaluation import retrieval
from pretrain.training.network import Outputs, PretrainingNetwork, build_egovideo
from pretrain.training.objectives import losses
from pretrain.training.optimiser import Averaged, Schedule, adamw, trained
from pretrain.training.parallel import distribute, full, loader_workers, without_exchange
from pretrain.training.progress import Meter
from pretrain.training.source import Source

_logger = logging.getLogger(__name__)

# On many processes the main one gets whole tensors on the CPU, and each takes its part of such tensors.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Trainer:
    """A run, from its settings to a trained model. Processes of a run each have one.

    Nothing random outlives a step: the generator of random layers is seeded anew from (seed, step, rank),
    data follow from (seed, epoch, row), and the learning rate from the step. So a checkpoint needs weights,
    averages and Adam's state alone, and a run that goes on gives the numbers of one that was not stopped: on
    a CPU bit for bit.

    Args:
        config: the settings.
        source: the data.
        accelerator: of this process.

    Attributes:
        step: steps done.
        steps: of the whole run.
        skips: what could not be read in this process since it started.

    Raises:
        ValueError, FileNotFoundError: `init` or the architecture cannot be used.
    """

    def __init__(self, config: TrainConfig, source: Source, accelerator: Accelerator) -> None:
        self.config = config
        self._source = source
        self._accelerator = accelerator
        self._per_epoch = len(source.training) // config.batch
        self.steps = max(1, round(config.epochs * self._per_epoch))
        self.step = 0
        self.skips = SkipCounter(config.limit_share)
        self._build()
        self._checkpoints = Checkpoints(Path(config.out) / "checkpoints", config.keep)

    def _build(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        egovideo = build_egovideo(config)
        egovideo.set_gradient_checkpointing(config.model.gradient_checkpointing)
        self._architecture = egovideo.config
        network = PretrainingNetwork(egovideo, config, MOTION_SIZE)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self._network = distribute(network.train(), config, self._accelerator)
        self._optimiser = adamw(self._network, config)
        self._scaled_optimiser = self._accelerator.prepare(self._optimiser)
        self._averaged = None if config.ema is None else Averaged(self._network, config.ema)
        warmup = round(config.warmup * self._per_epoch)
        self._schedule = Schedule(config.learning_rate, self.steps, warmup, config.schedule)
        vision = self._architecture.vision
        self._normalise = Preprocessing(vision.image_size, CLIP_MEAN, CLIP_STD, interpolation="bicubic")

    @property
    def _format(self) -> ClipFormat:
        architecture = self._architecture
        return ClipFormat(
            architecture.num_frames,
            architecture.slow_frames,
            architecture.vision.image_size,
            architecture.text.context_length,
            architecture.text.tokens,
        )

    # Training

    def run(self) -> dict[str, float]:
        """Train to the end, from the last checkpoint if there is one, and save the model.

        Returns:
            The last evaluation; empty without validation rows.

        Raises:
            CheckpointError: one cannot be written, or is of a run with other settings.
            TooManySkippedError: more clips than `limit_share` cannot be read.
            FloatingPointError: the loss is not finite any more.
        """
        self._restore()
        self._start_trackers()
        meter = Meter(self.config.batch)
        measured: dict[str, float] = {}
        for batch in meter.waiting(self.batches()):
            terms = self.advance(batch)
            meter.step()
            if self.step % self.config.log_every == 0 or self.step == self.steps:
                self._report(terms, meter)
            began = time.perf_counter()
            if self._due(self.config.evaluate_every * self._per_epoch):
                measured = self.evaluate()
            if self._due(self.config.checkpoint_every):
                self._save()
            meter.pause(time.perf_counter() - began)
        if not measured:
            measured = self.evaluate()  # of a run that was stopped between its last step and its end
        self._export()
        _logger.info("clips: %s", self._all_skips().summary())
        self._accelerator.end_training()  # processes cannot speak to each other any more
        return measured

    def _all_skips(self) -> SkipCounter:
        """What could not be read in any process."""
        processes = self._accelerator.num_processes
        total = SkipCounter(self.config.limit_share, minimum=SkipCounter.minimum * processes)
        for counter in gather_object([self.skips]):
            total.merge(counter)
        return total

    def batches(self) -> Any:
        """This process's shares of the batches that are still to come."""
        workers = loader_workers(self.config, self._accelerator)
        rank, processes = self._accelerator.process_index, self._accelerator.num_processes
        clips = TrainingClips(
            self._source.training,
            self._format,
            self.config.augmentation,
            self.config.seed,
            self._source.tracks,
        )
        order = Batches(
            self._source.training.videos,
            self.config.batch,
            self.steps,
            self.config.seed,
            self.config.together,
            self.step,
            rank,
            processes,
        )
        return training_loader(clips, order, workers, self._accelerator.device.type == "cuda")

    def _due(self, every: float) -> bool:
        return self.step == self.steps or self.step % max(1, round(every)) == 0

    def advance(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step on this process's share of a batch; gives the losses, and the gradient's norm."""
        self._count(batch.failures, len(batch.ids))
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule(self.step)
        whole = batch._replace(failures=[]).to(self._accelerator.device)
        terms = backward_whole(
            whole.split(self.config.accumulate),
            self._forward,
            lambda outputs: losses(outputs, whole, self.config.losses),
            self._accelerator.backward,
            without_exchange(self._network),
        )
        limit = math.inf if self.config.clip_norm is None else self.config.clip_norm
        norm = self._accelerator.clip_grad_norm_(trained(self._network), limit)
        self._scaled_optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1
        if self._averaged is not None:
            self._averaged.update(self.step)
        return {**terms, "gradient_norm": norm}

    def _forward(self, batch: Batch, part: int) -> Outputs:
        rank = self._accelerator.process_index
        seed = np.random.SeedSequence([self.config.seed, self.step, rank, part]).generate_state(1)[0]
        torch.manual_seed(int(seed))  # of drop path and patch dropout
        with self._accelerator.autocast():
            outputs: Outputs = self._network(self._normalise(batch.clips), batch)
        return outputs

    def _count(self, failures: list[Failure], good: int) -> None:
        for _ in range(good):
            self.skips.done()
        for failure in failures:
            self.skips.skip(*failure)

    # What others see

    def _start_trackers(self) -> None:
        tensorboard = {"purge_step": self.step + 1}  # what a killed run logged after its last checkpoint
        wandb = {"dir": self.config.out, "resume": "allow"}
        self._accelerator.init_trackers("egorep", init_kwargs={"tensorboard": tensorboard, "wandb": wandb})
        workers = loader_workers(self.config, self._accelerator)
        _logger.info(
            "%s, stage %s: %.1f million weights, %d rows, %d steps of %d clips, %d processes with %d workers",
            self.config.model.size,
            self.config.stage,
            self.parameters / 1e6,
            len(self._source.training),
            self.steps,
            self.config.batch,
            self._accelerator.num_processes,
            workers,
        )

    def _report(self, terms: dict[str, torch.Tensor], meter: Meter) -> None:
        values = {f"train/{name}": full(value) for name, value in terms.items()}
        if not math.isfinite(values["train/loss"]):
            raise FloatingPointError(
                f"the loss is {values['train/loss']} at step {self.step}: start again from an earlier "
                "checkpoint with a lower learning_rate or a longer warmup"
            )
        speed, words = meter.report(self.steps - self.step)
        epoch = self.step / self._per_epoch
        values |= {f"speed/{name}": value for name, value in speed.items()}
        values |= {"train/learning_rate": self._schedule(self.step - 1), "train/epoch": epoch}
        values["train/skipped"] = float(self.skips.skipped)
        self._accelerator.log(values, step=self.step)
        found = ", ".join(f"{name} {full(value):.4f}" for name, value in terms.items())
        _logger.info("step %d/%d, epoch %.2f: %s; %s", self.step, self.steps, epoch, found, words)

    # Evaluation

    def evaluate(self) -> dict[str, float]:
        """Retrieval on the validation rows, with the averaged weights where there are any.

        Every process encodes a share. Clips that cannot be read are left out and counted.

        Returns:
            The measures of `pretrain.training.evaluation.retrieval`; empty without validation rows.
        """
        if not self._source.validation:
            return {}
        if self._averaged is None:
            measured = self._measure()
        else:
            with self._averaged.in_place():
                measured = self._measure()
        self._accelerator.log({f"validation/{name}": value for name, value in measured.items()}, self.step)
        words = ", ".join(f"{name} {value:.3g}" for name, value in measured.items())
        _logger.info("validation after step %d: %s", self.step, words)
        return measured

    def _measure(self) -> dict[str, float]:
        rows = self._source.validation
        self._network.eval()
        video, text, readable = self._encode(len(rows))
        self._network.train()
        kept = readable.nonzero()[:, 0].tolist()
        firsts: dict[str, int] = {}  # the first row of each narration, in the order of the narrations
        for place in kept:
            firsts.setdefault(rows[place].texts[0], place)
        numbers = {words: number for number, words in enumerate(firsts)}
        owner = [numbers[rows[place].texts[0]] for place in kept]
        return retrieval(video[kept], text[list(firsts.values())], owner)

    @torch.no_grad()
    def _encode(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(V, E) features of clips and narrations, and (V,) which clips could be read, on every process."""
        accelerator = self._accelerator
        share = math.ceil(count / accelerator.num_processes)
        begin = accelerator.process_index * share
        # Processes pass the network together, so the last one repeats the last row where it has too few.
        places = [min(place, count - 1) for place in range(begin, begin + share)]
        clips = EvaluationClips(self._source.validation, self._format)
        size = min(share, self.config.batch // accelerator.num_processes // self.config.accumulate)
        loader = evaluation_loader(clips, places, size, loader_workers(self.config, accelerator))
        skips = SkipCounter(self.config.limit_share)
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        flags: list[bool] = []
        for pictures, failures in loader:
            texts = [
                self._source.validation[place].texts[0] for place in places[len(flags) :][: len(failures)]
            ]
            outputs = self._forward(self._evaluation_batch(pictures, texts).to(accelerator.device), 0)
            found.append((outputs["video"].float(), outputs["text"].float()))
            flags += [failure is None for failure in failures]
            _count_all(skips, failures)
        if skips.skipped:
            _logger.warning("validation: %s", skips.summary())
        video, text = (torch.cat(parts) for parts in zip(*found, strict=True))
        readable = torch.tensor(flags, device=accelerator.device)
        video, text, readable = (accelerator.gather(part)[:count] for part in (video, text, readable))
        return video, text, readable

    def _evaluation_batch(self, pictures: torch.Tensor, texts: list[str]) -> Batch:
        motion = torch.from_numpy(Motion.unknown().features(0, 1)).expand(len(texts), -1, -1)
        return Batch(
            pictures,
            tokenize(texts, self._format.context_length, self._format.tokens),
            torch.empty(len(texts), 0),
            motion,
            torch.zeros(len(texts), dtype=torch.bool),
            [],
        )

    # Checkpoints

    def _save(self) -> None:
        state = {
            "settings": self._identity(),
            "network": self._weights(),
            "optimiser": get_optimizer_state_dict(self._network, self._optimiser, options=_WHOLE),
            "averaged": self._averaged_weights() if self._averaged is not None else None,
            "scaler": self._accelerator.scaler.state_dict() if self._accelerator.scaler else None,
        }
        if self._accelerator.is_main_process:
            self._checkpoints.write(self.step, state)
        self._accelerator.wait_for_everyone()

    def _identity(self) -> dict[str, Any]:
        return {**self.config.identity, "rows": len(self._source.training)}

    def _averaged_weights(self) -> dict[str, torch.Tensor]:
        assert self._averaged is not None
        with self._averaged.in_place():
            return {name: weight.clone() for name, weight in self._weights().items()}

    def _weights(self) -> dict[str, torch.Tensor]:
        weights = get_model_state_dict(self._network, options=_WHOLE)
        return cast(dict[str, torch.Tensor], weights)

    def _restore(self) -> None:
        found = self._checkpoints.read()
        if found is None:
            return
        step, state = found
        check_same_run(state["settings"], self._identity(), self.config.out)
        if self._averaged is not None:
            set_model_state_dict(self._network, state["averaged"], options=_WHOLE)
            self._averaged.take()
        set_model_state_dict(self._network, state["network"], options=_WHOLE)
        set_optimizer_state_dict(
            self._network, self._optimiser, optim_state_dict=state["optimiser"], options=_WHOLE
        )
        if self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        self.step = step
        _logger.info("going on after step %d of %d", step, self.steps)

    def _export(self) -> None:
        """Save the model as `EgoVideo.save_pretrained` does, with the averaged weights if there are any."""
        weights = self._weights() if self._averaged is None else self._averaged_weights()
        if self._accelerator.is_main_process:
            model = EgoVideo(self._architecture)
            prefix = "egovideo."
            model.load_state_dict(
                {
                    name.removeprefix(prefix): weight
                    for name, weight in weights.items()
                    if name.startswith(prefix)
                }
            )
            _write_model(model, Path(self.config.out) / "model")
        self._accelerator.wait_for_everyone()


def _write_model(model: EgoVideo, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"the model cannot be written to {folder} ({error.strerror}); its last checkpoint is there. "
            "Make room, and start the same command again"
        ) from error
    _logger.info("model: %s", folder)


def _count_all(skips: SkipCounter, failures: list[Failure | None]) -> None:
    for failure in failures:
        if failure is None:
            skips.done()
        else:
            skips.skip(*failure)
