"""Offscreen OpenGL without a screen: EGL where it works, OSMesa otherwise. Needs MuJoCo."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import subprocess
import sys
from typing import Any

_logger = logging.getLogger(__name__)
_BACKENDS = ("egl", "osmesa", "glfw")


def _context_class(backend: str) -> type[Any]:
    os.environ["PYOPENGL_PLATFORM"] = {"egl": "egl", "osmesa": "osmesa"}.get(backend, "")
    context: type[Any] = importlib.import_module(f"mujoco.{backend}").GLContext
    probe = context(8, 8)
    probe.make_current()
    probe.free()
    return context


_TRY_EGL = """
import os
try:
    from mujoco.egl import GLContext
    context = GLContext(8, 8)
    context.make_current()
    context.free()
except Exception as error:
    os.write(1, str(error).encode())
    os._exit(1)
"""


def _check_egl_elsewhere() -> None:
    # MuJoCo takes its OpenGL functions from EGL in any process that has loaded it, so OSMesa works only where
    # EGL was never tried: another process tries it.
    environment = {**os.environ, "MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl"}
    command = [sys.executable, "-c", _TRY_EGL]
    attempt = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if attempt.returncode:
        raise RuntimeError(attempt.stdout.strip() or f"exit code {attempt.returncode}")


@functools.cache
def graphics_backend() -> tuple[str, type[Any]]:
    """The rendering backend of this process and its context class: the first that really makes a context.

    `MUJOCO_GL` (egl, osmesa or glfw) decides where it is set; otherwise EGL is tried, then OSMesa.

    Raises:
        RuntimeError: none works; the message names the packages to install.
    """
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted and wanted not in _BACKENDS:
        raise RuntimeError(f"MUJOCO_GL is {wanted!r}; set it to one of {', '.join(_BACKENDS)}, or unset it")
    failures = []
    for backend in (wanted,) if wanted else ("egl", "osmesa"):
        try:
            if backend == "egl" and not wanted:
                _check_egl_elsewhere()
            context = _context_class(backend)
        except Exception as error:  # a broken driver raises anything; the next backend may work
            failures.append(f"{backend}: {error}")
        else:
            if failures:
                _logger.warning("rendering with %s, because EGL failed (%s)", backend, failures[0])
            return backend, context
    raise RuntimeError(
        "no offscreen OpenGL: "
        + "; ".join(failures)
        + ". On Debian: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6"
    )


def opengl_driver() -> str:
    """The backend and what draws for it, as `egl: llvmpipe (LLVM 15.0.6, 256 bits), 4.5 Mesa 22.3.6`.

    A context must be current.
    """
    backend, _ = graphics_backend()
    gl = importlib.import_module("OpenGL.GL")
    renderer, version = (gl.glGetString(name).decode() for name in (gl.GL_RENDERER, gl.GL_VERSION))
    return f"{backend}: {renderer}, {version}"
