"""Which split (train, validation or test) an object, a texture and an action on an object belong to.

Three rules, each a pure function of names, the same in every process:

- **Object instances** (kind, colour, shape number). Of the `SHAPES` shape numbers that every kind has in
  every colour, 80 % belong to train, 10 % to validation and 10 % to test: they are ranked by a hash of
  (kind, colour, number) and cut. The number decides sizes, proportions, second colour and decoration
  (`library.design`), so every kind and colour is in each split, and no individual object is in two.
- **Textures** of tables, floors and walls. Whole pattern families belong to one split: validation and test
  show patterns, not merely colours, that training never shows.
- **Combinations** (verb, kind of object). Each verb's kinds are ranked by a hash of the pair: of three or
  more, a tenth (at least one) goes to test, a tenth (at least one) to validation, the rest to train. A verb
  of one or two kinds stays in train, for holding either out would leave too little to learn it from. A kind
  that this would leave without any verb in train gets one back, from the verb that can best spare it. So in
  training every verb and every kind occurs, and in test every combination is new although its verb and, with
  other verbs, its kind are known. Targets follow: no (verb, kind, target) of test is seen in training, since
  no (verb, kind) of it is; targets of their own are not held out.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from pretrain.sim.seeds import stable_hash

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHAPES = 40  # shape numbers of one kind in one colour: 0..39

TEXTURES: Mapping[Split, tuple[str, ...]] = {
    "train": ("plain", "wood", "clouds", "marble", "cloth", "speckle", "bricks", "stripes"),
    "validation": ("scales", "dots"),
    "test": ("planks", "tiles", "checker", "waves"),
}

_HELD_OUT = 0.1  # share of validation, and of test


def split_of_instance(kind: str, colour: str, shape: int) -> Split:
    """The one split in which this object occurs.

    Raises:
        ValueError: `shape` is not in 0..39.
    """
    if not 0 <= shape < SHAPES:
        raise ValueError(f"shape is {shape}; shapes are numbered 0..{SHAPES - 1}")
    return _split_at(_ranked(kind, colour).index(shape), SHAPES)


def shapes_in(split: Split, kind: str, colour: str) -> list[int]:
    """The shape numbers of this kind and colour that occur in `split`, ascending."""
    ranked = _ranked(kind, colour)
    return sorted(shape for rank, shape in enumerate(ranked) if _split_at(rank, SHAPES) == split)


@dataclass(frozen=True)
class Combinations:
    """Every (verb, kind) pair with its split; made by `split_combinations`."""

    split_of: Mapping[tuple[str, str], Split]

    def allowed(self, split: Split, verb: str, kind: str) -> bool:
        """Whether clips of `split` may show `verb` done to `kind`; exactly one split may.

        Raises:
            ValueError: `verb` is never done to `kind`.
        """
        if (verb, kind) not in self.split_of:
            raise ValueError(
                f"({verb!r}, {kind!r}) is no combination; add {kind!r} to the verb's kinds where"
                " split_combinations is called"
            )
        return self.split_of[verb, kind] == split


def split_combinations(kinds_of_verb: Mapping[str, Collection[str]]) -> Combinations:
    """Divides all (verb, kind) pairs by the rule above.

    Args:
        kinds_of_verb: the object kinds that each verb can be done to; their order does not matter.

    Raises:
        ValueError: a verb has no kind.
    """
    split_of: dict[tuple[str, str], Split] = {}
    for verb in sorted(kinds_of_verb):
        kinds = sorted(set(kinds_of_verb[verb]), key=lambda kind: stable_hash("combination", verb, kind))
        if not kinds:
            raise ValueError(f"the verb {verb!r} has no kind of object; give it one or leave it out")
        for rank, kind in enumerate(kinds):
            split_of[verb, kind] = _split_at(rank, len(kinds)) if len(kinds) > 2 else "train"
    _return_lost_kinds(split_of)
    return Combinations(split_of)


@functools.cache
def _ranked(kind: str, colour: str) -> tuple[int, ...]:
    return tuple(sorted(range(SHAPES), key=lambda shape: stable_hash("instance", kind, colour, shape)))


def _split_at(rank: int, count: int) -> Split:
    held_out = max(1, round(_HELD_OUT * count))
    if rank < held_out:
        return "test"
    return "validation" if rank < 2 * held_out else "train"


def _return_lost_kinds(split_of: dict[tuple[str, str], Split]) -> None:
    trained = {kind for (_, kind), split in split_of.items() if split == "train"}
    for kind in sorted({kind for _, kind in split_of} - trained):
        # Spare pairs are those whose verb keeps another pair in the same split.
        pairs = sorted(pair for pair in split_of if pair[1] == kind)
        crowd = Counter((verb, split) for (verb, _), split in split_of.items())
        best = max(
            pairs, key=lambda pair: (crowd[pair[0], split_of[pair]], stable_hash("combination", *pair))
        )
        split_of[best] = "train"
