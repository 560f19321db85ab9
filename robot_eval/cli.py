"""`python -m robot_eval`: one command from encoders to a table and a report; with `-m`, many of them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from egorep.commands import is_sweep
from robot_eval.config import COMMAND, parse

_logger = logging.getLogger(__name__)


class MergeSweep(Callback):
    """Hydra's hook at the end of a sweep: its runs become one table and one report in its folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Merge every run in `out`."""
        from robot_eval.merge import MergeError, merge

        try:
            sys.stdout.write(f"\n{merge([Path(config.out)], Path(config.out)).text}\n")
        except MergeError as error:
            _logger.warning("the runs of this sweep are not merged: %s", error)


def _job(config: DictConfig) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        config.out = HydraConfig.get().runtime.output_dir
    run_config = parse(config)
    # Heavy parts are imported once the settings are known to be good.
    from robot_eval.probe_results import TABLE, probes_text, read_probes
    from robot_eval.report import tables_text, write_report
    from robot_eval.run import Run

    with _alone_in(Path(run_config.out)):
        run = Run(run_config)
        if run_config.only_probes:
            found = probes_text(run.probe(), run_config.encoders)
            sys.stdout.write(f"\n{found}\n\nall probes: {Path(run_config.out) / TABLE}\n")
            return
        rows = run.execute()
        report = write_report(run_config.out)
    tables = tables_text(rows, read_probes(run_config.out))
    sys.stdout.write(f"\n{tables}\n\nreport: {report}\n")


def _alone_in(folder: Path) -> FileLock:
    """Wait for a run in the same folder, such as a job of a sweep that was killed and whose jobs go on.

    The system frees the lock when its process dies.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
        lock.release()
    except Timeout:
        _logger.info("waiting for another run in %s", folder)
    return lock


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if is_sweep(words) and not any(word.lstrip("+").startswith("out=") for word in words):
        COMMAND.fail("a sweep needs out=<folder>: its runs stand in there, named by what is swept")
    COMMAND.main(_job, words, check=parse)
