"""`python -m robot_eval`: one command from encoders to a table and a report."""

from __future__ import annotations

import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from robot_eval.config import CONFIG_MODULE, CONFIG_NAME, ConfigError, check_overrides, parse

_WRONG_USAGE = 2  # the exit status of argparse and Hydra for the same


def _fail(error: Exception) -> None:
    sys.stderr.write(f"robot_eval: {error}\n")
    raise SystemExit(_WRONG_USAGE)


@hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")
def _job(config: DictConfig) -> None:
    try:
        run_config = parse(config)
    except ConfigError as error:
        _fail(error)
    # Heavy parts are imported once the settings are known to be good.
    from robot_eval.report import write_report
    from robot_eval.run import Run
    from robot_eval.stats import summarise, table_text

    rows = Run(run_config).execute()
    report = write_report(run_config.out)
    sys.stdout.write(f"\n{table_text(summarise(rows))}\n\nreport: {report}\n")


def main(arguments: list[str] | None = None) -> None:
    """Check the command line, then hand over to Hydra.

    Args:
        arguments: overrides and Hydra's flags; those of the process by default.
    """
    words: list[str] = sys.argv[1:] if arguments is None else arguments
    try:
        check_overrides([word for word in words if not word.startswith("-")])
    except (ConfigError, HydraException) as error:
        _fail(error)
    sys.argv[1:] = words
    _job()
