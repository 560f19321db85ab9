"""One process or many, one device or many: what accelerate does for us, and sharding."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from egorep.commands import ConfigError
from egorep.cores import cores
from pretrain.training.config import TrainConfig

_MOST_WORKERS = 16


def start(config: TrainConfig) -> Accelerator:
    """Find the processes and the device of a run; under torchrun all processes call this together.

    Raises:
        ConfigError: a batch that processes and parts cannot share, or a precision that the device lacks.
    """
    folder = Path(config.out) / "tensorboard"
    try:
        accelerator = Accelerator(
            cpu=config.device == "cpu",
            mixed_precision=config.precision,
            log_with=["tensorboard", *(["wandb"] if config.wandb else [])],
            project_config=ProjectConfiguration(project_dir=config.out, logging_dir=str(folder)),
        )
    except ValueError as error:  # accelerate's way to say that a device lacks a precision
        raise ConfigError(f"precision={config.precision}: {error}") from error
    shares = accelerator.num_processes * config.accumulate
    if config.batch % shares:
        raise ConfigError(
            f"batch={config.batch} cannot be shared by {accelerator.num_processes} processes in "
            f"accumulate={config.accumulate} parts: wants a multiple of {shares}"
        )
    if not accelerator.is_main_process:
        logging.getLogger().setLevel(logging.WARNING)  # one process tells what they all do
    return accelerator


def loader_workers(config: TrainConfig, accelerator: Accelerator) -> int:
    """Worker processes for this training process: what is set, or its share of the machine's cores."""
    if config.workers is not None:
        return config.workers
    local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    return max(1, min(cores() // local, _MOST_WORKERS))


def distribute(network: nn.Module, config: TrainConfig, accelerator: Accelerator) -> nn.Module:
    """The network on its device and, with several processes, copied to or sharded over them.

    Sharding gathers all weights at once for a pass, and keeps gradients and Adam's state, three quarters of
    the memory, apart. Single blocks are not gathered one by one: stage cotrain freezes them for one of two
    passes, which FSDP sees only on weights that it has gathered before. The largest published model has
    0.6 billion weights, which fit.
    """
    if config.sharding == "ddp" or accelerator.num_processes == 1:
        prepared: nn.Module = accelerator.prepare(network)
        return prepared
    network = network.to(accelerator.device)
    # FSDP cannot shard numbers. Their gradients come from the loss itself, which is the same everywhere.
    scalars = {parameter for parameter in network.parameters() if parameter.ndim == 0}
    # Weights are given back after every pass, or an evaluation would leave gathered ones that go stale.
    fully_shard(network, reshard_after_forward=True, ignored_params=scalars)
    return network


def without_exchange(network: nn.Module) -> Callable[[], AbstractContextManager[None]]:
    """A context in which gradients add up on each process alone, where the network can do that."""
    return network.no_sync if isinstance(network, DistributedDataParallel) else nullcontext


def full(value: torch.Tensor) -> float:
    """A number that may be sharded."""
    whole = value.full_tensor() if hasattr(value, "full_tensor") else value
    return float(whole)
