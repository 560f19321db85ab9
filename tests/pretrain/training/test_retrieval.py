from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.training import evaluation
from pretrain.training.evaluation import retrieval


def unit(angles: list[float]) -> torch.Tensor:
    radians = torch.tensor(angles).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_clips_and_narrations_find_each_other() -> None:
    """Narrations at 0, 40 and 90 degrees; the second clip of the first one is nearer to the second one."""
    measured = retrieval(unit([5, 30, 42, 120]), unit([0, 40, 90]), [0, 0, 1, 2])
    assert measured["text_recall@1"] == 0.75  # the clip at 30 ranks second
    assert measured["text_recall@5"] == 1
    assert measured["text_median_rank"] == 1
    assert measured["video_recall@1"] == 1  # 90 is nearer to 120 than to 42
    assert measured["video_median_rank"] == 1


def test_further_clips_of_a_narration_are_not_in_its_way() -> None:
    # The first narration's clips stand first and third from it, the other's second.
    measured = retrieval(unit([0, 20, 10]), unit([0, 10.1]), [0, 0, 1])
    assert measured["video_recall@1"] == 1
    worst = retrieval(unit([30, 40, 0]), unit([0, 90]), [0, 0, 1])
    assert worst["video_median_rank"] == pytest.approx((2 + 3) / 2)


def test_all_alike_is_chance() -> None:
    features = unit([0.0] * 9)
    measured = retrieval(features, features, list(range(9)))
    assert measured == {
        "text_recall@1": 0,
        "text_recall@5": 1,
        "text_median_rank": 5,
        "video_recall@1": 0,
        "video_recall@5": 1,
        "video_median_rank": 5,
    }


def test_rows_in_batches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    video, text = (torch.from_numpy(rng.normal(size=(n, 6))) for n in (50, 20))
    owner = [*range(20), *rng.integers(20, size=30).tolist()]
    whole = retrieval(video, text, owner)
    monkeypatch.setattr(evaluation, "_ROWS", 7)
    assert retrieval(video, text, owner) == whole
    by_hand = []
    similar = (video @ text.T).numpy()
    for clip, own in enumerate(owner):
        by_hand.append(1 + sum(similar[clip, other] > similar[clip, own] for other in range(20)))
    assert whole["text_median_rank"] == np.median(by_hand)
    assert whole["text_recall@5"] == pytest.approx(np.mean(np.array(by_hand) <= 5))
