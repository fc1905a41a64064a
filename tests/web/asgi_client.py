"""Sends requests to an ASGI application, without a server and without a network."""

import asyncio
import json
from typing import NamedTuple

JSON = (b"content-type", b"application/json")
HOST = b"127.0.0.1:8000"


class Answer(NamedTuple):
    """What the application sent."""

    status: int | None
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The server-sent events: `(event, data)`."""
        found = []
        for block in self.body.decode().removesuffix("\n\n").split("\n\n"):
            event, data = block.split("\n")
            assert event.startswith("event: ")
            assert data.startswith("data: ")
            found.append((event[7:], json.loads(data[6:])))
        return found


class Exchange:
    """One request, and its answer as far as it has come.

    Args:
        app: ASGI application.
        method: str.
        path: str.
        body: The JSON value of the body, or bytes, or a list of bytes for a body in
            pieces, or a coroutine function that returns messages.
        headers: Further headers; a `host` replaces the usual one.
    """

    def __init__(self, app, method, path, body=None, headers=()):
        self.app, self.status, self.headers, self.body = app, None, {}, b""
        self.gone = asyncio.Event()
        self.started = asyncio.Event()  # after the first piece of a body
        if not isinstance(body, bytes | list | None) and not callable(body):
            body = json.dumps(body).encode()
        headers = list(headers)
        if all(name != b"content-type" for name, _ in headers) and method == "POST":
            headers.append(JSON)
        if all(name != b"host" for name, _ in headers):
            headers.append((b"host", HOST))
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        self.other = body if callable(body) else None
        pieces = body if isinstance(body, list) else [body or b""]
        self.pieces = [] if self.other else pieces

    async def receive(self):
        if self.other is not None:
            return await self.other()
        if self.pieces:
            piece, *self.pieces = self.pieces
            more = bool(self.pieces)
            return {"type": "http.request", "body": piece, "more_body": more}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
            self.headers = dict(message["headers"])
            assert len(self.headers) == len(message["headers"])
        else:
            self.body += message.get("body", b"")
            self.started.set()

    async def run(self):
        """Returns the complete answer."""
        await self.app(self.scope, self.receive, self.send)
        return Answer(self.status, self.headers, self.body)


def ask(app, method, path, body=None, headers=()):
    """Sends one request, and returns its `Answer`; it must come within 30 seconds."""

    async def run():
        exchange = Exchange(app, method, path, body, headers)
        return await asyncio.wait_for(exchange.run(), 30)

    return asyncio.run(run())
