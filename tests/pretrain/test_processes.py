"""Items in other processes: what dies, raises or hangs costs its own item."""

from __future__ import annotations

import math
import os
import signal
import time

import pytest

from pretrain.processes import ENGINES, each, in_processes


def fragile(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 2:
        raise ValueError("no scene")
    return 10 * item


def test_a_process_that_dies_costs_its_own_item() -> None:
    made = dict(in_processes(fragile, range(5), workers=2, timeout=60))
    assert [made[0], made[3], made[4]] == [0, 30, 40]
    assert isinstance(made[1], RuntimeError)
    assert "its process died" in str(made[1])
    assert isinstance(made[2], ValueError)
    assert str(made[2]) == "no scene"


def slow(item: int) -> int:
    time.sleep(60 * item)
    return item


def test_an_item_that_hangs_is_given_up() -> None:
    made = dict(in_processes(slow, [0, 1], workers=2, timeout=3))
    assert made[0] == 0
    assert isinstance(made[1], TimeoutError)
    assert "took longer than 3 s" in str(made[1])


@pytest.mark.slow
def test_ray_gives_the_same_as_processes_of_this_machine() -> None:
    found = {}
    for engine in ENGINES:
        made = each(math.sqrt, [0, 1, 4, -1], 1, engine, 60)
        found[engine] = {item: one if isinstance(one, float) else str(one) for item, one in made}
    assert found["ray"] == found["local"]
    assert (found["ray"][4], found["ray"][-1]) == (2.0, "math domain error")
