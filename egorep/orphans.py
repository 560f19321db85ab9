"""Processes that end with the one that started them, also where that one is killed without warning."""

from __future__ import annotations

import os
import signal
import threading
import time

_POLL = 0.5  # seconds between looks at whether the parent is still there


def end_with(parent: int) -> None:
    """Kill this process once `parent`, which started it, is gone.

    Pools of processes need it: their workers hold both ends of their queues, and wait for ever for one who is
    dead.

    Args:
        parent: its process id, as it knew it itself, so that one that is gone already counts.
    """
    name = f"end with {parent}"
    if not any(thread.name == name for thread in threading.enumerate()):  # a worker does several jobs
        threading.Thread(target=_watch, args=(parent,), name=name, daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os.kill(os.getpid(), signal.SIGKILL)
