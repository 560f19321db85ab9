from __future__ import annotations

import hashlib
import itertools
import subprocess
import time
from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from pretrain.sim.scene import ZONES, Scene, SceneRecipe, Wanted, sample_recipe
from pretrain.sim.splits import SPLITS, TEXTURES, Split, split_of_instance

Run = Callable[..., subprocess.CompletedProcess[str]]
WANTED = (
    (Wanted("cup", "left"), Wanted("bottle", "right")),
    (Wanted("drawer", "both"), Wanted("ball", "right")),
    (Wanted("cupboard", "both"),),
    (Wanted("hammer", "right"), Wanted("nail", "left"), Wanted("block", "both")),
    (Wanted("faucet", "left"), Wanted("pot", "right")),
    (Wanted("cutting board", "both"),),
)

# Model and picture of a scene, hashed; and of many scenes, how many pixels each object of the action has.
HASHES = """
import hashlib, sys, mujoco, numpy
from pretrain.sim.scene import Wanted, sample_recipe
scene = sample_recipe(int(sys.argv[1]), "test", (Wanted("mug", "left"), Wanted("drawer", "right"))).build()
buffer = numpy.empty(mujoco.mj_sizeModel(scene.model), numpy.uint8)
mujoco.mj_saveModel(scene.model, None, buffer)
data = scene.start()
scene.update(data, 1.7)
with mujoco.Renderer(scene.model, 224, 224) as renderer:
    renderer.update_scene(data, scene.camera)
    picture = renderer.render()
assert picture.std() > 10, "an empty picture"
print(hashlib.sha256(buffer).hexdigest(), hashlib.sha256(picture).hexdigest())
"""
SEEN = """
import sys, mujoco, numpy
sys.path.insert(0, "tests/pretrain/sim")
from test_scene import WANTED
from pretrain.sim.scene import sample_recipe
for seed in range(18):
    scene = sample_recipe(seed, "train", WANTED[seed % len(WANTED)]).build()
    with mujoco.Renderer(scene.model, 224, 224) as renderer:
        renderer.enable_segmentation_rendering()
        renderer.update_scene(scene.start(), scene.camera)
        geoms = renderer.render()[..., 0]
    for item in scene.objects.values():
        if item.placed.role == "action":
            drawn = [geom for part in item.parts.values() for geom in part.seen]
            print(seed, item.placed.kind, numpy.isin(geoms, drawn).sum())
"""


def recipe(seed: int, split: Split = "train") -> SceneRecipe:
    return sample_recipe(seed, split, WANTED[seed % len(WANTED)])


def saved(model: mujoco.MjModel) -> str:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer).hexdigest()


def least_distance(scene: Scene, data: mujoco.MjData, one: list[int], other: list[int]) -> float:
    """Between two sets of geoms, metres; those far apart are passed over."""
    least = np.inf
    reach = scene.model.geom_rbound
    for a, b in itertools.product(one, other):
        if np.linalg.norm(data.geom_xpos[a] - data.geom_xpos[b]) < reach[a] + reach[b] + 0.01:
            least = min(least, mujoco.mj_geomDistance(scene.model, data, a, b, 0.1, np.zeros(6)))
    return float(least)


@pytest.mark.parametrize("seed", range(50))
def test_objects_stand_apart_on_the_table(seed: int) -> None:
    scene = recipe(seed, SPLITS[seed % 3]).build()
    data = scene.start()
    felt = {name: [g for p in item.parts.values() for g in p.geoms] for name, item in scene.objects.items()}
    for (one, first), (other, second) in itertools.combinations(felt.items(), 2):
        assert least_distance(scene, data, first, second) > 0.0, (one, other)
    for item in scene.objects.values():
        assert scene.recipe.room.holds(item.placed.corners())
        root = data.xpos[item.parts[""].body]
        assert root == pytest.approx((item.placed.x, item.placed.y, 0.0))
    assert min((contact.dist for contact in data.contact), default=0.0) > -0.001
    names = [(item.placed.kind, item.placed.colour) for item in scene.objects.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("seed", range(12))
def test_wanted_objects_stand_in_reach(seed: int) -> None:
    wanted = WANTED[seed % len(WANTED)]
    objects = recipe(seed).objects
    for number, item in enumerate(wanted):
        placed = objects[number]
        assert (placed.name, placed.kind, placed.role) == (f"action {number}", item.kind, "action")
        (left, right), (near, far) = ZONES[item.zone]
        assert left <= placed.x <= right
        assert near <= placed.y <= far + (0.2 if placed.design.stays else 0.0)
        if placed.design.stays:
            assert abs(placed.yaw) <= 0.25
    assert all(placed.role == "distractor" for placed in objects[len(wanted) :])


def test_splits_share_no_texture_and_no_individual() -> None:
    for split in SPLITS:
        for seed in range(15):
            made = recipe(seed, split)
            room = made.room
            surfaces = [room.table, room.floor, room.walls, *([room.mat] if room.mat else [])]
            assert all(surface.family in TEXTURES[split] for surface in surfaces)
            assert all(split_of_instance(o.kind, o.colour, o.shape) == split for o in made.objects)


def test_the_camera_sees_the_workspace() -> None:
    for seed in range(50):
        made = recipe(seed)
        scene = made.build() if seed < 3 else None
        half = np.tan(np.deg2rad(made.head.fovy) / 2)
        for moment in (0.0, 2.3, 7.1):
            at, turn = made.head.pose(moment)
            matrix = np.empty(9)
            mujoco.mju_quat2Mat(matrix, np.array(turn))
            if scene is not None:
                data = scene.start()
                scene.update(data, moment)
                assert data.cam_xpos[scene.camera] == pytest.approx(at)
                assert data.cam_xmat[scene.camera] == pytest.approx(matrix, abs=1e-6)
            for (left, right), (near, far) in ZONES.values():
                middle = np.array([(left + right) / 2, (near + far) / 2, 0.0])
                x, y, z = matrix.reshape(3, 3).T @ (middle - at)
                assert z < 0
                assert max(abs(x), abs(y)) / -z < half


def test_the_head_moves_little_and_smoothly() -> None:
    head = recipe(3).head
    poses = [head.pose(frame / 30) for frame in range(600)]
    places = np.array([at for at, _ in poses])
    turns = np.array([turn for _, turn in poses])
    assert 0.005 < np.ptp(places, axis=0).max() < 0.04
    assert np.abs(np.diff(places, axis=0)).max() < 0.003
    angles = 2 * np.arccos(np.clip(np.abs(turns @ turns[0]), 0, 1))
    assert np.deg2rad(0.5) < angles.max() < np.deg2rad(10)
    steps = 2 * np.arccos(np.clip(np.abs((turns[1:] * turns[:-1]).sum(axis=1)), 0, 1))
    assert steps.max() < np.deg2rad(0.8)


def test_a_seed_repeats_its_scene_and_another_does_not() -> None:
    assert recipe(4) == recipe(4)
    assert saved(recipe(4).build().model) == saved(recipe(4).build().model)
    assert saved(recipe(4).build().model) != saved(recipe(10).build().model)
    assert recipe(4, "train").room != recipe(4, "test").room


def test_another_process_makes_the_same_model_and_picture(run_python: Run) -> None:
    runs = [run_python(HASHES, "5", MUJOCO_GL="egl", PYTHONHASHSEED=salt) for salt in ("1", "2")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert runs[0].stdout == runs[1].stdout
    here = sample_recipe(5, "test", (Wanted("mug", "left"), Wanted("drawer", "right"))).build()
    assert runs[0].stdout.split()[0] == saved(here.model)


def test_the_actions_objects_are_seen(run_python: Run) -> None:
    run = run_python(SEEN, MUJOCO_GL="egl")
    assert run.returncode == 0, run.stderr
    counts = {tuple(line.rsplit(" ", 1)[:1]): int(line.rsplit(" ", 1)[1]) for line in run.stdout.splitlines()}
    assert len(counts) == 33
    assert all(pixels > 60 for pixels in counts.values()), counts


def test_things_go_where_they_are_put() -> None:
    scene = sample_recipe(1, "train", (Wanted("drawer", "both"), Wanted("ball", "right"))).build()
    data = scene.start()
    drawer, ball = scene.objects["action 0"], scene.objects["action 1"]
    before = data.xpos[drawer.parts["drawer"].body].copy()
    scene.set_joint(data, "action 0", "drawer", 1.0)
    scene.set_pose(data, "action 1", (0.1, 0.2, 0.3), (1.0, 0.0, 0.0, 0.0))
    scene.update(data, 0.0)
    moved = np.linalg.norm(data.xpos[drawer.parts["drawer"].body] - before)
    assert moved == pytest.approx(drawer.design.body("drawer").limits[1])
    assert data.xpos[ball.parts[""].body] == pytest.approx((0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="'action 0' has joint 'fixed', not free"):
        scene.set_pose(data, "action 0", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    distractor = next(name for name in scene.objects if name.startswith("distractor"))
    with pytest.raises(ValueError, match="never moves: it is a distractor"):
        scene.set_pose(data, distractor, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))


def test_contacts_are_found_with_what_is_added_to_a_draft() -> None:
    draft = sample_recipe(2, "train", (Wanted("ball", "left"),)).draft()
    finger = draft.spec.worldbody.add_body(name="finger", mocap=True, pos=[0.0, 0.0, 1.0])
    finger.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.01, 0.0, 0.0], contype=0, conaffinity=1)
    scene = draft.compile()
    data = scene.start()
    ball = scene.objects["action 0"]
    touching = [set(contact.geom) for contact in data.contact]
    assert any({scene.table, geom} in touching for geom in ball.parts[""].geoms)
    body = scene.model.body("finger")
    data.mocap_pos[scene.model.body_mocapid[body.id]] = data.xpos[ball.parts[""].body] + [0.0, 0.0, 0.02]
    scene.update(data, 0.0)
    geom = int(body.geomadr[0])
    assert any(
        geom in contact.geom and set(contact.geom) & set(ball.parts[""].geoms) for contact in data.contact
    )


def test_yaw_and_colour_can_be_asked_for() -> None:
    placed = sample_recipe(0, "train", (Wanted("mug", "right", colour="blue", yaw=(0.1, 0.2)),)).objects[0]
    assert placed.colour == "blue"
    assert 0.1 <= placed.yaw <= 0.2


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="no kind of object is called 'whale'"):
        sample_recipe(0, "train", (Wanted("whale", "left"),))
    with pytest.raises(ValueError, match="no lemon is blue"):
        sample_recipe(0, "train", (Wanted("lemon", "left", colour="blue"),))
    with pytest.raises(ValueError, match="two things cannot both be the yellow lemon"):
        sample_recipe(0, "train", (Wanted("lemon", "left"), Wanted("lemon", "right")))
    with pytest.raises(ValueError, match="do not fit on the table together; ask for fewer"):
        sample_recipe(0, "train", tuple(Wanted("laptop", "left") for _ in range(4)))


def test_compile_time_is_reported(record_property: Callable[[str, object], None]) -> None:
    times = []
    for seed in range(10):
        draft = recipe(seed).draft()
        start = time.perf_counter()
        draft.compile()
        times.append(1000 * (time.perf_counter() - start))
    record_property("compile_ms", f"median {np.median(times):.1f}, worst {max(times):.1f}")
