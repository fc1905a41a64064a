"""The commands of `textgen complete`, and the values that are typed after them.

Each command is a function that takes the session and the rest of the line. It raises
`ValueError` with a message for the user.
"""

import contextlib
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textgen.cli import writing
from textgen.cli.options import MAX_INTEGER, MAXIMUMS

if TYPE_CHECKING:
    from textgen.cli.completion import Session

NOTE = (
    r"In a beginning, \n is a newline, \t a tab and \\ a backslash; spaces at its end "
    "count. Type a beginning that starts with a slash with two slashes: //."
)
TERMINAL_NOTE = "exit or quit without a slash leaves, too."
EDITOR_NOTE = (
    "Lines that you paste together are one beginning: press Enter to complete it. The "
    "Tab key completes commands; the arrow keys bring back earlier lines."
)

_MAXIMUMS = {
    "length": MAXIMUMS["max_new_tokens"],
    "lines": MAXIMUMS["max_lines"],
    "top-k": MAX_INTEGER,
    "choose": MAX_INTEGER,
}
_CHOICES = 5  # symbols that /choose shows by default
_TITLE_WORDS, _TITLE_LENGTH = 4, 40  # of a file name, in words and characters


def set_temperature(session: "Session", argument: str) -> None:
    """Sets the temperature, or a list of temperatures; shows it."""
    if words := argument.split():
        session.temperature = parse_temperature(words)
    values = session.temperature
    values = values if isinstance(values, list) else [values]
    session.console.tell(" ".join(["temperature", *(f"{value:g}" for value in values)]))


def set_top_k(session: "Session", argument: str) -> None:
    """Sets the number of symbols to sample from, or switches the limit off."""
    word = argument.strip()
    session.top_k = parse_integer("top-k", word, 1) if word else None
    session.console.tell(f"top-k {session.top_k}" if session.top_k else "top-k: off")


def set_lines(session: "Session", argument: str) -> None:
    """Sets the maximum number of lines, or switches the limit off."""
    session.max_lines = parse_integer("lines", argument.strip() or "0", 0) or None
    session.console.tell(
        f"lines {session.max_lines}" if session.max_lines else "lines: no limit"
    )


def set_length(session: "Session", argument: str) -> None:
    """Sets the maximum number of symbols; shows it."""
    if argument.strip():
        session.max_new_tokens = parse_integer("length", argument.strip(), 1)
    session.console.tell(f"length {session.length}")


def set_stop(session: "Session", argument: str) -> None:
    """Sets the stop strings, or switches back to the default."""
    session.stop = parse_stops(argument) or None
    shown = [f'"{escape(text)}"' for text in session.stop or []]
    session.console.tell(
        " ".join(["stop", *shown])
        if shown
        else "stop: where the model ends its texts (default)"
    )


def set_seed(session: "Session", argument: str) -> None:
    """Sets the seed, or switches back to random seeds."""
    word = argument.strip()
    session.seed = parse_integer("seed", word, 0) if word else None
    session.next_seed = session.seed
    session.console.tell(f"seed {word}" if word else "seed: random")


def set_labels(session: "Session", argument: str) -> None:
    """Sets the labels of the texts, or none."""
    labels = parse_stops(argument)
    session.set_labels(labels or None)
    shown = [f'"{escape(label)}"' for label in labels]
    session.console.tell(" ".join(["label", *shown]) if shown else "label: none")


def set_unknown(session: "Session", argument: str) -> None:
    """Sets what happens to symbols that the model does not know; shows it."""
    if value := unescape(argument.strip()):
        if value not in ("error", "skip"):
            try:
                session.next_symbols("", 1, value)
            except ValueError as error:
                raise ValueError(
                    f"unknown {argument.strip()} must be error, skip or a symbol that "
                    "the model knows, as in /unknown skip"
                ) from error
        session.unknown = value
    if session.unknown is None:
        session.console.tell("unknown: as the model was trained (default)")
    else:
        session.console.tell(f"unknown {escape(session.unknown)}")


def again(session: "Session", _: str) -> None:
    """Generates another text from the last beginning."""
    if session.beginning is None:
        raise ValueError("nothing to repeat yet: type a beginning")
    if session.next_seed is not None:
        session.console.tell(f"seed {session.next_seed}")
    session.write(session.beginning, "/again")


def more(session: "Session", _: str) -> None:
    """Continues the last text."""
    if session.text is None:
        raise ValueError("nothing to continue yet: type a beginning")
    session.write(session.text, "/more", continues=True)


def undo(session: "Session", _: str) -> None:
    """Returns to the text before the last change."""
    session.undo()


def choose(session: "Session", argument: str) -> None:
    """Lets the user choose the text symbol by symbol."""
    number, _, beginning = argument.lstrip().partition(" ")
    count = parse_integer("choose", number, 1) if number else _CHOICES
    session.choose(unescape(beginning), count)


def save(session: "Session", argument: str) -> None:
    """Saves the last text to a new file."""
    name = argument.strip()
    if not session.may_save:
        raise ValueError(
            "/save writes files only if a terminal is the input, or with --allow-save: "
            "redirect the output instead, as in textgen complete MODEL > poems.txt"
        )
    if not name:
        raise ValueError(
            "/save needs the name of a file or folder, as in /save poem.txt or "
            "/save poems/"
        )
    if session.text is None:
        raise ValueError("nothing to save yet: type a beginning")
    try:
        path = _write_new_file(session.text, name)
    except FileExistsError as error:
        raise ValueError(
            f"{name} exists and was not changed: choose another name"
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: unknown user after ~
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{name} could not be saved ({reason}): choose another name"
        ) from error
    session.console.tell(f"saved {path}")


def show_help(session: "Session", _: str) -> None:
    """Lists the commands."""
    for name, command in COMMANDS.items():
        session.console.tell_entry(f"{name} {command.argument}", command.help)
    session.console.tell("")
    session.console.tell_wrapped(NOTE)
    if session.console.asks:
        session.console.tell_wrapped(TERMINAL_NOTE)
    if session.console.editor is not None:
        session.console.tell_wrapped(EDITOR_NOTE)


def leave(session: "Session", _: str) -> None:
    """Leaves the session."""
    session.ended = True


class Command(NamedTuple):
    """A command and its line of `/help`."""

    run: Callable[["Session", str], None]
    argument: str  # as `/help` shows it; empty: the command takes no argument
    help: str


COMMANDS = {
    "/again": Command(again, "", "generate another text from the same beginning"),
    "/more": Command(more, "", "continue the text"),
    "/undo": Command(undo, "", "go back to the text before the last change"),
    "/choose": Command(
        choose,
        "[N [BEGINNING]]",
        "choose each next symbol from the N most probable ones",
    ),
    "/save": Command(
        save,
        "FILE",
        "save the text to a new file (poems/: in this folder, named after the first "
        "words)",
    ),
    "/temperature": Command(
        set_temperature,
        "[T ...]",
        "lower is more predictable, 0 takes the most probable symbol; several are "
        "used in turn",
    ),
    "/top-k": Command(
        set_top_k, "[K]", "sample from the K most probable symbols (alone: from all)"
    ),
    "/length": Command(set_length, "[N]", "maximum number of symbols to generate"),
    "/lines": Command(set_lines, "[N]", "maximum number of lines (alone: no limit)"),
    "/stop": Command(
        set_stop,
        "[TEXT ...]",
        r'stop before any of these strings; \n is a newline, "a b" one string (alone: '
        "where the model ends its texts)",
    ),
    "/seed": Command(
        set_seed, "[N]", "the same seed gives the same text (alone: random)"
    ),
    "/label": Command(
        set_labels,
        "[NAME ...]",
        'labels of the texts, such as their author; "a b" is one label (alone: none)',
    ),
    "/unknown": Command(
        set_unknown,
        "error|skip|SYMBOL",
        "what happens to symbols that the model does not know: an error, nothing, or "
        "SYMBOL replaces them",
    ),
    "/help": Command(show_help, "", "show this list"),
    "/quit": Command(leave, "", "leave, as Ctrl-D does"),
    "/exit": Command(leave, "", "leave"),
}


def unescape(text: str) -> str:
    r"""Replaces `\n`, `\t` and `\\` by a newline, a tab and a backslash."""
    meant = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
    return re.sub(r"\\[nt\\]", lambda typed: meant[typed.group()], text)


def escape(text: str) -> str:
    """Returns a text as it is typed: the inverse of `unescape`."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t")


def parse_temperature(words: list[str]) -> float | list[float]:
    """Parses one temperature or several."""
    values = []
    for word in words:
        value = float("nan")
        with contextlib.suppress(ValueError):
            value = float(word)
        if not 0 <= value < float("inf"):
            raise ValueError(
                f"temperature {word} must be a number of at least 0 (0 takes the most "
                "probable symbol), as in /temperature 0.5"
            )
        values.append(value)
    return values[0] if len(values) == 1 else values


def parse_integer(name: str, word: str, least: int) -> int:
    """Parses the integer after a command."""
    value = None
    with contextlib.suppress(ValueError):
        value = int(word)
    most = _MAXIMUMS.get(name, math.inf)
    if value is not None and value > most:
        raise ValueError(f"{name} {word} must be at most {most}, as in /{name} 5")
    if value is None or value < least:
        raise ValueError(
            f"{name} {word} must be an integer of at least {least}, as in /{name} 5"
        )
    return value


def parse_stops(argument: str) -> list[str]:
    """Parses stop strings: words, or quoted strings with spaces inside."""
    stops = [
        unescape(quoted or word)
        for quoted, word in re.findall(r'"([^"]+)"(?!\S)|(\S+)', argument)
    ]
    if '""' in stops:
        raise ValueError(
            'stop "" would end every text before its first symbol: type /stop alone '
            "for the default"
        )
    return stops


def _write_new_file(text: str, name: str) -> Path:
    """Writes a text to a file that does not exist yet; returns its path.

    Raises:
        FileExistsError: The file exists.
        OSError, RuntimeError: It cannot be written.
    """
    path = Path(name).expanduser()
    if not (name.endswith(("/", os.sep)) or path.is_dir()):
        _write(text, path)
        return path
    path.mkdir(exist_ok=True)
    numbered = _numbered(path, _title(text))
    while True:
        new = next(numbered)
        with contextlib.suppress(FileExistsError):
            _write(text, new)
            return new


def _write(text: str, path: Path) -> None:
    writing.write_new(path, text + "\n" * (not text.endswith("\n")))


def _numbered(folder: Path, title: str) -> Iterator[Path]:
    """Yields `title.txt`, `title-2.txt`, `title-3.txt`, …"""
    yield folder / f"{title}.txt"
    for number in itertools.count(2):
        yield folder / f"{title}-{number}.txt"


def _title(text: str) -> str:
    """Returns the first words of a text, as a part of a file name."""
    words = []
    for word in re.split(r"[\s\-–—/]+", text.lower()):
        kept = [
            symbol
            for symbol in word
            if symbol.isalnum() or unicodedata.category(symbol).startswith("M")
        ]
        words += ["".join(kept)] * bool(kept)
        if len(words) == _TITLE_WORDS:
            break
    return "-".join(words)[:_TITLE_LENGTH].rstrip("-") or "text"
