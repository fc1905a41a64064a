"""Output that does not fail when its reader closes the pipe."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _LastingStream:
    """A text stream that discards its text after the reader has closed the pipe.

    Without it, `textgen train … | head` would stop the training at the first line
    after those that `head` reads, and the trained weights would be lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or discards it."""
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
    """Lets a command finish its work after the reader of its output has ended."""
    out, errors = (
        cast(TextIO, _LastingStream(stream)) for stream in (sys.stdout, sys.stderr)
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


def discard(stream: TextIO) -> None:
    """Sends the buffered text of a stream, and all later text, to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
