"""Demonstrations by a suite's expert, in robomimic's HDF5 layout, made once and content-addressed.

Layout: `data/demo_i/{obs/<camera>_image, obs/proprio, obs/state, actions, rewards, dones, states}`, with
`num_samples` per demonstration and `total`, `env_args` on `data`, so robomimic's own tools read the files.
Beside it, ours: `fingerprint` (of the pictures) and `seed` per demonstration, and the recipe on `data`.

A file stands under a hash of its recipe: everything that decides what is in it, versions included.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from filelock import FileLock

from egorep.cache import frames_fingerprint
from egorep.files import replacing
from robot_eval.environment import EnvSettings
from robot_eval.render import PICTURES_VERSION
from robot_eval.seeds import FIRST_DEMO_SEED, SEEDS_PER_POLICY
from robot_eval.simulators import Simulator, SimulatorCrashError, Trajectory, simulators
from robot_eval.suites import load_suite
from robot_eval.variation import RANGES

_logger = logging.getLogger(__name__)

_MAX_CRASHES = 3
_LOOK = "frame_hash"  # file beside the episodes of an unfinished collection
# Experts of the suites succeed in most episodes; a task below this share is broken, not unlucky.
_LEAST_SUCCESS = 0.2
MOST_OWN_DEMOS = int(SEEDS_PER_POLICY * _LEAST_SUCCESS)
"""Demonstrations that a policy seed's own seeds suffice for, however rarely the expert succeeds."""


def content_key(content: Any) -> str:
    """Hash of JSON-like `content`, hexadecimal: a file name for what it decides."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=10).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """What decides every set of demonstrations, wherever they are from.

    Attributes:
        settings: of the environment.
        count: demonstrations wanted: the first `count` good ones.
    """

    settings: EnvSettings
    count: int

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide what the simulator does, and of our pictures."""
        suite = load_suite(self.settings.suite)
        packages = {package: importlib.metadata.version(package) for package in suite.packages}
        # A suite's first version has no entry: demonstrations older than the field stay what they are.
        ours = {"suite": str(suite.version)} if suite.version > 1 else {}
        return {"pictures": PICTURES_VERSION, **packages, **ours}

    @property
    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return dataclasses.asdict(self)

    @property
    def key(self) -> str:
        """Hash of the recipe, its versions and the ranges that looks are drawn from."""
        recipe = {**self.as_json, "versions": self.versions}
        ranges = RANGES.get(self.settings.variation)
        return content_key(recipe if ranges is None else {**recipe, "ranges": repr(ranges)})


@dataclass(frozen=True)
class DemoRecipe(Recipe):
    """Everything that decides a set of demonstrations by an expert, the first that succeed.

    Attributes:
        noise, horizon, hold: see `robot_eval.simulators.demonstrate`.
        first_seed: of the first episode; the others follow it.
    """

    noise: float
    horizon: int
    hold: int
    first_seed: int = FIRST_DEMO_SEED

    @property
    def as_json(self) -> dict[str, Any]:
        """The fields; without `first_seed` where it is the usual one, as in files older than the field."""
        fields = super().as_json
        if self.first_seed == FIRST_DEMO_SEED:
            del fields["first_seed"]
        return fields


@dataclass(frozen=True)
class Demo:
    """One demonstration of a file; pictures are read when asked for. It is a `FrameSet` of `egorep.cache`."""

    path: Path
    name: str
    fingerprint: str

    def frames(self, count: int | None = None) -> npt.NDArray[np.uint8]:
        """(T, H, W, 3) uint8 pictures, those of several cameras side by side; the first `count`, or all."""
        with h5py.File(self.path) as file:
            cameras = json.loads(file["data"].attrs["recipe"])["settings"]["camera"].split("+")
            views = [file[f"data/{self.name}/obs/{camera}_image"][:count] for camera in cameras]
            return np.concatenate(views, axis=2)

    def read(self, key: str) -> npt.NDArray[Any]:
        """An array of the demonstration by its key: "actions", "obs/proprio", "obs/state"."""
        with h5py.File(self.path) as file:
            values: npt.NDArray[Any] = file[f"data/{self.name}/{key}"][:]
            return values


@dataclass(frozen=True)
class Beginning:
    """The first pictures of a demonstration: all that some policies look at. A `FrameSet`, too."""

    demo: Demo
    count: int

    @property
    def fingerprint(self) -> str:
        """Names the content."""
        return f"{self.demo.fingerprint}-first{self.count}"

    def frames(self) -> npt.NDArray[np.uint8]:
        """(min(T, count), H, W, 3) uint8 pictures."""
        return self.demo.frames(self.count)


@dataclass(frozen=True)
class DemoSet:
    """The demonstrations of one task.

    Attributes:
        demos: in the order of their seeds.
        discarded: episodes in which the expert failed, or published demonstrations that are no good.
        fingerprint: of all that a policy learns from: pictures, observations and actions.
        frame_hash: of the reference frame when they were filmed; empty in files older than this field.
    """

    path: Path
    demos: tuple[Demo, ...]
    discarded: int
    fingerprint: str
    frame_hash: str


def read_demos(path: Path) -> DemoSet:
    """The demonstrations of a file that `collect` wrote."""
    with h5py.File(path) as file:
        data = file["data"]
        names = sorted(data, key=lambda name: int(name.removeprefix("demo_")))
        demos = tuple(Demo(path, name, str(data[name].attrs["fingerprint"])) for name in names)
        frame_hash = str(data.attrs.get("frame_hash", ""))
        return DemoSet(path, demos, int(data.attrs["discarded"]), str(data.attrs["fingerprint"]), frame_hash)


def collect(
    recipe: DemoRecipe, folder: Path, workers: int, progress: Callable[[int], None] | None = None
) -> DemoSet:
    """The demonstrations of `recipe`, read from `folder` or, where they are not there yet, made.

    Every finished episode is kept on disk, so a collection that was killed goes on where it was; the result
    depends neither on that nor on the number of workers.

    Args:
        recipe: what to make.
        folder: of all demonstrations.
        workers: simulator processes.
        progress: called with the number of demonstrations that have become ready.

    Raises:
        RuntimeError: the expert hardly ever succeeds, or one episode keeps crashing its simulator.
    """
    return stored_once(
        recipe, folder, progress, lambda parts: _Collection(recipe, parts, progress).run(workers)
    )


def stored_once(
    recipe: Recipe,
    folder: Path,
    progress: Callable[[int], None] | None,
    make: Callable[[Path], Sequence[int]],
) -> DemoSet:
    """The demonstrations of `recipe`, read from `folder` or, where they are not there yet, put there.

    Args:
        recipe: decides them.
        folder: of all demonstrations.
        progress: called with their number where they are there.
        make: fills a folder with one part per seed (`write_part`; none where that demonstration is no good)
            and `write_look`, going on from what a killed process left there; returns the seeds.
    """
    settings = recipe.settings
    path = folder / settings.suite / settings.task / f"{recipe.key}.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # a second process waits, and then reads
        if not path.exists():
            parts = path.with_suffix(".parts")
            parts.mkdir(exist_ok=True)
            _assemble(recipe, parts, make(parts), path)
            shutil.rmtree(parts)
        elif progress is not None:
            progress(recipe.count)
    return read_demos(path)


class _Collection:
    """Episodes in the order of their seeds until enough have succeeded."""

    def __init__(self, recipe: DemoRecipe, parts: Path, progress: Callable[[int], None] | None) -> None:
        self._recipe = recipe
        self._parts = parts
        self._progress = progress
        self._outcome: dict[int, bool] = {}
        self._crashes: dict[int, int] = {}
        self._next = recipe.first_seed

    def run(self, workers: int) -> list[int]:
        """Seeds of the episodes that are to be kept, and of the failed ones before the last of them."""
        self._resume()
        if self._missing() > 0:
            with simulators(self._recipe.settings, workers) as pool:
                write_look(self._parts, pool[0])
                busy: dict[Simulator, int] = {}
                while self._missing() > 0 or busy:
                    self._assign(pool, busy)
                    self._collect(busy)
        return self._decided()

    def _resume(self) -> None:
        for part in self._parts.glob("*.hdf5"):
            self._settle(int(part.stem), success=True)
        for part in self._parts.glob("*.failed"):
            self._settle(int(part.stem), success=False)

    def _settle(self, seed: int, success: bool) -> None:
        self._outcome[seed] = success
        if success and self._progress is not None:
            self._progress(1)

    def _missing(self) -> int:
        return self._recipe.count - sum(self._outcome.values())

    def _assign(self, pool: Sequence[Simulator], busy: dict[Simulator, int]) -> None:
        recipe = self._recipe
        for simulator in pool:
            if simulator in busy or len(busy) >= self._missing():
                continue
            while self._next in self._outcome or self._next in busy.values():
                self._next += 1
            seed, self._next = self._next, self._next + 1
            busy[simulator] = seed
            simulator.send("demonstrate", seed, recipe.noise, recipe.horizon, recipe.hold)

    def _collect(self, busy: dict[Simulator, int]) -> None:
        ready = wait([simulator.connection for simulator in busy])
        for simulator in [simulator for simulator in busy if simulator.connection in ready]:
            seed = busy.pop(simulator)
            try:
                trajectory: Trajectory | None = simulator.receive()
            except SimulatorCrashError as crash:
                self._after_crash(simulator, seed, crash, busy)
                continue
            self._save(seed, trajectory)

    def _after_crash(
        self, simulator: Simulator, seed: int, crash: Exception, busy: dict[Simulator, int]
    ) -> None:
        self._crashes[seed] = self._crashes.get(seed, 0) + 1
        if self._crashes[seed] >= _MAX_CRASHES:
            raise RuntimeError(f"demonstration {seed} crashed its simulator {_MAX_CRASHES} times") from crash
        _logger.warning("demonstration %d: %s; starting it again", seed, crash)
        simulator.restart()
        busy[simulator] = seed
        recipe = self._recipe
        simulator.send("demonstrate", seed, recipe.noise, recipe.horizon, recipe.hold)

    def _save(self, seed: int, trajectory: Trajectory | None) -> None:
        if trajectory is None:
            (self._parts / f"{seed}.failed").touch()
        else:
            write_part(self._parts, trajectory, self._recipe.settings.cameras)
        self._settle(seed, success=trajectory is not None)
        self._check_expert()

    def _check_expert(self) -> None:
        tried, succeeded = len(self._outcome), sum(self._outcome.values())
        if tried >= 2 * self._recipe.count + 10 and succeeded < _LEAST_SUCCESS * tried:
            raise RuntimeError(
                f"the expert of {self._recipe.settings.task} succeeded in {succeeded} of {tried} episodes "
                f"within {self._recipe.horizon} steps: allow more steps, or less noise than "
                f"{self._recipe.noise}"
            )

    def _decided(self) -> list[int]:
        good = sorted(seed for seed, success in self._outcome.items() if success)[: self._recipe.count]
        return [seed for seed in sorted(self._outcome) if seed <= good[-1]]


def write_look(parts: Path, simulator: Simulator) -> None:
    """Keep the hash of a simulator's reference frame beside the episodes of an unfinished collection."""
    (parts / _LOOK).write_text(simulator.call("reference")["frame_hash"])


def write_part(parts: Path, trajectory: Trajectory, cameras: Sequence[str]) -> None:
    """Keep an episode of an unfinished collection."""
    with replacing(parts / f"{trajectory.seed}.hdf5") as temporary, h5py.File(temporary, "w") as file:
        _write_demo(file.create_group("demo"), trajectory, cameras)


def _write_demo(group: h5py.Group, trajectory: Trajectory, cameras: Sequence[str]) -> None:
    length = len(trajectory.actions)
    pictures = trajectory.pictures
    for camera, view in zip(cameras, np.split(pictures, len(cameras), axis=2), strict=True):
        # One picture a chunk: readers want single frames. Level 1 makes the file a quarter.
        group.create_dataset(
            f"obs/{camera}_image",
            data=view,
            chunks=(1, *view.shape[1:]),
            compression="gzip",
            compression_opts=1,
        )
    for key, values in trajectory.observations.items():
        group.create_dataset(f"obs/{key}", data=values)
    group.create_dataset("states", data=trajectory.simulator_state)
    group.create_dataset("actions", data=trajectory.actions)
    group.create_dataset("rewards", data=trajectory.success.astype(np.float32))
    dones = np.zeros(length, np.int64)
    dones[-1] = 1
    group.create_dataset("dones", data=dones)
    group.attrs["num_samples"] = length
    group.attrs["seed"] = trajectory.seed
    group.attrs["fingerprint"] = frames_fingerprint(pictures)
    if trajectory.model_file is not None:
        group.attrs["model_file"] = trajectory.model_file


def _assemble(recipe: Recipe, parts: Path, seeds: Sequence[int], path: Path) -> None:
    with replacing(path) as temporary:
        with h5py.File(temporary, "w") as file:
            _join(file.create_group("data"), recipe, parts, seeds)
        _sync(temporary)


def _join(data: h5py.Group, recipe: Recipe, parts: Path, seeds: Sequence[int]) -> None:
    kept = [seed for seed in seeds if (parts / f"{seed}.hdf5").exists()]
    digest = hashlib.blake2b(digest_size=10)
    total = 0
    for index, seed in enumerate(kept):
        with h5py.File(parts / f"{seed}.hdf5") as part:
            part.copy("demo", data, name=f"demo_{index}")
        demo = data[f"demo_{index}"]
        total += int(demo.attrs["num_samples"])
        digest.update(demo.attrs["fingerprint"].encode())
        for key in ("actions", "obs/proprio", "obs/state"):
            digest.update(demo[key][:].tobytes())
    data.attrs["total"] = total
    data.attrs["env_args"] = json.dumps(load_suite(recipe.settings.suite).env_args(recipe.settings))
    data.attrs["recipe"] = json.dumps({**recipe.as_json, "versions": recipe.versions})
    data.attrs["discarded"] = len(seeds) - len(kept)
    data.attrs["fingerprint"] = digest.hexdigest()
    data.attrs["frame_hash"] = (parts / _LOOK).read_text()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
