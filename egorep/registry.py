"""Names to encoders: the one place that knows which encoders there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import timm
import torch

from egorep import names
from egorep.backbones import Built, TimmBackbone, timm_backbone, transformers_backbone
from egorep.baselines import BASELINES
from egorep.efficientnet_lite import LITE_MEAN, LITE_STD, efficientnet_lite0_classifier
from egorep.egovideo import EGOVIDEO_PUBLISHED, egovideo_backbone, objectness_backbone
from egorep.encoder import POOLS, BlindEncoder, Encoder, Observation
from egorep.models.config import SIZES
from egorep.preprocessing import Preprocessing

BLIND: dict[str, Observation] = {"state": "proprio", "oracle": "state"}
FAMILIES = ("timm/<model>", "hf/<id or folder>", "random/<name>")


class EncoderName(NamedTuple):
    """An encoder's name in its parts, `<network>[@<checkpoint>][:<pool>]`.

    Attributes:
        network: what `list_encoders` and the families call it.
        checkpoint: its file or folder; None where the name has none.
        pool: one of `POOLS`; None where the name has none.
    """

    network: str
    checkpoint: str | None
    pool: str | None

    @classmethod
    def read(cls, name: str) -> EncoderName:
        """Take a name apart.

        Raises:
            ValueError: it ends in a pool that does not exist.
        """
        rest, colon, end = name.rpartition(":")
        pool = end if colon and end in POOLS else None
        if colon and pool is None and "@" not in name and "/" not in end:  # paths may have colons, too
            raise names.unknown("pool", end, POOLS)
        network, _, checkpoint = (name if pool is None else rest).partition("@")
        return cls(network, checkpoint or None, pool)

    def with_checkpoint(self, checkpoint: str | None) -> str:
        """The whole name, with another checkpoint or none."""
        file = "" if checkpoint is None else f"@{checkpoint}"
        return f"{self.network}{file}{'' if self.pool is None else f':{self.pool}'}"


def load_encoder(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    pool: str = "cls",
    device: str | torch.device = "cpu",
    max_batch: int | None = None,
    seed: int = 0,
    engine: str = "torch",
) -> Encoder:
    """Load a frozen encoder by name.

    Names: those of `list_encoders()`; `timm/<model>`, any model of timm; `hf/<id or folder>`, any vision
    model of transformers, and VideoMAE and V-JEPA 2 for clips (folders begin with `.` or `/`);
    `egovideo_tiny`, with weights of ours; its larger sizes to `egovideo_large`, and the names of
    `egorep.baselines.BASELINES`, such as `r3m_resnet50`, with a checkpoint; `random/<name>`, the architecture
    of one of these, untrained.

    Args:
        name: see above; `<name>@<path>` is short for `checkpoint=<path>`, and `<name>:<pool>` has its own
            pool, whatever `pool` says.
        checkpoint: weights for a `timm/` name (without, they are downloaded) or for one of `BASELINES`, a
            .safetensors or .pth file; for EgoVideo also a folder that `EgoVideo.save_pretrained` wrote.
        pool: "cls" (class token after the final norm; without one, the network's own pooled features),
            "mean" (mean of the patch tokens or of the convolutional map), "joint" (the L2-normalised space
            that EgoVideo's pictures share with text), "grid" (the patch tokens averaged in each of 3 x 3
            parts of the picture), "patches" (the patch tokens themselves, flattened), "places" (the same,
            each channel standardised over the picture) or "objects" (EgoVideo's map of where objects are).
        device: where it runs and where the features lie.
        max_batch: pictures or clips in one pass of the network; by default 1 on a CPU and 256 elsewhere.
        seed: draws untrained weights; no other random state is touched.
        engine: "torch", or "openvino", which is faster on CPUs and needs the package openvino.

    Raises:
        ValueError: unknown name, pool or bad `max_batch`; a checkpoint that does not fit, or is not wanted,
            or is wanted and not given.
        FileNotFoundError: `checkpoint` or the folder in `name` does not exist.
        ConnectionError: weights could not be downloaded; says what works without network.
    """
    validate_encoder_name(name, checkpoint)
    network, path, named = _split(name, checkpoint)
    pool = named or pool
    if pool not in POOLS:
        raise names.unknown("pool", pool, POOLS)
    if network in BLIND:
        return BlindEncoder(name, BLIND[network], device)
    if pool == "objects":
        _check_maps_objects(network)
    with _seeded(seed):
        backbone, preprocessing = _build_map(network, path) if pool == "objects" else _build(network, path)
    return Encoder(
        name, backbone, preprocessing, pool=pool, device=device, max_batch=max_batch, engine=engine
    )


def list_encoders() -> list[str]:
    """The encoders that load as they are, without network; for the others see `load_encoder`."""
    return sorted([*BLIND, *_SHIPPED, *(f"random/{name}" for name in _SHIPPED)])


def validate_encoder_name(name: str, checkpoint: str | Path | None = None) -> None:
    """Raise the error that loading `name` would, if it has no meaning; builds, reads and downloads nothing.

    Raises:
        ValueError: unknown name, with the nearest ones; a checkpoint is wanted and not given, or the reverse.
        FileNotFoundError: the folder of an `hf/` name, or `checkpoint`, does not exist.
    """
    network, path, pool = _split(name, checkpoint)
    _check_name(network)
    if network in BLIND and pool:
        raise ValueError(
            f"encoder {network!r} looks at no picture, so it has no pool: leave it out of {name!r}"
        )
    if pool == "objects":
        _check_maps_objects(network)
    if path is not None:
        _check_checkpoint(network, path)
    elif network in _FROM_FILES and network not in _SHIPPED:
        published = BASELINES[network].published if network in BASELINES else EGOVIDEO_PUBLISHED
        raise ValueError(
            f"encoder {network!r} needs checkpoint=, the file that its authors publish: {published}; "
            f"or take it untrained with 'random/{network}'"
        )


def _split(name: str, checkpoint: str | Path | None) -> tuple[str, Path | None, str | None]:
    """The name of the network, its checkpoint, wherever it was given, and the pool that the name has."""
    network, written, pool = EncoderName.read(name)
    if written and checkpoint is not None:
        raise ValueError(f"encoder {name!r} names a checkpoint already: leave out checkpoint={checkpoint}")
    given = written or checkpoint
    return network, None if given is None else Path(given), pool


def _check_checkpoint(network: str, path: Path) -> None:
    if not network.startswith("timm/") and network not in _FROM_FILES:
        raise ValueError(
            f"encoder {network!r} brings its own weights; checkpoint= goes with 'timm/<model>', EgoVideo "
            "and encoders whose authors publish a file, such as 'r3m_resnet50'"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    if path.is_dir() and network not in SIZES:
        raise ValueError(f"checkpoint {str(path)!r} is a folder; {network!r} takes a file")


def _check_maps_objects(network: str) -> None:
    size = network.removeprefix("random/")
    if size not in SIZES or SIZES[size].vision.stem == "linear":
        raise ValueError(
            f"pool 'objects' is a map that EgoVideo's convolutional stem is trained to make, and {network!r} "
            "has none: choose 'egovideo_tiny:objects', or pool 'places'"
        )


def _check_name(name: str) -> None:
    if name in list_encoders() or name.removeprefix("random/") in _FROM_FILES:
        return
    family, _, rest = name.removeprefix("random/").partition("/")
    if family == "timm" and rest:
        known = _timm_names()
        if rest not in known:
            raise names.unknown(
                "timm model", rest, names.nearest(rest, known) or ("<a name of timm.list_models()>",)
            )
    elif family == "hf" and rest:
        if rest.startswith((".", "/")) and not Path(rest).is_dir():
            raise FileNotFoundError(f"encoder {name!r}: there is no folder {rest!r}")
    else:
        bare = name.rpartition("/")[2]
        similar = [f"timm/{model}" for model in names.nearest(bare, _timm_names(), limit=1)]
        if name.startswith("random/"):
            similar += [f"random/{known}" for known in names.nearest(bare, _FROM_FILES)]
        raise names.unknown("encoder", name, [*list_encoders(), *_FROM_FILES, *FAMILIES, *similar])


def _timm_names() -> set[str]:
    """Architectures, and architectures with a tag that names their weights."""
    return {*timm.list_models(), *timm.list_models(pretrained=True)}


def _build(name: str, checkpoint: Path | None) -> Built:
    """Build a valid name that is not blind."""
    if name.startswith("random/"):
        return _build_plain(name.removeprefix("random/"), None, pretrained=False)
    return _build_plain(name, checkpoint, pretrained=True)


def _build_map(name: str, checkpoint: Path | None) -> Built:
    """Build what maps objects of a valid name that is not blind."""
    size = name.removeprefix("random/")
    return objectness_backbone(
        size, _WEIGHTS / size if name in _SHIPPED and checkpoint is None else checkpoint
    )


def _build_plain(name: str, checkpoint: Path | None, *, pretrained: bool) -> Built:
    if name in _SHIPPED and checkpoint is None:
        return _SHIPPED[name](pretrained)
    if name in _FROM_FILES:
        return _FROM_FILES[name](checkpoint)
    family, _, rest = name.partition("/")
    if family == "hf":
        return transformers_backbone(rest, pretrained=pretrained)
    backbone = timm_backbone(rest, pretrained=pretrained, checkpoint=checkpoint)
    return backbone, backbone.preprocessing()


def _efficientnet_lite0(pretrained: bool) -> Built:
    if pretrained:
        backbone = TimmBackbone(efficientnet_lite0_classifier())
        backbone.model.reset_classifier(0)
    else:
        backbone = timm_backbone("tf_efficientnet_lite0", pretrained=False)
    return backbone, Preprocessing(224, LITE_MEAN, LITE_STD, interpolation="bicubic")


def _egovideo_tiny(pretrained: bool) -> Built:
    return egovideo_backbone("egovideo_tiny", _WEIGHTS / "egovideo_tiny" if pretrained else None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also reseed every accelerator for good.
        torch.default_generator.manual_seed(seed)
        yield


_WEIGHTS = Path(__file__).with_name("weights")  # each with its model card
# Encoders whose weights install with us; each entry builds them trained or untrained.
_SHIPPED: dict[str, Callable[[bool], Built]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "egovideo_tiny": _egovideo_tiny,
}
# Encoders whose weights are a file of the user's; each entry builds them from it, or untrained from None.
_FROM_FILES: dict[str, Callable[[Path | None], Built]] = {
    **BASELINES,
    **{size: partial(egovideo_backbone, size) for size in SIZES},
}
