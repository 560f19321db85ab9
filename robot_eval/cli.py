"""`python -m robot_eval`: one command from encoders to a table and a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from robot_eval.config import COMMAND, parse


def _job(config: DictConfig) -> None:
    run_config = parse(config)
    # Heavy parts are imported once the settings are known to be good.
    from robot_eval.report import write_report
    from robot_eval.run import Run
    from robot_eval.stats import summarise, table_text

    rows = Run(run_config).execute()
    report = write_report(run_config.out)
    sys.stdout.write(f"\n{table_text(summarise(rows))}\n\nreport: {report}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    COMMAND.main(_job, arguments)
