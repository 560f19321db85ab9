"""Any OpenAI-compatible endpoint as a narrator: a vLLM server of one's own, or a service.

Requests run side by side, within limits. What fails for a moment (429, 5xx, time-outs, lost connections) the
`openai` client tries again, waiting longer each time and as long as the server asks; what fails for good, a
wrong key or model, ends the work at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import openai
from openai import AsyncOpenAI

from pretrain.hod.narrators import Narrator, NarratorError
from pretrain.hod.prompt import SYSTEM, Request, first_sentence, prompt

_HOPELESS = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


@dataclass(frozen=True)
class Settings:
    """How an endpoint narrates.

    Attributes:
        model: as the endpoint calls it.
        base_url: of the endpoint, as "http://localhost:8000/v1"; "": the environment's OPENAI_BASE_URL, else
            OpenAI's.
        key_variable: the environment's variable that holds the key. An endpoint given by its address may do
            without.
        concurrency: requests at a time.
        per_minute: requests begun in a minute, at most; 0: no limit.
        tries: further ones for what fails for a moment.
        timeout: seconds for one try.
        batch: clips handed over at once.
        longest: tokens of an answer.
        temperature: of later attempts; the first has 0.
        coordinates: instants at which the prompt shows boxes (see `prompt.prompt`).
    """

    model: str
    base_url: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    per_minute: int = 0
    tries: int = 5
    timeout: float = 60.0
    batch: int = 256
    longest: int = 120
    temperature: float = 0.7
    coordinates: int = 0


class Endpoint:
    """A `Narrator`."""

    name = "endpoint"
    deterministic = False
    retries = True

    def __init__(self, settings: Settings, key: str) -> None:
        self.batch = settings.batch
        self._settings, self._key = settings, key

    def write(self, requests: Sequence[Request], attempt: int = 0) -> list[str | None]:
        """See `Narrator.write`. A request that fails in spite of all tries is None.

        Raises:
            NarratorError: the key, the address or the model is refused, or all requests failed.
        """
        return asyncio.run(self._write(requests, attempt))

    async def _write(self, requests: Sequence[Request], attempt: int) -> list[str | None]:
        chosen = self._settings
        pace = _Pace(chosen.concurrency, chosen.per_minute)
        client = AsyncOpenAI(
            api_key=self._key,
            base_url=chosen.base_url or None,
            max_retries=chosen.tries,
            timeout=chosen.timeout,
        )
        async with client:
            answers = await asyncio.gather(*(self._one(client, pace, each, attempt) for each in requests))
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        if requests and len(failures) == len(requests):
            raise self._error(failures[0]) from failures[0]
        return [None if isinstance(answer, Exception) else first_sentence(answer) for answer in answers]

    async def _one(
        self, client: AsyncOpenAI, pace: _Pace, request: Request, attempt: int
    ) -> str | openai.OpenAIError:
        async with pace.running:
            await pace.turn()
            try:
                answer = await client.chat.completions.create(
                    model=self._settings.model,
                    messages=[
                        {"role": "system", "content": SYSTEM},
                        {"role": "user", "content": prompt(request, self._settings.coordinates)},
                    ],
                    max_tokens=self._settings.longest,
                    temperature=self._settings.temperature if attempt else 0.0,
                    seed=attempt,
                )
            except _HOPELESS as error:
                raise self._error(error) from error
            except openai.OpenAIError as error:
                return error
        return (answer.choices[0].message.content if answer.choices else None) or ""

    def _error(self, error: openai.OpenAIError) -> NarratorError:
        where = self._settings.base_url or os.environ.get("OPENAI_BASE_URL", "OpenAI's address")
        return NarratorError(
            f"the endpoint at {where} with model {self._settings.model!r} does not narrate: "
            f"{type(error).__name__}: {error}. "
            f"Check base_url, model and the key in {self._settings.key_variable}"
        )


class _Pace:
    """How many requests run, and how soon after each other they begin."""

    def __init__(self, concurrency: int, per_minute: int) -> None:
        self.running = asyncio.Semaphore(concurrency)
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = time.monotonic()

    async def turn(self) -> None:
        """Wait for this request's moment."""
        now = time.monotonic()
        self._next = max(self._next, now)
        wait = self._next - now
        self._next += self._gap
        if wait > 0:
            await asyncio.sleep(wait)


def load(settings: Settings) -> Narrator:
    """The narrator; sends nothing yet.

    Raises:
        ValueError: a limit out of range.
        NarratorError: there is no key.
    """
    if settings.concurrency < 1 or min(settings.per_minute, settings.tries) < 0 or settings.timeout <= 0:
        raise ValueError(
            "an endpoint wants concurrency >= 1, per_minute >= 0, tries >= 0 and timeout > 0; got "
            f"{settings.concurrency}, {settings.per_minute}, {settings.tries} and {settings.timeout}"
        )
    own = settings.base_url or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get(settings.key_variable) or ("none" if own else "")
    if not key:
        raise NarratorError(
            f"OpenAI's endpoint wants a key: set {settings.key_variable}, or give the base_url of your server"
        )
    return Endpoint(settings, key)
