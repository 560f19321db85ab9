from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from made_tracks import INSTANTS, SECONDS, made, way

from pretrain.hod.check import CheckResult, CheckSettings, SlotCounts, check, quality, root
from pretrain.hod.claims import claims, mentions, normal
from pretrain.hod.motion import Motion, describe
from pretrain.hod.narrators.template import sentence
from pretrain.hod.prompt import core
from pretrain.hod.tracks import Tracks

STILL = way((0.7, 0.8), (0.7, 0.8))
CUP = "C picks up the red cup"


def left_takes() -> Motion:
    """The left hand goes up and to the right, in contact from the middle on; the right one rests."""
    up = way((0.3, 0.8), (0.6, 0.5))
    return describe(made((range(8, 16), ()), left_hand=up, right_hand=STILL, left_object=_late(up)))


def both_lift() -> Motion:
    """Both hands move an object up."""
    up = way((0.5, 0.8), (0.5, 0.4))
    ways = {"left_hand": up - (0.2, 0), "right_hand": np.add(up, (0.2, 0)), "both_object": up}
    return describe(made((range(16), range(16)), **ways))


def returns() -> Motion:
    """The right hand goes up and comes back down, in contact in between; the left one is not seen."""
    return describe(made((None, range(6, 10)), right_hand=way((0.7, 0.9), (0.7, 0.4), (0.7, 0.9))))


def _late(centres: np.ndarray) -> np.ndarray:
    late = centres.copy()
    late[:8] = np.nan
    return late


def slot(result: CheckResult, name: str) -> str:
    return str(getattr(result, name))


@pytest.mark.parametrize(
    "text",
    [
        "C picks up the red cup with the left hand, which moves up and to the right; the right stays still",
        "C picks up the red cup with his left hand, moving up and to the right.",
        "C's left hand picks up the red cup, moving upwards to the right and ending in contact",
        "C uses the left hand to pick up the red cup as it moves right, in contact at the end",
        "With the left hand, C picks up the red cup; the hand moves up.",
        "C picks the red cup up with her left hand, moving it up-right; the right hand remains motionless",
        "C picks up the cup using the left hand, moving up and to the right; the other hand does not move",
        "C picks up the red cup with the left hand and not with the right hand, moving up and to the right",
        "C picks up the red cup with the left hand, moving up and right, the right hand touching nothing",
        "C picks up the red cup with the left hand right away, moving right",
        "C picks up the red cup with the left hand, moving to the right, then makes contact",
    ],
)
def test_true_sentences_pass(text: str) -> None:
    result = check(text, left_takes(), CUP)
    assert result.passed, (result.faults, result.missing)
    assert result.hand == result.object == result.direction == result.verb == "ok"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        # Sides swapped.
        ("C picks up the red cup with the right hand, which moves up and to the right", "hand"),
        ("C's right hand picks up the red cup, moving up and to the right", "hand"),
        ("C picks up the red cup with both hands, moving up and to the right", "hand"),
        ("C picks up the red cup with the left and right hands, moving up", "hand"),
        ("C picks up the red cup with the left hand and the right hand", "hand"),
        ("C uses his right hand to pick up the red cup", "hand"),
        ("C picks up the red cup without the left hand", "hand"),
        # The tracks are of the other hand.
        ("C picks up the red cup with the left hand; the right hand moves up and to the right", "direction"),
        ("C picks up the red cup with the left hand, which stays still", "direction"),
        # Wrong ways.
        ("C picks up the red cup with the left hand, which moves down and to the left", "direction"),
        ("C picks up the red cup with the left hand, which moves up and to the left", "direction"),
        ("C picks up the red cup with the left hand moving leftwards", "direction"),
        ("C picks up the red cup with the left hand moving left", "direction"),
        ("C picks up the red cup with the left hand, lowering it", "direction"),
        ("C picks up the red cup with the left hand, moving up, then back down", "direction"),
        ("C picks up the red cup with the left hand, moving it towards the lower left", "direction"),
        # Denials of what is true.
        ("C picks up the red cup with the left hand, which does not move up", "direction"),
        ("C picks up the red cup with the left hand without moving", "direction"),
        ("C picks up the red cup with the left hand, never touching it, moving up", "contact"),
        ("C picks up the red cup with the left hand, no contact, moving up", "contact"),
        # Contact that is not there, or not then.
        ("C picks up the red cup with the left hand moving up while the right hand holds it", "contact"),
        ("C picks up the red cup with the left hand moving up, in contact throughout", "contact"),
        ("C picks up the red cup with the left hand moving up, in contact in between", "contact"),
        ("C picks up the red cup with the left hand moving up and releases it", "contact"),
        # The hands to each other.
        ("C picks up the red cup with the left hand, the hands moving apart", "direction"),
        # Unseen, though it is seen.
        ("C picks up the red cup with the left hand moving up; the right hand is out of view", "hand"),
        # Other things.
        ("C picks up the red mug with the left hand, moving up", "object"),
        ("C picks up the blue cup with the left hand, moving up", "object"),
        ("C picks up the red cupboard with the left hand, moving up", "object"),
        ("C picks up the red cup and the knife with the left hand, moving up", "object"),
        ("C picks up the red cup from the shelf with the left hand, moving up", "object"),
        # The verb.
        ("C does not pick up the red cup with the left hand, moving up", "verb"),
        ("C tries to pick up the red cup with the left hand, moving up", "verb"),
        ("C picks down the red cup with the left hand, moving up", "verb"),
    ],
)
def test_false_sentences_fail_in_their_slot(text: str, wrong: str) -> None:
    result = check(text, left_takes(), CUP)
    assert slot(result, wrong) == "wrong", result
    assert not result.passed


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("C picks up the red cup", ("hand", "direction")),
        ("C picks up the red cup with the left hand", ("direction",)),
        ("C picks up the red cup, which moves up", ("hand",)),
        ("C picks it up with the left hand, moving up", ("object",)),
        ("The red cup is in the left hand, moving up", ("verb",)),
        # What only the other hand does is not what the acting one does.
        ("C picks up the red cup with the left hand while the right hand stays still", ("direction",)),
        ("", ("hand", "object", "direction", "verb")),
    ],
)
def test_what_is_not_said_is_missing(text: str, missing: tuple[str, ...]) -> None:
    result = check(text, left_takes(), CUP)
    assert result.missing == missing, result
    assert not result.passed


@pytest.mark.parametrize(
    "words",
    [
        "right away",
        "right now",
        "to the right of the pan",
        "the right tool",
        "left over from lunch",
        "that was left on the table",
        "leftover",
        "bright",
        "right side up",
        "upside down",
        "the left drawer",
        "all right",
        "left the room",
        "right in the middle",
        "close up",
        "up to the rim",
        "palm down",
    ],
)
def test_words_that_only_look_like_sides_and_ways_claim_nothing(words: str) -> None:
    text = normal(f"C picks up the cup {words}, then waits")
    found = mentions(text)
    assert found == []
    assert claims(text, found) == []


@pytest.mark.parametrize(
    ("words", "angle"),
    [
        ("moves up", 90.0),
        ("moves upwards", 90.0),
        ("moves down slowly", -90.0),
        ("moves to the left", 180.0),
        ("slides it left", 180.0),
        ("moves the cup right", 0.0),
        ("moves rightwards", 0.0),
        ("moves up and to the left", 135.0),
        ("moves up-left", 135.0),
        ("moves to the right and down", -45.0),
        ("moves left and up", 135.0),
        ("moves diagonally down to the left", -135.0),
        ("moves toward the upper right", 45.0),
        ("rises", 90.0),
        ("moves to the right side", 0.0),
    ],
)
def test_ways_are_read(words: str, angle: float) -> None:
    text = normal(f"The hand {words}, then waits")
    found = claims(text, mentions(text))
    assert [(claim.kind, claim.value) for claim in found] == [("direction", angle)]


@pytest.mark.parametrize(
    "words",
    ["picks the cup up", "puts it down", "picks up the cup", "lays down the pen", "sets the big pan down"],
)
def test_particles_of_verbs_are_no_ways(words: str) -> None:
    text = normal(f"C {words} with the left hand")
    assert claims(text, mentions(text)) == []


def test_ways_go_to_the_hand_they_are_said_of() -> None:
    text = normal(
        "C stirs, the left hand moving up and the right hand moving left, while the cup is moved down with"
        " the left hand"
    )
    said = [(claim.value, claim.sides) for claim in claims(text, mentions(text))]
    assert said == [(90.0, ("left",)), (180.0, ("right",)), (-90.0, ("left",))]


def test_the_other_hand_is_the_one_not_mentioned_before() -> None:
    found = mentions(normal("With his left hand he cuts while the other hand rests"))
    assert [hand.sides for hand in found] == [("left",), ("right",)]


def test_both_hands() -> None:
    lift = both_lift()
    assert lift.acts == ("left", "right")
    box = "C lifts the box"
    assert check("C lifts the box with both hands, which move up", lift, box).passed
    assert check("C lifts the box with the left and right hands, moving up together", lift, box).passed
    assert check(
        "C lifts the box with both hands: the left hand moves up and the right hand moves up", lift, box
    ).passed
    assert check("C lifts the box with the left hand, moving up", lift, box).hand == "wrong"
    assert check("C lifts the box with both hands, which move down", lift, box).direction == "wrong"
    one = check(
        "C lifts the box with both hands: the left hand moves up and the right hand moves down", lift, box
    )
    assert one.direction == "wrong"


def test_ways_are_compared_in_their_order() -> None:
    tap = "C taps the pan"
    motion = returns()
    assert check("C taps the pan with the right hand, moving up, then back down", motion, tap).passed
    assert check("C taps the pan with the right hand, moving up", motion, tap).passed
    turned = check("C taps the pan with the right hand, moving down, then back up", motion, tap)
    assert turned.direction == "wrong"
    timed = check("C taps the pan with the right hand, moving up, in contact in between", motion, tap)
    assert timed.contact == "ok"


def test_nothing_is_invented_of_an_unseen_hand() -> None:
    tap, start = "C taps the pan", "C taps the pan with the right hand, moving up"
    assert check(f"{start}, while the left hand stays still", returns(), tap).faults
    assert check(f"{start}, while the left hand holds the pan", returns(), tap).contact == "wrong"
    assert check(f"{start}; the left hand is not visible", returns(), tap).passed


def test_nothing_is_known_without_tracks() -> None:
    motion = describe(Tracks.empty(SECONDS))
    assert check(CUP, motion, CUP).passed
    assert check(f"{CUP} with the left hand", motion, CUP).hand == "wrong"
    assert check(f"{CUP}, moving up", motion, CUP).direction == "wrong"


def test_a_hand_that_the_original_names_is_the_one_that_acts() -> None:
    original = "C picks up the red cup with the right hand"
    assert check(f"{original}, the left hand moving up and to the right", left_takes(), original).hand == "ok"
    swapped = check("C picks up the red cup with the left hand, moving up", left_takes(), original)
    assert swapped.hand == "wrong"


def test_what_the_original_says_is_no_claim() -> None:
    original = "C drops the leftover bread down to the right of the pan and holds the bowl"
    text = f"{original} with the left hand, moving up and to the right"
    result = check(text, left_takes(), original)
    assert result.passed, (result.faults, result.missing)
    assert result.contact == "not said"


def test_attempts_stay_attempts() -> None:
    original = "C tries to open the chest"
    good = check("C tries to open the chest with the left hand, moving up", left_takes(), original)
    assert good.passed, (good.faults, good.missing)
    assert check("C opens the chest with the left hand, moving up", left_takes(), original).verb == "wrong"


def test_on_is_not_off() -> None:
    original = "C turns on the tap"
    assert check("C turns off the tap with the left hand, moving up", left_takes(), original).verb == "wrong"
    assert check("C turns the tap on with the left hand, moving up", left_takes(), original).verb == "ok"


def test_too_long_fails_and_required_slots_are_settings() -> None:
    text = "C picks up the red cup with the left hand, moving up " + "and up " * 30
    assert "more than 60 words" in check(text, left_takes(), CUP).faults[-1]
    lenient = CheckSettings(required=("object", "verb"))
    assert check(CUP, left_takes(), CUP, lenient).passed
    strict = CheckSettings(required=("contact",))
    assert check(CUP, left_takes(), CUP, strict).missing == ("contact",)


@pytest.mark.parametrize(
    "forms",
    [
        ("picks", "pick", "picking", "picked"),
        ("places", "place", "placing"),
        ("puts", "put", "putting"),
        ("carries", "carry", "carried", "carrying"),
        ("touches", "touch"),
        ("takes", "took", "take", "taken"),
        ("tries", "try", "trying"),
        ("glasses", "glass"),
        ("knife", "knife's"),
        ("stirs", "stirring"),
    ],
)
def test_forms_of_a_word_share_their_root(forms: tuple[str, ...]) -> None:
    assert len({root(form) for form in forms}) == 1


def test_roots_keep_different_words_apart() -> None:
    words = ("pan", "pen", "cup", "cap", "can", "lid", "lead", "put", "pull", "push", "bowl", "ball")
    assert len({root(word) for word in words}) == len(words)


def test_counts() -> None:
    counts = SlotCounts()
    for text in ("C picks up the red cup with the left hand, moving up", CUP, f"{CUP} with the right hand"):
        counts.add(check(text, left_takes(), CUP))
    assert (counts.total, counts.passed) == (3, 1)
    assert counts.right("hand") == pytest.approx(1 / 3)
    assert counts.right("verb") == 1
    assert np.isnan(counts.right("contact"))
    assert "1 of 3 passed" in counts.summary()


def test_quality_is_the_product_of_its_parts() -> None:
    centres = way((0.3, 0.8), (0.6, 0.5))
    centres[:4] = np.nan
    tracks = made((range(8, 16), ()), left_hand=centres)
    tracks.interpolated[4:7, 0] = True
    motion = describe(tracks)
    good = check(f"{CUP} with the left hand, moving up", motion, CUP)
    assert good.passed
    wanted = (12 / 16) * 0.8 * (1 - 3 / 12 / 2)
    assert quality(tracks, good) == pytest.approx(wanted, rel=1e-6)
    bad = check(f"{CUP} with the right hand, moving up", motion, CUP)
    assert quality(tracks, bad) < quality(tracks, good)
    assert quality(Tracks.empty(np.zeros(INSTANTS)), good) == 0.0


OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
OTHER_TIME = {"throughout": "at first", "at first": "at the end", "at the end": "in between"}


def _opposite(match: re.Match[str]) -> str:
    return match[0].replace(match[1], OPPOSITE[match[1]])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: re.sub(r"\b(left|right)(?= hand)", _opposite, text),
        lambda text: re.sub(r"\b(up|down)\b", _opposite, text),
        lambda text: re.sub(r"to the (left|right)\b", _opposite, text),
        lambda text: text.replace("stays still", "moves up"),
        lambda text: re.sub(
            r"contact (throughout|at first|at the end)", lambda m: f"contact {OTHER_TIME[m[1]]}", text
        ),
        lambda text: text.replace("contact", "no contact"),
        lambda text: text.replace("with the left hand", "with both hands"),
    ],
    ids=["sides", "up and down", "left and right", "still", "times", "no contact", "both"],
)
def test_spoilt_sentences_about_one_hand_that_acts_fail(spoil: Callable[[str], str]) -> None:
    from pretrain.hod.narrators._pairs import random_request

    spoilt = passed = 0
    for seed in range(50_000, 50_250):
        one = random_request(seed)
        given, text = core(one.original), sentence(one)
        wrong = given + spoil(text[len(given) :])
        if wrong != text and len(one.motion.acts) == 1 and "hand" not in given:
            spoilt += 1
            passed += check(wrong, one.motion, one.original).passed
    assert spoilt > 50
    # One in a hundred is still true: an object goes the other way than the hand it was in a moment before.
    assert passed <= spoilt // 100
