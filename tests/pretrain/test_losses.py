from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain.losses import clip_track_contrast, info_nce, masked_box_loss, siglip

PROCESSES, BATCH, INPUT, WIDTH = 2, 3, 5, 4


def unit(rows: int, seed: int, width: int = WIDTH) -> Tensor:
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(drawn, dim=-1)


def different(rows: int) -> Tensor:
    """(rows, 2) tokens of texts of which no two are equal."""
    return torch.stack([torch.arange(rows) // 2, torch.arange(rows)], dim=1)


def log_sum_exp(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


# On one process


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_info_nce_is_the_mean_of_both_cross_entropies(rows: int) -> None:
    video, text, scale = unit(rows, 0), unit(rows, 1), 1 / 0.07
    logits = [[scale * float(v @ t) for t in text] for v in video]
    wanted = 0.0
    for i in range(rows):
        wanted += log_sum_exp(logits[i]) - logits[i][i]
        wanted += log_sum_exp([logits[j][i] for j in range(rows)]) - logits[i][i]
    got = info_nce(video, text, torch.tensor(scale, dtype=torch.float64).log(), different(rows))
    assert float(got) == pytest.approx(wanted / (2 * rows))


def test_info_nce_does_not_tell_equal_texts_apart() -> None:
    """Rows 0 and 2 are said the same of: each is to find both, half and half."""
    video, texts = unit(3, 0), unit(2, 1)
    text, ids, scale = texts[[0, 1, 0]], torch.tensor([[5, 1], [5, 2], [5, 1]]), 1 / 0.07
    logits = [[scale * float(v @ t) for t in text] for v in video]
    wanted = 0.0
    for i, own in enumerate([(0, 2), (1,), (0, 2)]):
        for j in own:
            wanted += (log_sum_exp(logits[i]) - logits[i][j]) / len(own)
            wanted += (log_sum_exp([logits[k][i] for k in range(3)]) - logits[j][i]) / len(own)
    log_scale = torch.tensor(scale, dtype=torch.float64).log()
    assert float(info_nce(video, text, log_scale, ids)) == pytest.approx(wanted / 6)
    # Least where both are as near to both, not where they are apart.
    perfect = torch.eye(2, dtype=torch.float64)[[0, 1, 0]]
    assert float(info_nce(perfect, perfect, log_scale, ids)) == pytest.approx(math.log(2) * 2 / 3, abs=1e-5)
    assert float(info_nce(perfect, perfect, log_scale, different(3))) > 0.4


def test_siglip_joins_equal_texts() -> None:
    video, text, ids = unit(2, 0), unit(1, 1)[[0, 0]], torch.tensor([[7], [7]])
    scale, bias = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-10.0, dtype=torch.float64)
    wanted = sum(math.log1p(math.exp(-(10.0 * float(v @ t) - 10.0))) for v in video for t in text) / 2
    assert float(siglip(video, text, scale.log(), bias, ids)) == pytest.approx(wanted)


def test_texts_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ids wants \(3, L\), .*got shape \(2, 2\)"):
        info_nce(unit(3, 0), unit(3, 1), torch.zeros(()), different(2))


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_siglip_is_the_sum_over_pairs_per_row(rows: int) -> None:
    video, text, scale, bias = unit(rows, 0), unit(rows, 1), 10.0, -10.0
    wanted = 0.0
    for i in range(rows):
        for j in range(rows):
            logit = scale * float(video[i] @ text[j]) + bias
            wanted += math.log1p(math.exp(-logit if i == j else logit))
    double = torch.tensor([math.log(scale), bias], dtype=torch.float64)
    assert float(siglip(video, text, double[0], double[1], different(rows))) == pytest.approx(wanted / rows)


def test_matched_pairs_cost_less_than_shuffled_ones() -> None:
    video, scale, bias, ids = unit(8, 0), torch.tensor(3.0), torch.tensor(-10.0), different(8)
    assert info_nce(video, video, scale, ids) < info_nce(video, video.roll(1, 0), scale, ids)
    assert siglip(video, video, scale, bias, ids) < siglip(video, video.roll(1, 0), scale, bias, ids)


def test_gradients_of_the_contrastive_losses_are_numerical_ones() -> None:
    inputs = [unit(3, 0), unit(3, 1), *torch.tensor([1.0, -2.0], dtype=torch.float64)]
    for value in inputs:
        value.requires_grad_()
    ids = torch.tensor([[1], [2], [1]])
    assert torch.autograd.gradcheck(lambda *values: info_nce(*values, ids), inputs[:3])
    assert torch.autograd.gradcheck(lambda *values: siglip(*values, ids), inputs)


@pytest.mark.parametrize("loss", [info_nce, siglip])
def test_half_precision_features_get_a_precise_loss(loss: Callable[..., Tensor]) -> None:
    video, text = unit(16, 0, 64).bfloat16(), unit(16, 1, 64).bfloat16()
    scalars = [torch.tensor(1 / 0.07).log(), torch.tensor(-10.0)][: 1 if loss is info_nce else 2]
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(video, text, *scalars, different(16))
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(
        float(loss(video.double(), text.double(), *scalars, different(16))), rel=1e-5
    )


@pytest.mark.parametrize("shapes", [((2, 4), (3, 4)), ((2, 4), (2, 5)), ((4,), (4,)), ((0, 4), (0, 4))])
def test_features_that_do_not_pair_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    video, text = torch.zeros(shapes[0]), torch.zeros(shapes[1])
    with pytest.raises(ValueError, match=r"one shape \(B, E\), B > 0; got shapes"):
        info_nce(video, text, torch.zeros(()), different(len(video)))
    with pytest.raises(ValueError, match=r"one shape \(B, E\), B > 0; got shapes"):
        siglip(video, text, torch.zeros(()), torch.zeros(()), different(len(video)))


def boxes_of(batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, targets and visibility of 5 boxes in 2 frames; invisible targets are NaN."""
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.rand(2, batch, 2, 5, 4, generator=generator, dtype=torch.float64)
    visible = torch.rand(batch, 2, 5, generator=generator) < 0.4
    target[~visible] = torch.nan
    return predicted, target, visible


def test_box_loss_is_the_mean_over_visible_boxes() -> None:
    predicted, target, visible = boxes_of(3, 0)
    distances = [
        abs(float(predicted[index][side] - target[index][side]))
        for index in map(tuple, visible.nonzero().tolist())
        for side in range(4)
    ]
    assert 0 < len(distances) < 4 * visible.numel()
    wanted = sum(distances) / len(distances)
    assert float(masked_box_loss(predicted, target, visible)) == pytest.approx(wanted)


def test_unseen_boxes_give_no_gradient() -> None:
    predicted, target, visible = boxes_of(3, 0)
    predicted.requires_grad_()
    masked_box_loss(predicted, target, visible).backward()
    assert predicted.grad is not None
    wanted = (predicted.detach() - target).sign() / (4 * visible.sum())
    assert torch.equal(predicted.grad[visible], wanted[visible])
    assert not predicted.grad[~visible].any()


def test_without_a_visible_box_the_loss_is_zero_and_has_a_graph() -> None:
    predicted = torch.rand(2, 1, 5, 4, requires_grad=True)
    loss = masked_box_loss(
        predicted, torch.full((2, 1, 5, 4), torch.nan), torch.zeros(2, 1, 5, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert torch.equal(predicted.grad, torch.zeros(2, 1, 5, 4))


def test_a_visible_box_without_a_place_shows() -> None:
    predicted, target, visible = boxes_of(3, 0)
    assert masked_box_loss(predicted, target, torch.ones_like(visible)).isnan()


def test_boxes_that_do_not_fit_are_refused() -> None:
    predicted, target, visible = boxes_of(3, 0)
    with pytest.raises(ValueError, match=r"\(3, 2, 5, 4\), \(3, 2, 5, 4\) and \(3, 2\)"):
        masked_box_loss(predicted, target, visible[..., 0])
    with pytest.raises(ValueError, match=r"\(3, 1, 5, 4\)"):
        masked_box_loss(predicted, target[:, :1], visible)
    with pytest.raises(TypeError, match=r"bool visible; got torch\.float32"):
        masked_box_loss(predicted, target, visible.float())


def test_clip_track_contrast_is_info_nce_of_the_tracked_pairs() -> None:
    video, track, scale = unit(7, 0), unit(7, 1), torch.tensor(2.0)
    tracked = torch.tensor([True, False, True, True, False, False, True])
    wanted = info_nce(video[tracked], track[tracked], scale, different(4))
    assert float(clip_track_contrast(video, track, tracked, scale)) == pytest.approx(float(wanted))
    assert float(wanted) != pytest.approx(float(info_nce(video, track, scale, different(7))))


def test_clip_track_contrast_wants_a_flag_per_clip() -> None:
    with pytest.raises(ValueError, match=r"wants \(3,\), a flag per clip; got shape \(2,\)"):
        clip_track_contrast(unit(3, 0), unit(3, 1), torch.ones(2, dtype=torch.bool), torch.zeros(()))
    with pytest.raises(TypeError, match=r"wants bool; got torch\.int64"):
        clip_track_contrast(unit(3, 0), unit(3, 1), torch.ones(3, dtype=torch.int64), torch.zeros(()))


# On two processes


class Model(nn.Module):
    """One linear map for clips and texts, one for boxes, and the two scalars."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.shared = nn.Linear(INPUT, WIDTH)
            self.boxes = nn.Linear(INPUT, 2 * 5 * 4)
        self.logit_scale = nn.Parameter(torch.tensor(1.5))
        self.logit_bias = nn.Parameter(torch.tensor(-2.0))
        self.double()

    def forward(self, video: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        features = [nn.functional.normalize(self.shared(inputs), dim=-1) for inputs in (video, text)]
        boxes = self.boxes(video).sigmoid().view(-1, 2, 5, 4)
        return *features, boxes, self.logit_scale.clone(), self.logit_bias.clone()


def global_batch(seen: str) -> tuple[Tensor, ...]:
    """Inputs, tokens, targets and visibility.

    Boxes are seen by both processes, by the second alone, or by none. Two texts are equal across processes.
    """
    generator = torch.Generator().manual_seed(1)
    video, text = torch.randn(2, PROCESSES * BATCH, INPUT, generator=generator, dtype=torch.float64)
    _, target, visible = boxes_of(PROCESSES * BATCH, 2)
    visible[:BATCH] &= visible[:BATCH].cumsum(-1) == 1  # the first process sees far fewer
    if seen != "both":
        visible[: BATCH if seen == "second" else None] = False
    ids = different(PROCESSES * BATCH)
    ids[-1], text[-1] = ids[0], text[0]
    return video, text, ids, target.masked_fill(~visible[..., None], torch.nan), visible


def losses_of(case: str, outputs: tuple[Tensor, ...], ids: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    video, text, boxes, scale, bias = outputs
    losses = {
        "info_nce": lambda: info_nce(video, text, scale, ids),
        "siglip": lambda: siglip(video, text, scale, bias, ids),
        "boxes": lambda: masked_box_loss(boxes, target, visible),
        "tracks": lambda: clip_track_contrast(video, text, visible.any((1, 2)), scale),
    }
    return sum((losses[name]() for name in case.split("+")), torch.zeros(()))


CASES = [
    ("info_nce", "both"),
    ("siglip", "both"),
    ("boxes", "both"),
    ("boxes", "second"),
    ("boxes", "none"),
    ("tracks", "both"),
    ("tracks", "second"),
    ("tracks", "none"),
    ("info_nce+siglip+boxes", "both"),
]

Result = tuple[Tensor, dict[str, Tensor]]


def value_and_gradients(case: str, seen: str, share: slice) -> Result:
    """Of the model on `share` of the batch, wrapped for distributed training where there are processes."""
    model = Model()
    wrapped = DistributedDataParallel(model, find_unused_parameters=True) if dist.is_initialized() else model
    video, text, ids, target, visible = (part[share] for part in global_batch(seen))
    loss = losses_of(case, wrapped(video, text), ids, target, visible)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def work(rank: int, folder: str) -> None:
    """One process: every case on its share of the batch."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", PROCESSES)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=PROCESSES)
    share = slice(rank * BATCH, (rank + 1) * BATCH)
    results = {case: value_and_gradients(*case, share) for case in CASES}
    dist.barrier()
    dist.destroy_process_group()
    torch.save(results, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], Result]]:
    """The results of every process."""
    folder: Path = tmp_path_factory.mktemp("gloo")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(
    case: tuple[str, str], distributed: list[dict[tuple[str, str], Result]]
) -> None:
    value, gradients = value_and_gradients(*case, slice(None))
    for results in distributed:
        got, got_gradients = results[case]
        assert float(got) == pytest.approx(float(value), rel=1e-12)
        for name, gradient in gradients.items():
            torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-10, atol=1e-14, msg=name)


def test_the_comparison_has_substance() -> None:
    """Every loss reaches its parameters, and the shares differ enough to tell means from means of means."""
    _, gradients = value_and_gradients("info_nce+siglip+boxes", "both", slice(None))
    assert set(gradients) == {name for name, _ in Model().named_parameters()}
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients.values())
    whole, _ = value_and_gradients("boxes", "both", slice(None))
    shares = [value_and_gradients("boxes", "both", slice(n * BATCH, (n + 1) * BATCH))[0] for n in range(2)]
    assert abs(float(whole - sum(shares) / 2)) > 0.01
