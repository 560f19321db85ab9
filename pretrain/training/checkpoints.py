"""All that a run needs to go on, in `step_<number>/state.pt`, whole or not there at all."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

_logger = logging.getLogger(__name__)

_FILE = "state.pt"
_NAME = re.compile(r"step_(\d+)")

State = dict[str, Any]


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or cannot be used; says what is left, and what to do."""


class Checkpoints:
    """The last few checkpoints of a run.

    Args:
        folder: that holds them; made when the first is written.
        keep: how many.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def steps(self) -> list[int]:
        """Of the checkpoints that are there, rising."""
        if not self._folder.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def write(self, step: int, state: State) -> None:
        """Add a checkpoint, then remove those that are too many.

        Args:
            step: how many steps the run has done.
            state: tensors on the CPU and plain values, nested.

        Raises:
            CheckpointError: it cannot be written, as on a full disk; the older ones are untouched.
        """
        partial = self._folder / f".step_{step}.partial"
        try:
            self._clear_partial()
            partial.mkdir(parents=True)
            _save(partial / _FILE, state)
            partial.rename(self._path(step))
        # torch reports what its own writer could not write as a RuntimeError.
        except (OSError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(self._cannot_write(step, error)) from error
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self._path(old))

    def read(self) -> tuple[int, State] | None:
        """Step and state of the last checkpoint, memory-mapped; None if there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self._path(steps[-1])
        try:
            state: State = torch.load(path / _FILE, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch's reader fails in many ways on damaged bytes
            raise CheckpointError(
                f"{path} cannot be read ({type(error).__name__}): remove it to go on from the one before"
            ) from error
        return steps[-1], state

    def _path(self, step: int) -> Path:
        return self._folder / f"step_{step}"

    def _clear_partial(self) -> None:
        """Remove what a killed run left behind in the middle of writing."""
        for path in self._folder.glob(".step_*.partial"):
            shutil.rmtree(path)

    def _cannot_write(self, step: int, error: Exception) -> str:
        left = self.steps()
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        )
        kept = f"the last one is of step {left[-1]}" if left else "there is none yet"
        return (
            f"the checkpoint of step {step} cannot be written to {self._folder} ({reason}); {kept}. "
            "Make room, and start the same command again"
        )


def _save(path: Path, state: State) -> None:
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def check_same_run(found: State, wanted: State, out: str) -> None:
    """Refuse to go on with other settings than a run began with.

    Args:
        found: the settings of the checkpoint, nested.
        wanted: those of the command.
        out: the run's folder, for the error.

    Raises:
        CheckpointError: lists the settings that differ.
    """
    before, now = _flat(found), _flat(wanted)
    changed = [
        f"{key}={now.get(key)} (was {before.get(key)})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise CheckpointError(
            f"out={out} holds a run with other settings: {', '.join(changed)}. "
            "Choose another out=, or remove that folder"
        )


def _flat(settings: State, prefix: str = "") -> State:
    flat: State = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat.update(_flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value})
    return flat
