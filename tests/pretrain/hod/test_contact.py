import numpy as np
import pytest

from pretrain.hod.camera import scene_motion
from pretrain.hod.contact import ContactOptions, find_contact
from pretrain.hod.detectors import Detections, Hand, Thing, overlap

SIZE, COUNT = 160, 12
SKIN, OBJECT, SLEEVE = (222, 170, 140), (20, 60, 220), (40, 160, 60)


def scene(seed=0):
    """A still table with a texture of grey squares, that corners can be followed on."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(60, 190, (SIZE // 8, SIZE // 8, 1)).repeat(3, axis=2)
    return squares.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


def paint(frame, box, colour):
    left, top, right, bottom = (round(value) for value in box)
    frame[max(top, 0) : bottom, max(left, 0) : right] = colour


def play(holding=True, still=False, sway=0):
    """A hand on a sleeve goes to the right, with an object ahead of it, before a camera that sways."""
    frames, hands, objects = [], [], []
    table = np.pad(scene(), ((16, 16), (16, 16), (0, 0)), mode="edge")
    for i in range(COUNT):
        shift = round(sway * np.sin(i))
        frame = table[16 : 16 + SIZE, 16 + shift : 16 + shift + SIZE].copy()
        x = 50 - shift + (0 if still else 5 * i)
        paint(frame, (x - 12, 90, x + 12, SIZE), SLEEVE)
        paint(frame, (x - 12, 70, x + 12, 94), SKIN)
        held = (x + 12, 62, x + 30, 84)
        if holding:
            paint(frame, held, OBJECT)
        frames.append(frame)
        box = np.array([x - 12, 70, x + 12, 94], np.float32) / SIZE
        hands.append((Hand(box, 1.0, 0.0),))
        objects.append(np.array(held, np.float32) / SIZE)
    return np.stack(frames), Detections(tuple(hands), ((),) * COUNT), objects


@pytest.mark.parametrize("sway", [0, 6])
def test_what_moves_with_a_hand_is_in_it_though_the_camera_moves_too(sway):
    frames, found, objects = play(sway=sway)
    judged = find_contact(frames, found)
    states = [hands[0].contact for hands in judged.hands]
    assert sum(state == 1 for state in states) >= COUNT - 3
    good = [
        things and things[0].holders == (0,) and overlap(things[0].box, wanted) > 0.6
        for things, wanted in zip(judged.things, objects, strict=True)
    ]
    assert sum(map(bool, good)) >= COUNT - 4


def test_an_empty_hand_that_moves_holds_nothing_and_its_sleeve_is_no_object():
    judged = find_contact(*play(holding=False)[:2], ContactOptions(travel=0.02))
    assert [hands[0].contact for hands in judged.hands] == [0.0] * COUNT
    assert not any(judged.things)


def test_nothing_is_said_of_a_hand_that_rests():
    judged = find_contact(*play(still=True)[:2])
    assert all(np.isnan(hands[0].contact) for hands in judged.hands)
    assert not any(judged.things)


def test_a_detected_object_lends_its_box_and_name_to_what_moves_inside_it():
    frames, found, objects = play()
    larger = [np.clip(box + np.float32([-0.02, -0.02, 0.02, 0.02]), 0, 1) for box in objects]
    elsewhere = Thing(np.array([0.0, 0.0, 0.1, 0.1], np.float32), 0.9, "plate")
    given = Detections(found.hands, tuple((Thing(box, 0.8, "cup"), elsewhere) for box in larger))
    judged = find_contact(frames, given)
    middle = judged.things[COUNT // 2]
    assert middle == (Thing(middle[0].box, 0.8, "cup", (0,)), elsewhere)
    np.testing.assert_array_equal(middle[0].box, larger[COUNT // 2])


def test_contact_that_is_known_stays():
    frames, found, _ = play()
    known = Detections(tuple((Hand(row[0].box, 1.0, 0.0, contact=0.0),) for row in found.hands), found.things)
    assert all(hands[0].contact == 0 for hands in find_contact(frames, known).hands)


def test_too_few_frames_or_no_hands_say_nothing():
    frames, found, _ = play()
    short = Detections(found.hands[:2], found.things[:2])
    assert find_contact(frames[:2], short) is short
    empty = Detections(((),) * COUNT, ((),) * COUNT)
    assert find_contact(frames, empty) is empty


def test_wrong_input_is_named():
    frames, found, _ = play()
    with pytest.raises(ValueError, match="wants the 12 frames of the detections; got 11"):
        find_contact(frames[1:], found)
    with pytest.raises(ValueError, match="reach of contact wants a number above 0; got 0"):
        ContactOptions(reach=0)


def test_the_camera_is_followed_past_what_moves():
    frames, _, _ = play(sway=6)
    shifts = [round(6 * np.sin(i)) for i in range(COUNT)]
    np.testing.assert_allclose(scene_motion(frames)[:, 0, 2], shifts, atol=0.7)


def test_a_picture_without_corners_counts_as_unmoved():
    np.testing.assert_array_equal(
        scene_motion(np.zeros((3, 64, 64, 3), np.uint8)), np.tile(np.eye(3)[:2], (3, 1, 1))
    )
