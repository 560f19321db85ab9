"""Items that fail are skipped, counted and reported; too many stop the run."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

_logger = logging.getLogger(__name__)

# Examples that a summary shows, and characters kept of each error's message.
_EXAMPLES = 3
_MESSAGE = 160


class TooManySkippedError(RuntimeError):
    """More items failed than single bad files explain: something is wrong with the data or with the code."""


@dataclass
class SkipCounter:
    """Counts what worked and what was skipped; raises once too much was.

    It can be pickled: worker processes count on their own, and hand their counters over to be merged.

    Attributes:
        limit_share: largest bearable share of failures among the attempts, 0 <= share < 1.
        minimum: attempts that the share is taken of while there were fewer, at least 1: one failure among the
            first three items is no third of the data. By default two failures are always borne, and data of
            which nothing can be read stop the run at the third item.
        succeeded: items that worked.
        errors: how many items were skipped, by type of error.
        examples: the first few, each with its error.

    Raises:
        ValueError: a share or a minimum out of range.
    """

    limit_share: float = 0.02
    minimum: int = 100
    succeeded: int = field(default=0, init=False)
    errors: Counter[str] = field(default_factory=Counter, init=False)
    examples: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not (0 <= self.limit_share < 1 and self.minimum >= 1):
            raise ValueError(
                "wants 0 <= limit_share < 1 and minimum >= 1; "
                f"got limit_share={self.limit_share} and minimum={self.minimum}"
            )

    @property
    def skipped(self) -> int:
        """How many items were skipped."""
        return self.errors.total()

    @property
    def attempts(self) -> int:
        """How many items were tried."""
        return self.succeeded + self.skipped

    def done(self) -> None:
        """Count an item that worked."""
        self.succeeded += 1

    def skip(self, name: str, error: Exception) -> None:
        """Count an item that failed, and log the first few.

        Args:
            name: of the item, so that a reader of the summary finds it.
            error: why it failed; only its type and the first line of its message are kept.

        Raises:
            TooManySkippedError: this one was too many.
        """
        self.errors[type(error).__name__] += 1
        if len(self.examples) < _EXAMPLES:
            message = next(iter(str(error).splitlines()), "")[:_MESSAGE]
            self.examples.append(f"{name} ({type(error).__name__}: {message})")
            _logger.warning("skipped %s", self.examples[-1])
        self._check()

    def merge(self, other: SkipCounter) -> None:
        """Add what another process counted; the limits stay this one's.

        Counters are totals: merge each one once, at its end.

        Raises:
            TooManySkippedError: too many failed over both.
        """
        self.succeeded += other.succeeded
        self.errors += other.errors
        self.examples = (self.examples + other.examples)[:_EXAMPLES]
        self._check()

    def summary(self) -> str:
        """How many were skipped and why, in one line; in a second the first few, if any."""
        if not self.skipped:
            return f"skipped none of {self.attempts}"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.errors.most_common())
        share = self.skipped / self.attempts
        return f"skipped {self.skipped} of {self.attempts} ({share:.1%}): {kinds}\nfirst: " + "; ".join(
            self.examples
        )

    def _check(self) -> None:
        if self.skipped > self.limit_share * max(self.attempts, self.minimum):
            raise TooManySkippedError(f"more than {self.limit_share:.1%} failed: {self.summary()}")
