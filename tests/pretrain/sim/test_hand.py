from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest

import pretrain.sim.hand as hands
from pretrain.sim.hand import (
    FINGERS,
    JOINTS,
    KEYPOINTS,
    LIMITS,
    SHAPES,
    SIDES,
    SKIN_TONES,
    Grip,
    Hand,
    Side,
    add_hand,
    angles_of,
    blend,
    close_until_contact,
    read_glb,
    skin_colour,
)

ASSETS = Path(hands.__file__).parent / "assets"
SKIN, SLEEVE = (0.85, 0.6, 0.45, 1.0), (0.1, 0.2, 0.6, 1.0)
MIRROR = np.array([1.0, -1.0, 1.0])
PALM_DOWN = np.array([0.0, 1.0, 0.0, 0.0])  # half a turn about the fingers: x stays, z points down
OBJECTS = {
    "ball": (mujoco.mjtGeom.mjGEOM_SPHERE, [0.035, 0, 0]),
    "box": (mujoco.mjtGeom.mjGEOM_BOX, [0.03, 0.03, 0.03]),
    "can": (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.033, 0.06, 0]),
    "handle": (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.012, 0.10, 0]),
    "wire": (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.002, 0.10, 0]),
    "card": (mujoco.mjtGeom.mjGEOM_BOX, [0.0005, 0.02, 0.03]),
}


def scene(scale: float = 1.0, sides: tuple[Side, ...] = SIDES, degree: bool = True) -> mujoco.MjModel:
    """Hands, and the objects as mocap bodies, far away."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = degree
    for side in sides:
        add_hand(spec, side, SKIN, SLEEVE, scale)
    for i, (name, (kind, size)) in enumerate(OBJECTS.items()):
        body = spec.worldbody.add_body(name=name, mocap=True, pos=[i, 0, 5])
        body.add_geom(name=name, type=kind, size=size)
    brick = spec.add_mesh(name="brick")
    corners = [(x, y, z) for x in (-0.03, 0.03) for y in (-0.02, 0.02) for z in (-0.06, 0.06)]
    brick.uservert = np.ravel(corners)
    body = spec.worldbody.add_body(name="brick", mocap=True, pos=[0, 1, 5])
    body.add_geom(name="brick", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="brick")
    return spec.compile()


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return scene()


@pytest.fixture
def data(model: mujoco.MjModel) -> mujoco.MjData:
    """The left hand at the origin, the right one out of its way, angles zero."""
    made = mujoco.MjData(model)
    Hand(model, "left").place(made, [0, 0, 0], [1, 0, 0, 0])
    Hand(model, "right").place(made, [0, 0, 2], [1, 0, 0, 0])
    mujoco.mj_forward(model, made)
    return made


def rotation(quaternion: np.ndarray) -> np.ndarray:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def posed(model: mujoco.MjModel, data: mujoco.MjData, side: Side, shape: hands.Shape) -> np.ndarray:
    """(21, 3) keypoints in the hand frame."""
    hand = Hand(model, side)
    hand.place(data, [0, 0, 0], [1, 0, 0, 0])
    hand.pose(data, shape)
    mujoco.mj_kinematics(model, data)
    return hand.keypoints(data)


def keypoint(name: str) -> int:
    return KEYPOINTS.index(name)


# The mesh


@pytest.mark.parametrize("side", SIDES)
def test_the_asset_has_25_bones_and_every_vertex_has_weights(side: Side) -> None:
    mesh = read_glb(ASSETS / f"{side}.glb")
    assert len(mesh.frames) == 25
    assert mesh.weights.shape == (len(mesh.vertices), 25)
    assert (mesh.weights >= 0).all()
    assert mesh.weights.sum(1) == pytest.approx(1.0)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices), "seams are closed"
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    _, uses = np.unique(np.sort(edges, 1), axis=0, return_counts=True)
    assert (uses == 2).all(), "a closed surface"


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "hand.glb"
    other.write_bytes(b"not a hand at all, but long enough")
    with pytest.raises(ValueError, match=r"hand\.glb is not a binary glTF 2\.0 file"):
        read_glb(other)


def skinned(model: mujoco.MjModel, data: mujoco.MjData, skin: int) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning, as MuJoCo draws it: (V, 3) vertices in the world, (V,) sums of weights."""
    first, count = model.skin_vertadr[skin], model.skin_vertnum[skin]
    rest = model.skin_vert[first : first + count].astype(float)
    moved, total = np.zeros((count, 3)), np.zeros(count)
    bones = range(model.skin_boneadr[skin], model.skin_boneadr[skin] + model.skin_bonenum[skin])
    for bone in bones:
        of_bone = slice(
            model.skin_bonevertadr[bone], model.skin_bonevertadr[bone] + model.skin_bonevertnum[bone]
        )
        ids, weights = model.skin_bonevertid[of_bone], model.skin_bonevertweight[of_bone]
        body = model.skin_bonebodyid[bone]
        turn = rotation(data.xquat[body]) @ rotation(model.skin_bonebindquat[bone].astype(float)).T
        local = (rest[ids] - model.skin_bonebindpos[bone]) @ turn.T + data.xpos[body]
        moved[ids] += weights[:, None] * local
        total[ids] += weights
    return moved, total


@pytest.mark.parametrize("scale", [1.0, 0.85])
@pytest.mark.parametrize("side", SIDES)
def test_the_skin_at_rest_is_the_mesh(side: Side, scale: float) -> None:
    model = scene(scale)
    data, hand = mujoco.MjData(model), Hand(model, side)
    place, turn = np.array([0.3, -0.2, 0.5]), np.array([0.5, -0.5, 0.1, 0.7])
    hand.place(data, place, turn)
    mujoco.mj_forward(model, data)
    drawn, weights = skinned(model, data, hand.skin)
    assert weights == pytest.approx(1.0, abs=1e-6)
    mesh = read_glb(ASSETS / f"{side}.glb")
    wrist = mesh.frames["wrist"]
    # WebXR: -z along the bone, y out of the back of the hand, x to the right of one who looks at the back.
    to_hand = np.stack([-wrist[:3, 2], wrist[:3, 0], -wrist[:3, 1]])
    rest = scale * (mesh.vertices - wrist[:3, 3]) @ to_hand.T
    wanted = rest @ rotation(turn / np.linalg.norm(turn)).T + place
    assert np.abs(drawn - wanted).max() < 1e-4, "metres"


@pytest.mark.parametrize("side", SIDES)
def test_the_surface_faces_outwards(model: mujoco.MjModel, side: Side) -> None:
    skin = Hand(model, side).skin
    vertices = model.skin_vert[model.skin_vertadr[skin] :][: model.skin_vertnum[skin]].astype(float)
    a, b, c = vertices[model.skin_face[model.skin_faceadr[skin] :][: model.skin_facenum[skin]].T]
    volume = (a * np.cross(b, c)).sum() / 6
    assert 250e-6 < volume < 450e-6, "cubic metres: a hand displaces about a third of a litre"


@pytest.mark.parametrize("shape", ["open", "fist", "pinch", "power", "hook"])
def test_bending_keeps_the_hands_volume(model: mujoco.MjModel, data: mujoco.MjData, shape: str) -> None:
    hand = Hand(model, "left")
    faces = model.skin_face[model.skin_faceadr[hand.skin] :][: model.skin_facenum[hand.skin]]
    volumes = []
    for bent in ("flat", shape):
        hand.pose(data, bent)
        hand.aim_forearm(data, [-0.2, 0.0, 0.0 if bent == "flat" else 0.2])
        mujoco.mj_kinematics(model, data)
        a, b, c = skinned(model, data, hand.skin)[0][faces.T]
        volumes.append((a * np.cross(b, c)).sum())
    assert 0.75 < volumes[1] / volumes[0] < 1.1, "neither a candy wrapper nor a balloon"


# The skeleton


def test_names(model: mujoco.MjModel) -> None:
    bodies = {model.body(i).name for i in range(model.nbody)}
    assert {f"{side}_{bone}" for side in SIDES for bone in (*KEYPOINTS, "forearm")} <= bodies
    ours = [name for name in bodies if name.startswith("left_")]
    assert len(ours) == 26, "25 WebXR joints and the forearm"
    assert model.njnt == 2 * 22
    assert {"right_index_proximal_flexion", "left_thumb_metacarpal_abduction", "left_wrist_flexion"} <= {
        model.joint(i).name for i in range(model.njnt)
    }


def test_keypoints_are_mediapipes_21() -> None:
    assert len(KEYPOINTS) == 21
    assert KEYPOINTS[:5] == ("wrist", "thumb_metacarpal", "thumb_proximal", "thumb_distal", "thumb_tip")
    assert KEYPOINTS[5:9] == ("index_proximal", "index_intermediate", "index_distal", "index_tip")
    assert KEYPOINTS[20] == "pinky_tip"


@pytest.mark.parametrize("degree", [True, False])
def test_joint_limits_hold_whatever_the_models_unit_of_angles(degree: bool) -> None:
    model = scene(degree=degree, sides=("right",))
    for joint, limits in zip(JOINTS, LIMITS, strict=True):
        assert model.joint(f"right_{joint}").range == pytest.approx(limits)
        assert model.jnt_limited[model.joint(f"right_{joint}").id]
    assert (LIMITS[:, 0] < 0).all()
    assert LIMITS.max() == pytest.approx(np.deg2rad(110)), "the middle joints of the fingers bend most"
    for shape in SHAPES.values():
        angles_of(shape)


@pytest.mark.parametrize("side", SIDES)
def test_bones_are_as_long_as_a_humans(model: mujoco.MjModel, data: mujoco.MjData, side: Side) -> None:
    points = posed(model, data, side, "flat")
    palm = np.linalg.norm(points[[5, 9, 13, 17]] - points[0], axis=1)
    assert (palm > 0.07).all()
    assert (palm < 0.10).all()
    for first in (5, 9, 13, 17):
        bones = np.linalg.norm(np.diff(points[first : first + 4], axis=0), axis=1)
        assert bones[0] > bones[1] > bones[2] > 0.008
        assert 0.06 < bones.sum() < 0.10
    thumb = np.linalg.norm(np.diff(points[1:5], axis=0), axis=1)
    assert (thumb > 0.01).all()
    assert (thumb < 0.05).all()
    assert points[12, 0] == points[:, 0].max(), "the middle finger is the longest"


def test_left_is_the_wearers_left(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    # The wearer looks along x, palms down: their left is +y.
    for side, inwards in (("left", -1.0), ("right", 1.0)):
        hand = Hand(model, side)
        hand.place(data, [0, 0, 0], PALM_DOWN)
        hand.pose(data, "relaxed")
        mujoco.mj_kinematics(model, data)
        points = hand.keypoints(data)
        assert points[12, 0] > 0.12, "fingers forward"
        assert points[[8, 12, 16, 20], 2].max() < 0, "they bend down, to the palm"
        assert inwards * points[4, 1] > 0.03, "thumbs inwards"
        across = inwards * points[[5, 9, 13, 17], 1]
        assert (np.diff(across) < 0).all(), "index to pinky from the inside outwards"


@pytest.mark.parametrize("shape", list(SHAPES))
def test_left_mirrors_right(model: mujoco.MjModel, data: mujoco.MjData, shape: str) -> None:
    left, right = (posed(model, data, side, shape) for side in SIDES)
    # The artist placed the index fingers' knuckles 3.5 mm apart and turned the bones by a degree or two.
    assert np.linalg.norm(left - MIRROR * right, axis=1).max() < 0.009


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("joint", JOINTS)
def test_positive_angles_close_and_spread(
    model: mujoco.MjModel, data: mujoco.MjData, side: Side, joint: str
) -> None:
    finger, _, movement = joint.split("_")
    before = posed(model, data, side, {})
    after = posed(model, data, side, {joint: 0.25})
    tip = keypoint(f"{finger}_tip")
    moved = after[tip] - before[tip]
    assert np.linalg.norm(moved) > 0.002
    others = [i for i, name in enumerate(KEYPOINTS) if not name.startswith(finger)]
    assert np.allclose(before[others], after[others])
    thumbwards = 1.0 if side == "left" else -1.0
    if movement == "flexion" and finger == "thumb":
        assert moved[1] * thumbwards < -0.0015, "across the palm"
    elif movement == "flexion" or finger == "thumb":
        assert moved[2] > 0.0015, "out of the plane of the palm, to where the palm looks"
    elif finger == "middle":
        assert moved[1] * thumbwards > 0.01
    else:
        apart = [np.linalg.norm(points[tip] - points[keypoint("middle_tip")]) for points in (before, after)]
        assert apart[1] > apart[0] + 0.01


@pytest.mark.parametrize("side", SIDES)
def test_fingers_close_into_the_palm(model: mujoco.MjModel, data: mujoco.MjData, side: Side) -> None:
    flat, fist = posed(model, data, side, "flat"), posed(model, data, side, "fist")
    palm = data.site(f"{side}_palm").xpos
    for finger in FINGERS:
        tip = keypoint(f"{finger}_tip")
        assert np.linalg.norm(fist[tip] - palm) < np.linalg.norm(flat[tip] - palm)
        if finger != "thumb":
            assert np.linalg.norm(fist[tip] - data.geom(f"{side}_palm_contact").xpos) < 0.05
    point = posed(model, data, side, "point")
    assert point[8, 0] > 0.15 > point[12, 0] + 0.05, "only the index finger points"


@pytest.mark.parametrize("side", SIDES)
def test_in_a_pinch_the_tips_meet_at_the_pinch_point(
    model: mujoco.MjModel, data: mujoco.MjData, side: Side
) -> None:
    points = posed(model, data, side, "pinch")
    assert np.linalg.norm(points[4] - points[8]) < 0.02, "two pads thick"
    assert data.site(f"{side}_pinch").xpos == pytest.approx(points[[4, 8]].mean(0), abs=1e-9)
    assert data.site(f"{side}_index_tip").xpos == pytest.approx(points[8], abs=1e-9)


def test_named_shapes_keep_the_fingers_apart(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    hand, ends = Hand(model, "left"), np.empty(6)
    for shape in set(SHAPES) - {"power"}:  # which is a goal to close towards, not a pose to hold
        posed(model, data, "left", shape)
        outer = {finger: hand.geoms[finger][1:] for finger in FINGERS}
        gaps = [
            mujoco.mj_geomDistance(model, data, a, b, 1.0, ends)
            for one in FINGERS
            for other in FINGERS
            if one < other
            for a in outer[one]
            for b in outer[other]
        ]
        assert min(gaps) > -0.003, shape


def test_blend_goes_from_one_shape_to_the_other() -> None:
    assert np.array_equal(blend("open", "fist", 0.0), SHAPES["open"])
    assert np.array_equal(blend("open", "fist", 1.0), SHAPES["fist"])
    middle = blend("flat", {"index_proximal_flexion": 1.0}, 0.25)
    assert middle[JOINTS.index("index_proximal_flexion")] == pytest.approx(0.25)
    assert np.count_nonzero(middle) == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("claw", "unknown hand shape 'claw'; the shapes are flat, "),
        ({"index_flexion": 1.0}, "unknown joints index_flexion; the joints are thumb_metacarpal_flexion, "),
        (np.zeros(21), r"angles of shape \(21,\); a hand has \(20,\)"),
        (
            {"index_distal_flexion": 2.0},
            r"index_distal_flexion is 2\.000 rad; it bends from -0\.087 to 1\.484",
        ),
        (np.full(20, np.nan), "thumb_metacarpal_flexion is nan rad"),
    ],
)
def test_impossible_shapes_are_refused(shape: hands.Shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        angles_of(shape)


def test_wrong_hands_are_refused(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    with pytest.raises(ValueError, match="side is 'both'; it is one of left, right"):
        add_hand(mujoco.MjSpec(), "both", SKIN, SLEEVE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scale is -1\.0; it must be positive"):
        add_hand(mujoco.MjSpec(), "left", SKIN, SLEEVE, -1.0)
    with pytest.raises(
        ValueError, match=r"the model has no right hand; call add_hand\(spec, 'right', \.\.\.\)"
    ):
        Hand(scene(sides=("left",)), "right")
    with pytest.raises(ValueError, match="unknown anchor 'elbow'; the anchors are wrist, palm, pinch"):
        Hand(model, "left").place(data, [0, 0, 0], [1, 0, 0, 0], "elbow")  # type: ignore[arg-type]


# Placing


@pytest.mark.parametrize("anchor", ["wrist", "palm", "pinch"])
@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_an_anchor_goes_where_it_is_put(anchor: hands.Anchor, scale: float) -> None:
    model = scene(scale, sides=("right",))
    data, hand = mujoco.MjData(model), Hand(model, "right")
    target, turn = np.array([0.1, 0.4, 0.7]), np.array([2.0, 1.0, -1.0, 0.5])
    hand.place(data, target, turn, anchor)
    mujoco.mj_kinematics(model, data)
    at = hand.keypoints(data)[0] if anchor == "wrist" else data.site(f"right_{anchor}").xpos
    assert at == pytest.approx(target)
    assert data.body("right_wrist").xmat.reshape(3, 3) == pytest.approx(rotation(turn / np.linalg.norm(turn)))


@pytest.mark.parametrize("side", SIDES)
def test_the_forearm_points_to_the_elbow(model: mujoco.MjModel, side: Side) -> None:
    data, hand = mujoco.MjData(model), Hand(model, side)
    rng = np.random.default_rng(0)
    for _ in range(20):
        wrist, turn = rng.normal(size=3), rng.normal(size=4)
        hand.place(data, wrist, turn)
        mujoco.mj_kinematics(model, data)
        before = hand.keypoints(data)
        direction = np.array([-1.0, *rng.uniform(-0.5, 0.5, 2)])
        elbow = wrist + 0.3 * data.body(f"{side}_wrist").xmat.reshape(3, 3) @ direction
        hand.aim_forearm(data, elbow)
        mujoco.mj_kinematics(model, data)
        along = -data.body(f"{side}_forearm").xmat.reshape(3, 3)[:, 0]
        assert along == pytest.approx((elbow - wrist) / np.linalg.norm(elbow - wrist))
        assert np.allclose(hand.keypoints(data), before)


def test_the_wrist_bends_no_further_than_it_can(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    hand = Hand(model, "left")
    hand.aim_forearm(data, [0.0, 0.3, 0.01])  # beside the wrist
    assert data.joint("left_wrist_deviation").qpos == pytest.approx(np.deg2rad(35))
    hand.aim_forearm(data, [0.0, 0.0, 0.3])
    assert data.joint("left_wrist_flexion").qpos == pytest.approx(np.deg2rad(75))


# Contact


def put(model: mujoco.MjModel, data: mujoco.MjData, name: str, position: np.ndarray) -> None:
    data.mocap_pos[model.body(name).mocapid[0]] = position
    data.mocap_quat[model.body(name).mocapid[0]] = [np.sqrt(0.5), np.sqrt(0.5), 0, 0]  # cylinders along y


def deepest(data: mujoco.MjData) -> float:
    """Metres, of hands in objects and in one another."""
    return max((-float(contact.dist) for contact in data.contact), default=0.0)


def test_hands_touch_objects_but_not_hands(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    for side in SIDES:
        posed(model, data, side, "power")
    mujoco.mj_forward(model, data)
    assert data.ncon == 0, "two hands in the same place"
    put(model, data, "ball", data.site("left_palm").xpos.copy())
    mujoco.mj_forward(model, data)
    ball = model.geom("ball").id
    assert data.ncon > 0
    assert all(ball in contact.geom for contact in data.contact)


def close_on(
    model: mujoco.MjModel, data: mujoco.MjData, side: Side, name: str, shape: str, anchor: str, off: float
) -> Grip:
    """Close on an object whose middle is at an anchor, or `off` metres out of it along z."""
    hand = Hand(model, side)
    for one in SIDES:
        Hand(model, one).place(data, [0, 0, 0 if one == side else 2], [1, 0, 0, 0])
    hand.pose(data, "reach")
    mujoco.mj_kinematics(model, data)
    put(model, data, name, data.site(f"{side}_{anchor}").xpos + np.array([0.0, 0.0, off]))
    return close_until_contact(model, data, hand, shape, [model.geom(name).id])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("name", "anchor", "off"),
    [
        ("ball", "palm", 0.037),
        ("ball", "pinch", 0.0),
        ("box", "palm", 0.034),
        ("box", "pinch", 0.0),
        ("can", "pinch", 0.0),
        ("brick", "pinch", 0.0),
        ("handle", "palm", 0.014),
    ],
)
def test_fingers_close_on_what_they_hold(
    model: mujoco.MjModel, data: mujoco.MjData, side: Side, name: str, anchor: str, off: float
) -> None:
    grip = close_on(model, data, side, name, "power", anchor, off)
    assert {"index", "middle", "ring"} <= set(grip.touching)
    assert "thumb" in grip.touching or name == "handle", "round a handle it may lie on the fingers"
    assert deepest(data) < 0.003
    assert np.array_equal(Hand(model, side).angles(data), grip.angles)
    again = close_on(model, data, side, name, "power", anchor, off)
    assert np.array_equal(again.angles, grip.angles)
    ends = np.empty(6)
    for finger in FINGERS:
        links = Hand(model, side).geoms[finger]
        gap = min(mujoco.mj_geomDistance(model, data, link, model.geom(name).id, 1.0, ends) for link in links)
        assert (gap <= hands.CONTACT_GAP) == (finger in grip.touching)


@pytest.mark.parametrize("side", SIDES)
def test_a_card_is_pinched_from_both_sides(model: mujoco.MjModel, data: mujoco.MjData, side: Side) -> None:
    grip = close_on(model, data, side, "card", "pinch", "pinch", 0.0)
    assert {"thumb", "index"} <= set(grip.touching)
    assert deepest(data) == 0.0, "no finger went through it, though it is 1 mm thick"
    sides = [data.site(f"{side}_{finger}_tip").xpos[0] for finger in ("thumb", "index")]
    card = data.geom("card").xpos[0]
    assert sides[0] < card < sides[1]


def test_around_a_wire_the_thumb_lies_on_the_fingers(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    close_on(model, data, "left", "wire", "power", "palm", 0.004)
    hand, ends = Hand(model, "left"), np.empty(6)
    outer = [link for finger in FINGERS[1:] for link in hand.geoms[finger][1:]]
    gaps = [
        mujoco.mj_geomDistance(model, data, a, b, 1.0, ends) for a in hand.geoms["thumb"][1:] for b in outer
    ]
    assert 0 < min(gaps) <= hands.CONTACT_GAP
    assert deepest(data) < 0.003


def test_fingers_that_meet_nothing_reach_the_shape(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    hand = Hand(model, "left")
    hand.pose(data, "open")
    grip = close_until_contact(model, data, hand, "relaxed", [model.geom("can").id])
    assert grip.touching == ()
    assert grip.angles == pytest.approx(SHAPES["relaxed"])


def test_closing_on_nothing_or_from_inside_is_refused(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    hand = Hand(model, "left")
    with pytest.raises(ValueError, match="object_geoms is empty"):
        close_until_contact(model, data, hand, "fist", [])
    put(model, data, "box", hand.keypoints(data)[keypoint("ring_distal")])
    with pytest.raises(ValueError, match=r"left_ring_\w+_contact starts \d+\.\d mm inside the object"):
        close_until_contact(model, data, hand, "fist", [model.geom("box").id])


# Colours and pictures


def test_skin_colours_follow_the_tones_and_repeat_themselves() -> None:
    assert SKIN_TONES.shape == (10, 4)
    for seed in range(20):
        colours = np.array([skin_colour(tone, np.random.default_rng(seed)) for tone in range(10)])
        assert ((colours >= 0) & (colours <= 1)).all()
        assert (colours[:, 3] == 1).all()
        red, green, blue = colours[:, :3].T
        assert ((red > green) & (green > blue)).all()
        assert (np.diff(colours[3:, :3].sum(1)) < 0).all()
    one, other = (skin_colour(4, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(one, skin_colour(4, np.random.default_rng(0)))
    assert 0.005 < np.abs(one - other).max() < 0.15


DRAW = """
import sys
import mujoco, numpy as np
from pretrain.sim.hand import Hand, add_hand

spec = mujoco.MjSpec()
spec.worldbody.add_light(pos=[0, 0, 2], dir=[0, 0, -1])
add_hand(spec, "left", (0.85, 0.6, 0.45, 1.0), (0.1, 0.2, 0.6, 1.0))
model = spec.compile()
data, hand = mujoco.MjData(model), Hand(model, "left")
hand.place(data, [0, 0, 0], [0, 1, 0, 0])
mujoco.mj_forward(model, data)
camera = mujoco.MjvCamera()
camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = [0.03, 0, 0], 0.5, 0, -80
renderer = mujoco.Renderer(model, 128, 128)
pictures = []
for skin in ((0.85, 0.6, 0.45, 1.0), (0.1, 0.9, 0.1, 1.0)):
    hand.paint(model, skin, (0.1, 0.2, 0.6, 1.0))
    renderer.update_scene(data, camera)
    pictures.append(renderer.render())
renderer.enable_segmentation_rendering()
renderer.update_scene(data, camera)
seen = renderer.render()
skin = (seen[..., 1] == mujoco.mjtObj.mjOBJ_SKIN) & (seen[..., 0] == hand.skin)
sleeve = (seen[..., 1] == mujoco.mjtObj.mjOBJ_GEOM) & (seen[..., 0] == hand.sleeve_geom)
other = (seen[..., 1] >= 0) & ~skin & ~sleeve
np.savez(sys.argv[1], pictures=pictures, skin=skin, sleeve=sleeve, other=other)
renderer.close()
"""


def test_the_hand_is_seen_in_its_colours(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(DRAW, str(tmp_path / "seen.npz"), MUJOCO_GL="egl")
    assert result.returncode == 0, result.stderr
    seen = np.load(tmp_path / "seen.npz")
    skin, sleeve = seen["skin"], seen["sleeve"]
    assert 0.05 < skin.mean() < 0.5
    assert 0.05 < sleeve.mean() < 0.5
    assert not seen["other"].any(), "contact geoms and sites are not drawn"
    assert np.nonzero(skin)[0].mean() < np.nonzero(sleeve)[0].mean() - 20, "the hand is ahead of the sleeve"
    first, second = seen["pictures"].astype(int)
    red, green, blue = first[skin].mean(0)
    assert red > green + 20 > blue + 40, "skin"
    assert second[skin].mean(0).argmax() == 1, "painted green"
    assert first[sleeve].mean(0).argmax() == 2
    assert np.array_equal(first[sleeve], second[sleeve])
    # Facing away from the viewer, palm down, a left hand has its thumb on the right.
    columns = np.nonzero(skin[: np.nonzero(sleeve)[0].min()])[1]
    wrist = np.nonzero(skin[np.nonzero(skin)[0].max()])[0].mean()
    assert columns.max() - wrist > wrist - columns.min()
