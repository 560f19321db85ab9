from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robot_eval.render import Decor, Renderer

Run = Callable[..., subprocess.CompletedProcess[str]]

# A red ball above a blue one, on a floor; looked at along y.
SCENE = """
<mujoco>
  <visual><global offwidth="640" offheight="480"/></visual>
  <worldbody>
    <light pos="1 -2 3" dir="-1 2 -3" castshadow="true"/>
    <geom name="floor" type="plane" size="3 3 0.1" rgba="0.6 0.6 0.6 1"/>
    <geom name="high" type="sphere" pos="0 0 1.2" size="0.3" rgba="1 0 0 1"/>
    <geom name="low" type="sphere" pos="0 0 0.4" size="0.3" rgba="0 0 1 1"/>
    <camera name="front" pos="0 -3 0.8" xyaxes="1 0 0 0 0 1"/>
  </worldbody>
</mujoco>
"""

DRAW = f"""
import mujoco, numpy, sys
from egorep.graphics import graphics_backend
from robot_eval.render import Renderer
model = mujoco.MjModel.from_xml_string('''{SCENE}''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = Renderer(model, 64, 64, "fast")
picture = renderer.render(data, 0)
renderer.close()
assert picture.std() > 20, "an empty picture"
"""
SAVE = DRAW + "numpy.save(sys.argv[1], picture); print(graphics_backend()[0])"


def draw(height: int, width: int, look: str, decor: tuple[Decor, ...] = ()) -> np.ndarray:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, height, width, look)
    try:
        return renderer.render(data, 0, decor)
    finally:
        renderer.close()


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    assert len(rows) > 20
    return float(rows.mean()), float(columns.mean())


def strong(picture: np.ndarray, channel: int) -> np.ndarray:
    """Where one channel stands out."""
    others = np.delete(picture.astype(int), channel, axis=-1).max(-1)
    return picture[..., channel].astype(int) - others > 40


@pytest.mark.parametrize("look", ["fast", "paper"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80)])
def test_pictures_are_rgb_with_the_top_row_first(look: str, height: int, width: int) -> None:
    picture = draw(height, width, look)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    red_row, red_column = centre_of(strong(picture, 0))
    blue_row, blue_column = centre_of(strong(picture, 2))
    assert red_row < blue_row - height / 8, "the red ball hangs above the blue one"
    assert red_column == pytest.approx(width / 2, abs=2)
    assert blue_column == pytest.approx(width / 2, abs=2)


def test_the_looks_differ_and_each_repeats_itself() -> None:
    fast, paper = draw(64, 64, "fast"), draw(64, 64, "paper")
    assert np.array_equal(fast, draw(64, 64, "fast"))
    assert np.array_equal(paper, draw(64, 64, "paper"))
    assert np.abs(fast.astype(int) - paper).mean() > 0.5


def test_decor_is_seen_in_its_picture_only() -> None:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 64, 64, "fast")
    green = Decor(
        shape=mujoco.mjtGeom.mjGEOM_BOX,
        size=np.full(3, 0.2),
        position=np.array([0.8, 0.0, 0.8]),
        rotation=np.eye(3).ravel(),
        rgba=np.array([0, 1, 0, 1], np.float32),
    )
    before = renderer.render(data, 0)
    with_decor = renderer.render(data, 0, (green,))
    after = renderer.render(data, 0)
    renderer.close()
    assert centre_of(strong(with_decor, 1))[1] > 40, "on the right, where x is positive"
    assert not strong(before, 1).any()
    assert np.array_equal(before, after)


def test_textures_reach_the_renderer_when_they_are_uploaded() -> None:
    model = mujoco.MjModel.from_xml_string(
        """
        <mujoco>
          <asset>
            <texture name="t" type="2d" builtin="flat" rgb1="1 0 0" width="8" height="8"/>
            <material name="m" texture="t"/>
          </asset>
          <worldbody>
            <light pos="0 0 3" dir="0 0 -1"/>
            <geom type="plane" size="3 3 0.1" material="m"/>
            <camera name="top" pos="0 0 2"/>
          </worldbody>
        </mujoco>
        """
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 32, 32, "fast")
    red = renderer.render(data, 0)
    model.tex_data[:] = np.tile(np.array([0, 0, 255], np.uint8), 64)
    unchanged = renderer.render(data, 0)
    renderer.upload_textures([0])
    blue = renderer.render(data, 0)
    renderer.close()
    assert strong(red, 0).all()
    assert np.array_equal(red, unchanged)
    assert strong(blue, 2).all()


def test_egl_by_default_and_osmesa_with_a_warning_where_egl_is_broken(
    tmp_path: Path, run_python: Run
) -> None:
    default = run_python(SAVE, str(tmp_path / "egl.npy"))
    broken = run_python(SAVE, str(tmp_path / "osmesa.npy"), MUJOCO_EGL_DEVICE_ID="99")
    assert (default.returncode, default.stdout.split()) == (0, ["egl"]), default.stderr
    assert (broken.returncode, broken.stdout.split()) == (0, ["osmesa"]), broken.stderr
    assert "rendering with" not in default.stderr
    assert "rendering with osmesa, because EGL failed" in broken.stderr
    first, second = np.load(tmp_path / "egl.npy"), np.load(tmp_path / "osmesa.npy")
    assert np.abs(first.astype(int) - second).mean() < 2


def test_mujoco_gl_decides(tmp_path: Path, run_python: Run) -> None:
    result = run_python(SAVE, str(tmp_path / "a.npy"), MUJOCO_GL="osmesa")
    assert (result.returncode, result.stdout.split()) == (0, ["osmesa"]), result.stderr
    assert "rendering with" not in result.stderr


def test_an_unknown_backend_is_refused_by_name(run_python: Run) -> None:
    result = run_python(DRAW, MUJOCO_GL="nonsense")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: ")
    assert "MUJOCO_GL" in last
    assert "nonsense" in last


def test_a_chosen_backend_that_fails_is_not_replaced(run_python: Run) -> None:
    result = run_python(DRAW, MUJOCO_GL="egl", MUJOCO_EGL_DEVICE_ID="99")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: no offscreen OpenGL: egl: ")
    assert "apt-get install" in last


# Triton brings an LLVM of its own; loading it after the software renderer's is a segmentation fault.
TRITON = """
import importlib.util
if importlib.util.find_spec("triton"):
    import triton._C.libtriton
import torch._dynamo, robot_eval.rollout, timm
"""
ENCODERS = "import egorep, timm; egorep.load_encoder"


@pytest.mark.parametrize(
    "script",
    [
        f"{ENCODERS}\n{DRAW}",
        f"{DRAW}\n{ENCODERS}",
        f"{DRAW}\n{TRITON}",
    ],
    ids=["encoders-then-picture", "picture-then-encoders", "picture-then-triton"],
)
def test_every_order_of_imports_survives(script: str, run_python: Run) -> None:
    result = run_python(script)
    assert result.returncode == 0, result.stderr
