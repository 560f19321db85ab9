"""What hands do: the verbs, how each is acted on a `Stage`, and what a narrator says of it."""

from pretrain.sim.actions import carrying, parts, table, tools
from pretrain.sim.actions.acting import act
from pretrain.sim.actions.verbs import (
    FAILURES,
    FIXED,
    PACES,
    VERBS,
    Action,
    Handed,
    Outcome,
    Speed,
    Verb,
    kinds_of_verbs,
    narration,
)

__all__ = [
    "FAILURES",
    "FIXED",
    "PACES",
    "VERBS",
    "Action",
    "Handed",
    "Outcome",
    "Speed",
    "Verb",
    "act",
    "carrying",
    "kinds_of_verbs",
    "narration",
    "parts",
    "table",
    "tools",
]
