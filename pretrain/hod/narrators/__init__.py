"""Narrators: what turns hand-object dynamics and a short narration into one sentence. One file each."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol, cast

from egorep.names import unknown
from pretrain.hod.prompt import Request


class NarratorError(RuntimeError):
    """A narrator that cannot work at all: no weights, no connection, a refused key."""


class Narrator(Protocol):
    """Writes sentences.

    Attributes:
        name: under which it is loaded.
        batch: requests that it likes to get at once.
        deterministic: whether the same requests give the same sentences in every process.
        retries: whether another attempt may give another sentence.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def batch(self) -> int: ...  # noqa: D102

    @property
    def deterministic(self) -> bool: ...  # noqa: D102

    @property
    def retries(self) -> bool: ...  # noqa: D102

    def write(self, requests: Sequence[Request], attempt: int = 0) -> list[str | None]:
        """One sentence for each request; None where that one failed.

        Args:
            requests: any number.
            attempt: 0 at first; later ones sample, each with its own seed.

        Raises:
            NarratorError: it cannot work at all.
        """
        ...


def narrator_names() -> tuple[str, ...]:
    """Every narrator that `load_narrator` knows."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load_narrator(name: str, **options: Any) -> Narrator:
    """The narrator of the file `<name>.py`.

    Args:
        name: one of `narrator_names()`.
        **options: fields of its class `Settings`.

    Raises:
        ValueError: no such narrator, or it has no such option.
        NarratorError: something that it needs is missing; the message says how to get it.
    """
    if name not in narrator_names():
        raise unknown("narrator", name, narrator_names())
    module = importlib.import_module(f"{__name__}.{name}")
    valid = tuple(inspect.signature(module.Settings).parameters)
    for option in options:
        if option not in valid:
            raise unknown(f"option of narrator {name!r}", option, valid or ("(it has none)",))
    return cast(Narrator, module.load(module.Settings(**options)))
