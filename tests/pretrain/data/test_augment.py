from __future__ import annotations

import numpy as np
import pytest

from pretrain.data.augment import Example, crop, draw_window, jitter, mirror
from pretrain.data.motion import Motion, Window


def example(height: int = 40, width: int = 60, text: str = "C lifts a cup with the left hand") -> Example:
    """A picture that is dark but for a bright box, which the left hand's box surrounds."""
    frames = np.full((3, height, width, 3), 20, np.uint8)
    frames[:, height // 4 : height // 2, width // 2 : 3 * width // 4] = 220
    motion = Motion.unknown()
    motion.boxes[0, 0] = (0.5, 0.25, 0.75, 0.5)
    return Example(frames, text, motion)


def bright_part(frames: np.ndarray) -> list[float]:
    rows, columns = np.where(frames[0, :, :, 0] > 120)
    height, width = frames.shape[1:3]
    return [
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    ]


@pytest.mark.parametrize("seed", range(6))
def test_boxes_follow_a_crop_and_a_mirror(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cropped = crop(example(), draw_window(40, 60, 0.6, rng), size=128)
    assert cropped.frames.shape == (3, 128, 128, 3)
    assert bright_part(cropped.frames) == pytest.approx(cropped.motion.boxes[0, 0].tolist(), abs=0.02)
    mirrored = mirror(cropped)
    assert mirrored.text == "C lifts a cup with the right hand"
    assert bright_part(mirrored.frames) == pytest.approx(mirrored.motion.boxes[0, 1].tolist(), abs=0.02)


def test_where_words_cannot_be_mirrored_nothing_is() -> None:
    before = example(text="C left the room")
    assert mirror(before) is before


def test_windows_lie_in_the_picture_and_keep_their_share() -> None:
    rng = np.random.default_rng(0)
    shares, lefts = [], []
    for _ in range(300):
        window = draw_window(40, 60, 0.5, rng)
        assert 0 <= window.left <= 1 - window.width + 1e-9
        assert 0 <= window.top <= 1 - window.height + 1e-9
        pixels = window.width * 60, window.height * 40
        assert 0.79 < pixels[0] / pixels[1] < 1.26
        shares.append(pixels[0] * pixels[1] / 40**2)
        lefts.append(window.left)
    assert 0.45 < min(shares) < 0.6
    assert 0.9 < max(shares) <= 1.26
    assert max(lefts) > 0.4  # the sides of a wide picture are seen, too


def test_a_crop_of_all_is_the_middle_square() -> None:
    window = draw_window(40, 60, 1, np.random.default_rng(0))
    assert window == Window(pytest.approx(1 / 6), 0, pytest.approx(2 / 3), 1)
    cropped = crop(example(), window, 40)
    assert np.array_equal(cropped.frames, example().frames[:, :, 10:50])


def test_jitter_changes_all_frames_alike() -> None:
    frames = example().frames
    changed = jitter(frames, 0.4, np.random.default_rng(1))
    assert changed.shape == frames.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, frames)
    assert np.array_equal(changed[0], changed[2])
    assert np.array_equal(jitter(frames, 0.0, np.random.default_rng(1)), frames)
