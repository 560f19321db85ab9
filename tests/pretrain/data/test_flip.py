from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pretrain.data.flip import TRACKS, Sample, flip, flip_boxes, flip_clip, flip_hands, flip_text

# Text and its mirror image; each is tried in both directions.
MIRRORED = [
    ("#C C picks the knife with the left hand", "#C C picks the knife with the right hand"),
    ("C folds the dough with both hands.", "C folds the dough with both hands."),
    ("", ""),
    ("left hand, Left hand, LEFT HAND", "right hand, Right hand, RIGHT HAND"),
    ("Left-hand drawer; Right-Hand drawer", "Right-hand drawer; Left-Hand drawer"),
    ("the leftmost cup, the right-most bowl", "the rightmost cup, the left-most bowl"),
    ("slides it leftwards with the righthand", "slides it rightwards with the lefthand"),
    ("left-handed scissors on the right-hand side", "right-handed scissors on the left-hand side"),
    ("his left index finger and right thumb", "his right index finger and left thumb"),
    ("C steps on it with her right foot", "C steps on it with her left foot"),
    ("passes it from his left to his right hand", "passes it from his right to his left hand"),
    ("passes it from the right hand to the left", "passes it from the left hand to the right"),
    ("with her right and left hands", "with her left and right hands"),
    ("wipes from left to right twice", "wipes from right to left twice"),
    ("a left-to-right motion", "a right-to-left motion"),
    ("C looks left and right.", "C looks right and left."),
    ("puts a cup to the left or right of the pan", "puts a cup to the right or left of the pan"),
    ("C moves the cup to the right", "C moves the cup to the left"),
    ("C puts the lid on the left of the pan", "C puts the lid on the right of the pan"),
    ("C points to C's left, then C sits", "C points to C's right, then C sits"),
    ("holds the pan with the left and stirs", "holds the pan with the right and stirs"),
    ("C turns left and walks", "C turns right and walks"),
    ("C leans right.", "C leans left."),
    ("lifts the top right corner", "lifts the top left corner"),
    ("looks at the bottom-left", "looks at the bottom-right"),
    ("turns the knob clockwise", "turns the knob counterclockwise"),
    ("Clockwise with the left hand", "Counterclockwise with the right hand"),
    ("TURN CLOCKWISE", "TURN COUNTERCLOCKWISE"),
    ("the bright bowl of leftovers, alright", "the bright bowl of leftovers, alright"),
    ("an upright leftover in the left hand", "an upright leftover in the right hand"),
]

UNDECIDED = [
    "C left the room",
    "C picks the cup on the right and left the room",
    "food left over on the plate",
    "the left-over dough",
    "what is left of the dough",
    "the cloth left on the table",
    "she left gloves on the table",
    "she left half of it",
    "C right away lifts the left hand",
    "right now",
    "all right",
    "puts it right in front of the sink",
    "turns right in front of the sink",
    "moves right to the door",
    "the right tool",
    "picks the left cup",
    "to the right amount",
    "at the right time",
    "right side up",
    "left side out",
    "right sides together",
    "the right side of the red fabric",
    "a right angle",
    "the copyright in the left hand",
    "left_hand",
    "a lefty",
    "the rigth hand and the left hand",
    "LH on the knob, left hand on the lid",
    "L. hand holds the lid",
    "wipes the counter clockwise",
    "wipes the counter. Clockwise, with circles",
    "turns it clock wise",
    "an anticlockwise turn",
]


@pytest.mark.parametrize(("text", "mirrored"), [pair for pair in MIRRORED if pair[0] != pair[1]])
def test_sides_change_places_and_back(text: str, mirrored: str) -> None:
    assert flip_text(text) == mirrored
    assert flip_text(mirrored) == text


@pytest.mark.parametrize("text", [text for text, mirrored in MIRRORED if text == mirrored])
def test_texts_without_sides_stay(text: str) -> None:
    assert flip_text(text) == text


@pytest.mark.parametrize("text", UNDECIDED)
def test_what_may_be_no_side_is_not_flipped(text: str) -> None:
    assert flip_text(text) is None


@pytest.mark.parametrize("text", UNDECIDED)
def test_one_word_in_doubt_holds_back_a_clear_one(text: str) -> None:
    assert flip_text(f"With the left hand. {text}") is None
    assert flip_text(f"{text}. With the left hand.") is None


@pytest.mark.parametrize("spelling", ["counter-clockwise", "anticlockwise", "anti-clockwise", "anti clockwise"])
def test_every_spelling_of_counterclockwise_is_read(spelling: str) -> None:
    assert flip_text(f"turns it {spelling}.") == "turns it clockwise."
    assert flip_text(f"Turns it. {spelling.capitalize()}!") == "Turns it. Clockwise!"
    assert flip_text(flip_text(f"turns it {spelling}.") or "") == "turns it counterclockwise."


def make_sample(text: str = "C opens the drawer with the left hand") -> Sample:
    """The left hand and its object stand at the left, the right hand is out of sight."""
    rng = np.random.default_rng(0)
    boxes = np.full((2, 5, 4), np.nan, np.float32)
    boxes[:, 0] = [[0.1, 0.5, 0.3, 0.8], [0.15, 0.4, 0.35, 0.7]]
    boxes[:, 2] = [0.25, 0.5, 0.5, 0.75]
    frames = rng.integers(0, 256, (3, 4, 6, 3), np.uint8)
    return Sample(frames, text, boxes, ~np.isnan(boxes).any(-1))


def test_all_parts_of_a_sample_turn_together() -> None:
    sample = make_sample()
    mirrored = flip(sample)
    assert mirrored is not None
    assert mirrored.text == "C opens the drawer with the right hand"
    assert np.array_equal(mirrored.frames, sample.frames[:, :, ::-1])
    assert mirrored.visible.tolist() == [[False, True, False, True, False]] * 2
    right = mirrored.boxes[:, TRACKS.index("right_hand")]
    assert right == pytest.approx(np.array([[0.7, 0.5, 0.9, 0.8], [0.65, 0.4, 0.85, 0.7]]))
    assert mirrored.boxes[0, TRACKS.index("right_object")] == pytest.approx([0.5, 0.5, 0.75, 0.75])
    assert np.isnan(mirrored.boxes[~mirrored.visible]).all()


def test_flipping_a_sample_twice_gives_it_again() -> None:
    sample = make_sample()
    once = flip(sample)
    assert once is not None
    twice = flip(once)
    assert twice is not None
    assert twice.text == sample.text
    assert np.array_equal(twice.frames, sample.frames)
    assert np.array_equal(twice.visible, sample.visible)
    np.testing.assert_allclose(twice.boxes, sample.boxes, atol=1e-7)


def test_flipping_leaves_the_sample_itself_alone() -> None:
    sample, untouched = make_sample(), make_sample()
    flip(sample)
    assert np.array_equal(sample.frames, untouched.frames)
    assert np.array_equal(sample.boxes, untouched.boxes, equal_nan=True)


def test_a_sample_whose_text_is_in_doubt_is_not_flipped() -> None:
    assert flip(make_sample("C left the room")) is None


def test_a_box_keeps_to_its_pixels() -> None:
    frames = np.zeros((1, 10, 20, 3), np.uint8)
    frames[0, 3:6, 2:7] = 255
    mirrored = flip_boxes(np.array([2 / 20, 3 / 10, 7 / 20, 6 / 10], np.float32)) * [20, 10, 20, 10]
    left, top, right, bottom = mirrored.round().astype(int)
    inside = flip_clip(frames)[0, top:bottom, left:right]
    assert inside.min() == 255
    assert inside.sum() == frames.sum()


@pytest.mark.parametrize("shape", [(4,), (7, 4), (2, 5, 4), (0, 5, 4)])
def test_boxes_stay_ordered_and_in_range(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    points = rng.random((*shape[:-1], 2, 2), np.float32)
    boxes = np.concatenate([points.min(-2), points.max(-2)], -1)
    mirrored = flip_boxes(boxes)
    assert mirrored.shape == shape
    assert mirrored.dtype == np.float32
    assert (mirrored[..., :2] <= mirrored[..., 2:]).all()
    assert ((mirrored >= 0) & (mirrored <= 1)).all()
    np.testing.assert_allclose(flip_boxes(mirrored), boxes, atol=1e-7)


def test_hands_change_places_by_name() -> None:
    names = np.array([TRACKS])
    swapped = {"left": "right", "right": "left", "both": "both"}
    for before, after in zip(TRACKS, flip_hands(names)[0], strict=True):
        owner, _, what = before.partition("_")
        assert after == f"{swapped[owner]}_{what}"
    assert np.array_equal(flip_hands(flip_hands(names)), names)


def test_torch_can_take_the_mirrored_frames() -> None:
    assert flip_clip(make_sample().frames).flags.c_contiguous


def test_wrong_parts_are_refused() -> None:
    sample = make_sample()
    with pytest.raises(ValueError, match=r"wants \(T, H, W, 3\) uint8.*float64"):
        flip(replace(sample, frames=sample.frames.astype(float)))
    with pytest.raises(ValueError, match=r"wants \(T, H, W, 3\) uint8.*\(3, 3, 4, 6\)"):
        flip(replace(sample, frames=sample.frames.transpose(0, 3, 1, 2)))
    with pytest.raises(ValueError, match="divide pixels by W, H"):
        flip(replace(sample, boxes=sample.boxes * 224))
    with pytest.raises(ValueError, match=r"want \(..., 4\); got shape \(5, 3\)"):
        flip_boxes(np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match=r"\(F, 5, ...\): left_hand.*got shape \(2, 4\)"):
        flip(replace(sample, visible=sample.visible[:, :4]))
