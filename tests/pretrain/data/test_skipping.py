from __future__ import annotations

import logging
import pickle

import pytest

from pretrain.data.skipping import SkipCounter, TooManySkippedError


def counted(succeeded: int, failed: int, name: str = "clip") -> SkipCounter:
    counter = SkipCounter(limit_share=0.1, minimum=50)
    for _ in range(succeeded):
        counter.done()
    for item in range(failed):
        counter.skip(f"{name}_{item}", OSError("moov atom not found"))
    return counter


def test_the_summary_says_what_and_why() -> None:
    counter = counted(96, 3)
    counter.skip("0007.mp4", ValueError("no frames\nin this file"))
    assert (counter.attempts, counter.succeeded, counter.skipped) == (100, 96, 4)
    assert counter.errors == {"OSError": 3, "ValueError": 1}
    first, second = counter.summary().splitlines()
    assert first == "skipped 4 of 100 (4.0%): 3 OSError, 1 ValueError"
    assert second.startswith("first: clip_0 (OSError: moov atom not found); clip_1 (")


def test_only_the_first_few_are_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pretrain.data.skipping"):
        counter = counted(96, 5)
    assert len(counter.examples) == 3
    assert [record.getMessage() for record in caplog.records] == [f"skipped {it}" for it in counter.examples]


def test_an_error_becomes_one_short_line() -> None:
    counter = SkipCounter()
    counter.skip("a", ValueError("x" * 1000 + "\nsecond line"))
    counter.skip("b", KeyError())
    assert len(counter.examples[0]) < 200
    assert counter.examples[1] == "b (KeyError: )"
    assert len(counter.summary().splitlines()) == 2


def test_nothing_skipped() -> None:
    assert SkipCounter().summary() == "skipped none of 0"
    assert counted(7, 0).summary() == "skipped none of 7"


@pytest.mark.parametrize(("succeeded", "failed"), [(0, 5), (45, 5), (90, 10), (900, 100)])
def test_one_more_than_the_share_stops_the_run(succeeded: int, failed: int) -> None:
    counter = counted(succeeded, failed)
    with pytest.raises(TooManySkippedError, match=rf"more than 10.0% failed: skipped {failed + 1} of"):
        counter.skip("last", OSError("gone"))


def test_data_that_cannot_be_read_stop_the_run_at_once() -> None:
    counter = SkipCounter()
    counter.skip("0", OSError("gone"))
    counter.skip("1", OSError("gone"))
    with pytest.raises(TooManySkippedError, match=r"skipped 3 of 3 \(100.0%\): 3 OSError"):
        counter.skip("2", OSError("gone"))


def test_no_failure_is_borne_where_none_is_allowed() -> None:
    with pytest.raises(TooManySkippedError):
        SkipCounter(limit_share=0).skip("0", OSError("gone"))


def test_workers_hand_their_counters_over() -> None:
    total = SkipCounter(limit_share=0.1, minimum=50)
    for worker in range(3):
        total.merge(pickle.loads(pickle.dumps(counted(40, 2, f"worker{worker}"))))
    assert (total.attempts, total.skipped, total.errors["OSError"]) == (126, 6, 6)
    assert [example.split()[0] for example in total.examples] == ["worker0_0", "worker0_1", "worker1_0"]


def test_merging_leaves_the_merged_alone() -> None:
    total, part = counted(40, 2), counted(40, 2)
    total.merge(part)
    total.skip("more", ValueError())
    assert (part.attempts, part.skipped) == (42, 2)
    assert set(part.errors) == {"OSError"}


def test_too_many_over_all_workers_stop_the_run() -> None:
    total = counted(20, 4)
    with pytest.raises(TooManySkippedError, match="skipped 8 of 48"):
        total.merge(counted(20, 4))


def test_the_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(TooManySkippedError("more than 2.0% failed")))
    assert isinstance(error, TooManySkippedError)
    assert str(error) == "more than 2.0% failed"


@pytest.mark.parametrize("limits", [{"limit_share": 1.0}, {"limit_share": -0.1}, {"minimum": 0}])
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0 <= limit_share < 1 and minimum >= 1; got"):
        SkipCounter(**limits)
