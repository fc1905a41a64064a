import contextlib
import http.client
import socket
import threading
import time

import pytest

from textgen.text import download


@pytest.fixture
def answer():
    """A function that serves one connection with a function; it returns the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def start(serve):
            def accept():
                connection, _ = server.accept()
                with connection:
                    connection.recv(10_000)
                    with contextlib.suppress(OSError):  # the client is gone
                        serve(connection.sendall)

            threading.Thread(target=accept, daemon=True).start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/text"

        yield start


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def test_content(answer):
    data = b"text" * 100_000
    url = answer(lambda send: send(HEAD + data))
    assert download.fetch(url, len(data)) == data


def test_limit(answer):
    url = answer(lambda send: send(HEAD + bytes(1001)))
    with pytest.raises(OSError, match="it has more than 1,000 bytes"):
        download.fetch(url, 1000)


def trickle(send):
    while True:
        send(b"a")
        time.sleep(0.01)


@pytest.mark.parametrize("head", [HEAD, b"HTTP/1.1 200 OK\r\nname: ", b""])
def test_server_that_sends_a_byte_at_a_time(answer, monkeypatch, head):
    monkeypatch.setattr(download, "_TIME", 0.2)

    def serve(send):
        send(head)
        trickle(send)

    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"only \d+ bytes came in 0.2 seconds"):
        download.fetch(answer(serve), 10**6)
    assert time.monotonic() - start < 2


def test_server_that_is_not_http(answer):
    url = answer(lambda send: send(b"\x00" * 100_000))
    with pytest.raises(http.client.HTTPException):
        download.fetch(url, 1000)
