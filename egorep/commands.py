"""Command lines made of Hydra configs that refuse a wrong key or value in one line, before any work.

Needs hydra-core. `robot_eval` and `pretrain` build their commands with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import hydra
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from egorep.names import unknown

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

    def main(self, job: Callable[[DictConfig], None], arguments: Sequence[str] | None = None) -> None:
        """Check the command line, then hand over to Hydra.

        Args:
            job: does the work; a `ConfigError` that it raises ends the process in one line, status 2.
            arguments: overrides and Hydra's flags; those of the process by default.
        """
        words = list(sys.argv[1:] if arguments is None else arguments)
        try:
            self.check_overrides([word for word in words if not word.startswith("-")])
        except (ConfigError, HydraException) as error:
            self._fail(error)

        def guarded(config: DictConfig) -> None:
            try:
                job(config)
            except ConfigError as error:
                self._fail(error)

        # Hydra would name its log after this file.
        sys.argv[1:] = [f"hydra.job.name={self.name}", *words]
        hydra.main(config_path=f"pkg://{self.module}", config_name=self.config, version_base="1.3")(guarded)()

    def check_overrides(self, overrides: Sequence[str]) -> None:
        """Refuse an override whose key, or whose choice of a group, does not exist; name the nearest.

        Raises:
            ConfigError: with one line that says which key, and what was probably meant.
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        with initialize_config_module(self.module, version_base="1.3"):
            choices = [self._choice(override) for override in parsed if _key(override) in self.groups]
            keys = _keys(OmegaConf.to_container(compose(self.config, choices)))
        for key in map(_key, parsed):
            if key not in self.groups and not key.startswith("hydra") and key not in keys:
                raise ConfigError(str(unknown("config key", key, keys.union(self.groups))))

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

    def _fail(self, error: Exception) -> None:
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
