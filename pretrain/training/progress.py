"""How fast training goes, what it waits for, and when it will be done."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_GIB = 2**30


class Meter:
    """Speed since the last report.

    Args:
        batch: clips of a step, of all processes.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._restart()

    def _restart(self) -> None:
        self._began = time.perf_counter()
        self._waited = 0.0
        self._steps = 0

    def waiting(self, batches: Iterable[_Item]) -> Iterator[_Item]:
        """The batches, while the time until each is there is counted as waiting.

        The clock starts with the first batch: starting workers is no speed.
        """
        iterator = iter(batches)
        first = True
        while True:
            asked = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            if first:
                self._restart()
                first = False
            else:
                self._waited += time.perf_counter() - asked
            yield item

    def step(self) -> None:
        """Count a step."""
        self._steps += 1

    def pause(self, seconds: float) -> None:
        """Leave out time that went into something else than steps."""
        self._began += seconds

    def report(self, steps_left: int) -> tuple[dict[str, float], str]:
        """Speed since the last report: numbers for the log, and words."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        rate = self._steps / seconds
        wait = self._waited / seconds
        left = timedelta(seconds=round(steps_left / rate)) if self._steps else "?"
        memory = peak_memory()
        numbers = {"clips_per_second": rate * self._batch, "data_wait": wait, "memory_gib": memory}
        words = (
            f"{rate * self._batch:.1f} clips/s, {wait:.0%} waiting for data, {memory:.1f} GiB, {left} left"
        )
        self._restart()
        return numbers, words


def peak_memory() -> float:
    """The most memory that this process has used, GiB: the accelerator's where there is one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / _GIB
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB
