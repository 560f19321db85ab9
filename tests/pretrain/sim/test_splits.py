from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from pretrain.sim.library import KINDS
from pretrain.sim.seeds import stable_hash
from pretrain.sim.splits import (
    SHAPES,
    SPLITS,
    TEXTURES,
    shapes_in,
    split_combinations,
    split_of_instance,
)
from pretrain.sim.textures import OBJECT_PATTERNS, SURFACE_PATTERNS, object_picture, surface_picture


def verbs() -> dict[str, list[str]]:
    """24 verbs, each done to between 3 and 38 of the kinds."""
    kinds = sorted(KINDS)
    rng = np.random.default_rng(0)
    table = {f"verb {i}": list(rng.permutation(kinds)[: rng.integers(3, 39)]) for i in range(24)}
    table["pick up"] = kinds
    return table


def test_a_hash_is_the_same_everywhere() -> None:
    assert stable_hash("instance", "cup", "red", 3) == 8647993541953983271
    assert stable_hash("a", "bc") != stable_hash("ab", "c")


def test_every_individual_is_in_one_split() -> None:
    for kind in KINDS.values():
        for colour in kind.colours:
            parts = [shapes_in(split, kind.name, colour) for split in SPLITS]
            assert sorted(itertools.chain(*parts)) == list(range(SHAPES))
            assert [len(part) for part in parts] == [32, 4, 4]
    assert all(split_of_instance("cup", "red", shape) == "test" for shape in shapes_in("test", "cup", "red"))
    assert shapes_in("test", "cup", "red") != shapes_in("test", "cup", "blue")


def test_an_impossible_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape is 40; shapes are numbered 0\.\.39"):
        split_of_instance("cup", "red", 40)


def test_texture_families_are_divided() -> None:
    families = [family for split in SPLITS for family in TEXTURES[split]]
    assert sorted(families) == sorted(SURFACE_PATTERNS)


@pytest.mark.parametrize("family", SURFACE_PATTERNS)
def test_textures_are_pictures_of_their_seed(family: str) -> None:
    pictures = [surface_picture(family, seed) for seed in (1, 1, 2)]
    assert pictures[0].shape == (256, 256, 3)
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert pictures[0].std(axis=(0, 1)).max() > 0.5


@pytest.mark.parametrize("pattern", OBJECT_PATTERNS)
def test_patterns_show_both_colours(pattern: str) -> None:
    faces = object_picture(pattern, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert faces.shape == (288, 48, 3)
    assert 0.1 < (faces[..., 0] == 255).mean() < 0.9


def test_combinations_are_divided_about_80_10_10() -> None:
    split_of = split_combinations(verbs()).split_of
    shares = Counter(split_of.values())
    assert shares["train"] / len(split_of) == pytest.approx(0.8, abs=0.04)
    assert shares["test"] / len(split_of) == pytest.approx(0.1, abs=0.02)
    assert shares["validation"] / len(split_of) == pytest.approx(0.1, abs=0.02)


def test_every_verb_and_kind_is_trained_and_every_verb_tested() -> None:
    split_of = split_combinations(verbs()).split_of
    trained = [pair for pair, split in split_of.items() if split == "train"]
    assert {verb for verb, _ in trained} == set(verbs())
    assert {kind for _, kind in trained} == set(KINDS)
    assert {verb for (verb, _), split in split_of.items() if split == "test"} == set(verbs())


def test_each_combination_is_allowed_in_one_split() -> None:
    combinations = split_combinations(verbs())
    for verb, kind in combinations.split_of:
        assert sum(combinations.allowed(split, verb, kind) for split in SPLITS) == 1
    with pytest.raises(ValueError, match=r"\('pick up', 'whale'\) is no combination"):
        combinations.allowed("train", "pick up", "whale")


def test_neither_order_nor_another_verb_changes_a_combination() -> None:
    table = verbs()
    expected = split_combinations(table).split_of
    shuffled = {verb: table[verb][::-1] for verb in reversed(table)}
    assert split_combinations(shuffled).split_of == expected
    more = split_combinations({**table, "juggle": ["ball", "apple", "lemon"]}).split_of
    assert {pair: more[pair] for pair in expected} == expected


def test_a_verb_of_two_kinds_is_trained_only() -> None:
    split_of = split_combinations({"turn on": ["faucet", "knob"]}).split_of
    assert set(split_of.values()) == {"train"}


def test_a_kind_held_out_of_its_only_verb_returns_to_training() -> None:
    kinds = ["cup", "mug", "bowl"]
    split_of = split_combinations({"lift": kinds}).split_of
    assert [split_of["lift", kind] for kind in kinds] == ["train"] * 3


def test_a_verb_without_kinds_is_named() -> None:
    with pytest.raises(ValueError, match="the verb 'lift' has no kind of object"):
        split_combinations({"lift": []})
