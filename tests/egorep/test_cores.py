from __future__ import annotations

import os

import pytest

from egorep.cores import available_cores, cores, sharing_cores


def test_a_process_plans_for_the_cores_that_it_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert available_cores() == cores() == 3


@pytest.mark.parametrize(("jobs", "share"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_jobs_side_by_side_share_them(monkeypatch: pytest.MonkeyPatch, jobs: int, share: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    with sharing_cores(jobs):
        assert cores() == share
    assert cores() == 8
