"""What becomes of memory that tensors free."""

from __future__ import annotations

import ctypes
import platform

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


def keep_freed_memory() -> None:
    """Let this process, and those that it forks, use freed memory again instead of giving it back.

    glibc gives large blocks, as activations and gradients are, back to the system when they are freed, and
    asks for others in the next step, of which the system has to clear every page. A training step of
    `egovideo_tiny` on two cores spends a ninth of its time so (`benchmarks/allocator.py`). With this the
    process stays as large as it once was. Where the C library is not glibc, nothing changes.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, _NONE)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
