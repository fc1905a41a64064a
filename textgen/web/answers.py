"""The answers that need a model: a text, as JSON or as events, and a score."""

import asyncio
import functools
import secrets
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from textgen.messages import printable
from textgen.text.unknown import UnknownSymbolsError
from textgen.web import schema
from textgen.web.guard import RefusedError, as_json
from textgen.web.limits import Limits
from textgen.web.served import ServedModels
from textgen.web.tokens import scored
from textgen.web.workers import BusyError, Places, Workers

Send = Callable[[dict[str, Any]], Awaitable[None]]

_RETRY = ((b"retry-after", b"5"),)

_UNKNOWN = 'Send "unknown": "skip" to leave them out.'


class Service:
    """What the routes share.

    Args:
        models: `ServedModels`.
        limits: `Limits`.

    Attributes:
        places: `Places`. Of the requests that are computed.
    """

    def __init__(self, models: ServedModels, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.workers = Workers(limits.workers)
        self.places = Places(limits.parallel, limits.waiting, limits.waiting_seconds)

    def generate(self, request: schema.Generate) -> Response:
        """Returns the answer to a checked request; it computes when it is sent."""
        name = self.models.name_of(request.model)
        length = self._limited(request, "max_new_tokens")
        self._check_length("prompt", request.prompt)
        return _Answer(self, functools.partial(self._generate, name, request, length))

    def score(self, request: schema.ScoreRequest) -> Response:
        """Returns the answer to a checked request; it computes when it is sent."""
        name = self.models.name_of(request.model)
        alternatives = self._limited(request, "alternatives")
        self._check_length("text", request.text)
        work = functools.partial(self._score, name, request, alternatives)
        return _Answer(self, work)

    def close(self) -> None:
        """Stops computing."""
        self.models.close()
        self.workers.close()

    def _limited(self, request: BaseModel, name: str) -> int:
        """Returns the number of a field, if it does not exceed the limit of its name.

        The default of the field is not an error where the limit is lower.
        """
        value, limit = getattr(request, name), getattr(self.limits, name)
        if name not in request.model_fields_set:
            return min(value, limit)
        if value > limit:
            raise RefusedError(
                422,
                f"{name}={value} must be at most {limit}, the limit of this server.",
            )
        return value

    def _check_length(self, name: str, text: str) -> None:
        if len(text) > self.limits.max_characters:
            raise RefusedError(
                422,
                f"{name} has {len(text):,} characters and must have at most "
                f"{self.limits.max_characters:,}, the limit of this server.",
            )

    async def _score(
        self, name: str, request: schema.ScoreRequest, alternatives: int, send: Send
    ) -> None:
        model = await self.models.ready(name)

        def compute() -> bytes:
            with _Refusals():
                found = scored(
                    model,
                    request.text,
                    alternatives,
                    request.unknown,
                    request.label,
                )
            return as_json({"model": name, **found})

        await _send_json(send, await self.workers.run(compute))

    async def _generate(
        self, name: str, request: schema.Generate, length: int, send: Send
    ) -> None:
        model = await self.models.ready(name)
        seed = request.seed if request.seed is not None else secrets.randbelow(2**31)

        def begin() -> tuple[Iterator[str], str | None, str | None]:
            with _Refusals():
                pieces = model.stream(
                    request.prompt,
                    length,
                    request.temperature,
                    echo=False,
                    seed=seed,
                    stop=request.stop or None,
                    top_p=request.top_p,
                    top_k=request.top_k,
                    label=request.label,
                    unknown=request.unknown,
                )
            return pieces, *_advance(pieces)

        pieces, text, finished = await self.workers.run(begin, True)
        if request.stream:
            await self._send_events(send, name, seed, pieces, text, finished)
            return
        texts = []
        while text is not None:
            texts.append(text)
            text, finished = await self._next(pieces)
        answer = {"model": name, "seed": seed, "text": "".join(texts)}
        await _send_json(send, as_json({**answer, "finished": finished}))

    async def _send_events(
        self,
        send: Send,
        name: str,
        seed: int,
        pieces: Iterator[str],
        text: str | None,
        finished: str | None,
    ) -> None:
        """Sends a text while it is generated, and its end."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        headers.append((b"x-accel-buffering", b"no"))  # a proxy must not collect it
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_event(send, "start", {"seed": seed, "model": name})
        try:
            while text is not None:
                await _send_event(send, "text", {"text": text})
                text, finished = await self._next(pieces)
        except Exception as error:
            reason = printable(f"{type(error).__name__}: {error}")
            print(f"textgen serve: error: {reason}", file=sys.stderr, flush=True)
            message = "An error inside the server ended the text."
            await _send_event(send, "error", {"message": message}, False)
            return
        await _send_event(send, "done", {"finished": finished}, False)

    async def _next(self, pieces: Iterator[str]) -> tuple[str | None, str | None]:
        return await self.workers.run(functools.partial(_advance, pieces))


class _Answer(Response):
    """An answer that waits for a place, and ends when its client disconnects.

    Args:
        service: `Service`.
        work: Coroutine function that takes `send`.
    """

    def __init__(
        self, service: Service, work: Callable[[Send], Coroutine[Any, Any, None]]
    ) -> None:
        super().__init__()
        self._service, self._work = service, work

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends the answer.

        Raises:
            RefusedError: There is no place, or the request cannot be answered. Nothing
                was sent.
        """

        async def work() -> None:
            try:
                async with self._service.places.place():
                    await self._work(send)
            except BusyError as error:
                raise RefusedError(503, str(error), _RETRY) from None

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        tasks = [asyncio.create_task(work()), asyncio.create_task(gone())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            result, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(result, Exception):
            raise result


class _Refusals:
    """Converts errors about a request to `RefusedError` in its block."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UnknownSymbolsError):
            raise RefusedError(422, error.describe(_UNKNOWN)) from error
        if isinstance(error, ValueError):
            raise RefusedError(422, str(error)) from error


def _advance(pieces: Iterator[str]) -> tuple[str | None, str | None]:
    """Returns the next piece of a text, or why the text ended."""
    try:
        return next(pieces), None
    except StopIteration as end:
        return None, end.value


async def _send_json(send: Send, body: bytes) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_event(
    send: Send, event: str, data: dict[str, Any], more: bool = True
) -> None:
    body = f"event: {event}\ndata: ".encode() + as_json(data) + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": more})
