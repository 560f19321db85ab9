"""Clips: two to four actions in one continuous take, as pictures and as ground truth.

`plan` draws a scene and what is done in it from a seed and plays it on a `Stage`; `record` renders that. Both
are deterministic: the same seed and split give the same clip in every process. Boxes are of what is seen,
from MuJoCo's segmentation: the hand's is that of its skin, without the sleeve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mujoco
import numpy as np
import numpy.typing as npt

from pretrain.sim.actions import (
    FAILURES,
    FIXED,
    PACES,
    VERBS,
    Action,
    Handed,
    Outcome,
    Speed,
    Verb,
    act,
    kinds_of_verbs,
    narration,
)
from pretrain.sim.hand import KEYPOINTS, SIDES, SKIN_TONES, Side, add_hand, skin_colour
from pretrain.sim.library import KINDS
from pretrain.sim.motion import FPS, Frame, Infeasible, Pose, Stage
from pretrain.sim.scene import PICTURE_SIZE, Scene, Wanted, Zone, sample_recipe
from pretrain.sim.seeds import stable_hash, stable_rng
from pretrain.sim.splits import Combinations, Split, split_combinations

COMBINATIONS: Combinations = split_combinations(kinds_of_verbs())
"""Which split shows which verb done to which kind of object."""

_ACTIONS = (2, 4)  # least and most in a clip
_DRAWS = 14  # actions tried for each place in a clip
_SCENES = 60  # scenes tried for a clip
_PATIENCE = 6  # scenes tried for one leading verb
_SEEN = 25  # pixels of skin or of an object that make it visible
_NEAREST = 0.005  # metres before the eye

# Compared with an array, the enumerations themselves would be compared pixel by pixel.
_GEOM, _SKIN = int(mujoco.mjtObj.mjOBJ_GEOM), int(mujoco.mjtObj.mjOBJ_SKIN)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Segment:
    """One action in a clip: from `start` to `end` seconds, and what a narrator says."""

    start: float
    end: float
    text: str
    action: Action


@dataclass(frozen=True)
class Plan:
    """A clip before it is rendered.

    Attributes:
        seed, split: what it was drawn from.
        stage: with all frames played.
        segments: the actions in order.
        redrawn: how many actions were drawn and found infeasible, by verb.
    """

    seed: int
    split: Split
    stage: Stage
    segments: tuple[Segment, ...]
    redrawn: Mapping[str, int]


@dataclass(frozen=True)
class Clip:
    """Pictures and ground truth of T frames with N objects; hands are (left, right), the wearer's.

    Camera coordinates: x to the right, y down, z ahead, metres. Pixels: the centre of the top left one is
    (0.5, 0.5). Boxes are (left, top, right, bottom) in pixels, NaN where there is nothing to see.

    Attributes:
        seed, split: `record` makes the clip from these.
        frames: (T, 224, 224, 3) uint8 RGB, at `fps`.
        fps: frames per second.
        segments: the actions.
        hand_boxes: (T, 2, 4) of the skin seen of each hand.
        hand_visible: (T, 2) whether at least 25 pixels of its skin are seen.
        object_boxes: (T, 3, 4) of the object in contact with the left hand only, the right only, both.
        object_ids: (T, 3) index into `objects` of those, -1 for none.
        keypoints: (T, 2, 21, 2) pixels, of `hand.KEYPOINTS`; outside the picture they lie outside 0..224, and
            behind the camera they are NaN.
        keypoints_camera: (T, 2, 21, 3) in camera coordinates.
        wrists: (T, 2, 7) place and quaternion (w, x, y, z) of the hand frame in the world.
        contact: (T, 2, N) whether the hand touches the object.
        objects: names of the N objects, in the order of `kinds` and `colours`.
        kinds, colours: of the objects.
        camera: (T, 7) place and quaternion of the eye in the world, MuJoCo's: it looks along -z, y is up.
        intrinsics: (3, 3) from camera coordinates to pixels.
        redrawn: how many infeasible draws there were, by verb.
        depth: (T,) how deep a hand is in anything, metres.
        sunk: (T,) how deep a moved thing is in another, metres.
    """

    seed: int
    split: Split
    frames: npt.NDArray[np.uint8]
    fps: int
    segments: tuple[Segment, ...]
    hand_boxes: Floats
    hand_visible: npt.NDArray[np.bool_]
    object_boxes: Floats
    object_ids: npt.NDArray[np.int16]
    keypoints: Floats
    keypoints_camera: Floats
    wrists: Floats
    contact: npt.NDArray[np.bool_]
    objects: tuple[str, ...]
    kinds: tuple[str, ...]
    colours: tuple[str, ...]
    camera: Floats
    intrinsics: Floats
    redrawn: Mapping[str, int]
    depth: Floats
    sunk: Floats


def verbs_of(split: Split) -> tuple[str, ...]:
    """The verbs that clips of `split` may show."""
    return tuple(
        verb.name
        for verb in VERBS.values()
        if any(COMBINATIONS.allowed(split, verb.name, kind) for kind in verb.kinds)
    )


def record(seed: int, split: Split, verb: str | None = None) -> Clip:
    """The clip of this seed and split.

    Args:
        seed: any whole number.
        split: whose objects, textures and combinations are shown.
        verb: that it shows if it can be done at all; None draws one.

    Raises:
        Infeasible: no scene that was tried allows two actions.
        ValueError: clips of `split` never show `verb`.
    """
    return render(plan(seed, split, verb))


def plan(seed: int, split: Split, verb: str | None = None) -> Plan:
    """What `record` renders; same arguments and errors."""
    shown = verbs_of(split)
    if verb is not None and verb not in shown:
        raise ValueError(f"clips of {split} never show {verb!r}; choose from {', '.join(shown)}")
    redrawn: dict[str, int] = {}
    for attempt in range(_SCENES):
        rng = stable_rng("clip", split, seed, verb or "", attempt)
        choice = stable_rng("lead", split, seed, attempt // _PATIENCE)
        lead = VERBS[verb or shown[int(choice.integers(len(shown)))]]
        stage = _stage(seed, split, lead, attempt, rng)
        if stage is None:
            continue
        segments = _play(stage, split, lead, rng, redrawn)
        if len(segments) >= _ACTIONS[0] and any(s.action.verb == lead.name for s in segments):
            return Plan(seed, split, stage, tuple(segments), redrawn)
    raise Infeasible(f"seed {seed} of {split}: no scene out of {_SCENES} allows {_ACTIONS[0]} actions")


def _stage(seed: int, split: Split, lead: Verb, attempt: int, rng: np.random.Generator) -> Stage | None:
    wanted = _wanted(split, lead, rng)
    try:
        recipe = sample_recipe(stable_hash("scene", split, seed, attempt) % 2**31, split, wanted)
    except ValueError:  # they do not fit on the table together
        return None
    draft = recipe.draft()
    tone = int(rng.integers(len(SKIN_TONES)))
    skin = skin_colour(tone, rng)
    sleeve = np.append(rng.uniform(0.03, 0.9, 3), 1.0)
    scale = float(rng.uniform(0.92, 1.06))
    for side in SIDES:
        add_hand(draft.spec, side, skin.tolist(), sleeve.tolist(), scale)
        _add_upper_sleeve(draft.spec, side, scale)
    stage = Stage(draft.compile())
    _set_out(stage, rng)
    return stage


def _set_out(stage: Stage, rng: np.random.Generator) -> None:
    """Some drawers, doors and the like are open at the start, and some pegs in their holes."""
    for name, item in stage.scene.objects.items():
        if item.placed.role == "distractor" or rng.uniform() < 0.5:
            continue
        for body in item.design.bodies:
            if body.joint in ("slide", "hinge") and item.placed.kind not in ("button", "nail"):
                stage.set_share(name, body.name, float(rng.uniform(0.6, 1.0)))
            if body.name == "peg":
                hole = item.design.root.spot("hole")
                deep = np.array(hole.position) + (hole.depth - 0.002) * np.array(hole.axis)
                root = stage.body_pose(name)
                stage.put(name, "peg", Pose(root.point(deep), root.turn))
    stage.settle()


def _add_upper_sleeve(spec: Any, side: Side, scale: float) -> None:
    # The hand's own sleeve ends before the elbow, which a camera that looks down at a far reach would see.
    spec.body(f"{side}_forearm").add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[-0.26 * scale, 0, 0, -0.55 * scale, 0, 0],
        size=[0.0435 * scale, 0, 0],
        material=f"{side}_sleeve",
        contype=0,
        conaffinity=0,
    )


def _wanted(split: Split, lead: Verb, rng: np.random.Generator) -> list[Wanted]:
    """The leading verb's object and target, and one or two things more."""
    kinds = [kind for kind in lead.kinds if COMBINATIONS.allowed(split, lead.name, kind)]
    chosen = [kinds[int(rng.integers(len(kinds)))]]
    if lead.targets:
        others = [kind for kind in lead.targets if kind not in chosen]
        chosen.append(others[int(rng.integers(len(others)))])
    spare = list(KINDS)
    for _ in range(int(rng.integers(1, 3))):
        kind = spare[int(rng.integers(len(spare)))]
        if kind not in chosen and not (kind in FIXED and any(other in FIXED for other in chosen)):
            chosen.append(kind)
    zones: tuple[Zone, ...] = ("left", "right", "both")
    return [Wanted(kind, zones[int(rng.integers(3))]) for kind in chosen]


def _play(
    stage: Stage, split: Split, lead: Verb, rng: np.random.Generator, redrawn: dict[str, int]
) -> list[Segment]:
    count, segments = int(rng.integers(_ACTIONS[0], _ACTIONS[1] + 1)), []
    when = int(rng.integers(0, 2))  # place of the leading verb
    try:
        stage.wait(float(rng.uniform(0.1, 0.4)))
    except Infeasible:
        return []
    for place in range(count):
        for draw in range(_DRAWS):
            wants = lead if place == when and draw < _DRAWS // 2 else None
            action = _draw(stage, split, wants, rng)
            if action is None:
                continue
            start = stage.mark()
            try:
                act(stage, action)
            except Infeasible:
                stage.rewind(start)
                redrawn[action.verb] = redrawn.get(action.verb, 0) + 1
                continue
            segments.append(Segment(start.frames / FPS, stage.time, narration(action), action))
            break
        else:
            break
    return segments


def _draw(stage: Stage, split: Split, wants: Verb | None, rng: np.random.Generator) -> Action | None:
    """An action that the present state allows; None if this draw gives none."""
    names = verbs_of(split)
    verb = wants or VERBS[names[int(rng.integers(len(names)))]]
    hand = verb.hands[int(rng.integers(len(verb.hands)))]
    things = [
        name
        for name in _things(stage, verb, hand)
        if COMBINATIONS.allowed(split, verb.name, stage.scene.objects[name].placed.kind)
    ]
    if not things:
        return None
    name = things[int(rng.integers(len(things)))]
    target = _target(stage, verb, name, rng)
    if target is None:
        return None
    outcome: Outcome = "success"
    if verb.fails:
        outcomes = cast(list[Outcome], ["success", *FAILURES])
        shares = [1.0 - sum(FAILURES.values()), *FAILURES.values()]
        outcome = outcomes[int(rng.choice(len(outcomes), p=shares))]
    speeds = cast(list[Speed], list(PACES))
    one, other = stage.scene.objects[name].placed, stage.scene.objects.get(target)
    return Action(
        verb.name,
        hand,
        name,
        one.kind,
        one.colour,
        target,
        other.placed.kind if other else "",
        other.placed.colour if other else "",
        verb.directions[int(rng.integers(len(verb.directions)))] if verb.directions else "",
        speeds[int(rng.integers(len(speeds)))],
        outcome,
        int(rng.integers(2**31)),
    )


def _things(stage: Stage, verb: Verb, hand: Handed) -> list[str]:
    """Objects that the verb may be done to with that hand now."""
    held = {stage.held(side) for side in SIDES}
    ours = [name for name, item in stage.scene.objects.items() if item.placed.role == "action"]
    if hand == "both":
        free = held == {None}
        return [name for name in ours if free and stage.scene.objects[name].placed.kind in verb.kinds]
    own = stage.held(hand)
    if own is not None:
        return [own] if verb.held and stage.scene.objects[own].placed.kind in verb.kinds else []
    if verb.name == "put down":
        return []
    return [name for name in ours if name not in held and stage.scene.objects[name].placed.kind in verb.kinds]


def _target(stage: Stage, verb: Verb, name: str, rng: np.random.Generator) -> str | None:
    if not verb.targets:
        return ""
    held = {stage.held(side) for side in SIDES}
    fit = [
        other
        for other, item in stage.scene.objects.items()
        if other != name
        and other not in held
        and item.placed.role == "action"
        and item.placed.kind in verb.targets
    ]
    return fit[int(rng.integers(len(fit)))] if fit else None


# Rendering


def render(plan_: Plan) -> Clip:
    """Pictures and ground truth of a plan."""
    stage = plan_.stage
    scene, played = stage.scene, stage.frames
    length, number = len(played), len(stage.names)
    pictures = np.empty((length, PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
    boxes = np.full((length, 5, 4), np.nan, np.float32)
    ids = np.full((length, 3), -1, np.int16)
    world = np.empty((length, 2, len(KEYPOINTS), 3))
    camera = np.empty((length, 7))
    axes = np.empty((length, 3, 3))
    contact = np.zeros((length, 2, number), np.bool_)
    data = mujoco.MjData(scene.model)
    lookup = _lookup(stage)
    renderer = mujoco.Renderer(scene.model, PICTURE_SIZE, PICTURE_SIZE)
    try:
        for i, frame in enumerate(played):
            _restore(scene, data, frame)
            renderer.update_scene(data, scene.camera)
            renderer.render(out=pictures[i])
            renderer.enable_segmentation_rendering()
            owner = _owners(renderer.render(), lookup)
            renderer.disable_segmentation_rendering()
            contact[i] = frame.touched
            ids[i] = _in_contact(frame.touched)
            wanted = [1, 2, *(3 + int(j) if j >= 0 else -1 for j in ids[i])]
            boxes[i] = [_box(owner, number) for number in wanted]
            world[i] = [stage.hands[side].keypoints(data) for side in SIDES]
            camera[i] = [*data.cam_xpos[scene.camera], *_camera_turn(data, scene.camera)]
            axes[i] = data.cam_xmat[scene.camera].reshape(3, 3)
    finally:
        renderer.close()
    intrinsics = _intrinsics(scene.recipe.head.fovy)
    ahead = _in_camera(world, camera[:, :3], axes)
    placed = [scene.objects[name].placed for name in stage.names]
    return Clip(
        plan_.seed,
        plan_.split,
        pictures,
        FPS,
        plan_.segments,
        boxes[:, :2],
        ~np.isnan(boxes[:, :2, 0]),
        boxes[:, 2:],
        ids,
        _project(ahead, intrinsics).astype(np.float32),
        ahead.astype(np.float32),
        _wrists(stage),
        contact,
        stage.names,
        tuple(one.kind for one in placed),
        tuple(one.colour for one in placed),
        camera.astype(np.float32),
        intrinsics.astype(np.float32),
        plan_.redrawn,
        np.array([frame.depth for frame in played], np.float32),
        np.array([frame.sunk for frame in played], np.float32),
    )


def _restore(scene: Scene, data: Any, frame: Frame) -> None:
    data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = frame.qpos, frame.mocap_pos, frame.mocap_quat
    mujoco.mj_kinematics(scene.model, data)
    mujoco.mj_camlight(scene.model, data)


def _camera_turn(data: Any, camera: int) -> npt.NDArray[np.float64]:
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, data.cam_xmat[camera])
    return turn


def _wrists(stage: Stage) -> Floats:
    model = stage.scene.model
    mocaps = [int(model.body_mocapid[model.body(f"{side}_wrist").id]) for side in SIDES]
    return np.stack(
        [np.hstack([frame.mocap_pos[mocaps], frame.mocap_quat[mocaps]]) for frame in stage.frames]
    ).astype(np.float32)


def _lookup(stage: Stage) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Of each geom and of each skin whose it is: 0 nobody's, 1 left hand, 2 right hand, 3 + i object i."""
    model = stage.scene.model
    geoms, skins = np.zeros(model.ngeom + 1, np.int16), np.zeros(model.nskin + 1, np.int16)
    for number, side in enumerate(SIDES, 1):
        skins[stage.hands[side].skin] = number
    for number, name in enumerate(stage.names, 3):
        for part in stage.scene.objects[name].parts.values():
            geoms[list(part.seen)] = number
    return geoms, skins


def _owners(
    segments: npt.NDArray[np.int32], lookup: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]
) -> npt.NDArray[np.int16]:
    """(H, W) whose each pixel is; segments (H, W, 2) of id and type, -1 for the background."""
    geoms, skins = lookup
    number, kind = segments[..., 0], segments[..., 1]
    # The last entry of each table is nobody's: what has another type, and the background, goes there.
    owner = geoms[np.where(kind == _GEOM, number, -1)]
    skin = kind == _SKIN
    owner[skin] = skins[number[skin]]
    return owner


def _in_contact(touched: npt.NDArray[np.bool_]) -> list[int]:
    """Index of the object in the left hand only, the right only, both; -1 for none; touched is (2, N)."""
    left, right = touched
    chosen = [left & ~right, right & ~left, left & right]
    return [int(which.argmax()) if which.any() else -1 for which in chosen]


def _box(owner: npt.NDArray[np.int16], number: int) -> Sequence[float]:
    mask = owner == number
    if number < 0 or mask.sum() < _SEEN:
        return (np.nan,) * 4
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def _intrinsics(fovy: float) -> npt.NDArray[np.float64]:
    focal = PICTURE_SIZE / 2 / np.tan(np.deg2rad(fovy) / 2)
    centre = PICTURE_SIZE / 2
    return np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])


def _in_camera(
    world: npt.NDArray[np.float64], at: npt.NDArray[np.float64], axes: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(T, 2, K, 3) world points in camera coordinates; `at` (T, 3), `axes` (T, 3, 3) as MuJoCo has them."""
    local = np.einsum("thkc,tcd->thkd", world - at[:, None, None], axes)
    return local * [1.0, -1.0, -1.0]


def _project(points: npt.NDArray[np.float64], intrinsics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    depth = np.where(points[..., 2:] > _NEAREST, points[..., 2:], np.nan)
    return points[..., :2] / depth * intrinsics[0, 0] + intrinsics[:2, 2]
