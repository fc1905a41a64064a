"""A real server on a free port of this machine: clients that leave or are slow."""

import contextlib
import json
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from small_models import shared

from textgen.web import server
from textgen.web.application import application
from textgen.web.limits import Limits

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
LIMITS = Limits(
    max_new_tokens=10**6, body_seconds=0.5, send_seconds=0.5, parallel=4, workers=2
)


@pytest.fixture(scope="module")
def running():
    """The service of a server, and its port."""
    app = application({"state": shared("state")}, LIMITS)
    listening = server.bind("127.0.0.1", 0)
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 1 << 18
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # soon full
    made = server.server_of(app, LIMITS)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
    thread.start()
    yield app.state.service, listening.getsockname()[1]
    made.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    app.state.service.close()


def connect(port):
    return contextlib.closing(socket.create_connection(("127.0.0.1", port), 10))


def request(body, **headers):
    body = json.dumps(body).encode()
    headers = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": len(body),
        **headers,
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["POST /generate HTTP/1.1", *lines, "", ""]).encode() + body


def read_all(sock):
    """Returns what comes until the server closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(1 << 16):
            data += piece
    return data


def answer(port, body):
    with connect(port) as sock:
        sock.sendall(request(body, Connection="close"))
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_well(running):
    """Whether the server answers as ever, and no place is taken."""
    service, port = running
    wait_until(lambda: service.places.taken == 0)
    status, body = answer(port, {"seed": 3, "max_new_tokens": 20})
    expected = shared("state").generate("", 20, seed=3, echo=False)
    return status == 200 and json.loads(body)["text"] == expected


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_leave_in_the_middle(running, stream):
    service, port = running
    body = {"max_new_tokens": 10**6, "stream": stream}
    for _ in range(6):  # more than there are places
        with connect(port) as sock:
            sock.sendall(request(body))
            if stream:
                assert b"200 OK" in sock.recv(1000)
            wait_until(lambda: service.places.taken == 1)
        wait_until(lambda: service.places.taken == 0)
    assert is_well(running)


def test_a_client_that_does_not_read_is_disconnected(running):
    service, port = running
    with contextlib.closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request({"max_new_tokens": 10**6, "stream": True}))
        wait_until(lambda: service.places.taken == 1)
        wait_until(lambda: service.places.taken == 0)
        sock.settimeout(10)
        assert b"event: done" not in read_all(sock)
    assert is_well(running)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /generate HT",
        b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        request({}, **{"Content-Length": 1000}),
    ],
    ids=["nothing", "line", "headers", "body"],
)
def test_clients_that_send_half_a_request(running, sent):
    with connect(running[1]) as sock:
        sock.sendall(sent)
        start = time.monotonic()
        found = read_all(sock)
        assert time.monotonic() - start < 5
    assert (b" 408 " in found) == sent.endswith(b"{}")
    assert is_well(running)


def test_a_client_that_sends_byte_by_byte(running):
    with connect(running[1]) as sock, contextlib.suppress(ConnectionError):
        end = time.monotonic() + 5
        for byte in request({}) * 100:
            sock.sendall(bytes([byte]))
            time.sleep(0.02)
            assert time.monotonic() < end
    assert is_well(running)


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\xff" * 1000,
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["bytes", "version", "long", "lengths", "chunk"],
)
def test_what_is_not_http(running, sent):
    with connect(running[1]) as sock:
        sock.sendall(sent)
        assert b" 400 " in read_all(sock).split(b"\r\n")[0] + b" "
    assert is_well(running)


def test_large_bodies_are_refused(running):
    port = running[1]
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    head = (
        b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    )
    for start in (
        head + b"Content-Length: 99999999999\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 4,
    ):
        with connect(port) as sock:
            sock.sendall(start)
            with contextlib.suppress(ConnectionError):
                sock.sendall(chunk)
            assert b" 413 " in read_all(sock)
    assert is_well(running)


def test_several_requests_in_one_connection(running):
    expected = shared("state").generate("", 9, seed=1, echo=False)
    with connect(running[1]) as sock:
        for _ in range(3):
            sock.sendall(request({"seed": 1, "max_new_tokens": 9}))
            data = sock.recv(1 << 16)
            while not data.endswith(b"}"):
                data += sock.recv(1 << 16)
            assert json.loads(data.partition(b"\r\n\r\n")[2])["text"] == expected


def test_the_examples_of_the_documentation_run(running, capsys):
    port = running[1]
    text = DOCS.read_text(encoding="utf-8")
    streaming, application = re.findall("```python\n(.*?)```", text, re.DOTALL)
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{port}"),
        ('"tinyshakespeare"', '"state"'),
        ('"ROMEO:"', '"fade"'),
        ('"stream": True', '"stream": True, "seed": 3, "max_new_tokens": 200'),
    ):
        assert old in streaming
        streaming = streaming.replace(old, new)
    exec(compile(streaming, "docs/serving.md", "exec"), {})
    expected = shared("state").generate("fade", 200, seed=3, echo=False)
    assert capsys.readouterr().out == expected
    names = {}
    exec(compile(application, "docs/serving.md", "exec"), names)
    assert names["app"].state.service.limits.parallel == 8


def test_addresses():
    listening = server.bind("127.0.0.1", 0)
    with contextlib.closing(listening):
        port = listening.getsockname()[1]
        assert server.url_of(listening) == f"http://127.0.0.1:{port}"
        assert server.is_loopback(listening)
        with pytest.raises(OSError, match=f"127.0.0.1 port {port}: .*0 for a free one"):
            server.bind("127.0.0.1", port)
    with contextlib.closing(server.bind("0.0.0.0", 0)) as everywhere:
        assert not server.is_loopback(everywhere)
        assert server.url_of(everywhere).startswith("http://127.0.0.1:")
    for host in ("203.0.113.9", "256.1.1.1", "a\0b", "x" * 300):
        with pytest.raises((OSError, ValueError)) as error:
            server.bind(host, 0)
        assert "\n" not in str(error.value)
