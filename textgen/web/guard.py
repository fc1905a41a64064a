"""What happens to a request before it reaches the application, in plain ASGI.

- `Host` must name this server, so that no other site can use a name of its own for it
  (DNS rebinding).
- `Origin`, which browsers send with requests of pages, must be this server.
- A body must be JSON. A page of another site cannot send JSON without a permission,
  which the server never gives.
- A body has a limit of size and of time.
- No error shows a traceback.
"""

import asyncio
import ipaddress
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from textgen.messages import printable
from textgen.web.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")

# A page loads nothing from other servers, and no other page can show it in a frame.
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'; object-src 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


# An address in brackets, or a name; then the port.
_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(?::\d*)?")


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: int. Status of the answer.
        message: str. One sentence with the value and the remedy.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, tuple(headers)


def as_json(value: Any) -> bytes:
    """Returns JSON in UTF-8; a lone surrogate, which has no UTF-8, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


async def send_error(send: Send, error: RefusedError) -> None:
    """Sends `{"error": …}`."""
    body = as_json({"error": printable(error, 1000)})
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [*headers, *error.headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


class Guard:
    """Checks each request before the application sees it.

    Args:
        app: ASGI application.
        limits: `Limits`.
        hosts: Names and addresses that the header `Host` may have.
    """

    def __init__(self, app: App, limits: Limits, hosts: Iterable[str]) -> None:
        self._app, self._limits = app, limits
        self._hosts = frozenset(map(_plain, hosts))

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _with_headers(message)}
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self._app(scope, _after(body, receive), send_safely)
        except RefusedError as error:
            await send_error(send_safely, error)
        except _Gone:
            return
        except Exception as error:
            reason = printable(f"{type(error).__name__}: {error}")
            print(f"textgen serve: error: {reason}", file=sys.stderr, flush=True)
            if started:
                return
            message = "An error inside the server; its standard error says which."
            await send_error(send_safely, RefusedError(500, message))

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        """Raises RefusedError for a wrong `Host`, `Origin` or type of the body."""
        headers = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise RefusedError(
                400, f"A request needs one header Host, and this one has {len(hosts)}."
            )
        host = hosts[0].decode("latin-1")
        name = _name_of(host)
        server = scope.get("server")
        own = _plain(str(server[0])) if server else None
        if not name or (name not in self._hosts and name != own):
            raise RefusedError(
                403,
                f"The host {printable(host, 100)!r} is not served here: use an address "
                "that `textgen serve` printed, or start it with --allow-host NAME.",
            )
        for name, value in headers:
            origin = value.decode("latin-1")
            if name == b"origin" and not _same(origin, host):
                raise RefusedError(
                    403,
                    f"The origin {printable(origin, 100)!r} is another site than "
                    f"{printable(host, 100)!r}: only pages of this server can use it.",
                )
        if scope["method"] in ("POST", "PUT", "PATCH"):
            kinds = [value for name, value in headers if name == b"content-type"]
            kind = kinds[0].decode("latin-1") if len(kinds) == 1 else ""
            if kind.partition(";")[0].strip().lower() != "application/json":
                raise RefusedError(
                    415,
                    f"The content type {printable(kind, 100)!r} must be "
                    "application/json: send the header Content-Type.",
                )

    async def _body(
        self, scope: MutableMapping[str, Any], receive: Receive
    ) -> bytearray:
        """Reads the complete body.

        Raises:
            RefusedError: It is too large, or comes too slowly.
        """
        limits, body = self._limits, bytearray()
        close = ((b"connection", b"close"),)
        too_large = RefusedError(
            413,
            f"The body has more than {limits.body_bytes:,} bytes: send a shorter text.",
            close,
        )
        for name, value in scope["headers"]:
            if name == b"content-length" and not value.isdigit():
                raise RefusedError(400, "Content-Length must be a number.", close)
            if name == b"content-length" and int(value[:20]) > limits.body_bytes:
                raise too_large
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    body += message.get("body", b"")
                    if len(body) > limits.body_bytes:
                        raise too_large
                    if not message.get("more_body"):
                        return body
        except TimeoutError:
            raise RefusedError(
                408,
                f"The body did not arrive within {limits.body_seconds:g} seconds: send "
                "it at once.",
                close,
            ) from None


class _Gone(Exception):
    """The client disconnected before it sent its request."""


def _after(body: bytearray, receive: Receive) -> Receive:
    """Returns a `receive` that first gives the body that was read."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return receive_again


def _with_headers(message: Message) -> list[tuple[bytes, bytes]]:
    """Returns the headers of an answer, and those that all answers have."""
    headers = list(message.get("headers", ()))
    known = {name.lower() for name, _ in headers}
    if b"cache-control" not in known:
        headers.append((b"cache-control", b"no-store"))
    return [*headers, *(each for each in HEADERS if each[0] not in known)]


def _name_of(host: str) -> str:
    """Returns the name or address of a header `Host`; `""` if it is not valid."""
    found = _HOST.fullmatch(host)
    return _plain(found[1]) if found else ""


def _plain(name: str) -> str:
    """Returns a name or an address in one spelling."""
    name = name.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return name


def _same(origin: str, host: str) -> bool:
    """Whether an origin is the server itself. A proxy may have added the s of https."""
    scheme, found, place = origin.lower().partition("://")
    if not found or scheme not in ("http", "https"):
        return False
    port = ":80" if scheme == "http" else ":443"
    return place.removesuffix(port) == host.strip().lower().removesuffix(port)
