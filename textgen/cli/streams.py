"""Output that outlives its reader."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _LastingStream:
    """A text stream that goes on, into nothing, when its reader has gone away.

    Without it, `textgen train … | head` would end the training at the first line that
    nobody reads, and lose what was learned.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or drops it."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            discard(self._stream)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Lets a command finish its work when the reader of its output has gone away."""
    out, errors = (
        cast(TextIO, _LastingStream(stream)) for stream in (sys.stdout, sys.stderr)
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


def discard(stream: TextIO) -> None:
    """Sends what a stream still holds, and all that follows, to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
