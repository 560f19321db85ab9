"""robomimic's published demonstrations (ph, mh, mg; low-dim or image) as those of our own environments.

A published file holds states of a simulator, and observations and pictures by the robosuite that recorded it.
Policies are judged in ours, so what they learn from is seen in ours, too: each state is restored, observed
and filmed in our simulator. States go over joint by joint, by name, where the file has its models, because
versions of robosuite may name and order them differently; where the file says where the hand was, ours must
be there. Actions stay as they are. The file's own pictures are taken where they show what ours would: the
suite's own look (`render=paper`), no variation, the same size.

What comes out is a file like those of `robot_eval.demos`, under a hash of the published one and the settings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import numpy.typing as npt

from egorep.files import replacing
from egorep.names import unknown
from robot_eval.demos import DemoSet, Recipe, stored_once, write_look, write_part
from robot_eval.environment import EnvSettings
from robot_eval.seeds import FIRST_DEMO_SEED
from robot_eval.simulators import Simulator, SimulatorCrashError, Trajectory, simulators
from robot_eval.suites import load_suite

_logger = logging.getLogger(__name__)

_SUITE = "robosuite"
_ATTEMPTS = 3  # simulators that a demonstration may crash
# Metres that the hand may be from where the file says: robosuite observes a little before its states.
_HAND_TOLERANCE = 0.02
_TIME = 1  # numbers before a state's positions
_SIZES = {
    "free": (7, 6),
    "ball": (4, 3),
    "slide": (1, 1),
    "hinge": (1, 1),
}  # positions, velocities of a joint


class UnusableDemonstrationError(ValueError):
    """One demonstration of a file is no good for a policy; the message says why."""


@dataclass(frozen=True)
class PublishedRecipe(Recipe):
    """Everything that decides what becomes of a published file.

    Attributes:
        content: hash of the file.
        filter_key: of the demonstrations that are used; None for all.
    """

    content: str
    filter_key: str | None


def published_demos(
    path: Path,
    settings: EnvSettings,
    folder: Path,
    workers: int,
    count: int | None = None,
    filter_key: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> DemoSet:
    """The demonstrations of a published file, read from `folder` or, where they are not there yet, put there.

    Demonstrations that are no good are left out, counted (`DemoSet.discarded`) and named in the log. Each
    finished one is kept on disk, so a conversion that was killed goes on where it was.

    Args:
        path: of the published HDF5 file.
        settings: of the environment; its task must be the file's.
        folder: of all demonstrations.
        workers: simulator processes.
        count: the first so many good demonstrations; None for all.
        filter_key: a name under `mask` in the file, such as "train", "20_percent" or "better"; None for all.
        progress: called with the number of demonstrations that have become ready.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not robomimic's, of another task or robot, or has too few good demonstrations.
        RuntimeError: one demonstration keeps crashing its simulator.
    """
    names = published_names(path, settings, filter_key)
    if count is not None and count > len(names):
        raise ValueError(f"{path} has {len(names)} demonstrations, {count} are wanted")
    with path.open("rb") as file:
        content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    recipe = PublishedRecipe(settings, len(names) if count is None else count, content, filter_key)
    # Of all there are, some may turn out to be no good; of a number that was asked for, none may be missing.
    least = 1 if count is None else count
    return stored_once(
        recipe,
        folder,
        progress,
        lambda parts: _Conversion(path, recipe, parts, progress).run(names, least, workers),
    )


def published_names(path: Path, settings: EnvSettings, filter_key: str | None = None) -> list[str]:
    """Names of the demonstrations, in order, of a published file that fits `settings` as a whole.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not robomimic's, of another task or robot, or has no such filter key.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no HDF5 file: robomimic's datasets are, as low_dim_v141.hdf5")
    with h5py.File(path) as file, _naming(path):
        _check_environment(json.loads(_entry(_entry(file, "data").attrs, "env_args")), settings)
        return _selected(file, filter_key)


def _selected(file: h5py.File, filter_key: str | None) -> list[str]:
    if filter_key is None:
        names = list(file["data"])
    else:
        masks = _entry(file, "mask")
        if filter_key not in masks:
            raise unknown("filter key", filter_key, masks)
        names = [name.decode() for name in masks[filter_key][:]]
    strange = [name for name in names if not name.removeprefix("demo_").isdigit()]
    if strange:
        raise ValueError(
            f"not in robomimic's layout: demonstrations are called demo_0 and so on, not {strange[0]!r}"
        )
    return sorted(names, key=lambda name: int(name.removeprefix("demo_")))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _entry(group: Mapping[str, Any], key: str) -> Any:
    if key not in group:
        where = getattr(group, "name", "data's attributes")
        raise UnusableDemonstrationError(f"not in robomimic's layout: {where} has no {key!r}")
    return group[key]


def _check_environment(env_args: Mapping[str, Any], settings: EnvSettings) -> None:
    if settings.suite != _SUITE:
        raise ValueError(f"published demonstrations are robosuite's, not {settings.suite}'s")
    suite = load_suite(_SUITE)
    tasks = {
        suite.env_args(dataclasses.replace(settings, task=task))["env_name"]: task for task in suite.tasks
    }
    name = env_args.get("env_name", "")
    if name not in tasks:
        raise unknown("robosuite task", name, tasks)
    if tasks[name] != settings.task:
        raise ValueError(f"these are demonstrations of {tasks[name]}, not of {settings.task}")
    arguments = env_args.get("env_kwargs", {})
    rate = arguments.get("control_freq", suite.control_hz)
    if rate != suite.control_hz:
        raise ValueError(f"recorded at {rate} control steps a second, but policies act at {suite.control_hz}")
    _check_control(arguments.get("controller_configs", {}))


def _check_control(controllers: Any) -> None:
    """Refuse actions that are not moves of the hand; controllers are nested from robosuite 1.5 on."""
    if isinstance(controllers, list):
        for controller in controllers:
            _check_control(controller)
    elif isinstance(controllers, dict):
        if controllers.get("control_delta") is False or controllers.get("input_type") == "absolute":
            raise ValueError("its actions are absolute poses, but policies here give moves of the hand")
        _check_control(list(controllers.values()))


class _Conversion:
    """One published file on its way to one of ours."""

    def __init__(
        self, path: Path, recipe: PublishedRecipe, parts: Path, progress: Callable[[int], None] | None
    ) -> None:
        self._path = path
        self._recipe = recipe
        self._parts = parts
        self._progress = progress
        self._free: SimpleQueue[Simulator] = SimpleQueue()

    def run(self, names: Sequence[str], least: int, workers: int) -> list[int]:
        """Seeds of the demonstrations that were looked at, until enough of them were good.

        Raises:
            ValueError: fewer than `least` are.
        """
        good = 0
        tried: list[str] = []
        with simulators(self._recipe.settings, workers) as pool, ThreadPoolExecutor(workers) as threads:
            write_look(self._parts, pool[0])
            self._layout = _Layout(*pool[0].call("layout"))
            for simulator in pool:
                self._free.put(simulator)
            while good < self._recipe.count and len(tried) < len(names):
                batch = names[len(tried) : len(tried) + self._recipe.count - good]
                good += sum(threads.map(self._convert, batch))
                tried += batch
        if good < least:
            raise ValueError(self._too_few(tried, good))
        if good < len(tried):
            _logger.warning(
                "%s: %d of %d demonstrations are left out", self._path, len(tried) - good, len(tried)
            )
        return [_seed(name) for name in tried]

    def _too_few(self, tried: Sequence[str], good: int) -> str:
        bad = [name for name in tried if self._note(name).exists()]
        reason = f"; {bad[0]}: {self._note(bad[0]).read_text()}" if bad else ""
        wanted = self._recipe.count
        return f"{self._path} has {good} good demonstrations of {len(tried)}, {wanted} are wanted{reason}"

    def _note(self, name: str) -> Path:
        return self._parts / f"{_seed(name)}.failed"

    def _convert(self, name: str) -> bool:
        """Keep one demonstration, or why it is no good; say which."""
        if self._note(name).exists():
            return False
        if not (self._parts / f"{_seed(name)}.hdf5").exists():
            try:
                write_part(self._parts, self._trajectory(name), self._recipe.settings.cameras)
            except UnusableDemonstrationError as error:
                _logger.warning("%s, %s is left out: %s", self._path, name, error)
                with replacing(self._note(name)) as temporary:
                    temporary.write_text(str(error))
                return False
        if self._progress is not None:
            self._progress(1)
        return True

    def _trajectory(self, name: str) -> Trajectory:
        source = self._read(name)
        states = self._layout.carried(source.states, source.model_file)
        observations = self._call("replay", states)
        _check_hand(observations, source.hands)
        pictures = source.pictures
        if pictures is None:
            pictures = self._call("film", _seed(name), states)
        return Trajectory(
            seed=_seed(name),
            pictures=pictures,
            observations=observations,
            simulator_state=states,
            actions=source.actions,
            success=source.success,
            model_file=self._layout.model_file,
        )

    def _read(self, name: str) -> _Source:
        try:
            with h5py.File(self._path) as file:
                demo = _entry(file["data"], name)
                seen = demo.get("obs", {})
                source = _Source(
                    states=_entry(demo, "states")[:].astype(np.float64),
                    actions=_entry(demo, "actions")[:].astype(np.float32),
                    success=_entry(demo, "rewards")[:] >= 1,
                    hands={key: values[:] for key, values in seen.items() if key.endswith("eef_pos")},
                    pictures=self._pictures(demo),
                    model_file=demo.attrs.get("model_file"),
                )
        except OSError as error:
            raise UnusableDemonstrationError(f"cannot be read: {error}") from error
        source.check(self._layout.action_dim)
        return source

    def _pictures(self, demo: h5py.Group) -> npt.NDArray[np.uint8] | None:
        """The file's own pictures where they show what ours would."""
        settings = self._recipe.settings
        keys, size = [f"obs/{camera}_image" for camera in settings.cameras], settings.picture_size
        own_look = (
            settings.render == "paper" and settings.variation == "none" and settings.render_size == size
        )
        if not own_look or any(key not in demo or demo[key].shape[1:] != (size, size, 3) for key in keys):
            return None
        return np.concatenate([demo[key][:] for key in keys], axis=2)

    def _call(self, command: str, *arguments: Any) -> Any:
        """What a free simulator answers; one that dies is replaced and asked again."""
        simulator = self._free.get()
        try:
            for _ in range(_ATTEMPTS):
                try:
                    return simulator.call(command, *arguments)
                except SimulatorCrashError as crash:
                    _logger.warning("%s: %s; starting it again", self._path, crash)
                    simulator.restart()
        finally:
            self._free.put(simulator)
        raise RuntimeError(f"a demonstration of {self._path} crashed its simulator {_ATTEMPTS} times")


def _seed(name: str) -> int:
    """Of the looks of a demonstration; the episodes that policies are judged on have others."""
    return FIRST_DEMO_SEED + int(name.removeprefix("demo_"))


@dataclass(frozen=True)
class _Source:
    """One demonstration as the file has it: T steps, arrays of T rows."""

    states: npt.NDArray[np.float64]
    actions: npt.NDArray[np.float32]
    success: npt.NDArray[np.bool_]
    hands: Mapping[str, npt.NDArray[np.floating[Any]]]
    pictures: npt.NDArray[np.uint8] | None
    model_file: str | None

    def check(self, action_dim: int) -> None:
        """Raise what speaks against it at first sight."""
        steps = len(self.actions)
        if self.actions.ndim != 2 or self.actions.shape[1] != action_dim:
            raise UnusableDemonstrationError(
                f"actions of shape {self.actions.shape}, but the robot takes {action_dim} numbers a step"
            )
        rows = {"states": self.states, "success": self.success, "obs/..._image": self.pictures, **self.hands}
        for key, values in rows.items():
            if values is not None and len(values) != steps:
                raise UnusableDemonstrationError(f"{len(values)} {key} for {steps} actions")
        if not (steps and np.isfinite(self.actions).all() and np.isfinite(self.states).all()):
            raise UnusableDemonstrationError("no steps, or actions or states that are not finite")


@dataclass(frozen=True)
class _Joint:
    """Where a joint stands in a state's positions and velocities."""

    positions: slice
    velocities: slice


class _Layout:
    """Our model: how long its states are, and where in them its joints.

    Args:
        model_file: the model as XML.
        action_dim: numbers in an action.
    """

    def __init__(self, model_file: str, action_dim: int) -> None:
        self.model_file = model_file
        self.action_dim = action_dim
        self._joints, self._length = _joints(model_file)

    def carried(self, states: npt.NDArray[np.float64], model_file: str | None) -> npt.NDArray[np.float64]:
        """States of another model as states of ours, joint by joint.

        Args:
            states: (T, S), time before positions before velocities.
            model_file: their model as XML; without it they must be laid out as ours.

        Raises:
            UnusableDemonstrationError: they do not fit.
        """
        theirs, length = (self._joints, self._length) if model_file is None else _joints(model_file)
        if states.ndim != 2 or states.shape[1] != length:
            whose = "our model has" if model_file is None else "its own model has"
            raise UnusableDemonstrationError(
                f"states of shape {states.shape}, but {whose} {length} numbers a state: most likely another "
                "version of robosuite wrote it"
                + (
                    "; a file with a model_file for each demonstration can be read"
                    if model_file is None
                    else ""
                )
            )
        missing = [name for name in self._joints if name not in theirs]
        if missing:
            raise UnusableDemonstrationError(f"its model has no joint {missing[0]!r}, only {sorted(theirs)}")
        ours = np.empty((len(states), self._length))
        ours[:, :_TIME] = states[:, :_TIME]
        for name, joint in self._joints.items():
            ours[:, joint.positions] = states[:, theirs[name].positions]
            ours[:, joint.velocities] = states[:, theirs[name].velocities]
        return ours


def _joints(model_file: str) -> tuple[dict[str, _Joint], int]:
    """The joints of a model in XML, in the order of its states, and the length of these."""
    try:
        bodies = ElementTree.fromstring(model_file).find("worldbody")
    except ElementTree.ParseError as error:
        raise UnusableDemonstrationError(f"its model_file is no XML: {error}") from error
    found = [] if bodies is None else [part for part in bodies.iter() if part.tag in ("joint", "freejoint")]
    sizes = [_SIZES["free" if joint.tag == "freejoint" else joint.get("type", "hinge")] for joint in found]
    position, velocity = _TIME, _TIME + sum(size for size, _ in sizes)
    joints: dict[str, _Joint] = {}
    for joint, (positions, velocities) in zip(found, sizes, strict=True):
        joints[_common_name(joint.get("name", ""))] = _Joint(
            slice(position, position + positions), slice(velocity, velocity + velocities)
        )
        position, velocity = position + positions, velocity + velocities
    return joints, velocity


def _common_name(joint: str) -> str:
    """The name that a joint has in every version: since robosuite 1.5, grippers say on which arm they are."""
    return joint.replace("_right_", "_") if joint.startswith("gripper") else joint


def _check_hand(
    ours: Mapping[str, npt.NDArray[Any]], theirs: Mapping[str, npt.NDArray[np.floating[Any]]]
) -> None:
    for key in theirs.keys() & ours.keys():
        apart = float(np.linalg.norm(ours[key] - theirs[key], axis=1).max())
        if apart > _HAND_TOLERANCE:
            raise UnusableDemonstrationError(
                f"{key} is up to {apart:.2g} m from where its states put our robot: another robot or base"
            )
