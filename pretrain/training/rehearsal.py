"""A dry run: what a run would take, found out by a few steps of which nothing is kept."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta

from accelerate import Accelerator

from pretrain.training.config import TrainConfig
from pretrain.training.progress import Meter, peak_memory
from pretrain.training.source import Source
from pretrain.training.trainer import Trainer

_WARM_UP, _MEASURED = 1, 3  # steps
_NAMED = 5  # of the videos that are missing
_GIB = 2**30
_FLOAT = 4  # bytes: weights, gradients and Adam's state stay float32 under mixed precision


def rehearse(config: TrainConfig, source: Source, accelerator: Accelerator) -> str:
    """Take a few steps from fresh weights in memory, and say what the whole run would take.

    Returns:
        Lines for a person: data, steps, memory, speed, time.

    Raises:
        ValueError, FileNotFoundError: the data or `init` cannot be used.
    """
    trainer = Trainer(config, source, accelerator)
    meter = Meter(config.batch)
    began = time.perf_counter()
    for batch in itertools.islice(meter.waiting(trainer.batches()), _WARM_UP + _MEASURED):
        if trainer.step == _WARM_UP:
            meter.report(0)  # starts the clock anew
            began = time.perf_counter()
        terms = trainer.advance(batch)
        meter.step()
    loss = float(terms["loss"])  # waits for the device
    seconds = (time.perf_counter() - began) / max(1, trainer.step - _WARM_UP)
    speed, _ = meter.report(0)
    processes = accelerator.num_processes
    missing = source.training.missing_videos()
    lines = [
        f"data        {len(source.training)} rows to train on, {len(source.validation)} to validate on; "
        f"{trainer.skips.summary()}",
        f"videos      {len(missing)} missing{': ' if missing else ''}{', '.join(missing[:_NAMED])}",
        f"tracks      {'read' if source.tracks is not None else 'not used'}",
        f"steps       {trainer.steps} of {config.batch} clips, {config.batch // processes} in each of "
        f"{processes} processes, in {config.accumulate} parts",
        f"memory      {_static(trainer.parameters, config, processes):.2f} GiB of weights, gradients and "
        f"Adam's state in each process; {peak_memory():.2f} GiB at most with activations and all else",
        f"speed       {config.batch / seconds:.1f} clips/s, {speed['data_wait']:.0%} waiting for data",
        f"time        {timedelta(seconds=round(seconds * trainer.steps))} without evaluation",
        f"loss        {loss:.3f} after {trainer.step} steps, which are thrown away",
    ]
    return "\n".join(lines)


def _static(parameters: int, config: TrainConfig, processes: int) -> float:
    """GiB of weights and of what each carries: gradient, Adam's two, average, all divided by sharding."""
    carried = 3 + (config.ema is not None)
    shared = processes if config.sharding == "fsdp" else 1
    return parameters * _FLOAT * (1 + carried / shared) / _GIB
