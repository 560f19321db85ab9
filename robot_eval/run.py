"""One run: demonstrations, features, policies, rollouts; each is kept as soon as it is finished.

Every unit of work is stored under a hash of all that decides it, so a run that was killed goes on where it
was, a changed setting never meets an old result, and a second run with the same settings does nothing again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import logging
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from egorep import Encoder, load_encoder
from egorep.cache import FeatureCache, FrameSet
from egorep.cores import cores
from egorep.orphans import end_with
from egorep.registry import EncoderName
from egorep.video_files import write_mp4
from robot_eval.cloning import Checkpoint, Training, clone, clone_with_robomimic, load_policy, save_policy
from robot_eval.config import RunConfig, TaskName
from robot_eval.demos import Demo, DemoSet, collect
from robot_eval.environment import EnvSettings
from robot_eval.inputs import PolicyInputs
from robot_eval.looks import look_notes, look_versions
from robot_eval.policies.base import Demonstrations
from robot_eval.probe_results import ProbeRow, ProbeStore, write_probes
from robot_eval.published import published_demos
from robot_eval.results import EvaluationRow, ResultStore
from robot_eval.rollout import EpisodeResult, EpisodeRules, Rollouts
from robot_eval.seeds import episode_seeds
from robot_eval.simulators import Simulator, simulators
from robot_eval.suites import load_suite
from robot_eval.units import Cell, Unit, encoder_seed, policy_path
from robot_eval.views import seen_by

_logger = logging.getLogger(__name__)


class Run:
    """Executes a configuration.

    Args:
        config: checked, see `robot_eval.config.parse`.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._store = ResultStore(config.out)
        self._probes = ProbeStore(config.out)
        self._cache = FeatureCache(Path(config.data) / "features")
        self._keys: list[str] = []
        self._probe_keys: list[str] = []
        self._noted: set[tuple[str, str]] = set()
        self._bar = tqdm(
            total=self._episodes(), unit="episode", smoothing=0.05, mininterval=1.0, dynamic_ncols=True
        )

    def execute(self) -> pd.DataFrame:
        """Do what is not done yet and return all rows of this run, as in `results.parquet`.

        What probes found is in `probes.parquet`.
        """
        for cells in self._tasks():
            self._train_missing(cells)
            self._probe(cells)
            for variation in self._config.judges:
                self._judge(cells, self._config.settings(cells[0].name, variation))
        self._write_probes()
        return self._store.merge(self._keys)

    def probe(self) -> list[ProbeRow]:
        """Probe what policies would learn from, as `execute` does, and train none.

        Returns:
            All rows of this run, as in `probes.parquet`.
        """
        for cells in self._tasks():
            self._probe(cells)
        return self._write_probes()

    def _tasks(self) -> Iterator[list[Cell]]:
        """The cells of one task after the other, each with its demonstrations."""
        # Parallelism is ours: simulators, encoded frames and policies each take one core. Torch's own threads
        # wait for each other actively, which beside busy simulators is ten times slower than one thread.
        torch.set_num_threads(1)
        with self._bar:
            for name in self._config.chosen:
                yield self._cells(name)

    def _write_probes(self) -> list[ProbeRow]:
        rows = [row for _, row in self._probes.dated_rows(self._probe_keys)]
        return write_probes(self._config.out, rows)

    def _episodes(self) -> int:
        config, protocol = self._config, self._config.protocol
        if config.only_probes:
            return len(config.chosen) * config.demos
        evaluations = protocol.budget.total // protocol.budget.evaluate_every
        tasks = len(config.chosen)
        sets = len(config.policy_seeds) if config.fresh_demos else 1
        policies = tasks * len(config.encoders) * len(config.policy_seeds)
        judged = evaluations * protocol.episodes + len(config.judges) * protocol.held_out_episodes
        return tasks * sets * config.demos + policies * judged

    def _advance(self, episodes: int) -> None:
        self._bar.update(episodes)

    def _say(self, *words: str) -> None:
        self._bar.set_description_str(" ".join(words))

    def _demonstrations(self, name: TaskName) -> dict[int, DemoSet]:
        """Of each policy seed: the same for all, or its own. Probes alone are of the first."""
        seeds = self._config.policy_seeds[: 1 if self._config.only_probes else None]
        self._say(str(name), "demonstrations")
        if self._config.fresh_demos:
            return {seed: self._collected(name, seed) for seed in seeds}
        return dict.fromkeys(seeds, self._collected(name, seeds[0]))

    def _collected(self, name: TaskName, policy_seed: int) -> DemoSet:
        config = self._config
        folder = Path(config.data) / "demos"
        if config.published and name.task in config.published:
            path, key = Path(config.published[name.task]), config.filter_key
            settings = config.settings(name, config.variation)
            return published_demos(path, settings, folder, config.workers, config.demos, key, self._advance)
        return collect(config.recipe(name, policy_seed), folder, config.workers, self._advance)

    def _cells(self, name: TaskName) -> list[Cell]:
        demos = self._demonstrations(name)
        return [
            Cell(self._config, name, self._encoder(name, encoder, seed), demos[seed], seed)
            for encoder in self._config.encoders
            for seed in demos
        ]

    def _judge(self, cells: Sequence[Cell], settings: EnvSettings) -> None:
        """All evaluations of a task under one variation; simulators start when the first is needed."""
        with contextlib.ExitStack() as stack:
            pool = _LazyPool(stack, settings, self._config.workers)
            for cell in cells:
                if settings.variation == self._config.variation:
                    for step in cell.checkpoints:
                        self._evaluate(self._unit(cell, step, "checkpoint", settings), pool)
                self._evaluate(self._unit(cell, self._best(cell), "held_out", settings), pool)

    def _encoder(self, task: TaskName, name: str, seed: int) -> Encoder:
        loaded = _load(name, self._config, encoder_seed(name, seed))
        cameras = self._config.settings(task, self._config.variation).cameras
        return seen_by(loaded, len(cameras), still=self._config.protocol.still)

    def _unit(self, cell: Cell, step: int, role: str, settings: EnvSettings) -> Unit:
        protocol = self._config.protocol
        count = protocol.episodes if role == "checkpoint" else protocol.held_out_episodes
        return Unit(cell, step, role, settings, episode_seeds(role, cell.seed, count))

    def _best(self, cell: Cell) -> int:
        """The checkpoint with the most successes where the policy learnt; the later of equals."""
        settings = self._config.settings(cell.name, self._config.variation)
        rates = {}
        for step in cell.checkpoints:
            row = self._store.read(self._unit(cell, step, "checkpoint", settings).key)
            rates[step] = float(np.mean(row.successes))
        return max(cell.checkpoints, key=lambda step: (rates[step], step))

    def _evaluate(self, unit: Unit, pool: _LazyPool) -> None:
        cell = unit.cell
        self._keys.append(unit.key)
        if self._store.has(unit.key):
            self._relabel(unit)
            self._advance(len(unit.seeds))
            return
        policy, metadata = load_policy(cell.policy_path(unit.step))
        self._say(str(cell.name), unit.settings.variation, cell.encoder.name, f"seed {cell.seed}", unit.role)
        filmed = self._config.videos and unit.role == "held_out" and cell.seed == self._config.policy_seeds[0]
        began, restarts = time.monotonic(), pool.restarts
        rollouts = Rollouts(
            pool.simulators, cell.eye, cell.inputs, unit.rules, self._advance, stride=cell.stride
        )
        episodes = rollouts.run(policy, unit.seeds, record=unit.seeds[:1] if filmed else ())
        row = EvaluationRow(
            **self._identity(unit),
            success_any=[episode.success_any for episode in episodes],
            success_last=[episode.success_last for episode in episodes],
            strict_any=[episode.strict_any for episode in episodes],
            strict_last=[episode.strict_last for episode in episodes],
            episode_steps=[episode.steps for episode in episodes],
            frame_hash=pool.reference["frame_hash"],
            train_loss=metadata["train_loss"],
            train_seconds=metadata["train_seconds"],
            rollout_seconds=time.monotonic() - began,
            restarts=pool.restarts - restarts,
            versions=_versions(unit.settings.suite, pool.reference["opengl"]),
            video=self._film(unit, episodes[0]) if filmed else None,
        )
        self._store.write(unit.key, row)
        self._note_look(row)

    def _note_look(self, row: EvaluationRow) -> None:
        """Say once per task, as soon as it shows, that simulators draw something else than they did."""
        for note in look_notes([row]):
            if (note.task, note.about) not in self._noted:
                self._noted.add((note.task, note.about))
                _logger.log(note.level, note.text)

    def _relabel(self, unit: Unit) -> None:
        # Both rules of success are in every row, so another rule needs no other episodes; and rows of earlier
        # versions lack columns.
        row, identity = self._store.read(unit.key), self._identity(unit)
        if any(getattr(row, name) != value for name, value in identity.items()):
            self._store.write(unit.key, dataclasses.replace(row, **identity))

    def _identity(self, unit: Unit) -> dict[str, Any]:
        config, cell = self._config, unit.cell
        return {
            "encoder": cell.encoder.name,
            "encoder_fingerprint": cell.encoder.fingerprint,
            "suite": unit.settings.suite,
            "task": unit.settings.task,
            "policy": config.cloned.name,
            "protocol": config.protocol.name,
            "seed": cell.seed,
            "train_variation": config.variation,
            "variation": unit.settings.variation,
            "render": unit.settings.render,
            "render_size": unit.settings.render_size,
            "picture_size": unit.settings.picture_size,
            "camera": unit.settings.camera,
            "horizon": unit.rules.horizon,
            "checkpoint": unit.step,
            "role": unit.role,
            "success_rule": config.protocol.success,
            "episode_seeds": list(unit.seeds),
            "demos": len(cell.demos.demos),
            "demos_fingerprint": cell.demos.fingerprint,
            "demos_discarded": cell.demos.discarded,
            "demos_frame_hash": cell.demos.frame_hash or None,
        }

    def _film(self, unit: Unit, episode: EpisodeResult) -> str:
        assert episode.pictures is not None
        path = Path("videos") / f"{unit.key}.mp4"
        # Half speed: the suites' experts are quick.
        fps = load_suite(unit.settings.suite).control_hz / 2
        write_mp4(Path(self._config.out) / path, episode.pictures, fps)
        return str(path)

    def _train_missing(self, cells: Sequence[Cell]) -> None:
        """Train the policies that are not there yet, one per core, and keep all their checkpoints."""
        missing = [cell for cell in cells if not cell.trained]
        for cell in missing:  # features first: an encoder takes all cores by itself
            self._encode(cell, cell.shown)
        if missing:
            self._say(str(cells[0].name), f"training {len(missing)} policies")
        with ThreadPoolExecutor(cores()) as threads, contextlib.ExitStack() as stack:
            # robomimic draws from torch's global generator all the time, so it gets a process for each.
            alone = missing and self._config.cloned.kind == "robomimic"
            processes = stack.enter_context(_processes()) if alone else None
            list(threads.map(lambda cell: self._train(cell, processes), missing))

    def _train(self, cell: Cell, processes: ProcessPoolExecutor | None) -> None:
        # Read here, so that no more is in memory than is trained on at once.
        data = cell.demos.path if cell.looks else self._training_set(cell)
        job = (cell.training, data, cell.folder, self._metadata(cell))
        if processes is None:
            _train(*job)
        else:
            processes.submit(_train, *job).result()

    def _metadata(self, cell: Cell) -> dict[str, Any]:
        """What is kept beside a policy's weights: all that another machine needs to roll it out."""
        config = self._config
        return {
            "identity": cell.identity,
            "policy": cell.training.description,
            "action_dim": int(cell.demos.demos[0].read("actions").shape[1]),
            "encoder": {
                "name": cell.encoder.name,
                "fingerprint": cell.encoder.fingerprint,
                "pool": EncoderName.read(cell.encoder.name).pool or config.features,
                "engine": config.inference_engine,
                "seed": encoder_seed(cell.encoder.name, cell.seed),
                "still": config.protocol.still,
            },
            "inputs": dataclasses.asdict(cell.inputs),
            "stride": cell.stride,
            "settings": dataclasses.asdict(config.settings(cell.name, config.variation)),
            "rules": dataclasses.asdict(EpisodeRules(config.horizon(cell.name), config.protocol.hold)),
            "success_rule": config.protocol.success,
            "protocol": config.protocol.name,
            "seed": cell.seed,
        }

    def _encode(self, cell: Cell, pictures: Sequence[FrameSet]) -> None:
        """Put the features of pictures of its demonstrations into the cache."""
        if cell.encoder.observation == "picture" and not cell.looks:
            self._say(str(cell.name), cell.encoder.name, "features")
            self._cache.fill(cell.encoder, pictures, stride=cell.stride)

    def _probe(self, cells: Sequence[Cell]) -> None:
        """Probe the features of every encoder, of untrained ones the first draw alone, and the state."""
        if not self._config.probes or self._config.cloned.sees != "features":
            return
        first = self._config.policy_seeds[0]
        cells = [cell for cell in cells if cell.seed == first]
        self._probe_keys += [cell.probes.key for cell in cells]
        missing = [cell for cell in cells if not self._probes.has(cell.probes.key)]
        for cell in missing:  # features are missing where its policies were trained, and `data` is new
            self._encode(cell, cell.demos.demos)
        if missing:
            self._say(str(cells[0].name), f"probing {len(missing)} encoders")
        with ThreadPoolExecutor(cores()) as threads:
            list(threads.map(self._probe_one, missing))

    def _probe_one(self, cell: Cell) -> None:
        demos = cell.demos.demos
        encoded = self._features(cell, demos)
        features = None
        if cell.encoder.observation != "state":
            features = _seen(demos, encoded, dataclasses.replace(cell.inputs, proprio=False))
        inputs = _seen(demos, encoded, cell.inputs)
        states, actions = ([demo.read(key) for demo in demos] for key in ("obs/state", "actions"))
        self._probes.write(cell.probes.key, cell.probes.rows(features, inputs, states, actions))

    def _training_set(self, cell: Cell) -> Demonstrations:
        inputs = _seen(cell.demos.demos, self._features(cell, cell.shown), cell.inputs)
        actions = [demo.read("actions") for demo in cell.demos.demos]
        lengths = tuple(len(rows) for rows in actions)
        seen, done = (torch.from_numpy(np.concatenate(parts)) for parts in (inputs, actions))
        return Demonstrations(seen, done, lengths)

    def _features(self, cell: Cell, pictures: Sequence[FrameSet]) -> Sequence[npt.NDArray[np.float32] | None]:
        """Features of pictures of each demonstration; None where the encoder looks at none."""
        if cell.encoder.observation != "picture":
            return [None] * len(pictures)
        return [self._cache.features(cell.encoder, shown, cell.stride) for shown in pictures]


def _seen(
    demos: Sequence[Demo], features: Sequence[npt.NDArray[np.float32] | None], inputs: PolicyInputs
) -> list[npt.NDArray[np.float32]]:
    """(T, D) of each demonstration, what a policy with these inputs sees."""
    return [
        inputs.of_episode(rows, demo.read("obs/proprio"), demo.read("obs/state"))
        for demo, rows in zip(demos, features, strict=True)
    ]


def _train(training: Training, data: Demonstrations | Path, folder: Path, metadata: dict[str, Any]) -> None:
    """Train a policy and keep all its checkpoints."""
    began = time.monotonic()
    for checkpoint in _checkpoints(training, data):
        result = {
            "step": checkpoint.step,
            "train_loss": checkpoint.loss,
            "train_seconds": time.monotonic() - began,
        }
        save_policy(policy_path(folder, checkpoint.step), checkpoint.policy, metadata | result)


def _checkpoints(training: Training, data: Demonstrations | Path) -> Iterator[Checkpoint]:
    if training.policy.kind == "robomimic":
        return clone_with_robomimic(training, data)
    assert isinstance(data, Demonstrations)
    return clone(training, data)


def _processes() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(cores(), context, initializer=_settle, initargs=(os.getpid(),))


def _settle(parent: int) -> None:
    torch.set_num_threads(1)  # policies side by side are the parallelism
    end_with(parent)


class _LazyPool:
    """Simulators that start when they are first asked for, and what their pictures look like."""

    def __init__(self, stack: contextlib.ExitStack, settings: EnvSettings, count: int) -> None:
        self._stack = stack
        self._settings = settings
        self._count = count

    @functools.cached_property
    def simulators(self) -> Sequence[Simulator]:
        return self._stack.enter_context(simulators(self._settings, self._count))

    @functools.cached_property
    def reference(self) -> dict[str, str]:
        """The OpenGL backend, and the hash of a reference picture: it changes with the looks."""
        reference: dict[str, str] = self.simulators[0].call("reference")
        return reference

    @property
    def restarts(self) -> int:
        """Of all simulators, so far."""
        return sum(simulator.restarts for simulator in self.simulators)


@functools.lru_cache(maxsize=8)
def _load_cached(name: str, pool: str, device: str, engine: str, max_batch: int | None, seed: int) -> Encoder:
    return load_encoder(name, pool=pool, device=device, engine=engine, max_batch=max_batch, seed=seed)


def _load(name: str, config: RunConfig, seed: int) -> Encoder:
    return _load_cached(name, config.features, config.device, config.inference_engine, config.max_batch, seed)


@functools.cache
def _versions(suite: str, opengl: str) -> dict[str, str]:
    packages = ("egorep", "numpy", "torch", "timm", "transformers", "openvino")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found, **look_versions(suite, opengl)}
