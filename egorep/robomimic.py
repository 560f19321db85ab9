"""Frozen encoders in robomimic's policies: import this module, and configs may name `EgorepCore`.

Needs robomimic 0.3.0, which `egorep[robomimic]` brings. In a config:

    rgb = config.observation.encoder.rgb
    rgb.core_class = "EgorepCore"
    rgb.core_kwargs = {"encoder": "efficientnet_lite0", "checkpoint": None, "pool": "cls"}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from egorep.registry import load_encoder

try:
    from robomimic.models.obs_core import EncoderCore
except ImportError as error:
    raise ImportError("egorep.robomimic needs robomimic: pip install 'egorep[robomimic]'") from error


class EgorepCore(EncoderCore):  # type: ignore[misc]  # robomimic is untyped
    """A frozen encoder and, behind it, a linear layer that learns.

    The linear layer is that of robomimic's own VisualCore. Without it all that is negative in the encoder's
    features would be lost, for robomimic puts a ReLU behind every core (`feature_activation` of
    `obs_encoder_factory`, which no config reaches).

    The encoder's weights are no part of the policy's checkpoints: they never change, and would stand in every
    one. The encoder's fingerprint is, and a checkpoint that was trained on another encoder is refused. What
    the config names (a file, a download) must therefore be there when a policy is loaded.

    robomimic hands over single pictures, also from its frame stacks: an encoder of clips sees each as a clip
    that stands still.

    Attributes:
        encoder: frozen, in evaluation mode whatever the policy's mode, without gradients.
        head: the linear layer.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        encoder: str,
        checkpoint: str | None = None,
        pool: str = "cls",
        feature_dimension: int = 64,
        seed: int = 0,
    ) -> None:
        """Load the encoder; everything but `input_shape` comes from the config's `core_kwargs`.

        robomimic ignores entries of `core_kwargs` that no argument has, misspelt ones too.

        Args:
            input_shape: (3, H, W), filled in by robomimic; behind a CropRandomizer that of its crops.
            encoder: a name, as for `load_encoder`.
            checkpoint: a file of weights, as for `load_encoder`.
            pool: as for `load_encoder`.
            feature_dimension: outputs of the linear layer; VisualCore has the same default.
            seed: of an untrained encoder's weights, as for `load_encoder`.

        Raises:
            ValueError: pictures are not RGB, the encoder looks at none, or `load_encoder` refuses.
            FileNotFoundError, ConnectionError: as for `load_encoder`.
        """
        super().__init__(input_shape=input_shape)
        if len(input_shape) != 3 or input_shape[0] != 3:
            raise ValueError(
                f"EgorepCore takes RGB pictures (3, H, W), got {tuple(input_shape)}: name it for the rgb "
                "modality alone, and leave a CropRandomizer's pos_enc at False"
            )
        self.encoder = load_encoder(encoder, checkpoint=checkpoint, pool=pool, seed=seed)
        if self.encoder.dim == 0:
            raise ValueError(
                f"encoder {encoder!r} looks at no picture: leave the pictures out of the config's modalities"
            )
        self.head = nn.Linear(self.encoder.dim, feature_dimension)
        self.register_state_dict_post_hook(_without_encoder)
        self.register_load_state_dict_pre_hook(_with_encoder)

    def output_shape(self, input_shape: Sequence[int] | None = None) -> list[int]:  # noqa: ARG002 - robomimic's
        """[feature_dimension], whatever `input_shape`."""
        return [self.head.out_features]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features of pictures as robomimic's `process_obs` makes them.

        Args:
            inputs: (B, 3, H, W) RGB, float in 0..1.

        Returns:
            (B, feature_dimension) float32.

        Raises:
            ValueError: values outside 0..1.
            FloatingPointError: the network gave features that are not finite.
        """
        return self.head(self.encoder(_as_frames(inputs)))

    def get_extra_state(self) -> torch.Tensor:
        """The encoder's fingerprint, as the bytes of a tensor, which every way of loading knows."""
        return torch.tensor(list(bytes.fromhex(self.encoder.fingerprint)), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Check that a checkpoint was trained on this encoder.

        Raises:
            ValueError: it was trained on another.
        """
        trained_on = bytes(state.tolist()).hex()
        if trained_on != self.encoder.fingerprint:
            raise ValueError(
                f"this policy was trained on an encoder with fingerprint {trained_on}, but the config's "
                f"{self.encoder.name!r} has {self.encoder.fingerprint}: give the checkpoint and pool that it "
                "was trained with, or train again"
            )


def _as_frames(pictures: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) floats in 0..1 to (B, H, W, 3) uint8, the exact inverse of robomimic's division by 255."""
    low, high = pictures.aminmax()
    if not (low >= 0 and high <= 1):  # so that not-a-number is refused too
        raise ValueError(
            f"EgorepCore takes pictures in 0..1, got values in {low:.3g}..{high:.3g}: train with "
            "hdf5_normalize_obs=False, and keep what randomizers add within limits"
        )
    return pictures.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _without_encoder(core: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:  # noqa: ARG001
    for key in [key for key in state if key.startswith(f"{prefix}encoder.")]:
        del state[key]


def _with_encoder(core: nn.Module, state: dict[str, Any], prefix: str, *unused: Any) -> None:  # noqa: ARG001
    assert isinstance(core, EgorepCore)
    state.update({f"{prefix}encoder.{key}": value for key, value in core.encoder.state_dict().items()})
