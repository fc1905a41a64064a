"""Serves models on this machine while a block runs."""

import contextlib
import socket
import threading
import time

import uvicorn

from textgen.web.application import application


@contextlib.contextmanager
def serving(models, **kwargs):
    """Returns the address of the page; arguments as for `application`."""
    config = uvicorn.Config(
        application(models, **kwargs), log_level="critical", ws="none"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        for _ in range(1000):
            if server.started:
                break
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


class Paced:
    """A model whose texts come one character at a time, when the test allows it.

    Args:
        model: `LanguageModel`.
    """

    def __init__(self, model):
        self._model = model
        self._gate = _Gate()

    def __getattr__(self, name):
        return getattr(self._model, name)

    @property
    def sent(self):
        """Number of characters that were sent since `reset`."""
        return self._gate.sent

    def allow(self, count):
        """Lets this number of characters through."""
        self._gate.permits.release(count)

    def reset(self):
        """Opens the gate for the texts that were begun, and closes it for new ones."""
        self._gate.permits.release(10_000)
        self._gate = _Gate()

    def stream(self, prompt="", *args, **kwargs):
        """Yields the characters; an empty prompt is not held up."""
        gate = self._gate
        for piece in self._model.stream(prompt, *args, **kwargs):
            for character in piece:
                if prompt:
                    gate.permits.acquire(timeout=20)
                    gate.sent += 1
                yield character


class _Gate:
    def __init__(self):
        self.permits = threading.Semaphore(0)
        self.sent = 0
