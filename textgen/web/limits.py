"""`Limits`: how much one request, and all requests together, may ask for.

This module imports nothing that is large, so that `textgen serve --help` is fast.
"""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of the server.

    Args:
        max_new_tokens: int. New tokens of one text. Defaults to `2000`.
        max_characters: int. Characters of a prompt, or of a text that is scored.
            Defaults to `10000`.
        alternatives: int. Most probable tokens at each place of a score. Defaults to
            `10`.
        body_bytes: int. Bytes of the body of a request. Defaults to `262144`, 256 KiB.
        parallel: int. Texts that are generated or scored at the same time. Defaults to
            `64`.
        waiting: int. Requests that wait when `parallel` are running; one more gets the
            status 503. Defaults to `64`.
        waiting_seconds: float. After this time of waiting, a request gets the status
            503. Defaults to `20.0`.
        body_seconds: float. Time in which a client must have sent its request. Defaults
            to `10.0`.
        send_seconds: float. Time in which a client must read what was sent to it.
            Defaults to `30.0`.
        connections: int. Open connections of `textgen serve`. Defaults to `512`.
        workers: int. Threads that compute. Defaults to the number of cores, from 2 to
            8.

    Raises:
        ValueError: A number is below 1.
    """

    max_new_tokens: int = 2000
    max_characters: int = 10_000
    alternatives: int = 10
    body_bytes: int = 1 << 18
    parallel: int = 64
    waiting: int = 64
    waiting_seconds: float = 20.0
    body_seconds: float = 10.0
    send_seconds: float = 30.0
    connections: int = 512
    workers: int = min(8, max(2, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # Nobody has to wait where the queue is empty, or the time is short.
            least = 0 if field.name.startswith("waiting") else 1
            if field.name.endswith("seconds"):
                least = 0
            if value < least:
                raise ValueError(f"{field.name}={value} must be at least {least}.")
