"""Inference engines: what computes a frozen network.

`torch` runs everywhere. `openvino` is for CPUs: it compiles the network once, folds its normalisations and
runs one picture or clip per core, several times as many frames a second as torch (`benchmarks/encoding.py`).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from egorep.backbones import Backbone, Features
from egorep.cores import cores

ENGINES = ("torch", "openvino")


class OpenVINONetwork:
    """A backbone compiled by OpenVINO for the CPU, in float32.

    Every picture or clip is one request on one core, so its features do not depend on what stands beside it,
    nor on how many cores there are.

    Args:
        backbone: the network; its weights are copied.
        image_size: side of its square input, pixels.

    Raises:
        ImportError: OpenVINO is not installed.
        RuntimeError: OpenVINO cannot convert this network.
    """

    def __init__(self, backbone: Backbone, image_size: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError("engine 'openvino' needs OpenVINO: pip install openvino") from error
        try:
            frames = (backbone.num_frames,) if backbone.num_frames > 1 else ()
            model = _convert(backbone, (1, *frames, 3, image_size, image_size))
        except Exception as error:
            raise RuntimeError(
                f"OpenVINO cannot convert this network ({error}); use engine='torch'"
            ) from error
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the processor has it
            "INFERENCE_NUM_THREADS": cores(),
            "NUM_STREAMS": cores(),
        }
        compiled = openvino.Core().compile_model(model, "CPU", options)
        self._queue = openvino.AsyncInferQueue(compiled, cores())
        self._queue.set_callback(_keep_outputs)

    def __call__(self, pixels: torch.Tensor) -> Features:
        """Features of float32 pixels on the CPU, shaped as the backbone takes them."""
        outputs: list[Any] = [None] * len(pixels)
        for index, frame in enumerate(pixels.contiguous().numpy()):
            self._queue.start_async([frame[None]], (outputs, index))
        self._queue.wait_all()
        return Features(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))


class _Traceable(torch.nn.Module):
    """A backbone that leaves out the features it has not: a traced graph has no None."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for part in self.backbone(pixels) if part is not None)


def _keep_outputs(request: Any, slot: tuple[list[Any], int]) -> None:
    outputs, index = slot
    # Copied: the request's buffers serve the next frame.
    outputs[index] = [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]


def _convert(backbone: Backbone, shape: tuple[int, ...]) -> Any:
    # Not openvino.convert_model, which reports its use to a server.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracer deprecated, at every step
        decoder = TorchScriptPythonDecoder(
            _Traceable(backbone), example_input=(torch.zeros(shape),), trace_kwargs={}
        )
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    return model
