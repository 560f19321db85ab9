from __future__ import annotations

import numpy as np
import pytest
from made_tracks import INSTANTS, SECONDS, made, way

from pretrain.hod.motion import DIRECTIONS, MotionSettings, describe, hands_words, lines, when
from pretrain.hod.tracks import Tracks


@pytest.mark.parametrize("step", range(8))
def test_direction_is_one_of_eight_in_the_picture(step: int) -> None:
    angle = np.deg2rad(45 * step + 15)  # inside the sector, not in its middle
    goal = (0.5 + 0.3 * np.cos(angle), 0.5 - 0.3 * np.sin(angle))
    motion = describe(made(left_hand=way((0.5, 0.5), goal)))
    path = motion.hand("left").path
    assert [leg.direction for leg in path.legs] == [DIRECTIONS[step]]
    assert path.legs[0].distance == pytest.approx(0.3, abs=1e-6)
    assert path.legs[0].seconds == pytest.approx(3.0)
    assert f"moves {DIRECTIONS[step]};" in lines(motion)[0]


def test_sectors_meet_half_way() -> None:
    for degrees, wanted in ((22.0, "to the right"), (23.0, "up and to the right"), (180.0, "to the left")):
        angle = np.deg2rad(degrees)
        goal = (0.5 + 0.3 * np.cos(angle), 0.5 - 0.3 * np.sin(angle))
        leg = describe(made(right_hand=way((0.5, 0.5), goal))).hand("right").path.legs[0]
        assert leg.direction == wanted


@pytest.mark.parametrize(("distance", "still"), [(0.059, True), (0.061, False)])
def test_still_up_to_the_threshold(distance: float, still: bool) -> None:
    path = describe(made(left_hand=way((0.5, 0.5), (0.5 + distance, 0.5)))).hand("left").path
    assert path.still is still


def test_there_and_back_is_two_legs_and_no_net_way() -> None:
    motion = describe(made(right_hand=way((0.7, 0.8), (0.5, 0.4), (0.7, 0.8))))
    path = motion.hand("right").path
    assert [leg.direction for leg in path.legs] == ["up and to the left", "down and to the right"]
    assert path.net is None
    assert path.travel == pytest.approx(2 * np.hypot(0.2, 0.4), rel=0.1)
    assert "then back down and to the right" in lines(motion)[1]


def test_coming_back_a_little_is_one_way() -> None:
    path = describe(made(right_hand=way((0.5, 0.8), (0.5, 0.3), (0.5, 0.4)))).hand("right").path
    assert [leg.direction for leg in path.legs] == ["up"]
    assert path.net is not None
    assert path.net.distance == pytest.approx(0.4, abs=1e-6)


def test_speed_and_distance_words() -> None:
    slow = describe(made(left_hand=way((0.5, 0.5), (0.6, 0.5))))
    assert lines(slow)[0].startswith("slowly moves to the right a little;")
    fast = made(left_hand=way((0.1, 0.5), (0.9, 0.5)))
    quick = Tracks(fast.seconds / 2, fast.boxes, fast.scores, fast.interpolated, fast.keypoints, fast.contact)
    assert lines(describe(quick))[0].startswith("quickly moves to the right a long way;")


def test_missing_is_said_as_missing() -> None:
    motion = describe(Tracks.empty(SECONDS))
    assert lines(motion) == ("not seen", "not seen", "none", "none", "none")
    assert (motion.acts, motion.together, hands_words(motion)) == ((), "", "")


@pytest.mark.parametrize("count", [0, 1])
def test_no_instant_and_one_instant(count: int) -> None:
    motion = describe(Tracks.empty(np.zeros(count)))
    assert motion.seconds == 0
    assert not any(hand.path.known or hand.contact.known for hand in motion.hands)


def test_seen_too_rarely_is_not_spoken_of() -> None:
    centres = np.full((INSTANTS, 2), np.nan)
    centres[[0, 8, 15]] = [[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]]
    path = describe(made(left_hand=centres)).hand("left").path
    assert path.seen == pytest.approx(3 / 16)
    assert not path.known
    assert not path.still
    assert lines(describe(made(left_hand=centres)))[0] == "hardly seen; no contact"
    rare = describe(made(left_hand=centres), MotionSettings(seen=0.1)).hand("left").path
    assert [leg.direction for leg in rare.legs] == ["to the right"]


def test_gaps_do_not_change_the_way() -> None:
    centres = way((0.2, 0.5), (0.8, 0.5))
    centres[[0, 5, 6, 7, 15]] = np.nan
    leg = describe(made(left_hand=centres)).hand("left").path.legs[0]
    assert leg.direction == "to the right"
    assert leg.distance == pytest.approx(0.6 * 13 / 15, abs=1e-6)
    assert leg.seconds == pytest.approx(0.2 * 13)


@pytest.mark.parametrize(
    ("instants", "words", "begins", "ends"),
    [
        (range(16), "throughout", None, None),
        (range(4, 16), "at the end", 0.8, None),
        (range(8), "at first", None, 1.4),
        (range(4, 8), "in between", 0.8, 1.4),
        ((), "", None, None),
    ],
)
def test_contact_begins_and_ends(
    instants: range, words: str, begins: float | None, ends: float | None
) -> None:
    motion = describe(made((instants, ()), left_hand=way((0.5, 0.5), (0.5, 0.3))))
    contact = motion.hand("left").contact
    assert when(contact) == words
    assert contact.begins == (None if begins is None else pytest.approx(begins))
    assert contact.ends == (None if ends is None else pytest.approx(ends))
    assert contact.known


def test_contact_over_one_missing_instant_goes_on_and_unknown_stays_unknown() -> None:
    instants = [i for i in range(16) if i != 7]
    motion = describe(made((instants, None), left_hand=way((0.5, 0.5), (0.5, 0.3))))
    assert motion.hand("left").contact.throughout
    assert not motion.hand("right").contact.known
    assert "contact" not in lines(motion)[1]


def test_approach_and_withdrawal() -> None:
    there = way((0.5, 0.9), (0.5, 0.4), (0.5, 0.9))
    held = np.full((INSTANTS, 2), np.nan)
    held[6:10] = [0.5, 0.4]
    hand = describe(made(((), range(6, 10)), right_hand=there, right_object=held)).hand("right")
    assert hand.approaches
    assert hand.withdraws
    stays = describe(made(((), range(16)), right_hand=there, right_object=there)).hand("right")
    assert not stays.approaches
    assert not stays.withdraws


def test_contact_without_an_objects_box_claims_no_approach() -> None:
    hand = describe(made((range(6, 10), ()), left_hand=way((0.5, 0.9), (0.5, 0.3)))).hand("left")
    assert hand.contact.touches
    assert not hand.approaches


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (way((0.3, 0.8), (0.3, 0.4)), way((0.7, 0.8), (0.7, 0.4)), "together"),
        (way((0.2, 0.5), (0.4, 0.5)), way((0.8, 0.5), (0.6, 0.5)), "come closer"),
        (way((0.4, 0.5), (0.2, 0.5)), way((0.6, 0.5), (0.8, 0.5)), "move apart"),
        (way((0.4, 0.5), (0.4, 0.5)), way((0.6, 0.5), (0.6, 0.5)), "keep their distance"),
        (way((0.4, 0.5), (0.4, 0.5)), np.full((INSTANTS, 2), np.nan), ""),
    ],
)
def test_what_the_hands_do_to_each_other(left: np.ndarray, right: np.ndarray, wanted: str) -> None:
    assert describe(made(left_hand=left, right_hand=right)).together == wanted


def _still() -> np.ndarray:
    return way((0.3, 0.8), (0.3, 0.8))


def _goes() -> np.ndarray:
    return way((0.7, 0.8), (0.7, 0.4))


@pytest.mark.parametrize(
    ("touching", "left", "right", "both", "acts"),
    [
        (((), range(5, 16)), _still(), _goes(), False, ("right",)),
        # The hand that only keeps what it has does not act while the other takes something.
        ((range(16), range(5, 9)), _goes(), _still(), False, ("right",)),
        # Nor while the other goes far without touching anything, as in pointing.
        ((range(16), ()), _still(), _goes(), False, ("right",)),
        ((range(16), ()), _still(), _still(), False, ("left",)),
        ((range(16), range(16)), _goes(), _goes(), True, ("left", "right")),
        ((range(16), range(16)), _goes(), _goes(), False, ()),
        ((None, None), _still(), _goes(), False, ("right",)),
        (((), ()), _still(), _still(), False, ()),
    ],
)
def test_which_hand_acts(touching, left, right, both, acts) -> None:  # type: ignore[no-untyped-def]
    ways = {"left_hand": left, "right_hand": right, **({"both_object": left} if both else {})}
    assert describe(made(touching, **ways)).acts == acts


def test_a_mirror_exchanges_the_hands_and_left_and_right() -> None:
    from pretrain.data.flip import flip_boxes, flip_hands

    tracks = made((range(5, 16), ()), left_hand=way((0.3, 0.8), (0.6, 0.5)), right_hand=_still())
    turned = Tracks(
        tracks.seconds,
        flip_hands(flip_boxes(tracks.boxes)),
        flip_hands(tracks.scores),
        flip_hands(tracks.interpolated),
        tracks.keypoints[:, ::-1],
        tracks.contact[:, ::-1],
    )
    one, other = describe(tracks), describe(turned)
    assert one.acts == ("left",)
    assert other.acts == ("right",)
    assert one.hand("left").path.legs[0].direction == "up and to the right"
    assert other.hand("right").path.legs[0].direction == "up and to the left"
