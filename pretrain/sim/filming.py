"""Pictures and ground truth of what was played on a stage."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from egorep.graphics import graphics_backend
from pretrain.sim.hand import KEYPOINTS, SIDES
from pretrain.sim.motion import FPS, Frame, Stage
from pretrain.sim.scene import PICTURE_SIZE, Scene
from pretrain.sim.shapes import SEEN_GROUP
from pretrain.sim.truth import Floats, Truth

_SEEN = 25  # pixels of skin or of an object that make it visible
_SCENERY = 2  # group of what is drawn and never stands before hands or objects
UNSEEN = 5  # group of what is not drawn
NOBODY, LEFT, RIGHT, FIRST = 0, 1, 2, 3  # owners of pixels: nobody, the hands, the first object
_GEOM, _SKIN = int(mujoco.mjtObj.mjOBJ_GEOM), int(mujoco.mjtObj.mjOBJ_SKIN)
_AS_NUMBERS = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]

Pixels = npt.NDArray[np.uint8]


class Filmer:
    """Films stages, one after the other, with one OpenGL context, in the thread that made it.

    Raises:
        RuntimeError: there is no offscreen OpenGL; the message names the packages to install.
    """

    def __init__(self) -> None:
        _, context = graphics_backend()
        self._gl = context(PICTURE_SIZE, PICTURE_SIZE)
        self._gl.make_current()

    def __enter__(self) -> Filmer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the OpenGL context back."""
        self._gl.free()

    def canvas(self, stage: Stage, in_view: npt.NDArray[np.bool_] | None = None) -> Canvas:
        """What draws frames of a stage, see `Canvas`; close it."""
        return Canvas(stage, in_view)

    def film(self, stage: Stage) -> tuple[Pixels, Truth]:
        """(T, 224, 224, 3) uint8 RGB of the T frames that the stage has played, and what is true of them."""
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
        canvas = self.canvas(stage, _in_view(stage, data))
        try:
            for i, frame in enumerate(played):
                restore(scene, data, frame)
                owners = canvas.draw(data, pictures[i])
                contact[i] = frame.touched
                ids[i] = _in_contact(frame.touched)
                wanted = [LEFT, RIGHT, *(FIRST + int(j) if j >= 0 else -1 for j in ids[i])]
                boxes[i] = [_box(owners, owner) for owner in wanted]
                world[i] = [stage.hands[side].keypoints(data) for side in SIDES]
                camera[i] = [*data.cam_xpos[scene.camera], *_camera_turn(data, scene.camera)]
                axes[i] = data.cam_xmat[scene.camera].reshape(3, 3)
        finally:
            canvas.close()
        placed = [scene.objects[name].placed for name in stage.names]
        truth = Truth(
            fps=FPS,
            size=PICTURE_SIZE,
            hand_boxes=boxes[:, :2],
            object_boxes=boxes[:, 2:],
            object_ids=ids,
            keypoints_camera=_in_camera(world, camera[:, :3], axes).astype(np.float32),
            wrists=_wrists(stage),
            contact=contact,
            camera=camera.astype(np.float32),
            intrinsics=_intrinsics(scene.recipe.head.fovy).astype(np.float32),
            objects=stage.names,
            kinds=tuple(one.kind for one in placed),
            colours=tuple(one.colour for one in placed),
        )
        return pictures, truth


class Canvas:
    """Draws frames of one model: colours, then whose each pixel is; a `Filmer` must be open in this thread.

    MuJoCo's own `Renderer` makes an OpenGL context for each model, and decodes segmentations for any use, in
    about the time that the drawing takes (`benchmarks/egosim.py`).

    Args:
        stage: whose model is drawn; the groups of its geoms are changed.
        in_view: (G,) which geoms the wearer's camera has in view at all; the others are left out. None for
            views from anywhere, in which scenery may stand before hands and objects.
    """

    def __init__(self, stage: Stage, in_view: npt.NDArray[np.bool_] | None = None) -> None:
        scene = stage.scene
        model = self._model = scene.model
        if in_view is not None:
            for geom in np.flatnonzero((model.geom_bodyid == 0) & (model.geom_group == SEEN_GROUP)):
                if geom != scene.table:
                    model.geom_group[geom] = _SCENERY
            model.geom_group[~in_view] = UNSEEN
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._drawn = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nskin)
        self._camera = mujoco.MjvCamera()
        self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, scene.camera
        self._all, self._ahead = mujoco.MjvOption(), mujoco.MjvOption()
        self._ahead.geomgroup[_SCENERY] = 0
        self._rect = mujoco.MjrRect(0, 0, PICTURE_SIZE, PICTURE_SIZE)
        self._upside_down = np.empty((PICTURE_SIZE, PICTURE_SIZE, 3), np.uint8)
        self._geoms, self._skins = _owners_of_parts(stage)

    def draw(self, data: Any, picture: Pixels) -> Pixels:
        """Draw into `picture` (S, S, 3); returns (S, S) whose each pixel is.

        Owners: 0 nobody, 1 left hand, 2 right hand, 3 + i object i.
        """
        self._read(data, self._all)
        picture[:] = self._upside_down[::-1]
        self._drawn.flags[_AS_NUMBERS] = 1
        self._read(data, self._ahead)
        self._drawn.flags[_AS_NUMBERS] = 0
        owners = self._owners_by_number()
        red, green = self._upside_down[::-1, :, 0], self._upside_down[::-1, :, 1]
        # Numbers are little-endian; below 256 the first byte says all, and is several times as fast.
        return owners.take(red if len(owners) <= 256 else red + (green.astype(np.uint16) << 8))

    def upload_textures(self) -> None:
        """Draw with the textures that the model has now."""
        for texture in range(self._model.ntex):
            mujoco.mjr_uploadTexture(self._model, self._context, texture)

    def close(self) -> None:
        """Free the model's meshes and textures on the graphics side."""
        self._context.free()

    def _read(self, data: Any, option: Any) -> None:
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, option, None, self._camera, everything, self._drawn)
        mujoco.mjr_render(self._rect, self._drawn, self._context)
        mujoco.mjr_readPixels(self._upside_down, None, self._rect, self._context)

    def _owners_by_number(self) -> Pixels:
        """Owner of each number that a segmentation shows: 1 + `segid`; 0 is the background."""
        drawn = self._drawn.geoms[: self._drawn.ngeom]
        owners = np.zeros(len(drawn) + 1, np.uint8)
        for part in drawn:
            if part.objtype == _GEOM:
                owners[part.segid + 1] = self._geoms[part.objid]
            elif part.objtype == _SKIN:
                owners[part.segid + 1] = self._skins[part.objid]
        return owners


def _in_view(stage: Stage, data: Any) -> npt.NDArray[np.bool_]:
    """(G,) which geoms are, by the spheres round them, in the camera's view in any frame."""
    model, camera = stage.scene.model, stage.scene.camera
    slope = np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
    seen = np.zeros(model.ngeom, np.bool_)
    for frame in stage.frames:
        restore(stage.scene, data, frame)
        places = (data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
        ahead = -places[:, 2]
        # Distance from the pyramid's four sides, which meet at the camera.
        outside = (np.abs(places[:, :2]) - slope * ahead[:, None]).max(axis=1) / np.hypot(1, slope)
        seen |= np.maximum(outside, -ahead) < model.geom_rbound
    return seen


def _owners_of_parts(stage: Stage) -> tuple[Pixels, Pixels]:
    """Owner of each geom, and of each skin."""
    model = stage.scene.model
    geoms, skins = np.full(model.ngeom, NOBODY, np.uint8), np.full(model.nskin, NOBODY, np.uint8)
    for owner, side in zip((LEFT, RIGHT), SIDES, strict=True):
        skins[stage.hands[side].skin] = owner
    for owner, name in enumerate(stage.names, FIRST):
        for part in stage.scene.objects[name].parts.values():
            geoms[list(part.seen)] = owner
    return geoms, skins


def restore(scene: Scene, data: Any, frame: Frame) -> None:
    """Put `data` where a played frame had it: poses of bodies, of the camera and of lights."""
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


def _in_contact(touched: npt.NDArray[np.bool_]) -> list[int]:
    """Index of the object in the left hand only, the right only, both; -1 for none; touched is (2, N)."""
    left, right = touched
    chosen = [left & ~right, right & ~left, left & right]
    return [int(which.argmax()) if which.any() else -1 for which in chosen]


def _box(owners: Pixels, owner: int) -> Sequence[float]:
    mask = owners == owner if owner >= 0 else None
    if mask is None or np.count_nonzero(mask) < _SEEN:
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
