"""Any causal language model of transformers as a narrator: Yi, Qwen, Llama, by name or folder.

The answer begins with the original narration, which the model goes on from: a small model that writes it anew
loses words. Instruction-tuned models get the prompt through their own chat template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pretrain.hod.narrators import Narrator, NarratorError
from pretrain.hod.prompt import SYSTEM, Request, core, first_sentence, prompt


@dataclass(frozen=True)
class Settings:
    """How a model narrates.

    Attributes:
        model: its name on the Hugging Face Hub, or a folder.
        device: of torch, as "cpu" or "cuda".
        dtype: of the weights, a name in torch; "": float32 on a CPU, of which many emulate bfloat16 at a
            quarter of the speed, and bfloat16 elsewhere.
        batch: clips at once.
        longest: tokens that it may add.
        temperature: of later attempts; the first takes the likeliest token.
        coordinates: instants at which the prompt shows boxes (see `prompt.prompt`).
    """

    model: str
    device: str = "cpu"
    dtype: str = ""
    batch: int = 16
    longest: int = 72
    temperature: float = 0.7
    coordinates: int = 0


class Causal:
    """A `Narrator`. Sums in another order, as other batches bring, may change a token: not deterministic."""

    deterministic = False
    retries = True

    def __init__(self, name: str, model: Any, tokenizer: Any, settings: Settings) -> None:
        self.name = name
        self.batch = settings.batch
        self.model, self.tokenizer, self._settings = model.eval(), tokenizer, settings
        tokenizer.padding_side = "left"  # what is written must follow what is read
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def write(self, requests: Sequence[Request], attempt: int = 0) -> list[str | None]:
        """See `Narrator.write`; clips of like length share a batch."""
        texts = [self.text(request) for request in requests]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        written: list[str | None] = [None] * len(texts)
        for first in range(0, len(order), self.batch):
            chosen = order[first : first + self.batch]
            more = self._generate([texts[i] for i in chosen], attempt)
            for i, words in zip(chosen, more, strict=True):
                written[i] = first_sentence(core(requests[i].original) + words)
        return written

    def text(self, request: Request) -> str:
        """What the model reads, up to the words of its answer that are given."""
        asked = prompt(request, self._settings.coordinates)
        if self.tokenizer.chat_template is None:
            return f"{asked}\nSentence: {core(request.original)}"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
        opened = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return f"{opened}{core(request.original)}"

    @torch.inference_mode()
    def _generate(self, texts: list[str], attempt: int) -> list[str]:
        read = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        read = read.to(self._settings.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if attempt:
            sampling = {"do_sample": True, "temperature": self._settings.temperature, "top_p": 0.95}
        with torch.random.fork_rng(enabled=attempt > 0):
            torch.manual_seed(_seed(texts, attempt))
            tokens = self.model.generate(
                input_ids=read["input_ids"],
                attention_mask=read["attention_mask"],
                max_new_tokens=self._settings.longest,
                pad_token_id=self.tokenizer.pad_token_id,
                **sampling,
            )
        new = tokens[:, read["input_ids"].shape[1] :]
        return list(self.tokenizer.batch_decode(new, skip_special_tokens=True))


def load(settings: Settings) -> Narrator:
    """The narrator; loads the model.

    Raises:
        NarratorError: it cannot be loaded.
    """
    return Causal("causal", *load_model(settings.model, settings), settings)


def load_model(folder: str, settings: Settings) -> tuple[Any, Any]:
    """Model and tokenizer.

    Raises:
        NarratorError: they cannot be loaded, or torch has no such type.
    """
    if settings.device == "cpu":
        torch.set_num_threads(1)  # several wait actively, which beside other work costs a factor of ten
    name = settings.dtype or ("float32" if settings.device == "cpu" else "bfloat16")
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):  # a name that is something else in torch, or nothing
        raise NarratorError(f"dtype={name} is no type of torch; try bfloat16 or float32")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError) as error:
        line = next(iter(str(error).splitlines()), "")
        raise NarratorError(
            f"the language model {folder!r} cannot be loaded ({line}); give the folder of one that is here, "
            "or connect to the network"
        ) from error
    return model.to(settings.device), tokenizer


def _seed(texts: Sequence[str], attempt: int) -> int:
    digest = hashlib.sha256("\0".join([str(attempt), *texts]).encode()).digest()
    return int.from_bytes(digest[:4])
