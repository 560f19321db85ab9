from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from pretrain.data.flip import TRACKS
from pretrain.data.motion import MOTION_SIZE, Motion, TrackStore, Window

LEFT, RIGHT = TRACKS.index("left_hand"), TRACKS.index("right_hand")


def motion_of(boxes: dict[tuple[int, int], list[float]], instants: int = 2) -> Motion:
    """Boxes by (instant, track); a keypoint of the left hand at (0.2, 0.3), and contact of the right one."""
    filled = np.full((instants, len(TRACKS), 4), np.nan, np.float32)
    for place, box in boxes.items():
        filled[place] = box
    keypoints = np.full((instants, 2, 21, 2), np.nan, np.float32)
    keypoints[:, 0] = (0.2, 0.3)
    contact = np.tile(np.array([np.nan, 1], np.float32), (instants, 1))
    return Motion(np.arange(instants, dtype=float), filled, contact, keypoints)


def test_boxes_in_between_are_interpolated() -> None:
    motion = motion_of({(0, LEFT): [0, 0, 0.2, 0.2], (1, LEFT): [0.4, 0, 0.6, 0.2]})
    boxes = motion.boxes_at(np.array([-1, 0, 0.25, 1, 9]))
    assert boxes[:, LEFT, 0] == pytest.approx([0, 0, 0.1, 0.4, 0.4])
    assert np.isnan(boxes[:, RIGHT]).all()


def test_a_box_between_a_seen_and_a_missing_one_is_missing() -> None:
    motion = motion_of({(0, LEFT): [0, 0, 0.2, 0.2]})
    assert np.isnan(motion.boxes_at(np.array([0.0, 0.1, 1.0]))[:, LEFT, 0]).tolist() == [False, True, True]


def test_instants_that_are_not_there_do_not_count() -> None:
    motion = motion_of({(0, LEFT): [0, 0, 0.2, 0.2], (1, LEFT): [1, 1, 1, 1]})
    motion.seconds[1] = np.nan
    assert motion.boxes_at(np.array([0.9]))[0, LEFT] == pytest.approx([0, 0, 0.2, 0.2])
    assert np.isnan(Motion.unknown().boxes_at(np.array([0.5]))).all()


def test_a_crop_moves_cuts_and_hides_boxes() -> None:
    boxes = {
        (0, 0): [0.3, 0.3, 0.5, 0.5],  # whole
        (0, 1): [0.0, 0.4, 0.5, 0.6],  # half of it is in the crop
        (0, 2): [0.0, 0.4, 0.3, 0.6],  # a sixth is
        (0, 3): [0.0, 0.0, 0.1, 0.1],  # nothing is
    }
    cropped = motion_of(boxes).cropped(Window(0.25, 0.25, 0.5, 0.5))
    assert cropped.boxes[0, 0] == pytest.approx([0.1, 0.1, 0.5, 0.5], abs=1e-6)
    assert cropped.boxes[0, 1] == pytest.approx([0, 0.3, 0.5, 0.7], abs=1e-6)
    assert np.isnan(cropped.boxes[0, 2:]).all()
    assert cropped.keypoints[0, 0, 0] == pytest.approx([-0.1, 0.1], abs=1e-6)


def test_a_mirror_exchanges_hands() -> None:
    motion = motion_of({(0, LEFT): [0.1, 0.2, 0.3, 0.4]})
    mirrored = motion.mirrored()
    assert mirrored.boxes[0, RIGHT] == pytest.approx([0.7, 0.2, 0.9, 0.4])
    assert np.isnan(mirrored.boxes[0, LEFT]).all()
    assert mirrored.keypoints[0, 1, 0] == pytest.approx([0.8, 0.3])
    assert mirrored.contact[0].tolist()[0] == 1
    twice = mirrored.mirrored()
    np.testing.assert_allclose(twice.boxes, motion.boxes, atol=1e-6)
    np.testing.assert_allclose(twice.keypoints, motion.keypoints, atol=1e-6)


def test_features_tell_missing_from_zero() -> None:
    motion = motion_of({(0, LEFT): [0, 0, 0.5, 0.5]})
    features = motion.features(0, 4)
    assert features.shape == (2, MOTION_SIZE)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features[:, 0].tolist() == [0, 0.25]
    seen = features[:, 21:26]
    assert seen.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert features[0, 26:30].tolist() == [0, 1, 0, 1]  # contact, and whether it is known
    assert not Motion.unknown().features(0, 1).any()


def write(path: Path, rows: int, **shapes: tuple[int, ...]) -> TrackStore:
    wanted = {
        "seconds": (rows, 3),
        "boxes": (rows, 3, 5, 4),
        "contact": (rows, 3, 2),
        "keypoints": (rows, 3, 2, 21, 2),
    }
    group = zarr.open_group(path, mode="w")
    for name, shape in {**wanted, **shapes}.items():
        values = np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))
        group.create_array(name, data=np.broadcast_to(values, shape).copy())
    return TrackStore(path)


def test_rows_are_read_also_in_another_process(tmp_path: Path) -> None:
    store = write(tmp_path / "tracks.zarr", 4)
    store.check(4)
    again = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 500
    assert again[2].boxes.shape == (3, 5, 4)
    assert (again[2].boxes == 2).all()
    assert again[2].known


def test_rows_of_a_store_too_large_for_memory_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write(tmp_path / "tracks.zarr", 4)
    held = store[2]
    monkeypatch.setattr("pretrain.data.motion._IN_MEMORY", 1)
    read = TrackStore(store.path)[2]
    for name in ("seconds", "boxes", "contact", "keypoints"):
        expected, found = getattr(held, name), getattr(read, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    del zarr.open_group(store.path)["boxes"]
    assert (store[3].boxes == 3).all()  # was read before


def test_tracks_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'seconds' wants \(5, F\) for the 5 rows of the CSV; got \(4, 3\)"):
        write(tmp_path / "a.zarr", 4).check(5)
    with pytest.raises(ValueError, match=r"'boxes' wants \(4, F, 5, 4\)"):
        write(tmp_path / "b.zarr", 4, boxes=(4, 3, 2, 4)).check(4)
    store = write(tmp_path / "c.zarr", 4)
    del zarr.open_group(store.path)["contact"]
    with pytest.raises(ValueError, match="no array 'contact'"):
        store.check(4)
