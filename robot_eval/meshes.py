"""Coarser meshes for pictures: on a software renderer a robot's vertices are most of the cost."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import numpy.typing as npt

# At the suites' camera distances a pixel of a 224 px picture covers about a centimetre.
CELL = 0.01  # metres
_CELLS_ACROSS = 20  # at least, along a mesh's longest side: small detailed objects keep their shape
_FEWEST_FACES = 1000  # of a mesh that is worth simplifying


def simplified(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of `model` with coarser meshes, to make a rendering context from; `model` itself is untouched.

    Vertices that share a cell of a grid become one of them, and faces that collapse are dropped. The faces of
    each mesh stay in their slots of the model's arrays, so no address changes.
    """
    drawn: mujoco.MjModel = copy.copy(model)
    for mesh in range(drawn.nmesh):
        if drawn.mesh_facenum[mesh] >= _FEWEST_FACES:
            _simplify(drawn, mesh)
    return drawn


def _simplify(model: mujoco.MjModel, mesh: int) -> None:
    first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
    start, length = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    faces, kept = _clustered(model.mesh_vert[start : start + length], model.mesh_face[first : first + count])
    model.mesh_face[first : first + len(kept)] = faces
    for rows in (model.mesh_facenormal, model.mesh_facetexcoord):
        rows[first : first + len(kept)] = rows[first : first + count][kept]
    model.mesh_facenum[mesh] = len(kept)


def _clustered(
    vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Faces (K, 3) over one vertex per cell, each face once, and the rows of `faces` that they come from."""
    cell = min(CELL, float(np.ptp(vertices, axis=0).max()) / _CELLS_ACROSS)
    cells = np.floor(vertices / cell).astype(np.int64)
    _, representative, member = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    moved = representative[member.ravel()][faces].astype(np.int32)
    corners = np.sort(moved, axis=1)
    whole = np.flatnonzero((corners[:, 0] < corners[:, 1]) & (corners[:, 1] < corners[:, 2]))
    _, once = np.unique(corners[whole], axis=0, return_index=True)
    kept = whole[np.sort(once)]
    return moved[kept], kept
