"""The block of lines in which `Progress` shows a training in a terminal.

rich measures wide characters, and moves the block below everything that is printed.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from textgen.messages import without_controls

_WIDTH = 78  # at most: a line that need not be wrapped when a window becomes narrower
_SAMPLE_LINES = 8  # of all samples together
_PLAIN_TERMINALS = ("dumb", "unknown")


def is_suitable() -> bool:
    """Whether standard output is a terminal in which lines can be replaced."""
    stream = sys.stdout
    with contextlib.suppress(AttributeError, ValueError):  # closed
        if not stream.isatty():
            return False
        terminal = os.environ.get("TERM", "").lower()
        return terminal not in _PLAIN_TERMINALS and not os.environ.get("CI")
    return False


@dataclasses.dataclass
class State:
    """What the block shows.

    Attributes:
        label: str. What is running, such as `"Epoch 3 of 20"`.
        share: float or `None`. The part that is done, from 0 to 1.
        time: str. The time left.
        fields: Sequence of str. Losses and speed.
        samples: Sequence of `(heading, text)`.
    """

    label: str
    share: float | None = None
    time: str = ""
    fields: Sequence[str] = ()
    samples: Sequence[tuple[str, str]] = ()


def render(state: State, console: Any) -> Any:
    """Returns the block as a `rich.text.Text`; no line is wider than the terminal.

    Args:
        state: `State`.
        console: `rich.console.Console`. Its encoding and its size decide what is shown.
    """
    from rich.text import Text

    width = max(1, min(console.width - 1, _WIDTH))
    shown = [_encodable(field, console) for field in state.fields]
    lines = [_bar(state, width, console), *_fields(shown, width)]
    # A heading and an empty line for each sample, and the line of the cursor.
    room = console.height - len(lines) - 2 - 2 * len(state.samples)
    each = min(_SAMPLE_LINES, room) // max(1, len(state.samples))
    for heading, text in state.samples if each else ():
        lines += [Text(), Text(_encodable(heading, console), style="bold dim")]
        text = _encodable(without_controls(text).strip("\n"), console)
        sample = Text(text, style="dim", tab_size=4)
        lines += sample.wrap(console, width, overflow="fold")[:each]
    lines = lines[: max(1, console.height - 2)]
    for line in lines:
        line.truncate(width)
    # There, a shell goes on after a second Ctrl-C.
    return Text("\n").join([*lines, Text()])


def _encodable(text: str, console: Any) -> str:
    """Returns a text that the encoding of the terminal has."""
    if not console.encoding.startswith("utf"):
        text = text.replace(" \u2191", "").replace(" \u2193", "")
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _bar(state: State, width: int, console: Any) -> Any:
    from rich.text import Text

    line = Text(state.label, style="bold")
    percent = "" if state.share is None else f"{state.share:4.0%}"
    end = "  ".join(filter(None, [percent, state.time]))
    size = min(30, width - line.cell_len - len(end) - 4)
    if state.share is not None and size >= 8:
        done = round(size * state.share)
        full, rest = "\u2501\u2500" if console.encoding.startswith("utf") else "#-"
        line.append("  ")
        line.append(full * done, style="not bold cyan")
        line.append(rest * (size - done), style="not bold bright_black")
    return line.append(f"  {end}", style="not bold") if end else line


def _fields(fields: Sequence[str], width: int) -> list:
    """Returns the fields in as few lines as possible."""
    from rich.text import Text

    lines: list[Any] = []
    for field in fields:
        if lines and lines[-1].cell_len + 3 + len(field) <= width:
            lines[-1].append(f"   {field}")
        else:
            lines.append(Text(field))
    return lines


class Block:
    """The block at the end of the terminal; what is printed appears above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console()
        self._live: Any = Live(
            console=self.console, auto_refresh=False, vertical_overflow="crop"
        )

    def start(self) -> None:
        """Shows the block."""
        self._live.start()
        # It stays visible, also if the process is killed.
        self.console.show_cursor(True)

    def show(self, state: State) -> None:
        """Replaces the content of the block."""
        block = render(state, self.console)
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.update(block, refresh=True)

    def stop(self) -> None:
        """Leaves the block as it is; what is printed appears below it."""
        with contextlib.suppress(OSError):
            self._live.stop()
