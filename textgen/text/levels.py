"""What a symbol of a vocabulary is: a character, or a word.

Splits texts into symbols that, joined, are the text.
"""

import functools
import itertools
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from textgen.messages import printable

LEVELS = ("character", "word")

_MAX_LENGTH = 1 << 16  # characters of a symbol, so that a vocabulary can be saved

# Texts are encoded in pieces of this many symbols, so that the working memory does not
# grow with the text. A piece of words takes about 60 bytes per word: 1 MB.
_PIECE = 1 << 14

_SLICE = 1 << 12  # characters of a text that are split into words at a time


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


def check_limits(max_size: int | None, min_count: int) -> None:
    """Raises ValueError if a vocabulary cannot have these limits."""
    if max_size is not None and max_size < 1:
        raise ValueError(
            f"max_size={max_size} must be at least 1, or None to keep all symbols."
        )
    if min_count < 1:
        raise ValueError(
            f"min_count={min_count} must be at least 1, which keeps all symbols."
        )


def kept_symbols(
    counts: Mapping[str, int], max_size: int | None, min_count: int, unknown: str
) -> set[str]:
    """Returns the symbols of a vocabulary.

    Args:
        counts: Mapping of each symbol to its number of occurrences.
        max_size: int or `None`. Keep only so many, the most frequent ones; among
            equally frequent ones, the first in sorted order.
        min_count: int. Keep only symbols that occur so many times.
        unknown: str. `"error"`, `"skip"`, or a symbol that is kept in any case.

    Raises:
        ValueError: No symbol is kept.
    """
    kept = [symbol for symbol, count in counts.items() if count >= min_count]
    stand_in = set() if unknown in ("error", "skip") else {unknown}
    if max_size is not None:
        kept = [symbol for symbol in kept if symbol not in stand_in]
        kept.sort(key=lambda symbol: (-counts[symbol], symbol))
        kept = kept[: max_size - len(stand_in)]
    if not kept and min_count > 1:
        raise ValueError(f"min_count={min_count}: no symbol occurs so many times.")
    return stand_in.union(kept)


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
        words, held = _certain_words(self._held + text)
        self._held = "".join(held)
        if len(self._held) > _MAX_LENGTH + 1:
            check_length(held)
        return words

    def flush(self) -> str | list[str]:
        """Returns the symbols of the end of the text."""
        if self._level == "character":
            return ""
        return list(_words(self._held))


# Each character of a text belongs to exactly one match, a word or a single character,
# so the joined matches are the text. U+0301 stands for all marks.
_WORD = re.compile("\\w[\\w\u0301]*(?:['’][\\w\u0301]+)*|.", re.DOTALL)


@functools.cache
def _marks() -> np.ndarray:
    """Returns for each code point whether it is a combining mark or a joiner.

    Many scripts have them inside words, and Python's `\\w` does not match them.
    """
    table = np.zeros(0xE01F1, bool)  # beyond it, there are no marks
    # All others are below U+20000.
    for code in (*range(0x20000), *range(0xE0100, 0xE01F0)):
        table[code] = unicodedata.category(chr(code)).startswith("M")
    table[[0x200C, 0x200D]] = True
    return table


def matches(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Yields the matches of a pattern in which U+0301 stands for all marks.

    A list of all marks would make the pattern ten times as slow.

    Args:
        pattern: Pattern.
        text: str.
    """
    if not text.isascii():
        codes, table = code_points(text), _marks()
        found = table[np.minimum(codes, len(table) - 1)]
        if found.any():
            codes = np.where(found, np.uint32(0x301), codes)
            same = codes.tobytes().decode("utf-32-le", "surrogatepass")
            spans = map(re.Match.span, pattern.finditer(same))
            return (text[start:end] for start, end in spans)
    return map(re.Match.group, pattern.finditer(text))


def _words(text: str) -> Iterator[str]:
    """Yields the symbols of a text at word level."""
    return matches(_WORD, text)


def _certain_words(text: str) -> tuple[list[str], list[str]]:
    """Returns the symbols at word level that no further text changes, and the others.

    The next letter can continue the last word, also after an apostrophe: "don'" and
    "t". Two complete symbols after a word are enough to know its end.
    """
    words = list(_words(text))
    return words[:-2], words[-2:]


def symbols_of(text: str, level: str) -> Iterable[str]:
    """Yields the symbols of a text one by one: a list of all words is much larger."""
    if level == "character":
        return text
    return _words(text) if len(text) < _SLICE else _words_of_slices(text)


def _words_of_slices(text: str) -> Iterator[str]:
    """Yields the symbols of a long text at word level, with little memory."""
    held = ""
    for at in range(0, len(text), _SLICE):
        words, rest = _certain_words(held + text[at : at + _SLICE])
        yield from words
        held = "".join(rest)
        if len(held) > _MAX_LENGTH:  # it would be read again and again
            held += text[at + _SLICE :]
            break
    yield from _words(held)


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
