"""Offscreen MuJoCo pictures without a screen: EGL where it works, OSMesa otherwise.

Two looks. `paper` keeps what the suite's authors see. `fast` renders into a buffer of the picture's size,
without multisampling, shadows and reflections, and with coarser meshes (`robot_eval.meshes`), which on a
software renderer is several times faster (`benchmarks/rollout.py`); the pictures differ, so one look serves
demonstrations and rollouts alike and is recorded in every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
import numpy.typing as npt

from egorep.graphics import graphics_backend
from robot_eval.meshes import simplified

Look = Literal["fast", "paper"]
LOOKS: tuple[str, ...] = ("fast", "paper")
# Raised whenever a look or a variation changes what is drawn: demonstrations are keyed by it.
PICTURES_VERSION = "2"


@dataclass(frozen=True)
class Decor:
    """A purely visual solid added to a picture: no physics, no contact.

    Attributes:
        shape: MuJoCo geom type.
        size: (3,) half-extents as MuJoCo takes them for `shape`, metres.
        position: (3,) centre in world coordinates, metres.
        rotation: (9,) row-major rotation matrix.
        rgba: (4,) colour, 0..1.
    """

    shape: mujoco.mjtGeom
    size: npt.NDArray[np.float64]
    position: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    rgba: npt.NDArray[np.float32]


class Renderer:
    """Pictures of one MuJoCo model, square or not, through fixed cameras.

    Args:
        model: its `vis` settings are changed to fit `look` and the picture's size.
        height: rows, pixels.
        width: columns, pixels.
        look: `fast` or `paper`, see the module.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, look: Look) -> None:
        _, context_class = graphics_backend()
        if look == "fast":
            model.vis.quality.offsamples = 0
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        self._model = model
        self._gl = context_class(width, height)
        self._gl.make_current()
        drawn = simplified(model) if look == "fast" else model
        self._context = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 500)
        if look == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._pixels = np.empty((height, width, 3), np.uint8)

    def upload_textures(self, texture_ids: Sequence[int]) -> None:
        """Send textures that changed in the model to the renderer."""
        self._gl.make_current()
        for texture_id in texture_ids:
            mujoco.mjr_uploadTexture(self._model, self._context, texture_id)

    def render(
        self, data: mujoco.MjData, camera_id: int, decor: Sequence[Decor] = ()
    ) -> npt.NDArray[np.uint8]:
        """One picture, (H, W, 3) uint8 RGB, top row first."""
        self._gl.make_current()
        self._camera.fixedcamid = camera_id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, everything, self._scene)
        for solid in decor:
            geom = self._scene.geoms[self._scene.ngeom]
            mujoco.mjv_initGeom(geom, solid.shape, solid.size, solid.position, solid.rotation, solid.rgba)
            self._scene.ngeom += 1
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return np.ascontiguousarray(self._pixels[::-1])

    def close(self) -> None:
        """Free the context; the renderer is of no use afterwards."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()
