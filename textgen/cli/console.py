"""The input and output of `textgen complete`, at a terminal or in a pipe."""

import contextlib
import os
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from textgen.cli.options import MESSAGE_LIMIT
from textgen.messages import printable, without_controls

if TYPE_CHECKING:
    from textgen.cli.line_editor import LineEditor

_BOLD, _PLAIN = "\033[1m", "\033[0m"
_USAGE_WIDTH = 28  # of the first column of a list of commands
_LEAST_WIDTH = 20  # of wrapped text; narrower terminals wrap it again


class Console:
    """Reads lines, and prints texts and messages.

    Args:
        input: Text stream of lines.
        output: Text stream for the texts.
        errors: Text stream for messages, unless input and output are both a terminal.
        commands: Mapping of commands, which the Tab key completes, to descriptions.
    """

    def __init__(
        self,
        input: TextIO,
        output: TextIO,
        errors: TextIO,
        commands: Mapping[str, str],
    ) -> None:
        self.input, self.output = input, output
        self.asks = input.isatty()
        self.chats = self.asks and output.isatty()  # texts and questions in turn
        self.talk = output if self.chats else errors
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        self.colour = output.isatty() and not (os.environ.get("NO_COLOR") or dumb)
        is_real = (input, output) == (sys.stdin, sys.stdout)
        edits = self.chats and is_real and not dumb
        self.editor = _editor(commands) if edits else None
        self.line = 0  # of the input
        self.failed = False
        self._wrote = False  # a text, so that the next one needs an empty line

    def ask(self, question: str, remember: bool = True) -> str:
        """Returns the next line without its end.

        Args:
            question: str. Shown at a terminal only.
            remember: bool. Whether the arrow keys can bring the line back later.

        Raises:
            EOFError: The input ended, or Ctrl-D.
            KeyboardInterrupt: Ctrl-C.
        """
        if self.editor is not None:
            return self.editor.ask(question, remember)
        try:
            if self.asks:
                self.tell(question, end="")
            line = self.input.readline()
            if not line:
                raise EOFError
        except (EOFError, KeyboardInterrupt):
            self.end_line()
            raise
        self.line += 1
        return line.removesuffix("\n")

    def begin_text(self, prompt: str, continues: bool) -> None:
        """Shows the beginning, or the last line of a text that continues."""
        if self._wrote and not self.chats:
            self.show("\n")
        self._wrote = True
        shown = prompt.rpartition("\n")[2] if continues else prompt
        bold = bool(shown and self.colour)
        self._print(_BOLD * bold)
        self.show(shown)
        self._print(_PLAIN * bold)

    def show(self, text: str) -> None:
        """Prints a piece of a text; at a terminal, control characters are escaped."""
        self._print(without_controls(text) if self.output.isatty() else text)

    def _print(self, text: str) -> None:
        print(text, end="", file=self.output, flush=True)

    def end_text(self, text: str) -> None:
        """Ends the last line of a text; at a terminal, an empty line follows."""
        if not text.endswith("\n"):
            self.show("\n")
        if self.chats:
            self.show("\n")

    def tell(self, message: str, end: str = "\n") -> None:
        """Prints a message; control characters are escaped."""
        print(without_controls(message), end=end, file=self.talk, flush=True)

    def tell_wrapped(self, message: str, first: str = "", indent: str = "") -> None:
        """Prints a message that is wrapped at words.

        Args:
            message: str.
            first: str. Text before the first line.
            indent: str. Spaces before the other lines.
        """
        self.tell(
            textwrap.fill(
                message,
                max(shutil.get_terminal_size().columns, _LEAST_WIDTH),
                initial_indent=first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )

    def tell_entry(self, usage: str, description: str) -> None:
        """Prints a command: in two columns, if the terminal is wide enough."""
        if shutil.get_terminal_size().columns < 2 * _USAGE_WIDTH:
            self.tell(usage)
            self.tell_wrapped(description, "    ", "    ")
        else:
            first = f"{usage:{_USAGE_WIDTH}}"
            self.tell_wrapped(description, first, " " * _USAGE_WIDTH)

    def complain(self, error: Exception | str) -> None:
        """Reports an error; in a pipe, in one line with the number of the line."""
        self.failed = True
        message = printable(error, MESSAGE_LIMIT) or type(error).__name__
        if self.asks:
            self.tell_wrapped(message)
        else:
            self.tell(f"textgen complete: line {self.line}: {message}")

    def end_line(self) -> None:
        """Ends the line of a question, or of the ^C that a terminal shows."""
        if self.asks:
            self.tell("")


def _editor(commands: Mapping[str, str]) -> "LineEditor | None":
    """Returns the line editor, or `None` if prompt_toolkit is not installed."""
    try:
        from textgen.cli.line_editor import LineEditor
    except ImportError:
        return None
    return LineEditor(commands)


@contextlib.contextmanager
def interrupts() -> Iterator[list[Any]]:
    """Collects Ctrl-C in a list, so that it cannot interrupt compiled code.

    A KeyboardInterrupt that compiled code raises can be lost. The second Ctrl-C raises
    KeyboardInterrupt nevertheless.
    """
    pressed: list[Any] = []

    def stop(*signal_and_frame: Any) -> None:
        pressed.append(signal_and_frame)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()  # gets no signals
        or before is None  # not set from Python, and cannot be restored
        or before == signal.SIG_IGN
    ):
        yield pressed
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
