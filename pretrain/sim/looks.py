"""Other looks of a scene that is compiled: its surfaces, colours and lights, and from where it is seen.

What is where can be learnt as such, and not as what a table or a cup usually looks like, from pictures whose
looks tell nothing of it: domain randomisation (Tobin et al. 2017). Looks go further than rooms of EgoSim do,
and views further than heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from pretrain.sim.room import light_place, lit_point
from pretrain.sim.scene import Scene
from pretrain.sim.shapes import Array
from pretrain.sim.splits import TEXTURES
from pretrain.sim.textures import SURFACE_SIDE, Picture, hsv, surface_picture

_RECOLOURED = 0.5  # share of geoms and materials that get a colour of their own
_REMIXED = 0.6  # share of objects' textures whose colours are mixed anew
_MIDDLE = ((-0.15, 0.15), (0.20, 0.45), (0.0, 0.15))  # metres: the point that views are turned to
_DISTANCE = (0.55, 1.10)  # metres from there to the camera
_ELEVATION = (np.deg2rad(15.0), np.deg2rad(65.0))
_ROLL = 0.08  # radians, standard deviation
_FOVY = (40.0, 60.0)  # degrees; at these distances things are as large as robots' cameras show them


@dataclass(frozen=True)
class View:
    """A camera somewhere round the table.

    Attributes:
        at: (3,) its place in the world, metres.
        axes: (3, 3) its axes in columns, MuJoCo's: it looks along its own -z, its y is up.
        fovy: vertical field of view, degrees.
    """

    at: Array
    axes: Array
    fovy: float


def draw_view(rng: np.random.Generator) -> View:
    """A camera that looks at the middle of the table from any side, from above."""
    around, above = rng.uniform(-np.pi, np.pi), rng.uniform(*_ELEVATION)
    middle = np.array([rng.uniform(*span) for span in _MIDDLE])
    back = np.array([np.cos(above) * np.sin(around), -np.cos(above) * np.cos(around), np.sin(above)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    roll = rng.normal(0.0, _ROLL)
    rolled = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    return View(
        middle + rng.uniform(*_DISTANCE) * back,
        np.column_stack([*rolled, back]),
        float(rng.uniform(*_FOVY)),
    )


class Wardrobe:
    """Looks of one scene, each drawn from the scene's own, which is noted when this is made.

    Args:
        scene: whose model is changed.
    """

    def __init__(self, scene: Scene) -> None:
        model = self._model = scene.model
        self._families = TEXTURES[scene.recipe.split]
        self._textures = model.tex_data.copy()
        self._geoms = model.geom_rgba.copy()
        self._materials = model.mat_rgba.copy()

    def dress(self, rng: np.random.Generator) -> None:
        """Give the model another look: textures of its split, colours, lights.

        Textures change in the model alone: `Canvas.upload_textures` makes them count.
        """
        self._paint_textures(rng)
        self._paint_geoms(rng)
        self._light(rng)

    def _paint_textures(self, rng: np.random.Generator) -> None:
        model = self._model
        for texture in range(model.ntex):
            start = model.tex_adr[texture]
            stop = start + model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture]
            if _is_surface(model, texture):
                family = self._families[int(rng.integers(len(self._families)))]
                pixels = surface_picture(family, int(rng.integers(2**31)))
            else:
                pixels = _remixed(self._textures[start:stop].reshape(-1, 3), rng)
            model.tex_data[start:stop] = pixels.reshape(-1)

    def _paint_geoms(self, rng: np.random.Generator) -> None:
        model = self._model
        model.geom_rgba[:] = self._geoms
        for geom in np.flatnonzero(rng.uniform(size=model.ngeom) < _RECOLOURED):
            model.geom_rgba[geom, :3] = _any_colour(rng)
        model.mat_rgba[:] = self._materials
        for material in np.flatnonzero(rng.uniform(size=model.nmat) < _RECOLOURED):
            if (model.mat_texid[material] < 0).all():
                model.mat_rgba[material, :3] = _any_colour(rng)
            else:
                model.mat_rgba[material, :3] *= rng.uniform(0.6, 1.0, 3)

    def _light(self, rng: np.random.Generator) -> None:
        model = self._model
        for light in range(model.nlight):
            at = light_place(rng)
            aim = lit_point(rng) - at
            model.light_pos[light], model.light_dir[light] = at, aim / np.linalg.norm(aim)
            tone = 1.0 + rng.uniform(-0.15, 0.15, 3)
            model.light_diffuse[light] = rng.uniform(0.4, 1.1) / model.nlight * tone
        model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.5)
        model.vis.headlight.diffuse[:] = rng.uniform(0.05, 0.3)


def _is_surface(model: mujoco.MjModel, texture: int) -> bool:
    flat = model.tex_type[texture] == int(mujoco.mjtTexture.mjTEXTURE_2D)
    return bool(flat and model.tex_height[texture] == SURFACE_SIDE)


def _remixed(pixels: Picture, rng: np.random.Generator) -> Picture:
    """(N, 3) uint8: mostly with channels exchanged, scaled and shifted."""
    if rng.uniform() >= _REMIXED:
        return pixels
    mixed = pixels[:, rng.permutation(3)] / 255.0 * rng.uniform(0.5, 1.2, 3) + rng.uniform(-0.15, 0.15, 3)
    return (255 * np.clip(mixed, 0.0, 1.0)).astype(np.uint8)


def _any_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    return hsv(rng.uniform(), rng.uniform(0.0, 0.9), rng.uniform(0.15, 1.0))
