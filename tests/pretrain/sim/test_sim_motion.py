from __future__ import annotations

import numpy as np
import pytest

from pretrain.sim.arms import rest
from pretrain.sim.grasping import DEEPEST, HOOK_ANCHOR, touching
from pretrain.sim.hand import SHAPES, SIDES, Side, add_hand
from pretrain.sim.motion import FPS, TOUCH, Infeasible, Move, Stage
from pretrain.sim.poses import Pose, between, curve, eased, level, minimum_jerk, pose, straight, swung, waves
from pretrain.sim.scene import Wanted, Zone, sample_recipe

A = pose((0.1, 0.0, 0.2), (0, 1, 0), (0, 0, -1))
B = pose((-0.1, 0.3, 0.1), (0.5, 1, 0.2), (0, 0.3, -1))


def staged(kind: str, seed: int, zone: Zone = "right") -> Stage:
    draft = sample_recipe(seed, "train", [Wanted(kind, zone)]).draft()
    for side in SIDES:
        add_hand(draft.spec, side, (0.8, 0.6, 0.5, 1.0), (0.2, 0.2, 0.6, 1.0))
    return Stage(draft.compile())


def grasped(kind: str, part: str = "", grips: tuple[str, ...] = ()) -> tuple[Stage, Side]:
    for seed in range(8):
        side: Side = SIDES[seed % 2]
        try:
            stage = staged(kind, seed, side)
            stage.grasp(side, "action 0", part, grips)
        except (Infeasible, ValueError):
            continue
        return stage, side
    pytest.fail(f"no scene in which a {kind} can be grasped")


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    assert minimum_jerk(0.0) == 0.0
    assert minimum_jerk(1.0) == 1.0
    assert minimum_jerk(0.5) == pytest.approx(0.5)
    step = 1e-3
    for end in (0.0, 1.0 - step):
        assert abs(minimum_jerk(end + step) - minimum_jerk(end)) / step < 1e-4
    steps = np.diff([minimum_jerk(u) for u in np.linspace(0, 1, 100)])
    assert (steps > 0).all()
    assert steps.max() * 99 == pytest.approx(1.875, abs=0.01), "its greatest speed, Flash and Hogan (1985)"


@pytest.mark.parametrize("path", [straight(A, B), curve(A, B, (0, 0, 0.1), (0, 0, 0.1))])
def test_paths_join_their_ends_with_no_speed_there(path: object) -> None:
    assert callable(path)
    for u, wanted in ((0.0, A), (1.0, B)):
        assert path(u).at == pytest.approx(wanted.at)
        assert abs(path(u).turn @ wanted.turn) == pytest.approx(1.0)
    for u in (0.0, 0.999):
        assert np.linalg.norm(path(u + 0.001).at - path(u).at) / 0.001 < 0.01
    assert all(np.linalg.norm(path(u).turn) == pytest.approx(1.0) for u in np.linspace(0, 1, 11))


def test_a_curve_is_raised_on_its_way() -> None:
    assert curve(A, B, (0, 0, 0.1), (0, 0, 0.1))(0.5).at[2] > straight(A, B)(0.5).at[2] + 0.05


def test_poses_compose() -> None:
    both = A @ B
    point = np.array([0.3, -0.2, 0.1])
    assert both.point(point) == pytest.approx(A.point(B.point(point)))
    back = A.inverse() @ A
    assert back.at == pytest.approx(0, abs=1e-12)
    assert abs(back.turn[0]) == pytest.approx(1.0)


def test_turns_and_waves() -> None:
    turn = swung(level((1.0, 0, 0), 0.0), (0, 0, 1), (0, 0, 0), eased(np.pi / 2))
    assert turn(1.0).at == pytest.approx([0, 1, 0], abs=1e-9)
    wave = waves(0.03, 3)
    assert wave(0.0) == pytest.approx(0)
    assert wave(1.0) == pytest.approx(0, abs=1e-6)
    assert 0.02 < max(wave(u) for u in np.linspace(0, 1, 200)) <= 0.03


def test_left_rests_on_the_wearers_left() -> None:
    assert rest("left").at[0] < 0 < rest("right").at[0]
    assert rest("left").at[1:] == pytest.approx(rest("right").at[1:])


@pytest.mark.parametrize("kind", ["can", "block", "apple", "hammer", "pen", "box"])
def test_a_grasp_touches_with_the_thumb_and_another_finger_and_sinks_in_nothing(kind: str) -> None:
    stage, side = grasped(kind)
    fingers = touching(stage.scene.model, stage.data, stage.hands[side], stage.geoms("action 0"))
    assert "thumb" in fingers
    assert len(fingers) >= 2
    assert max(frame.depth for frame in stage.frames) <= DEEPEST
    assert stage.frames[-1].touched[SIDES.index(side), 0]
    assert not stage.frames[0].touched[:, 0].any(), "hands reach before they grasp"


def test_what_is_held_does_not_move_in_the_hand_and_rests_where_it_is_put() -> None:
    stage, side = grasped("can")
    stage.take(side, "action 0")
    before = stage.wrists[side].inverse() @ stage.body_pose("action 0")
    stage.carry(side, stage.wrists[side].moved((0, -0.03, 0.1)))
    after = stage.wrists[side].inverse() @ stage.body_pose("action 0")
    assert after.at == pytest.approx(before.at, abs=1e-9)
    assert abs(after.turn @ before.turn) == pytest.approx(1.0)
    assert stage.body_pose("action 0").at[2] == pytest.approx(0.1, abs=0.005)
    stage.drop(side)
    stage.fall(None, "action 0", "", level(stage.body_pose("action 0").at * [1, 1, 0], 0.0))
    assert stage.body_pose("action 0").at[2] == pytest.approx(0.0, abs=1e-9)


def test_a_hand_follows_a_handle() -> None:
    stage, side = grasped("drawer", "drawer")
    start = stage.wrists[side].at.copy()
    stage.follow(side, "action 0", "drawer", 0.8, 0.8)
    assert stage.shares["action 0", "drawer"] == pytest.approx(0.8)
    moved = stage.wrists[side].at - start
    assert moved[1] < -0.05, "towards the wearer"
    assert stage.frames[-1].touched[SIDES.index(side), 0]


def test_contact_agrees_with_the_distance_between_the_geoms() -> None:
    import mujoco

    stage, _ = grasped("can")
    data, ends = mujoco.MjData(stage.scene.model), np.empty(6)
    agree = []
    for frame in stage.frames[::2]:
        data.qpos[:], data.mocap_pos[:] = frame.qpos, frame.mocap_pos
        data.mocap_quat[:] = frame.mocap_quat
        mujoco.mj_kinematics(stage.scene.model, data)
        for number, one in enumerate(SIDES):
            hand = stage.hands[one]
            links = hand.contacts
            gap = min(
                mujoco.mj_geomDistance(stage.scene.model, data, link, geom, 1.0, ends)
                for link in links
                for geom in stage.geoms("action 0")
            )
            if abs(gap - TOUCH) > 0.0003:
                agree.append((gap < TOUCH) == frame.touched[number, 0])
    assert len(agree) > 10
    assert all(agree)


def test_movements_into_the_table_are_infeasible_and_can_be_taken_back() -> None:
    stage = staged("block", 1)
    before = stage.mark()
    stage.wait(0.2)
    with pytest.raises(Infeasible, match=r"a hand is .* mm inside something"):
        stage.glide("right", Pose(np.array([0.2, 0.2, 0.0]), rest("right").turn), 0.5)
    assert stage.frames
    assert stage.wrists["right"].at != pytest.approx(rest("right").at)
    stage.rewind(before)
    assert not stage.frames
    assert stage.wrists["right"].at == pytest.approx(rest("right").at)


def test_durations_follow_the_pace() -> None:
    lengths = []
    for pace in (0.5, 1.0, 2.0):
        stage = staged("block", 1)
        stage.pace = pace
        stage.play(1.0, {"left": Move(lambda _: rest("left"), SHAPES["fist"])})
        lengths.append(len(stage.frames))
    assert lengths == [FPS // 2, FPS, 2 * FPS]


def test_a_hand_that_passes_its_object_says_so() -> None:
    stage = staged("block", 1)
    with pytest.raises(Infeasible, match="the right hand passes action 0"):
        stage.advance("right", rest("right"), SHAPES["flat"], (0, -1, 0), "action 0")


def test_hands_do_not_pass_through_each_other() -> None:
    stage = staged("block", 1)
    with pytest.raises(Infeasible, match="the hands are in each other"):
        stage.glide("right", Pose(rest("left").at, rest("right").turn), 0.5)


def test_a_hand_pivots_about_the_bar_of_a_door() -> None:
    stage, side = grasped("cupboard", "door")
    door = stage.body_pose("action 0", "door")
    bar = door.inverse().point(stage.wrists[side].point(HOOK_ANCHOR))
    stage.follow(side, "action 0", "door", 0.4, 0.8, 0.6, HOOK_ANCHOR)
    for_now = stage.body_pose("action 0", "door").point(bar)
    assert stage.wrists[side].point(HOOK_ANCHOR) == pytest.approx(for_now, abs=1e-6)
    touched = [frame.touched[SIDES.index(side), 0] for frame in stage.frames[-24:]]
    assert np.mean(touched) > 0.9, "it holds the bar all the way"


@pytest.mark.parametrize(("angle", "share"), [(0.3, 0.5), (-0.3, 1.0)])
def test_between_goes_the_shorter_way_at_even_speed(angle: float, share: float) -> None:
    start, end = level((0, 0, 0), 0.0).turn, level((0, 0, 0), angle).turn
    for sign in (1.0, -1.0):
        made = between(start, sign * end, share)
        assert abs(made @ level((0, 0, 0), angle * share).turn) == pytest.approx(1.0)
