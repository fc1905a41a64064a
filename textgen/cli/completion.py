"""`textgen complete`: asks for a beginning, streams its completion, asks again.

The model does the generation. This module reads lines and prints text, and imports
neither Keras nor prompt_toolkit at its top level.
"""

import contextlib
import io
import itertools
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TextIO

from textgen.cli.completion_commands import (
    COMMANDS,
    parse_integer,
    parse_temperature,
    unescape,
)
from textgen.cli.completion_model import Model
from textgen.cli.console import Console, interrupts
from textgen.decoding.defaults import TEMPERATURE, default_length
from textgen.text.unknown import UnknownSymbolsError

QUESTION = "Beginning: "
GREETING = (
    "Type the beginning of a text and press Enter. Ctrl-C stops a text, Ctrl-D leaves, "
    "/help lists the commands."
)
UNKNOWN_REMEDY = (
    "Type /unknown skip to leave them out, or /unknown and a symbol that replaces them."
)

_VISIBLE = str.maketrans({"\n": "⏎", " ": "␣", "\t": "⇥"})
_MAX_SHOWN = 60  # characters of a text that a message shows
# The texts that /undo can return to. In a pipe there may be millions of beginnings.
_MAX_UNDO = 1000
# Errors that a beginning or a value can cause. Others are errors of the program.
_MISTAKES = (ValueError, OverflowError, MemoryError)


def complete(
    model: Model,
    input: TextIO | None = None,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    temperature: float | list[float] = TEMPERATURE,
    max_new_tokens: int | None = None,
    max_lines: int | None = None,
    seed: int | None = None,
    unknown: str | None = None,
    label: list[str] | None = None,
    stop: list[str] | None = None,
    top_k: int | None = None,
    may_save: bool | None = None,
) -> int:
    """Completes one beginning after another, until the input ends.

    At a terminal it asks for each beginning, and Ctrl-C stops a text. In a pipe each
    line is a beginning, an empty line separates the texts, and Ctrl-C ends the program.

    Args:
        model: Model that generates the texts.
        input: Text stream of beginnings and commands. Defaults to `sys.stdin`.
        output: Text stream for the texts. Defaults to `sys.stdout`.
        errors: Text stream for messages, unless input and output are both a terminal.
            Defaults to `sys.stderr`.
        temperature: float, or list of float that are used in turn, one per symbol.
        max_new_tokens: int or `None`. Maximum number of symbols to generate, at least
            1. Defaults to `None`: 400, or 100 per line of `max_lines` if that is more.
        max_lines: int or `None`. Maximum number of lines to generate; `None` or 0: no
            limit.
        seed: int or `None`. The same seed gives the same text; `None`: random.
        unknown: str or `None`. What the model does with symbols that it does not know.
        label: list of str or `None`. Labels of the texts.
        stop: list of str or `None`. A text ends before the first of these strings.
        top_k: int or `None`. Sample from the K most probable tokens.
        may_save: bool or `None`. Whether `/save` may write files. Defaults to `None`:
            only if the input is a terminal.

    Returns:
        int. The exit code: 0, or 2 if a line of a pipe caused an error.

    Raises:
        ValueError: A setting is out of its range.
        KeyboardInterrupt: Ctrl-C, if the input is not a terminal.
    """
    input = sys.stdin if input is None else input
    if isinstance(input, io.TextIOWrapper):
        # Bytes that cannot be decoded become a symbol that the model reports as
        # unknown. The settings of a stream cannot change after the first read.
        with contextlib.suppress(io.UnsupportedOperation):
            input.reconfigure(errors="replace")
    session = Session(
        model,
        input,
        sys.stdout if output is None else output,
        sys.stderr if errors is None else errors,
    )
    temperatures = temperature if isinstance(temperature, list) else [temperature]
    session.temperature = parse_temperature(list(map(str, temperatures)))
    if max_new_tokens is not None:
        session.max_new_tokens = parse_integer("length", str(max_new_tokens), 1)
    session.max_lines = parse_integer("lines", str(max_lines or 0), 0) or None
    if seed is not None:
        session.seed = parse_integer("seed", str(seed), 0)
    session.unknown = unknown
    if label is not None:
        session.set_labels(label)
    session.stop = stop
    if top_k is not None:
        session.top_k = parse_integer("top-k", str(top_k), 1)
    session.may_save = session.console.asks if may_save is None else may_save
    return session.run()


class Version(NamedTuple):
    """The state before a change, which `/undo` restores."""

    text: str | None
    beginning: str | None
    change: str  # the words for the change that followed


class Session:
    """The settings, the last text and the dialogue.

    Args:
        model: Model that generates the texts.
        input: Text stream of beginnings and commands.
        output: Text stream for the texts.
        errors: Text stream for messages, unless input and output are both a terminal.
    """

    def __init__(
        self, model: Model, input: TextIO, output: TextIO, errors: TextIO
    ) -> None:
        self.model = model
        self.temperature: float | list[float] = TEMPERATURE
        self.max_new_tokens: int | None = None
        self.max_lines: int | None = None
        self.stop: list[str] | None = None
        self.top_k: int | None = None
        self.seed: int | None = None
        self.next_seed: int | None = None  # the seed of /again and /more
        self.unknown: str | None = None
        self.labels: list[str] | None = None

        self.beginning: str | None = None  # of the last text
        self.text: str | None = None  # the last one, with its beginning
        self.versions: deque[Version] = deque(maxlen=_MAX_UNDO)

        descriptions = {name: command.help for name, command in COMMANDS.items()}
        self.console = Console(input, output, errors, descriptions)
        self.may_save = self.console.asks
        self.ended = False

    @property
    def length(self) -> int:
        """Maximum number of symbols to generate."""
        if self.max_new_tokens is None:
            return default_length(self.max_lines)
        return self.max_new_tokens

    def run(self) -> int:
        """Reads and answers lines until they end; returns the exit code."""
        if self.console.asks:
            self.console.tell_wrapped(GREETING)
        while not self.ended:
            try:
                self._answer(self.console.ask(QUESTION))
            except EOFError:
                self.ended = True
            except KeyboardInterrupt:
                # Another Ctrl-C would end the program here: do nothing else.
                if not self.console.asks:
                    raise
        return 2 if self.console.failed and not self.console.asks else 0

    def _answer(self, line: str) -> None:
        """Runs a command or completes a beginning."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                name, *rest = line.split(maxsplit=1)
                self._run_command(name, *rest)
            elif self.console.asks and line in ("exit", "quit"):
                self.ended = True
            else:
                self.next_seed = self.seed
                beginning = unescape(line.removeprefix("/"))
                self.write(beginning, f"the beginning {_shown_start(beginning)}")
        except UnknownSymbolsError as error:
            self.console.complain(error.describe(UNKNOWN_REMEDY))
        except _MISTAKES as error:
            self.console.complain(error)

    def _run_command(self, name: str, argument: str = "") -> None:
        command = COMMANDS.get(name)
        if command is None:
            raise ValueError(
                f"there is no command {name}: /help lists the commands (a beginning "
                f"with a slash is typed /{name})"
            )
        if argument.strip() and not command.argument:
            raise ValueError(
                f"{name} takes no argument, but {argument.strip()!r} follows it"
            )
        command.run(self, argument)

    def write(self, prompt: str, change: str, continues: bool = False) -> None:
        """Streams the completion of a prompt, until Ctrl-C.

        Args:
            prompt: str.
            change: str. What `/undo` calls this.
            continues: bool. Whether the prompt is the last text.
        """
        with interrupts() as pressed:
            try:
                pieces = iter(self._stream(prompt))
                # An error comes with the first piece, before anything is shown.
                first = next(pieces, "")
            except KeyboardInterrupt:
                self.console.end_line()
                raise
            self.versions.append(Version(self.text, self.beginning, change))
            self.text = prompt
            if not continues:
                self.beginning = prompt
            if self.next_seed is not None:
                self.next_seed += 1
            self.console.begin_text(prompt, continues)
            try:
                for piece in itertools.chain([first], pieces):
                    self.console.show(piece)
                    self.text += piece
                    if pressed:
                        break
            finally:
                self.console.end_text(self.text)
        if continues and self.text == prompt:
            self.versions.pop()  # nothing to undo
            if self.console.asks:
                self.console.tell("the model ended the text: nothing was added")
        if pressed and not self.console.asks:
            raise KeyboardInterrupt

    def _stream(self, prompt: str) -> Iterator[str]:
        return self.model.stream(
            prompt,
            self.length,
            self.temperature,
            stop=self.stop,
            max_lines=self.max_lines,
            top_k=self.top_k,
            seed=self.next_seed,
            echo=False,
            unknown=self.unknown,
            label=self.labels,
        )

    def set_labels(self, labels: list[str] | None) -> None:
        """Sets the labels of the texts; raises ValueError if one is not known."""
        self.model.next_symbols("", 1, unknown=self.unknown, label=labels)
        self.labels = labels

    def choose(self, beginning: str, count: int) -> None:
        """Lets the user choose symbol by symbol.

        Args:
            beginning: str. If it is empty, the last text is continued.
            count: int. Number of symbols to choose from.
        """
        continues = not beginning and self.text is not None
        start = text = (self.text or "") if continues else beginning
        before = Version(self.text, self.beginning, "/choose")
        try:
            while (symbol := self._chosen(text, count)) is not None:
                # Stored with each symbol, so that no later error can lose the text.
                if text == start:
                    self.versions.append(before)
                if not continues:
                    self.beginning, self.next_seed = start, self.seed
                self.text = text = text + symbol
        except (EOFError, KeyboardInterrupt) as end:
            if isinstance(end, KeyboardInterrupt) and not self.console.asks:
                raise
        if text != start:
            self.console.begin_text(start, continues)
            self.console.show(text[len(start) :])
            self.console.end_text(text)

    def _chosen(self, text: str, count: int) -> str | None:
        """Shows the next symbols; returns the chosen one, or `None` to end.

        Raises:
            EOFError, KeyboardInterrupt: Ctrl-D or Ctrl-C.
        """
        from textgen.text.utf8 import text_of  # imports NumPy

        symbols = [
            (whole, probability)
            for symbol, probability in self.next_symbols(text, count, self.unknown)
            if (whole := text_of(symbol)) is not None
        ]
        if not symbols:
            raise ValueError(
                f"the {count} most probable tokens are parts of characters, which "
                "cannot be chosen: type a beginning"
            )
        shown = (
            f"{number} {symbol.translate(_VISIBLE)} {probability:.1%}"
            for number, (symbol, probability) in enumerate(symbols, 1)
        )
        self.console.tell(f"{text.rpartition(chr(10))[2]}\n  {'   '.join(shown)}")
        question = f"1 to {len(symbols)}, Enter for 1, q to end: "
        while True:
            answer = self.console.ask(question, remember=False).strip()
            if answer.lower() == "q":
                return None
            if not answer:
                return symbols[0][0]
            if answer.isdecimal() and 1 <= int(answer) <= len(symbols):
                return symbols[int(answer) - 1][0]
            self.console.complain(
                f"{answer!r} is not a number from 1 to {len(symbols)}: type one, or q "
                "to end"
            )

    def next_symbols(
        self, text: str, count: int, unknown: str | None
    ) -> list[tuple[str, float]]:
        """Returns the most probable next symbols.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        with interrupts() as pressed:
            symbols = self.model.next_symbols(
                text, count, unknown=unknown, label=self.labels
            )
        if pressed:
            self.console.end_line()
            raise KeyboardInterrupt
        return symbols

    def undo(self) -> None:
        """Restores the text before the last change.

        Raises:
            ValueError: There is no change to undo.
        """
        if not self.versions:
            raise ValueError("nothing to undo: type a beginning")
        self.text, self.beginning, change = self.versions.pop()
        if self.text is None:
            self.console.tell_wrapped(f"undone: {change}; there is no text now")
        else:
            self.console.tell(f"undone: {change}; the text now ends with")
            self.console.tell(f"  {_shown_end(self.text)}")


def _shown_start(text: str) -> str:
    """Returns the start of a text in quotes, for a message."""
    line, newline, _ = text.partition("\n")
    more = newline or len(line) > _MAX_SHOWN
    return f'"{line[:_MAX_SHOWN]}{"…" * bool(more)}"'


def _shown_end(text: str) -> str:
    """Returns the end of the last line of a text that is not blank, for a message."""
    line = text.rstrip().rpartition("\n")[2]
    return f"{'…' * (len(line) > _MAX_SHOWN)}{line[-_MAX_SHOWN:]}"
