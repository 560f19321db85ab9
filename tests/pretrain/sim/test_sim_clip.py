from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain.sim.clip import plan
from pretrain.sim.draws import COMBINATIONS, verbs_of
from pretrain.sim.hand import KEYPOINTS
from pretrain.sim.motion import DEEPEST, FPS, Infeasible
from pretrain.sim.splits import SPLITS, Split

# Draws again what was filmed, with MuJoCo's own renderer, and looks for hands and objects by their names.
RECORD = """
import hashlib, sys
import mujoco, numpy as np
from pretrain.sim.clip import film, plan
from pretrain.sim.filming import Filmer

played = plan(int(sys.argv[1]), "train")
stage = played.stage
model = stage.scene.model
groups = model.geom_group.copy()
with Filmer() as filmer:
    clip = film(played, filmer)
truth = clip.truth
arrays = {name: getattr(truth, name) for name in ("hand_boxes", "hand_visible", "object_boxes", "object_ids",
          "keypoints", "keypoints_camera", "wrists", "contact", "camera", "intrinsics")}
arrays["frames"] = clip.frames
arrays["depth"] = np.array([frame.depth for frame in stage.frames])
arrays["sunk"] = np.array([frame.sunk for frame in stage.frames])
content = b"".join(array.tobytes() for array in arrays.values())
print(hashlib.sha256(content + repr(clip.segments).encode()).hexdigest())

model.geom_group[:] = groups
roots = [model.body(name).id for name in truth.objects]
data = mujoco.MjData(model)
renderer = mujoco.Renderer(model, 224, 224)
again, boxes = [], []
for frame in stage.frames[::7]:
    data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = frame.qpos, frame.mocap_pos, frame.mocap_quat
    mujoco.mj_forward(model, data)
    renderer.update_scene(data, stage.scene.camera)
    again.append(renderer.render())
    renderer.enable_segmentation_rendering()
    number, kind = np.moveaxis(renderer.render(), -1, 0)
    renderer.disable_segmentation_rendering()
    root = np.where(kind == int(mujoco.mjtObj.mjOBJ_GEOM), model.body_rootid[model.geom_bodyid[number]], -1)
    skin = np.where(kind == int(mujoco.mjtObj.mjOBJ_SKIN), number, -1)
    masks = [skin == model.skin(f"{side}_hand").id for side in ("left", "right")] + [root == b for b in roots]
    row = []
    for mask in masks:
        y, x = np.nonzero(mask)
        row.append([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) >= 25 else [np.nan] * 4)
    boxes.append(row)
arrays |= {"again": again, "again_boxes": boxes}
np.savez(sys.argv[2], **arrays, spans=[(s.start, s.end) for s in clip.segments])
"""


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of one clip, and its hash in two fresh processes."""
    path = tmp_path_factory.mktemp("clip") / "clip.npz"
    hashes = []
    for hash_seed in ("1", "2"):
        result = run_python(RECORD, "7", str(path), MUJOCO_GL="egl", PYTHONHASHSEED=hash_seed)
        assert result.returncode == 0, result.stderr
        hashes.append(result.stdout.strip())
    return dict(np.load(path)), hashes


Recorded = tuple[dict[str, np.ndarray], list[str]]


def test_the_same_seed_gives_the_same_clip_in_every_process(recorded: Recorded) -> None:
    first, second = recorded[1]
    assert first == second
    assert len(first) == 64


def test_shapes_and_types(recorded: Recorded) -> None:
    clip = recorded[0]
    length = len(clip["frames"])
    objects = clip["contact"].shape[2]
    wanted = {
        "frames": (length, 224, 224, 3),
        "hand_boxes": (length, 2, 4),
        "hand_visible": (length, 2),
        "object_boxes": (length, 3, 4),
        "object_ids": (length, 3),
        "keypoints": (length, 2, 21, 2),
        "keypoints_camera": (length, 2, 21, 3),
        "wrists": (length, 2, 7),
        "contact": (length, 2, objects),
        "camera": (length, 7),
        "intrinsics": (3, 3),
    }
    assert {name: clip[name].shape for name in wanted} == wanted
    assert clip["frames"].dtype == np.uint8
    assert clip["frames"].std() > 15, "not a blank picture"
    spans = clip["spans"]
    assert 2 <= len(spans) <= 4
    assert (spans[1:, 0] == spans[:-1, 1]).all(), "one take"
    assert spans[-1, 1] == pytest.approx(length / FPS)


def test_keypoints_are_projected_where_the_hand_is_seen(recorded: Recorded) -> None:
    clip = recorded[0]
    focal = clip["intrinsics"][0, 0]
    points = clip["keypoints_camera"]
    assert np.allclose(points[..., :2] / points[..., 2:] * focal + 112, clip["keypoints"], atol=0.01)
    inside = []
    for t, side in zip(*np.nonzero(clip["hand_visible"]), strict=True):
        left, top, right, bottom = clip["hand_boxes"][t, side]
        tips = clip["keypoints"][t, side, [KEYPOINTS.index(f"{f}_tip") for f in ("index", "middle", "ring")]]
        seen = tips[((tips > 0) & (tips < 224)).all(1)]
        inside += [left - 2 <= x <= right + 2 and top - 2 <= y <= bottom + 2 for x, y in seen]
    assert np.mean(inside) > 0.85, "the rest are hidden behind what they hold"


def test_the_left_hand_is_the_wearers_left(recorded: Recorded) -> None:
    clip = recorded[0]
    start = clip["keypoints_camera"][0]
    assert start[0, :, 0].mean() < start[1, :, 0].mean(), "at rest the left hand is on the left"
    wrists = clip["wrists"]
    assert wrists[0, 0, 0] < 0 < wrists[0, 1, 0]


def test_objects_have_boxes_while_they_are_touched(recorded: Recorded) -> None:
    clip = recorded[0]
    ids, contact = clip["object_ids"], clip["contact"]
    assert contact.any(), "something is touched"
    assert ((ids >= 0).any(1) == contact.any((1, 2))).all()
    assert np.isnan(clip["object_boxes"][ids < 0]).all()
    boxes = clip["object_boxes"][ids >= 0]
    boxes = boxes[~np.isnan(boxes[:, 0])]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 224


def test_boxes_and_pictures_equal_those_of_mujocos_own_renderer(recorded: Recorded) -> None:
    clip = recorded[0]
    assert np.array_equal(clip["again"], clip["frames"][::7])
    boxes, ids = clip["again_boxes"], clip["object_ids"][::7]
    np.testing.assert_array_equal(clip["hand_boxes"][::7], boxes[:, :2])
    rows, columns = np.nonzero(ids >= 0)
    assert len(rows) > 5
    np.testing.assert_array_equal(
        clip["object_boxes"][::7][rows, columns], boxes[rows, 2 + ids[rows, columns]]
    )


def test_nothing_sinks_and_nothing_jumps(recorded: Recorded) -> None:
    clip = recorded[0]
    assert clip["depth"].max() <= DEEPEST
    assert clip["sunk"].max() <= DEEPEST
    steps = np.linalg.norm(np.diff(clip["wrists"][..., :3], axis=0), axis=-1)
    assert steps.max() < 0.07, "metres in a frame: 2 m/s"


@pytest.mark.parametrize("split", SPLITS)
def test_splits_show_their_own_combinations_and_objects(split: Split) -> None:
    for seed in range(3):
        made = plan(seed, split)
        assert 2 <= len(made.segments) <= 4
        for segment in made.segments:
            assert COMBINATIONS.allowed(split, segment.action.verb, segment.action.kind)
        assert made.stage.scene.recipe.split == split


def test_plans_repeat_themselves() -> None:
    one, other = plan(3, "train"), plan(3, "train")
    assert one.segments == other.segments
    assert len(one.stage.frames) == len(other.stage.frames)
    assert np.array_equal(one.stage.frames[-1].qpos, other.stage.frames[-1].qpos)
    assert plan(4, "train").segments != one.segments


def test_an_unknown_verb_is_refused() -> None:
    with pytest.raises(ValueError, match="clips of train never show 'juggle'; choose from pick up, "):
        plan(0, "train", "juggle")


@pytest.mark.slow
def test_many_clips_show_many_verbs_hands_and_outcomes(tmp_path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    failed = 0
    for seed in range(80):
        try:
            made = plan(seed, "train")
        except Infeasible:
            failed += 1
            continue
        for segment in made.segments:
            action = segment.action
            seen |= {("verb", action.verb), ("hand", action.hand), ("outcome", action.outcome)}
        assert max(frame.depth for frame in made.stage.frames) <= DEEPEST
    assert failed <= 1
    assert len([key for key, _ in seen if key == "verb"]) > 0.9 * len(verbs_of("train"))
    assert {("hand", "left"), ("hand", "right"), ("hand", "both")} <= seen
    assert {("outcome", "success"), ("outcome", "slips")} <= seen


def test_what_stands_high_is_pulled_too() -> None:
    """The only thing that clips of validation show pulled is a block: fingers must reach down behind it."""
    pulled = [segment.action for segment in plan(23, "validation", "pull").segments]
    assert {action.kind for action in pulled if action.verb == "pull"} == {"block"}
