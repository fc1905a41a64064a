"""Runs the application with uvicorn, on a socket that is open before the first word."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from textgen.web.application import application
from textgen.web.guard import LOOPBACK
from textgen.web.limits import Limits

_BACKLOG = 256  # connections that wait to be accepted

_SEND_BUFFER = 1 << 16  # bytes that the system keeps for a client that does not read

_KEEP_ALIVE = 15  # seconds that a connection stays open without a request

_GRACE = 2  # seconds that texts have after Ctrl-C


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Args:
        host: str. Name or address.
        port: int. 0 takes a free port.

    Raises:
        OSError: The address does not exist, or its port is in use. The message is one
            line.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OSError(
            f"--host {host} is not an address of this machine: try 127.0.0.1."
        ) from None
    family, _, _, _, address = found[0]
    try:
        made = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return made
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "give another --port, or 0 for a free one"
        raise OSError(f"{host} port {port}: {reason}; {remedy}.") from None


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can connect to a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def url_of(listening: socket.socket) -> str:
    """Returns the address of the page."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: Any, limits: Limits) -> uvicorn.Server:
    """Returns the server of an application; `run(sockets=[…])` serves until a signal.

    Args:
        app: ASGI application.
        limits: `Limits`.
    """
    config = uvicorn.Config(
        app,
        http=_make_protocol(limits),
        ws="none",
        lifespan="off",  # the process ends at once
        log_config=None,
        log_level="critical",  # hostile requests must not fill the terminal
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        limit_concurrency=limits.connections,
    )
    return uvicorn.Server(config)


def run(
    listening: socket.socket,
    models: Mapping[str, Any],
    limits: Limits,
    hosts: Iterable[str] = (),
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serves until SIGINT or SIGTERM, which is raised again at the end.

    Args:
        listening: The result of `bind`.
        models: As for `application`.
        limits: `Limits`.
        hosts: Names that the header `Host` may have, beside those of this machine.
        started: Called before the first request.
    """
    app = application(models, limits, [*LOOPBACK, *hosts])
    app.state.service.models.warm_up()
    started()
    server_of(app, limits).run(sockets=[listening])


def _make_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Returns the protocol of uvicorn, with limits of time for slow clients.

    A client has `body_seconds` until its request is complete (the header; `Guard` has
    the same limit for the body), and must read within `send_seconds` what is sent.
    """

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # Whatever the client has not read yet counts.
            transport.set_write_buffer_limits(high=0)
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._answering():
                self._stop()
            elif self._deadline is None:
                self._expect()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._stalled is None:
                self._stalled = self.loop.call_later(
                    limits.send_seconds, self.transport.abort
                )

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

        def _answering(self) -> bool:
            """Whether the header of a request is complete, and its answer is not."""
            return self.cycle is not None and not self.cycle.response_complete

        def _expect(self) -> None:
            """Closes the connection unless a request begins in time."""
            self._deadline = self.loop.call_later(
                limits.body_seconds, self.transport.abort
            )

        def _stop(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Protocol
