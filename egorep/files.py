"""Files that are whole or not there, and folders that can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def writable_folder(key: str, folder: str | Path) -> Path:
    """The folder, made if it is missing.

    Args:
        key: the setting that names it, for the error.
        folder: where.

    Raises:
        ValueError: it cannot be made or written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{key}={folder} is not a folder that can be made: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise ValueError(f"{key}={folder} is not writable")
    return path
