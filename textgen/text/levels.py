"""What a symbol of a vocabulary is: a character, or a word.

Splits texts into symbols that, joined, are the text.
"""

import functools
import itertools
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from textgen.messages import printable

LEVELS = ("character", "word")

_MAX_LENGTH = 1 << 16  # characters of a symbol, so that a vocabulary can be saved

# Texts are encoded in pieces of this many symbols, so that the working memory does not
# grow with the text. A piece of words takes about 60 bytes per word: 1 MB.
_PIECE = 1 << 14


def check_level(level: str) -> None:
    """Raises ValueError if this is not a level."""
    if not isinstance(level, str) or level not in LEVELS:
        raise ValueError(f"level={quoted(level)} must be one of {', '.join(LEVELS)}.")


def check_length(symbols: Iterable[str]) -> None:
    """Raises ValueError if a symbol is too long."""
    for symbol in symbols:
        if len(symbol) > _MAX_LENGTH:
            raise ValueError(
                f"The symbol {quoted(symbol)} has {len(symbol):,} characters, more "
                f"than {_MAX_LENGTH:,}. Use level='character', or split long words."
            )


class SymbolSplitter:
    """Splits a text that comes in pieces into the symbols of a level.

    Args:
        level: `"character"` or `"word"`.
    """

    def __init__(self, level: str) -> None:
        self._level = level
        self._held = ""

    def feed(self, text: str) -> str | list[str]:
        """Takes the next piece; returns the symbols that are certain.

        Raises:
            ValueError: A word is longer than a symbol can be.
        """
        if self._level == "character":
            return text
        words = list(symbols_of(self._held + text, self._level))
        # The next letter can continue the last word, also after an apostrophe: "don'"
        # and "t". Two complete symbols after a word are enough to know its end.
        self._held = "".join(words[-2:])
        if len(self._held) > _MAX_LENGTH + 1:
            check_length(words[-2:])
        return words[:-2]

    def flush(self) -> str | list[str]:
        """Returns the symbols of the end of the text."""
        if self._level == "character":
            return ""
        return list(symbols_of(self._held, self._level))


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """Returns the pattern of one symbol at word level.

    Each character of a text belongs to exactly one match, a word or a single character,
    so the joined matches are the text.
    """
    # Python's \w does not match combining marks and joiners, which many scripts have
    # inside words. All marks are below U+20000, except the variation selectors.
    marks = "".join(
        chr(code)
        for code in (*range(0x20000), *range(0xE0100, 0xE01F0))
        if unicodedata.category(chr(code)).startswith("M")
    )
    letter = rf"[\w{re.escape(marks)}\u200c\u200d]"
    return re.compile(rf"\w{letter}*(?:['’]{letter}+)*|.", re.DOTALL)


def symbols_of(text: str, level: str) -> Iterable[str]:
    """Yields the symbols of a text one by one: a list of all words is much larger."""
    if level == "character":
        return text
    return map(re.Match.group, _word_pattern().finditer(text))


def pieces_of(text: str, level: str) -> Iterator[str] | Iterator[list[str]]:
    """Yields the symbols of a text in pieces: strings, or lists of words."""
    if level == "character":
        return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    words = iter(symbols_of(text, level))
    return iter(lambda: list(itertools.islice(words, _PIECE)), [])


def quoted(value: object) -> str:
    """Returns a value for a message: one short line."""
    return printable(reprlib.repr(value), 60)


def code_points(text: str) -> np.ndarray:
    """Returns the code points of a text, including lone surrogates, as uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def length_of(symbols: str | list[str]) -> int:
    """Returns the number of characters of symbols."""
    return len(symbols) if isinstance(symbols, str) else sum(map(len, symbols))
