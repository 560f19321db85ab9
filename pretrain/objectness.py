"""`python -m pretrain.objectness`: an EgoVideo gets a map of where objects are, learnt from stills of EgoSim.

The head (`egorep.models.objectness`) reads the model's convolutional stem, which stays as it is, like all
else in the model: what it gives of clips and texts is the same before and after.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from egorep.files import replacing, writable_folder

if TYPE_CHECKING:
    import torch

    from egorep.models.egovideo import EgoVideo
    from egorep.models.objectness import ObjectnessNetwork
    from pretrain.sim.stills import Stills

COMMAND = Command("pretrain.objectness", "pretrain.configs", "objectness")

_CELL = 4  # pixels of a picture that are one place of its outlines
_SIDES = 16  # pixels: sides of training pictures are its multiples
# Of background, hands and objects in the loss: most places are background.
_WEIGHTS = (1.0, 3.0, 3.0, 3.0)
_MIX = 0.35  # deviation of the entries of the matrix that mixes colours, from the identity's
_CONTRAST, _SHIFT, _NOISE = (0.6, 1.4), 30.0, 6.0  # of pixels 0..255; the last is the greatest deviation
_BATCH_OF_JUDGING = 100


@dataclass
class ObjectnessSettings:
    """configs/pretrain/objectness.yaml."""

    data: str
    init: str
    out: str
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    smallest: int
    seed: int
    device: str


@dataclass(frozen=True)
class Judged:
    """How well maps fit outlines of stills that were not learnt from.

    Attributes:
        stills: how many.
        iou: by class, the intersection of all places that are and that are said to be of it, over their
            union, 0..1.
    """

    stills: int
    iou: Mapping[str, float]


def train(network: ObjectnessNetwork, stills: Stills, settings: ObjectnessSettings) -> None:
    """Train the head of `network`, on the device where it is.

    Each step sees pictures of one size, so that things may be as small as robots' cameras show them, with
    colours mixed anew in each, half of the steps mirrored.

    Args:
        network: its stem is not changed.
        stills: to learn from.
        settings: steps, batch, learning rate (the greatest of a one-cycle schedule), sizes and seed.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    import torch
    from torch.nn import functional
    from tqdm import tqdm

    head, device = network.head, next(network.parameters()).device
    head.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(
        head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, settings.steps)
    generator = torch.Generator().manual_seed(settings.seed)
    weights = torch.tensor(_WEIGHTS, device=device)
    pictures, outlines = torch.from_numpy(stills.pictures), torch.from_numpy(stills.outlines)
    sizes = range(settings.smallest, pictures.shape[1] + 1, _SIDES)
    with tqdm(total=settings.steps, unit="step", desc="objectness") as bar:
        for _ in range(settings.steps):
            chosen = torch.randint(len(pictures), (settings.batch,), generator=generator)
            size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
            seen, wanted = _varied(pictures[chosen], outlines[chosen], size, generator)
            loss = functional.cross_entropy(network.logits(seen.to(device)), wanted.to(device), weights)
            if not torch.isfinite(loss):
                raise FloatingPointError("the loss is not finite: lower learning_rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            bar.update()
    head.requires_grad_(False).eval()


def judge(network: ObjectnessNetwork, stills: Stills) -> Judged:
    """Compare maps with outlines, of pictures as they are."""
    import torch

    from egorep.models.objectness import CLASSES
    from egorep.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

    device = next(network.parameters()).device
    as_pixels = Preprocessing(stills.pictures.shape[1], CLIP_MEAN, CLIP_STD, interpolation="bicubic")
    counts = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    with torch.no_grad():
        for start in range(0, len(stills.pictures), _BATCH_OF_JUDGING):
            part = slice(start, start + _BATCH_OF_JUDGING)
            seen = as_pixels(torch.from_numpy(stills.pictures[part]))
            found = network.logits(seen.to(device)).argmax(1).cpu().flatten()
            truth = torch.from_numpy(stills.outlines[part]).long().flatten()
            counts += torch.bincount(truth * len(CLASSES) + found, minlength=counts.numel()).view_as(counts)
    both = counts.diag()
    iou = both / (counts.sum(0) + counts.sum(1) - both).clamp_min(1)
    return Judged(len(stills.pictures), dict(zip(CLASSES, iou.tolist(), strict=True)))


def _varied(
    pictures: torch.Tensor, outlines: torch.Tensor, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, S, S, 3) uint8 and (B, S / 4, S / 4) of one step, smaller, in other colours, maybe mirrored.

    Returns:
        (B, 3, size, size) normalised pixels and (B, size / 4, size / 4) int64 classes.
    """
    import torch
    from torch.nn import functional

    from egorep.models.objectness import MIRRORED
    from egorep.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

    pixels = pictures.permute(0, 3, 1, 2).float()
    wanted = outlines.long()
    if size < pixels.shape[-1]:
        pixels = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        wanted = functional.interpolate(wanted[:, None].float(), size=size // _CELL)[:, 0].long()
    if torch.rand((), generator=generator) < 0.5:
        pixels, wanted = pixels.flip(3), torch.tensor(MIRRORED)[wanted.flip(2)]
    normalised = Preprocessing(size, CLIP_MEAN, CLIP_STD, interpolation="bicubic")
    return normalised(_recoloured(pixels, generator).movedim(1, -1)), wanted


def _recoloured(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, 3, S, S) in 0..255 with each picture's colours mixed, scaled, shifted, and with noise."""
    import torch

    def between(low: float, high: float, channels: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(pixels), channels, 1, 1, generator=generator)

    middle = 127.5
    mix = torch.eye(3) + _MIX * torch.randn(len(pixels), 3, 3, generator=generator)
    mixed = torch.einsum("bij,bjhw->bihw", mix, pixels - middle) + middle
    mixed = mixed * between(*_CONTRAST, 1) + between(-_SHIFT, _SHIFT, 3)
    noise = torch.randn(pixels.shape, generator=generator) * between(0.0, _NOISE, 1)
    return (mixed + noise).clamp(0, 255)


def _with_fresh_head(folder: Path, seed: int) -> EgoVideo:
    """The model of `folder` with an untrained head, whether it has one or not."""
    import torch

    from egorep.egovideo import model_folder
    from egorep.models.egovideo import EgoVideo
    from egorep.weights_files import load_strictly

    found: EgoVideo = EgoVideo.from_pretrained(model_folder(folder))
    found.objectness = None
    torch.manual_seed(seed)
    model = EgoVideo(replace(found.config, objectness=True))
    assert model.objectness is not None
    head = {f"objectness.{name}": value for name, value in model.objectness.state_dict().items()}
    load_strictly(model, head | found.state_dict(), f"init={folder}")
    return model


def _check(settings: ObjectnessSettings) -> None:
    for key in ("steps", "batch"):
        if getattr(settings, key) < 1:
            raise ConfigError(f"{key} must be at least 1, got {getattr(settings, key)}")
    if settings.learning_rate <= 0 or settings.weight_decay < 0:
        raise ConfigError(
            f"learning_rate must be above 0 and weight_decay at least 0, "
            f"got {settings.learning_rate} and {settings.weight_decay}"
        )
    if settings.smallest % _SIDES or not 2 * _SIDES <= settings.smallest <= 112:
        raise ConfigError(
            f"smallest must be a multiple of {_SIDES} from {2 * _SIDES} to 112, got {settings.smallest}"
        )
    if not Path(settings.init).is_dir():
        raise ConfigError(f"init={settings.init} is no folder: `python -m pretrain.train out=...` makes one")


def _job(config: DictConfig) -> None:
    settings = typed(config, ObjectnessSettings)
    _check(settings)
    from egorep.models.objectness import ObjectnessNetwork
    from egorep.models.stem import ConvolutionalStem
    from pretrain.sim.stills import read_stills

    try:
        learnt, held_out = (read_stills(Path(settings.data), split) for split in ("train", "test"))
        model = _with_fresh_head(Path(settings.init), settings.seed)
        out = writable_folder("out", settings.out)
        model.to(settings.device)
    except (ValueError, FileNotFoundError, RuntimeError) as error:  # the last: torch has no such device
        raise ConfigError(str(error)) from error
    stem = model.visual.patch_embed
    assert isinstance(stem, ConvolutionalStem)
    assert model.objectness is not None
    network = ObjectnessNetwork(stem, model.objectness).to(settings.device)
    try:
        train(network, learnt, settings)
    except FloatingPointError as error:
        sys.stderr.write(f"{COMMAND.name}: {error}\n")
        raise SystemExit(1) from error
    judged = judge(network, held_out)
    model.cpu().save_pretrained(out / "model")
    with replacing(out / "objectness.json") as temporary:
        about = {"settings": asdict(settings), "learnt": len(learnt.pictures), **asdict(judged)}
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    said = ", ".join(f"{name} {value:.2f}" for name, value in judged.iou.items())
    sys.stdout.write(
        f"{out / 'model'}: learnt from {len(learnt.pictures)} stills; intersection over union on "
        f"{judged.stills} of split test: {said}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)


if __name__ == "__main__":
    main()
