from __future__ import annotations

import mujoco
import numpy as np
import pytest

from robot_eval.environment import EnvSettings
from robot_eval.meshes import simplified
from robot_eval.suites import make_env


def sphere(side: float, lines: int) -> str:
    """A textured MJCF scene with one sphere of `side` metres, built from 2 * lines**2 faces."""
    latitude, longitude = np.meshgrid(
        np.linspace(0, np.pi, lines + 1), np.linspace(0, 2 * np.pi, lines + 1), indexing="ij"
    )
    points = [np.sin(latitude) * np.cos(longitude), np.sin(latitude) * np.sin(longitude), np.cos(latitude)]
    vertices = (side / 2 * np.stack(points, -1)).reshape(-1, 3)
    corner = (np.arange(lines)[:, None] * (lines + 1) + np.arange(lines)).ravel()
    below = corner + lines + 1
    faces = np.concatenate(
        [np.stack([corner, below, corner + 1], 1), np.stack([below, below + 1, corner + 1], 1)]
    )
    write = " ".join
    return f"""<mujoco><asset><mesh name="ball" vertex="{write(f"{v:.6f}" for v in vertices.ravel())}"
    face="{write(str(f) for f in faces.ravel())}"/></asset>
    <worldbody><geom type="mesh" mesh="ball"/></worldbody></mujoco>"""


def faces(model: mujoco.MjModel) -> np.ndarray:
    return model.mesh_face[: model.mesh_facenum[0]]


def test_a_fine_mesh_gets_coarser_and_keeps_its_extent() -> None:
    model = mujoco.MjModel.from_xml_string(sphere(side=0.2, lines=90))
    coarse = faces(simplified(model))
    assert 500 < len(coarse) < 0.4 * len(faces(model))
    corners = model.mesh_vert[np.unique(coarse)]
    assert np.ptp(corners, axis=0) == pytest.approx(0.2, abs=0.02)
    assert len(np.unique(np.sort(coarse, 1), axis=0)) == len(coarse), "a face is drawn once"
    assert (coarse[:, 0] != coarse[:, 1]).all()


def test_small_objects_are_drawn_with_smaller_cells() -> None:
    small = simplified(mujoco.MjModel.from_xml_string(sphere(side=0.05, lines=60)))
    large = simplified(mujoco.MjModel.from_xml_string(sphere(side=0.2, lines=60)))
    assert len(faces(small)) == pytest.approx(len(faces(large)), rel=0.1)


def test_a_mesh_of_few_faces_is_left_as_it_is() -> None:
    model = mujoco.MjModel.from_xml_string(sphere(side=0.5, lines=10))
    assert np.array_equal(faces(simplified(model)), faces(model))


def test_the_physics_keeps_the_meshes_it_had() -> None:
    model = mujoco.MjModel.from_xml_string(sphere(side=0.5, lines=60))
    before = model.mesh_face.copy(), model.mesh_facenum.copy()
    simplified(model)
    assert np.array_equal(model.mesh_face, before[0])
    assert np.array_equal(model.mesh_facenum, before[1])


@pytest.mark.filterwarnings("ignore")
def test_a_suites_pictures_hardly_change(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for simplify in (simplified, lambda model: model):
        monkeypatch.setattr("robot_eval.render.simplified", simplify)
        env = make_env(EnvSettings("metaworld", "hammer-v3", "corner2"))
        env.reset(seed=1)
        pictures.append(env.render().astype(float))
        env.close()
    change = np.abs(pictures[0] - pictures[1]).max(-1)
    assert 0 < change.mean() < 1.5, "grey levels"
    assert (change > 40).mean() < 0.015, "only pixels on the edges of the robot's parts"
