"""Runs in processes of their own, forked, so that nothing is imported again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState

_FORK = multiprocessing.get_context("fork")


def begin(job: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start a process that does one thing; it logs nothing."""
    process = _FORK.Process(target=_alone, args=(job, arguments, {}))
    process.start()
    return process


def together(job: Callable[..., Any], *arguments: Any, processes: int = 2) -> None:
    """Do the same thing in several processes that find each other as under torchrun; all must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    started = []
    for rank in range(processes):
        variables = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes)}
        process = _FORK.Process(target=_alone, args=(job, arguments, variables))
        process.start()
        started.append(process)
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * processes


def forget_accelerator() -> None:
    """Accelerate keeps devices and precision for the whole process; the next run finds its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def _alone(job: Callable[..., Any], arguments: tuple[Any, ...], variables: dict[str, str]) -> None:
    os.environ.update(variables)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    forget_accelerator()
    job(*arguments)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
