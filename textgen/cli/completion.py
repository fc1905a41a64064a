"""Poems that a model completes: asks for a beginning, streams the rest, asks again.

It parses lines and prints text, and leaves the writing to the model it is handed; it
imports neither Keras nor anything else of textgen.

(More than 400 lines: one class, a method for each of the many commands.)
"""

import builtins
import contextlib
import io
import itertools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TextIO

QUESTION = "Beginning: "
GREETING = (
    "Type the beginning of a poem. Ctrl-C stops a poem, Ctrl-D leaves, "
    "/help lists the commands."
)
NOTES = r"""
\n in a beginning is a new line, \\ a backslash; spaces at its end count. A beginning
that starts with a slash is typed with two: //."""

_BOLD, _PLAIN = "\033[1m", "\033[0m"
_VISIBLE = str.maketrans({"\n": "⏎", " ": "␣", "\t": "⇥"})
_CHOICES = 5  # symbols that /choose shows, unless it is told a number
# What a beginning or a value may be to blame for, and no fault of the program.
_MISTAKES = (ValueError, OverflowError, MemoryError)


class Model(Protocol):
    """What a model must do for its poems to be completed; `LanguageModel` does it."""

    def stream(
        self,
        prompt: str,
        max_new_tokens: int,
        temperature: float | list[float],
        *,
        max_lines: int | None,
        seed: int | None,
        echo: bool,
        unknown: str | None,
    ) -> Iterator[str]:
        """Returns the pieces of a text; with `echo=False`, only what follows `prompt`.

        Raises:
            ValueError: An argument is out of its range, or a prompt symbol is unknown.
        """

    def next_symbols(
        self, text: str, count: int, *, unknown: str | None
    ) -> list[tuple[str, float]]:
        """Returns the `count` most probable symbols after a text, best first.

        Returns:
            list of `(symbol, probability)`.

        Raises:
            ValueError: A symbol of the text is unknown.
        """


def complete(
    model: Model,
    input: TextIO | None = None,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    temperature: float | list[float] = 0.7,
    max_new_tokens: int = 400,
    max_lines: int | None = None,
    seed: int | None = None,
    unknown: str | None = None,
) -> int:
    """Completes one beginning after another, until the input ends.

    At a terminal it asks for each, and Ctrl-C stops a poem. Through a pipe each line is
    a beginning, the poems are separated by an empty line, and Ctrl-C ends it all.

    Args:
        model: Model. Writes the poems.
        input: Text stream of beginnings and commands. Defaults to `sys.stdin`.
        output: Text stream for the poems. Defaults to `sys.stdout`.
        errors: Text stream for whatever is no poem, unless input and output are both a
            terminal. Defaults to `sys.stderr`.
        temperature: float, or list of float that the symbols go through in turn.
        max_new_tokens: int. Symbols to write at most, at least 1.
        max_lines: int or `None`. Lines to write at most; `None` or 0 is no limit.
        seed: int or `None`. Same seed, same text; `None` is another text every time.
        unknown: str or `None`. Goes to the model: what to do with unknown symbols.

    Returns:
        int. The exit code: 0, or 2 where something in a pipe was wrong.

    Raises:
        ValueError: A setting is out of its range.
        KeyboardInterrupt: Ctrl-C, where the input is no terminal.
    """
    input = sys.stdin if input is None else input
    if isinstance(input, io.TextIOWrapper):
        # What cannot be decoded becomes a symbol that the model names as unknown. It
        # can no longer be told to a stream that was read from.
        with contextlib.suppress(io.UnsupportedOperation):
            input.reconfigure(errors="replace")
    session = Session(
        model,
        input,
        sys.stdout if output is None else output,
        sys.stderr if errors is None else errors,
    )
    temperatures = temperature if isinstance(temperature, list) else [temperature]
    session.temperature = _temperature(list(map(str, temperatures)))
    session.max_new_tokens = _whole("length", str(max_new_tokens), 1)
    session.max_lines = _whole("lines", str(max_lines or 0), 0) or None
    if seed is not None:
        session.seed = _whole("seed", str(seed), 0)
    session.unknown = unknown
    return session.run()


def unescape(text: str) -> str:
    """Lets one type a newline, a tab or a backslash within a line."""
    meant = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
    return re.sub(r"\\[nt\\]", lambda typed: meant[typed.group()], text)


class Command(NamedTuple):
    """One line of `/help`, and the method that does what it says."""

    run: Callable[["Session", str], None]
    argument: str  # how it is written in /help; empty: there is none
    help: str


class Session:
    """The settings, the last text, and a method for each command.

    A method takes the rest of the line after its command, and raises `ValueError` with
    a message for the user.

    Args:
        model: Model. Writes the poems.
        input: Text stream of beginnings and commands.
        output: Text stream for the poems.
        errors: Text stream for whatever is no poem, unless both are a terminal.
    """

    def __init__(
        self, model: Model, input: TextIO, output: TextIO, errors: TextIO
    ) -> None:
        self.model, self.input, self.output = model, input, output
        self.temperature: float | list[float] = 0.7
        self.max_new_tokens = 400
        self.max_lines: int | None = None
        self.seed: int | None = None
        self.next_seed: int | None = None  # the seed of /again and /more
        self.unknown: str | None = None

        self.beginning: str | None = None  # that of the last text
        self.text: str | None = None  # the last one, its beginning included

        self.asks = input.isatty()
        self.chats = self.asks and output.isatty()  # poems and questions in turn
        self.talk = output if self.chats else errors
        self.colour = (
            output.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
        self.line = 0  # of the input
        self.ended = False
        self.wrote = False  # a poem, after which the next needs an empty line
        self.failed = False

    def run(self) -> int:
        """Reads and answers lines until they end; returns the exit code."""
        if self.asks:
            self._tell(GREETING)
        interrupted = False
        while not self.ended:
            try:
                if interrupted:
                    interrupted = False
                    self._leave_question()
                self._answer(self._ask(QUESTION))
            except EOFError:
                self.ended = True
                self._leave_question()
            except KeyboardInterrupt:
                if not self.asks:
                    raise
                # Nothing more is done here, where another one would end the program.
                interrupted = True
        return 2 if self.failed and not self.asks else 0

    def set_temperature(self, argument: str) -> None:
        """Sets the temperature, or a list of them; shows it."""
        if words := argument.split():
            self.temperature = _temperature(words)
        values = self.temperature
        values = values if isinstance(values, list) else [values]
        self._tell(" ".join(["temperature", *(f"{value:g}" for value in values)]))

    def set_lines(self, argument: str) -> None:
        """Sets the number of lines."""
        self.max_lines = _whole("lines", argument.strip() or "0", 0) or None
        self._tell(f"lines {self.max_lines}" if self.max_lines else "lines: no limit")

    def set_length(self, argument: str) -> None:
        """Sets the number of symbols, or shows it."""
        if argument.strip():
            self.max_new_tokens = _whole("length", argument.strip(), 1)
        self._tell(f"length {self.max_new_tokens}")

    def set_seed(self, argument: str) -> None:
        """Sets the seed, or forgets it."""
        word = argument.strip()
        self.seed = self.next_seed = _whole("seed", word, 0) if word else None
        self._tell(f"seed {word}" if word else "no seed: another text every time")

    def again(self, _: str) -> None:
        """Writes another text with the last beginning."""
        if self.beginning is None:
            raise ValueError("There is no beginning yet to begin with again: type one.")
        if self.next_seed is not None:
            self._tell(f"seed {self.next_seed}")
        self._write(self.beginning)

    def more(self, _: str) -> None:
        """Goes on with the last text."""
        if self.text is None:
            raise ValueError("There is no text yet to go on with: type a beginning.")
        self._write(self.text, goes_on=True)

    def choose(self, argument: str) -> None:
        """Lets the user choose symbol by symbol."""
        number, _, rest = argument.lstrip().partition(" ")
        count = _whole("choose", number, 1) if number else _CHOICES
        goes_on = not rest and self.text is not None
        start = text = (self.text or "") if goes_on else unescape(rest)
        try:
            while (symbol := self._chosen(text, count)) is not None:
                # Kept at once, so that nothing that happens later can lose it.
                if not goes_on:
                    self.beginning, self.next_seed = start, self.seed
                self.text = text = text + symbol
        except (EOFError, KeyboardInterrupt) as end:
            if isinstance(end, KeyboardInterrupt) and not self.asks:
                raise
            self._leave_question()
        if text != start:
            self._begin_poem(start, goes_on)
            self._print(text[len(start) :])
            self._end_poem()

    def save(self, argument: str) -> None:
        """Writes the last text to a new file."""
        name = argument.strip()
        if not name:
            raise ValueError("/save needs the name of a file, as in /save poem.txt")
        if self.text is None:
            raise ValueError("There is no text yet to save: type a beginning.")
        try:
            path = Path(name).expanduser()
            # "x" fails where a file exists, even one that appears just now.
            with open(path, "x", encoding="utf-8", errors="replace") as file:
                file.write(self.text + "\n" * (not self.text.endswith("\n")))
        except FileExistsError as error:
            raise ValueError(
                f"{name} exists and is left as it is: save under another name."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: no such user's home
            reason = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{name} could not be saved ({reason}): try another name."
            ) from error
        self._tell(f"saved {name}")

    def help(self, _: str) -> None:
        """Lists the commands."""
        for name, command in self.COMMANDS.items():
            self._tell(f"{name + ' ' + command.argument:24}{command.help}")
        self._tell(NOTES)

    def quit(self, _: str) -> None:
        """Leaves."""
        self.ended = True

    COMMANDS: ClassVar[dict[str, Command]] = {
        "/temperature": Command(
            set_temperature, "[T ...]", "0: most probable; several take turns"
        ),
        "/lines": Command(set_lines, "[N]", "lines to write (nothing: no limit)"),
        "/length": Command(set_length, "[N]", "symbols to write at most"),
        "/seed": Command(set_seed, "[N]", "same seed, same text (nothing: a new one)"),
        "/again": Command(
            again, "", "the same beginning once more (and the next seed)"
        ),
        "/more": Command(more, "", "go on where the last text ended"),
        "/choose": Command(
            choose, "[N [BEGINNING]]", "choose from the N most probable symbols"
        ),
        "/save": Command(save, "FILE", "write the last text to a new file"),
        "/help": Command(help, "", "this list"),
        "/quit": Command(quit, "", "leave, as Ctrl-D does"),
    }

    def _answer(self, line: str) -> None:
        """Does what a line says: runs a command or completes a beginning."""
        try:
            if line.startswith("/") and not line.startswith("//"):
                name, *rest = line.split(maxsplit=1)
                self._run_command(name, *rest)
            else:
                self.next_seed = self.seed
                self._write(unescape(line.removeprefix("/")))
        except _MISTAKES as error:
            self._complain(error)

    def _run_command(self, name: str, argument: str = "") -> None:
        command = self.COMMANDS.get(name)
        if command is None:
            raise ValueError(
                f"There is no command {name}: /help lists them all (and a beginning "
                f"with a slash is typed /{name})"
            )
        if argument.strip() and not command.argument:
            raise ValueError(f"{name} stands alone, without {argument.strip()!r}.")
        command.run(self, argument)

    def _write(self, prompt: str, goes_on: bool = False) -> None:
        """Streams what the model writes after a prompt, until Ctrl-C."""
        with _interrupts() as interrupts:
            pieces = iter(
                self.model.stream(
                    prompt,
                    self.max_new_tokens,
                    self.temperature,
                    max_lines=self.max_lines,
                    seed=self.next_seed,
                    echo=False,
                    unknown=self.unknown,
                )
            )
            # An error comes with the first piece, before anything is shown.
            first = next(pieces, "")
            self.text = prompt
            if not goes_on:
                self.beginning = prompt
            if self.next_seed is not None:
                self.next_seed += 1
            self._begin_poem(prompt, goes_on)
            try:
                for piece in itertools.chain([first], pieces):
                    self._print(piece)
                    self.text += piece
                    if interrupts:
                        break
            finally:
                self._end_poem()
        if interrupts and not self.asks:
            raise KeyboardInterrupt

    def _chosen(self, text: str, count: int) -> str | None:
        """Shows the next symbols; returns the one that is chosen, `None` for the end.

        Raises:
            EOFError, KeyboardInterrupt: The user ended it with Ctrl-D or Ctrl-C.
        """
        with _interrupts() as interrupts:
            symbols = self.model.next_symbols(text, count, unknown=self.unknown)
        if interrupts:
            raise KeyboardInterrupt
        shown = (
            f"{number} {symbol.translate(_VISIBLE)} {probability:.1%}"
            for number, (symbol, probability) in enumerate(symbols, 1)
        )
        self._tell(f"{text.rpartition(chr(10))[2]}\n  {'   '.join(shown)}")
        question = f"1 to {len(symbols)}, Enter for 1, q to end: "
        while True:
            answer = self._ask(question, remember=False).strip()
            if answer.lower() == "q":
                return None
            if not answer:
                return symbols[0][0]
            if answer.isdecimal() and 1 <= int(answer) <= len(symbols):
                return symbols[int(answer) - 1][0]
            self._complain(
                f"{answer!r} is no number from 1 to {len(symbols)}: type one, or q to "
                "end."
            )

    def _begin_poem(self, prompt: str, goes_on: bool) -> None:
        """Shows the beginning; of a text that goes on, the line it goes on in."""
        if self.wrote and not self.chats:
            self._print("\n")
        self.wrote = True
        shown = prompt.rpartition("\n")[2] if goes_on else prompt
        self._print(f"{_BOLD}{shown}{_PLAIN}" if shown and self.colour else shown)

    def _end_poem(self) -> None:
        """Ends the line; at a terminal, an empty line comes before the question."""
        if not (self.text or "").endswith("\n"):
            self._print("\n")
        if self.chats:
            self._print("\n")

    def _ask(self, question: str, remember: bool = True) -> str:
        """Returns the next line without its end, or raises `EOFError`.

        The question is for terminals only. A line can be called back there with the
        arrow keys, unless it is not to be remembered.
        """
        if self.chats and (self.input, self.output) == (sys.stdin, sys.stdout):
            _edit_lines(remember)
            return builtins.input(question)
        if self.asks:
            self._tell(question, end="")
        line = self.input.readline()
        if not line:
            raise EOFError
        self.line += 1
        return line.removesuffix("\n")

    def _leave_question(self) -> None:
        """Goes to a new line, after Ctrl-C or Ctrl-D behind a question."""
        if self.asks:
            self._tell("")

    def _print(self, text: str) -> None:
        print(text, end="", file=self.output, flush=True)

    def _tell(self, message: str, end: str = "\n") -> None:
        print(message, end=end, file=self.talk, flush=True)

    def _complain(self, error: Exception | str) -> None:
        """Tells in one line what was wrong; in a pipe, in which line it was."""
        self.failed = True
        message = " ".join(str(error).split()) or type(error).__name__
        self._tell(
            message if self.asks else f"textgen complete: line {self.line}: {message}"
        )


def _temperature(words: list[str]) -> float | list[float]:
    """Parses one temperature, or several."""
    values = []
    for word in words:
        value = float("nan")
        with contextlib.suppress(ValueError):
            value = float(word)
        if not 0 <= value < float("inf"):
            raise ValueError(
                f"temperature {word} must be a number from 0 (the most probable text) "
                "up, as in /temperature 0.5"
            )
        values.append(value)
    return values[0] if len(values) == 1 else values


def _whole(name: str, word: str, least: int) -> int:
    """Parses the whole number of a command."""
    value = None
    with contextlib.suppress(ValueError):
        value = int(word)
    if value is None or value < least:
        raise ValueError(
            f"{name} {word} must be a whole number from {least} up, as in /{name} 5"
        )
    return value


def _edit_lines(remember: bool) -> None:
    """Gives the next `input` arrow keys and a history, where Python has them."""
    with contextlib.suppress(ImportError):
        import readline

        readline.set_auto_history(remember)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[Any]]:
    """Collects Ctrl-C in a list, so that it cannot break off what a model computes.

    A KeyboardInterrupt could be raised, and lost, anywhere in compiled code. From the
    second Ctrl-C on it is raised all the same.
    """
    interrupts: list[Any] = []

    def stop(*signal_and_frame: Any) -> None:
        interrupts.append(signal_and_frame)
        if len(interrupts) > 1:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()  # has no signals
        or before is None  # not Python's, and could not be put back
        or before == signal.SIG_IGN
    ):
        yield interrupts
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
