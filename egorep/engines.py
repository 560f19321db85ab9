"""Inference engines: what computes a frozen network.

`torch` runs everywhere. `openvino` is for CPUs: it compiles the network once, folds its normalisations and
runs one picture or clip per core, several times as many frames a second as torch (`benchmarks/encoding.py`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from egorep.backbones import Backbone, Features, FramewiseBackbone
from egorep.cores import cores

ENGINES = ("torch", "openvino")


class OpenVINONetwork:
    """A network compiled by OpenVINO for the CPU, in float32.

    Every picture or clip is one request on one core, so its features do not depend on what stands beside it,
    nor on how many cores there are.

    Args:
        network: from one tensor to one or more; its weights are copied.
        shape: of one input.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: OpenVINO cannot convert this network.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError("engine 'openvino' needs OpenVINO: pip install openvino") from error
        try:
            model = _convert(network, [1, *shape])
        except Exception as error:
            raise RuntimeError(
                f"OpenVINO cannot convert this network ({error}); use engine='torch'"
            ) from error
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the processor has it
            "INFERENCE_NUM_THREADS": cores(),
            "NUM_STREAMS": cores(),
        }
        compiled = _core().compile_model(model, "CPU", options)
        self._queue = openvino.AsyncInferQueue(compiled, cores())
        self._queue.set_callback(_keep_outputs)

    def __call__(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """All outputs, (N, ...) each, of (N, *shape) float32 on the CPU."""
        outputs: list[Any] = [None] * len(inputs)
        for index, one in enumerate(inputs.contiguous().numpy()):
            self._queue.start_async([one[None]], (outputs, index))
        self._queue.wait_all()
        return [torch.cat(parts) for parts in zip(*outputs, strict=True)]


@functools.cache
def _core() -> Any:
    # One for the process, never freed. The CPU plugin of each gives signal handlers a stack, and unmaps it
    # when it is freed; of two that are freed in the order they were made, the thread is left with the first
    # one's, and the next signal that has a handler (a worker of a data loader ends) kills the process.
    import openvino

    return openvino.Core()


class CompiledBackbone:
    """A backbone by OpenVINO.

    Args:
        backbone: its weights are copied.
        image_size: side of its square input, pixels.

    Raises:
        ImportError, RuntimeError: as `OpenVINONetwork` does.
    """

    def __init__(self, backbone: Backbone, image_size: int) -> None:
        picture = (3, image_size, image_size)
        if isinstance(backbone, FramewiseBackbone):
            self._frames = OpenVINONetwork(_Traceable(backbone, "frames"), picture)
            with torch.no_grad():
                frame = backbone.frames(torch.zeros(1, *picture))
            shape = (backbone.num_frames, *frame.shape[1:])
            self._whole = OpenVINONetwork(_Traceable(backbone, "together"), shape)
        else:
            clip = (backbone.num_frames, *picture) if backbone.num_frames > 1 else picture
            self._whole = OpenVINONetwork(_Traceable(backbone), clip)

    def frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """As `FramewiseBackbone.frames`, of such a backbone."""
        return self._frames(pixels)[0]

    def together(self, frames: torch.Tensor) -> Features:
        """As `FramewiseBackbone.together`, of such a backbone."""
        return Features(*self._whole(frames))

    def __call__(self, pixels: torch.Tensor) -> Features:
        """Features of normalised pixels, of a backbone that is not framewise."""
        return Features(*self._whole(pixels))


class _Traceable(nn.Module):
    """A method of a backbone without the outputs that it leaves out: a traced graph has no None."""

    def __init__(self, backbone: Backbone, method: str = "forward") -> None:
        super().__init__()
        self.backbone = backbone
        self.method = method

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = getattr(self.backbone, self.method)(inputs)
        parts = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return tuple(part for part in parts if part is not None)


def _keep_outputs(request: Any, slot: tuple[list[Any], int]) -> None:
    outputs, index = slot
    # Copied: the request's buffers serve the next frame.
    outputs[index] = [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]


def _convert(network: nn.Module, shape: list[int]) -> Any:
    # Not openvino.convert_model, which reports its use to a server.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracer deprecated, at every step
        decoder = TorchScriptPythonDecoder(network, example_input=(torch.zeros(shape),), trace_kwargs={})
    model = frontend.convert(frontend.load(decoder))
    model.reshape(shape)
    return model
