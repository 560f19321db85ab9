"""Policies by the kind that a config names: what they are made of, what they see, and who trains them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from omegaconf import DictConfig

from egorep.commands import typed
from egorep.names import unknown

if TYPE_CHECKING:
    from robot_eval.policies.base import InputShape, Policy

Sees = Literal["features", "tokens", "pictures"]


class Settings(Protocol):
    """Of one kind of policy, a dataclass."""

    def check(self) -> None:
        """Raise a ValueError where a setting cannot be."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of policy.

    Attributes:
        module: where it is, under `robot_eval.policies`; imported when it is asked for.
        name: of its class there; `<name without Policy>Settings` are its settings.
        sees: what of an encoder it can look at.
    """

    module: str
    name: str
    sees: tuple[Sees, ...]

    @property
    def policy(self) -> type[Policy]:
        """Its class."""
        found: type[Policy] = getattr(self._module, self.name)
        return found

    @property
    def settings(self) -> type[Any]:
        """The class of its settings."""
        found: type[Any] = getattr(self._module, self.name.removesuffix("Policy") + "Settings")
        return found

    @property
    def _module(self) -> Any:
        return importlib.import_module(f"robot_eval.policies.{self.module}")


KINDS: Mapping[str, Kind] = {
    "mlp": Kind("mlp", "MLPPolicy", ("features",)),
    "pca": Kind("pca", "PCAPolicy", ("features",)),
    "keyposes": Kind("keyposes", "KeyposesPolicy", ("features",)),
    "attentive": Kind("attentive", "AttentivePolicy", ("tokens",)),
    "diffusion": Kind("diffusion", "DiffusionPolicy", ("features",)),
    "robomimic": Kind("robomimic", "RobomimicPolicy", ("features", "pictures")),
}


@dataclass(frozen=True)
class PolicyConfig:
    """A policy as a config describes it.

    Attributes:
        name: in tables.
        kind: one of `KINDS`.
        sees: features, patch tokens, or the pictures themselves, with the encoder inside.
        settings: of the kind.
    """

    name: str
    kind: str
    sees: Sees
    settings: Settings

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> PolicyConfig:
        """From the keys of a file in `configs/robot_eval/policy`.

        Raises:
            ConfigError: a setting that is missing, unknown or of a wrong type.
            ValueError: an unknown kind, something that this kind cannot look at, or a setting that cannot be.
        """
        values = dict(config)
        name, kind, sees = (str(values.pop(key, None)) for key in ("name", "kind", "sees"))
        if kind not in KINDS:
            raise unknown("policy.kind", kind, KINDS)
        if sees not in KINDS[kind].sees:
            raise unknown(f"policy.sees of {name}", sees, KINDS[kind].sees)
        settings = typed(DictConfig(values), KINDS[kind].settings)
        settings.check()
        return cls(name, kind, sees, settings)

    def to_dict(self) -> dict[str, Any]:
        """What `read` takes."""
        settings: dict[str, Any] = asdict(cast(Any, self.settings))
        return {"name": self.name, "kind": self.kind, "sees": self.sees, **settings}

    @property
    def looks(self) -> int | None:
        """At how many pictures of an episode it looks, from the first; None: at all."""
        return KINDS[self.kind].policy.looks

    def build(self, shape: InputShape, action_dim: int, **more: Any) -> Policy:
        """A fresh policy, drawn from torch's global generator; `more` is the kind's own."""
        made: Callable[..., Policy] = KINDS[self.kind].policy
        return made(shape, action_dim, self.settings, **more)
