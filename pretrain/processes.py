"""Functions over items in other processes: on this machine, or on Ray. What fails costs its own item."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

ENGINES = ("local", "ray")

Item = TypeVar("Item")
Made = TypeVar("Made")


def each(
    function: Callable[[Item], Made], items: Sequence[Item], workers: int, engine: str, timeout: float
) -> Iterator[tuple[Item, Made | Exception]]:
    """Each item with what the function makes of it elsewhere, or with the exception that this ended in.

    Args:
        function: can be pickled, as its results can.
        items: any number; results come as they are made.
        workers: processes; Ray decides for itself how many its machines bear.
        engine: `local` or `ray`.
        timeout: seconds after which an item's process is given up, on this machine.

    Raises:
        ImportError: `ray` is not installed.
    """
    if engine == "ray":
        return on_ray(function, items)
    return in_processes(function, items, workers, timeout)


def in_processes(
    function: Callable[[Item], Made], items: Sequence[Item], workers: int, timeout: float
) -> Iterator[tuple[Item, Made | Exception]]:
    """`each` in processes of this machine; one that dies, or takes too long, costs its own item."""
    context = multiprocessing.get_context("spawn")  # a fork would share graphics drivers and threads
    pool = ProcessPool(max_workers=workers, initializer=_start_worker, context=context)
    try:
        futures = {pool.schedule(function, args=[item], timeout=timeout): item for item in items}
        for future in as_completed(futures):
            item = futures[future]
            try:
                yield item, future.result()
            except ProcessExpired as error:
                yield item, RuntimeError(f"its process died with exit code {error.exitcode}")
            except TimeoutError:
                yield item, TimeoutError(f"took longer than {timeout:.0f} s")
            except Exception as error:  # whatever is wrong with one item costs that item
                yield item, error
    finally:
        pool.stop()
        pool.join()


def on_ray(
    function: Callable[[Item], Made], items: Sequence[Item]
) -> Iterator[tuple[Item, Made | Exception]]:
    """`each` on Ray Data, on the cluster that `RAY_ADDRESS` names or on this machine.

    Files that the function reads and writes must be seen from every machine.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ImportError("engine=ray needs Ray: pip install 'egorep[ray]'") from error

    def guarded(row: dict[str, int]) -> dict[str, object]:
        try:
            return {"place": row["item"], "made": function(items[row["item"]])}
        except Exception as error:  # whatever is wrong with one item costs that item
            return {"place": row["item"], "made": error}

    rows = ray.data.from_items(
        [{"item": place} for place in range(len(items))], override_num_blocks=max(len(items), 1)
    )
    for row in rows.map(guarded).iter_rows():
        yield items[int(row["place"])], row["made"]


def _start_worker() -> None:
    # One core a worker: Mesa and numeric libraries would each take all of them. Of Mesa these are threads
    # beside the one that draws, which handing pictures over to would cost more than it saves.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
