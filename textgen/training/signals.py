"""Signals: a training finishes its step, writes its state, and ends."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class TrainingStopped(SystemExit):
    """A signal stopped `fit`, after the state of the training was written.

    It ends the process, unless it is caught.

    Attributes:
        signal: int. Number of the signal.
        folder: Path of the folder that holds the state.
        code: int. Exit status of the process: 128 plus the number of the signal.
    """

    def __init__(self, signal: int, folder: str | os.PathLike[str]) -> None:
        super().__init__(128 + signal)
        self.signal = signal
        self.folder = folder


class _InterruptedError(BaseException):
    """Ends the function that `interruptible` calls."""


_active: "Signals | None" = None  # of the `fit` that runs in the main thread


class Signals:
    """Receives the first SIGINT, SIGTERM or SIGHUP within its `with` block.

    After the first one, the signals have their default action, so that a second one
    ends the process at once; Ctrl-C in an interactive session raises
    KeyboardInterrupt. A signal that is ignored, as by `nohup`, stays ignored. Only the
    main thread receives signals; in other threads, this class does nothing.

    Attributes:
        received: int or `None`. Number of the signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._streams: dict[str, Any] = {}
        self._outer: Signals | None = None
        self.raises = False  # whether `interruptible` runs

    def __enter__(self) -> "Signals":
        global _active
        if threading.current_thread() is threading.main_thread():
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is None:
                    continue
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = before
                    signal.signal(number, self._receive)
            self._outer, _active = _active, self
        return self

    def __exit__(self, *_: Any) -> None:
        global _active
        if _active is self:
            _active = self._outer
        for number, before in self._before.items():
            signal.signal(number, before)
        for name, stream in self._streams.items():
            getattr(sys, name).close()
            setattr(sys, name, stream)
        self._streams = {}

    def _receive(self, number: int, _: Any) -> None:
        self.received = number
        for each in self._before:
            interactive = each == signal.SIGINT and is_interactive()
            signal.signal(
                each, signal.default_int_handler if interactive else signal.SIG_DFL
            )
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminal()
        if self.raises:
            self.raises = False
            raise _InterruptedError

    def _leave_terminal(self) -> None:
        """Redirects what callbacks print: a closed terminal would raise OSError."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            with contextlib.suppress(AttributeError, OSError, ValueError):
                if stream.isatty():
                    devnull = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
                    setattr(sys, name, devnull)
                    self._streams[name] = stream

    def show(self, message: str) -> None:
        """Prints a line to standard error, if it is still open."""
        stream = self._streams.get("stderr", sys.stderr)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            print(message, file=stream, flush=True)


def is_interactive() -> bool:
    """Whether the user of a Python or IPython session started the training."""
    return hasattr(sys, "ps1")


def interruptible(function: Callable, *arguments: Any) -> Any:
    """Calls a function that does not change the training.

    A signal that stops the training ends the call at once.

    Returns:
        The result; `None` after a signal.
    """
    signals = _active
    if signals is None or threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    try:
        try:
            signals.raises = True
            if signals.received is not None:
                return None
            return function(*arguments)
        finally:
            signals.raises = False
    except _InterruptedError:
        return None
