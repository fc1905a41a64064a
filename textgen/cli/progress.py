"""How far a command is: one line that changes, or in a pipe a line now and then."""

import sys
import time
from typing import Self, TextIO

from textgen.training.time_left import clock

# Seconds until the first line, and from each to the next: a command that ends before
# the first line shows nothing.
_TERMINAL, _PIPE = (1.0, 0.2), (10.0, 10.0)


class Progress:
    """Shows the part that is done, the rate and the time left, on standard error.

    It is a context manager; at its end, the line of a terminal is removed.

    Args:
        what: str. What the command does, such as `"Reading"`.
        unit: str. What is counted. `"bytes"` are shown as kB, MB and GB.
        done: int. What was done before, which does not count for the rate.
        stream: Text file. Defaults to standard error.

    Example:

    ```python
    with Progress("Reading") as progress:
        textgen.prepare("log.txt", "log.ids", progress=progress)
    ```
    """

    def __init__(
        self,
        what: str,
        unit: str = "bytes",
        done: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self._what, self._unit = what, unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        first, self._interval = _TERMINAL if self._terminal else _PIPE
        self._before = done
        self._start = time.monotonic()
        self._next = self._start + first
        self._width = 0  # columns of the line that is shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def __call__(self, done: int, total: int | None) -> None:
        """Shows the progress, if it is time for that.

        Args:
            done: int. How much is done.
            total: int or `None`. How much there is; `None` if it is not known.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        line = self.line(done, total, now - self._start)
        if self._terminal:
            padding = " " * (self._width - len(line))
            self._width = len(line)
            self._stream.write(f"\r{line}{padding}")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def line(self, done: int, total: int | None, seconds: float) -> str:
        """Returns the line after some seconds."""
        rate = (done - self._before) / max(seconds, 1e-9)
        parts = [self._amount(done)]
        if total:
            of = f"{done:,}" if self._unit != "bytes" else parts[0]
            share = min(done / total, 1.0)
            parts = [f"{of} of {self._amount(total)} ({share:.0%})"]
        parts.append(f"{self._amount(rate)}/s")
        if total and rate > 0:
            parts.append(f"{clock(max(0, total - done) / rate)} left")
        return f"{self._what}: {', '.join(parts)}"

    def _amount(self, number: float) -> str:
        if self._unit != "bytes":
            return f"{number:,.0f} {self._unit}"
        unit = 0
        while number >= 1000 and unit < 3:
            number, unit = number / 1000, unit + 1
        return f"{number:.3g} {('bytes', 'kB', 'MB', 'GB')[unit]}"
