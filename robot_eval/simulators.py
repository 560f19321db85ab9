"""Simulator processes: one environment each, driven over a pipe.

Rendering contexts live in these processes only; they import no torch, so a picture costs them neither its
memory nor its LLVM (see `robot_eval.render`). A process that dies is replaced, and its user told.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from robot_eval.environment import EnvSettings, Observation, RobotEnv


class SimulatorCrashError(RuntimeError):
    """The process behind a simulator died (out of memory, driver fault, killed)."""


@dataclass(frozen=True)
class Trajectory:
    """One demonstration: T steps, arrays of T rows.

    Attributes:
        seed: the episode's.
        pictures: (T, H, W, 3) uint8.
        observations: each (T, ...): `proprio`, `state` and what else the suite observes.
        simulator_state: (T, Q) float64.
        actions: (T, A) float32, the expert's own, without the noise that was executed.
        success: (T,) bool, after each action, by the suite's own measure.
        model_file: see `RobotEnv.model_file`.
    """

    seed: int
    pictures: npt.NDArray[np.uint8]
    observations: Observation
    simulator_state: npt.NDArray[np.float64]
    actions: npt.NDArray[np.float32]
    success: npt.NDArray[np.bool_]
    model_file: str | None


def demonstrate(env: RobotEnv, seed: int, noise: float, horizon: int, hold: int) -> Trajectory | None:
    """Let the expert play one episode; None where it fails.

    Args:
        env: reset here.
        seed: of the episode and of the noise.
        noise: standard deviation of Gaussian noise on the executed actions, in action units; the recorded
            labels are the expert's clean actions, so a policy learns to correct what noise did.
        horizon: steps after which an unfinished attempt has failed.
        hold: steps that the task must stay achieved to count, by the strict measure, all of them recorded.
    """
    rng = np.random.default_rng((seed, 2))
    observation, _ = env.reset(seed=seed)
    seen: list[Observation] = []
    rows: list[tuple[Any, ...]] = []
    held = 0
    while held < hold:
        if len(rows) == horizon:
            return None
        clean = env.expert_action()
        before = (env.render(), env.simulator_state, clean)
        seen.append(observation)
        noisy = clean + noise * rng.standard_normal(clean.shape).astype(np.float32)
        observation, _, _, _, info = env.step(noisy)
        rows.append((*before, info["success"]))
        held = held + 1 if info["strict_success"] else 0
    pictures, states, actions, success = (np.stack(column) for column in zip(*rows, strict=True))
    observations = {key: np.stack([step[key] for step in seen]) for key in seen[0]}
    return Trajectory(seed, pictures, observations, states, actions, success, env.model_file)


class _Worker:
    """What runs inside a simulator process: each method is a command."""

    def __init__(self, settings: EnvSettings) -> None:
        from robot_eval.suites import make_env

        self._env = make_env(settings)

    def reference(self) -> dict[str, str]:
        from egorep.graphics import opengl_driver

        self._env.reset(seed=0)
        picture = self._env.render()
        digest = hashlib.blake2b(picture.tobytes(), digest_size=8).hexdigest()
        return {"opengl": opengl_driver(), "frame_hash": digest}

    def reset(self, seed: int, picture: bool) -> Observation:
        observation, _ = self._env.reset(seed=seed)
        return self._with_picture(observation, picture)

    def step(self, action: npt.NDArray[np.float32], picture: bool) -> tuple[Observation, bool, bool]:
        observation, _, _, _, info = self._env.step(action)
        return self._with_picture(observation, picture), bool(info["success"]), bool(info["strict_success"])

    def demonstrate(self, seed: int, noise: float, horizon: int, hold: int) -> Trajectory | None:
        return demonstrate(self._env, seed, noise, horizon, hold)

    def layout(self) -> tuple[str | None, int]:
        assert self._env.action_space.shape is not None
        return self._env.model_file, self._env.action_space.shape[0]

    def replay(self, states: npt.NDArray[np.float64]) -> Observation:
        seen = [self._env.restore(state) for state in states]
        return {key: np.stack([step[key] for step in seen]) for key in seen[0]}

    def film(self, seed: int, states: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        self._env.reset(seed=seed)  # for its looks
        return np.stack([self._with_picture(self._env.restore(state), True)["picture"] for state in states])

    def _with_picture(self, observation: Observation, picture: bool) -> Observation:
        return {**observation, "picture": self._env.render()} if picture else observation


def _serve(connection: Connection, settings: EnvSettings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    os.environ.setdefault("LP_NUM_THREADS", "1")  # one core a simulator; Mesa would take them all
    worker: _Worker | None = None
    while True:
        try:
            command, arguments = connection.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        try:
            worker = worker or _Worker(settings)
            answer = (True, getattr(worker, command)(*arguments))
        except Exception:  # raised again in the parent, with its traceback
            answer = (False, traceback.format_exc())
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):  # the parent needs no more
            return


class Simulator:
    """One environment in a process of its own. Start a command with `send`, collect it with `receive`.

    Args:
        settings: of the environment, which is built at the first command.
    """

    def __init__(self, settings: EnvSettings) -> None:
        self._settings = settings
        self.restarts = 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, self._settings), daemon=True)
        self._process.start()
        child.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """For `multiprocessing.connection.wait`."""
        return self._connection

    def send(self, command: str, *arguments: Any) -> None:
        """Start a command. A dead process shows at `receive`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send((command, arguments))

    def receive(self) -> Any:
        """The result of the command that was sent.

        Raises:
            SimulatorCrashError: the process died; call `restart` and send again.
            RuntimeError: the command raised; the message holds the traceback.
        """
        try:
            fine, result = self._connection.recv()
        except (EOFError, OSError) as error:  # OSError: it died in the middle of its answer
            self._process.join(timeout=10)
            raise SimulatorCrashError(
                f"simulator process ended with exit code {self._process.exitcode}"
            ) from error
        if not fine:
            raise RuntimeError(f"in the simulator of {self._settings.task}:\n{result}")
        return result

    def call(self, command: str, *arguments: Any) -> Any:
        """`send` and `receive` at once."""
        self.send(command, *arguments)
        return self.receive()

    def restart(self) -> None:
        """Replace the process; the new one has a fresh environment."""
        self.close()
        self.restarts += 1
        self._start()

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join(timeout=10)


@contextlib.contextmanager
def simulators(settings: EnvSettings, count: int) -> Iterator[Sequence[Simulator]]:
    """`count` simulators of the same environment, ended on the way out."""
    started: list[Simulator] = []
    try:
        for _ in range(count):
            started.append(Simulator(settings))
        yield started
    finally:
        for simulator in started:
            simulator.close()
