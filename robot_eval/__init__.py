"""Frozen encoders to behaviour cloning to success rates. Run it with `python -m robot_eval`."""

import contextlib
import importlib
import sys

# Triton and software Mesa each bring an LLVM; loading triton's second is a segmentation fault. timm and
# torch.compile import triton at moments that we do not control, and MUJOCO_GL=osmesa makes `import mujoco`
# load Mesa at once: so triton comes first, here. Where Mesa is in already, it is too late.
if "mujoco.osmesa" not in sys.modules:
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
