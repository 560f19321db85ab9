"""The loss and its gradient are those of one process that holds the whole batch, however it is shared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from processes import together
from tiny_runs import settings
from torch.distributed.tensor import DTensor

from egorep.models.text import tokenize
from pretrain.data.loader import Batch
from pretrain.data.motion import MOTION_SIZE
from pretrain.training.accumulation import backward_whole
from pretrain.training.config import TrainConfig
from pretrain.training.network import PretrainingNetwork, build_egovideo
from pretrain.training.objectives import losses
from pretrain.training.parallel import distribute, loader_workers, start, without_exchange

BATCH = 8
CASES = [
    ("backbone", "info_nce", "ddp", 1),
    ("backbone", "siglip", "ddp", 2),
    ("cotrain", "info_nce", "ddp", 2),
    ("cotrain", "info_nce", "fsdp", 1),
    ("cotrain", "siglip", "fsdp", 2),
]
Case = tuple[str, str, str, int]
Result = tuple[torch.Tensor, dict[str, torch.Tensor]]


def config_of(case: Case, films: Path) -> TrainConfig:
    stage, contrast, sharding, parts = case
    return settings(
        films,
        Path("nowhere"),
        stage=stage,
        sharding=sharding,
        accumulate=parts,
        learn_temperature=True,
        losses__contrast=contrast,
        losses__boxes=0.5,
        losses__tracks=0.5,
        model__drop_path=0,
        patch_dropout=0,
    )


def global_batch(frames: int) -> tuple[torch.Tensor, Batch]:
    """Pixels and the rest of a batch, in double precision; some boxes and some whole tracks are missing."""
    generator = torch.Generator().manual_seed(3)
    clips = torch.randn(BATCH, frames, 3, 32, 32, generator=generator, dtype=torch.float64)
    ids = tokenize([f"the hand takes {thing}" for thing in "abcdefgh"], 16)
    boxes = torch.rand(BATCH, 4, 5, 4, generator=generator, dtype=torch.float64)
    boxes[torch.rand(BATCH, 4, 5, generator=generator) < 0.5] = torch.nan
    motion = torch.rand(BATCH, 6, MOTION_SIZE, generator=generator, dtype=torch.float64)
    return clips, Batch(clips, ids, boxes, motion, torch.arange(BATCH) % 3 > 0, [])


def value_and_gradients(case: Case, films: Path) -> Result:
    """Of this process's share of the batch, which is all of it where it is alone."""
    config = config_of(case, films)
    accelerator = start(config)
    torch.manual_seed(0)
    egovideo = build_egovideo(config)
    for adapter in egovideo.visual.adapters:  # new ones are the identity: nothing would reach their insides
        torch.nn.init.normal_(adapter.up.weight, std=0.1)
    network = distribute(PretrainingNetwork(egovideo, config, MOTION_SIZE).double(), config, accelerator)
    _, batch = global_batch(egovideo.config.num_frames)
    share = BATCH // accelerator.num_processes
    begin = accelerator.process_index * share
    batch = Batch.of((part[begin : begin + share] for part in batch.tensors), [])
    terms = backward_whole(
        batch.split(config.accumulate),
        lambda part, _: network(part.clips, part),
        lambda outputs: losses(outputs, batch, config.losses),
        lambda loss: loss.backward(),
        without_exchange(network),
    )
    gradients = {
        name.removeprefix("module."): whole(parameter.grad)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    return terms["loss"], gradients


def whole(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def work(films: Path, folder: Path) -> None:
    found = {case: value_and_gradients(case, films) for case in CASES}
    torch.save(found, folder / f"{torch.distributed.get_rank()}.pt")


@pytest.fixture(scope="module")
def distributed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Result]:
    """What the main of two processes found, by case."""
    folder = tmp_path_factory.mktemp("gloo")
    together(work, films, folder)
    found: list[dict[Case, Result]] = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    for case in CASES:
        assert found[0][case][0] == found[1][case][0]  # the loss of the whole batch, on both
    return found[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_processes_and_parts_are_one(case: Case, films: Path, distributed: dict[Case, Result]) -> None:
    value, gradients = value_and_gradients((*case[:3], 1), films)
    got, got_gradients = distributed[case]
    assert float(got) == pytest.approx(float(value), rel=1e-10)
    assert got_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-6, atol=1e-10, msg=name)


def test_the_comparison_has_substance(films: Path) -> None:
    """The losses reach every parameter but those of the last adapter."""
    case = ("cotrain", "siglip", "ddp", 1)
    _, gradients = value_and_gradients(case, films)
    network = PretrainingNetwork(build_egovideo(config_of(case, films)), config_of(case, films), MOTION_SIZE)
    names = {name for name, _ in network.named_parameters()}
    assert {name for name in names - gradients.keys() if ".adapters.1." not in name} == set()
    assert all(gradient.abs().max() > 1e-7 for gradient in gradients.values())


def test_a_process_loads_by_its_share_of_the_cores_that_it_may_run_on(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(films, Path("nowhere"), workers=None)
    for cores, local, expected in ((6, 1, 6), (6, 2, 3), (6, 8, 1), (128, 8, 16), (128, 1, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        assert loader_workers(config, start(config)) == expected
    assert loader_workers(settings(films, Path("nowhere"), workers=5), start(config)) == 5
