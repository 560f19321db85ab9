"""Command lines made of Hydra configs that refuse a wrong key or value in one line, before any work.

Needs hydra-core. `robot_eval` and `pretrain` build their commands with it.

A sweep (`-m`) may be run by any of Hydra's launchers. Its jobs on one machine share the cores, and under
joblib they end when the sweep is killed, so that it can be started again at once.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import hydra
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from egorep.cores import available_cores, sharing_cores
from egorep.names import unknown
from egorep.orphans import end_with

_LAUNCHER = "hydra/launcher"
_WRONG_USAGE = 2  # the exit status of argparse and Hydra for the same

_Settings = TypeVar("_Settings")


class ConfigError(ValueError):
    """A setting that cannot be: said in one line, before any work."""


@dataclass(frozen=True)
class Command:
    """A command whose settings are a Hydra config.

    Attributes:
        name: said in front of its errors, as `pretrain.sim`.
        module: package that holds the config, as `pretrain.configs`.
        config: name of the config in it.
        groups: config groups that are chosen from, as `protocol`.
        lists: those of which several may be chosen at once, as `suite=[a,b]`.
    """

    name: str
    module: str
    config: str
    groups: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def main(
        self,
        job: Callable[[DictConfig], None],
        arguments: Sequence[str] | None = None,
        check: Callable[[DictConfig], object] | None = None,
    ) -> None:
        """Check the command line, then hand over to Hydra.

        Args:
            job: does the work; a `ConfigError` that it raises ends the process in one line, status 2.
            arguments: overrides and Hydra's flags; those of the process by default.
            check: refuses settings with a `ConfigError`; it sees all jobs of a sweep before the first begins.
        """
        words = list(sys.argv[1:] if arguments is None else arguments)
        sweep = is_sweep(words)
        try:
            overrides = self.check_overrides([word for word in words if not word.startswith("-")])
            if sweep and check is not None:
                self._check_jobs(overrides, check)
        except (ConfigError, HydraException) as error:
            self.fail(error)
        names = [f"hydra.job.name={self.name}"]  # Hydra would name its log after this file
        if sweep:
            # Jobs are told apart by what is swept; the rest may change without giving them other folders.
            same = [_key(override) for override in _settings(overrides) if not override.is_sweep_override()]
            names.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(same)}]")
        # Hydra's parser wants all overrides in one place, which flags may stand before or after.
        place = next((place for place, word in enumerate(words) if _is_override(word)), len(words))
        sys.argv[1:] = [*words[:place], *names, *words[place:]]
        main = hydra.main(config_path=f"pkg://{self.module}", config_name=self.config, version_base="1.3")
        main(self._guarded(job, math.prod(map(_choices, overrides)), os.getpid()))()

    def _guarded(
        self, job: Callable[[DictConfig], None], jobs: int, owner: int
    ) -> Callable[[DictConfig], None]:
        """The job as Hydra is to run it, here or elsewhere: one of `jobs` that process `owner` started."""

        def guarded(config: DictConfig) -> None:
            # Before torch is imported, which reads it then. Threads that wait actively take cores from loader
            # workers and all else that runs. With workers that give way, too (`pretrain.data.loader`), steps
            # of `pretrain.train` on two cores take an eighth less time.
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            sweep = HydraConfig.get().mode == RunMode.MULTIRUN
            if sweep and _launcher() == "JoblibLauncher":
                _settle_in_worker(owner)
            try:
                with sharing_cores(jobs_at_once(jobs) if sweep else 1):
                    job(config)
            except ConfigError as error:
                if sweep:
                    raise  # costs this job only
                self.fail(error)

        return guarded

    def check_overrides(self, overrides: Sequence[str]) -> list[Override]:
        """Refuse an override whose key, or whose choice of a group, does not exist; name the nearest.

        Returns:
            The overrides, parsed.

        Raises:
            ConfigError: with one line that says which key, and what was probably meant.
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        with initialize_config_module(self.module, version_base="1.3"):
            choices = [self._choice(override) for override in parsed if _key(override) in self.groups]
            self._check_launcher(parsed)
            keys = _keys(OmegaConf.to_container(compose(self.config, choices)))
        for key in map(_key, parsed):
            if key not in self.groups and not key.startswith("hydra") and key not in keys:
                raise ConfigError(str(unknown("config key", key, keys.union(self.groups))))
        return parsed

    def _check_launcher(self, overrides: Sequence[Override]) -> None:
        options = GlobalHydra.instance().config_loader().get_group_options(_LAUNCHER)
        for name in [str(override.value()) for override in overrides if _key(override) == _LAUNCHER]:
            if name not in options:
                hint = "joblib and submitit's come with pip install 'egorep[cluster]'"
                raise ConfigError(f"{unknown(_LAUNCHER, name, options)}; {hint}")

    def _check_jobs(self, overrides: Sequence[Override], check: Callable[[DictConfig], object]) -> None:
        with initialize_config_module(self.module, version_base="1.3"):
            for words in _jobs(overrides):
                check(compose(self.config, words))

    def _choice(self, override: Override) -> str:
        """The choice of a group, checked; of a sweep, one that has the keys of all its jobs."""
        group = _key(override)
        options = GlobalHydra.instance().config_loader().get_group_options(group)
        names = [name for choice in _values(override) for name in self._names(group, choice)]
        for name in names:
            if name not in options:
                raise ConfigError(str(unknown(group, name, options)))
        return f"{group}=[{','.join(dict.fromkeys(names))}]" if group in self.lists else f"{group}={names[0]}"

    def _names(self, group: str, choice: Any) -> list[str]:
        if not isinstance(choice, list):
            return [str(choice)]
        names = [str(name) for name in choice]
        if group not in self.lists or not names or len(set(names)) < len(names):
            wanted = "a name or a list of distinct names" if group in self.lists else "one name"
            raise ConfigError(f"{group} must be {wanted}, got [{','.join(names)}]")
        return names

    def fail(self, error: Exception | str) -> NoReturn:
        """End the process with one line on stderr."""
        sys.stderr.write(f"{self.name}: {error}\n")
        raise SystemExit(_WRONG_USAGE)


def typed(config: DictConfig, schema: type[_Settings]) -> _Settings:
    """The config as an instance of the dataclass `schema`; its fields may be missing (`???`) nowhere.

    Raises:
        ConfigError: one line that says which key, what came and what is wanted.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), config)
        return cast(_Settings, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(re.sub(r"\s+", " ", str(error)).strip()) from error


def is_sweep(words: Sequence[str]) -> bool:
    """Whether a command line asks Hydra for a sweep."""
    return not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(words)


def _jobs(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """The overrides of each job of a sweep, without Hydra's own and ranges that a sweeper draws from."""
    settings = _settings(overrides)
    fixed = [str(override.input_line) for override in settings if not override.is_sweep_override()]
    swept = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        for override in settings
        if override.is_discrete_sweep()
    ]
    for job in itertools.product(*swept):
        yield [*fixed, *job]


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _settings(overrides: Sequence[Override]) -> list[Override]:
    """All that are not Hydra's own."""
    return [override for override in overrides if not _key(override).startswith("hydra")]


def _choices(override: Override) -> int:
    """How many values an override has, 1 where that is not known beforehand."""
    return len(_values(override)) if override.is_discrete_sweep() else 1


def _launcher() -> str:
    """Class name of what launches the jobs of this sweep."""
    return str(HydraConfig.get().launcher["_target_"]).rpartition(".")[2]


def jobs_at_once(jobs: int) -> int:
    """How many of a sweep's `jobs` run on this machine at once."""
    hydra_config, launcher = HydraConfig.get(), _launcher()
    if launcher == "JoblibLauncher":
        wanted = int(hydra_config.launcher["n_jobs"])
        at_once = wanted if wanted > 0 else max(1, available_cores() + 1 + wanted)
    else:
        at_once = jobs if launcher == "LocalLauncher" else 1  # submitit's starts all at once
    batch = hydra_config.sweeper.get("max_batch_size")
    return min(at_once, jobs, batch or jobs)


def _settle_in_worker(owner: int) -> None:
    """Make a process that joblib started for `owner` one that can start others, and ends with it."""
    if os.getpid() == owner:  # with n_jobs=1 there is no other process
        return
    # loky leaves its own start method behind, which processes that a job starts in turn do not know.
    multiprocessing.set_start_method("spawn", force=True)
    end_with(owner)


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _values(override: Override) -> list[Any]:
    """The value; of a sweep, those of all its jobs."""
    swept = override.is_sweep_override()
    return list(override.sweep_iterator(Transformer.identity)) if swept else [override.value()]


def _keys(node: Any, prefix: str = "") -> set[str]:
    if not isinstance(node, dict):
        return set()
    own = {f"{prefix}{name}" for name in node}
    return own.union(*(_keys(child, f"{prefix}{name}.") for name, child in node.items()))
