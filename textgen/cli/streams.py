"""Standard streams that may be closed, broken or full."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class OutputError(OSError):
    """Standard output cannot be written, for example because the disk is full."""


class _Output:
    """A text stream; an error that occurs when it is written is reported once.

    All later text is discarded: Python would write it at exit, and fail.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or discards it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Raises BrokenPipeError or OutputError."""
        discard(self._stream)
        if isinstance(error, BrokenPipeError | OutputError):
            raise error
        reason = error.strerror or error
        raise OutputError(f"standard output cannot be written: {reason}.") from error


class _LastingOutput(_Output):
    """A text stream that discards its text after an error.

    Without it, `textgen train … | head` would stop the training at the first line
    after those that `head` reads, and a full disk under `> log.txt` would stop it too.
    """

    def _fail(self, error: OSError) -> None:
        discard(self._stream)
        if isinstance(error, OutputError):
            print(f"textgen: warning: {error}", file=sys.stderr)


class _Errors(_Output):
    """The stream of messages: nothing can be told about its own errors."""

    def _fail(self, error: OSError) -> None:
        discard(self._stream)


def open_missing() -> None:
    """Opens the null device for each standard stream that is closed.

    Another file would get its number otherwise, and native code, which prints to the
    numbers 1 and 2, would write into this file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """Reports errors of standard output as errors of standard output.

    In this block, writing to `sys.stdout` raises BrokenPipeError or OutputError, once;
    writing to `sys.stderr` raises no error.
    """
    out, errors = cast(TextIO, _Output(sys.stdout)), cast(TextIO, _Errors(sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Lets a command finish its work when its output can no longer be written."""
    out = cast(TextIO, _LastingOutput(sys.stdout))
    with contextlib.redirect_stdout(out):
        yield


def discard(stream: TextIO) -> None:
    """Sends the buffered text of a stream, and all later text, to the null device."""
    with contextlib.suppress(io.UnsupportedOperation):  # not a stream of the system
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
