"""Symbols to ids and back, at character or word level."""

import collections
import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from textgen.text.unknown import UnknownSymbolsError

NO_SYMBOL = -1  # a zero input vector, a target left out, no text

LEVELS = ("character", "word")

# What is typed, and the plain characters that an old text has in its place.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´`ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\t\u00a0\u2002\u2003\u2009\u202f", " "),
    }
)

# `encode` handles a text in pieces of this many symbols, so that the working memory
# does not grow with the text. A piece of words takes some 60 bytes a word: 1 MB.
_PIECE = 1 << 14


class Vocabulary:
    """The symbols of a text, and their ids: 0, 1, 2, … in sorted order.

    A symbol is one Unicode code point at character level. At word level it is a
    word (a run of letters, their combining marks, digits and underscores, with
    apostrophes inside), or any single other character: every space, newline and
    comma is a symbol of its own, so decoding restores the text exactly at both levels.

    The id -1 means "no symbol" everywhere in textgen: its one-hot row is zero and it
    decodes to nothing.

    Args:
        symbols: Iterable of str. Sorted by code point, and duplicates are dropped.
        level: `"character"` or `"word"`. Defaults to `"character"`.
        unknown: str. What `encode` does with a symbol that is not in the
            vocabulary: `"error"` raises, `"skip"` leaves it out, and any symbol of
            the vocabulary stands in for it. Defaults to `"error"`.

    Raises:
        ValueError: There are no symbols, a symbol is not one at this level, or
            `unknown` is neither a policy nor a symbol.

    Example:

    ```python
    vocabulary = textgen.Vocabulary.from_text("to be or not to be")
    ids = vocabulary.encode("not to")  # array([3, 4, 6, 0, 6, 4], dtype=int8)
    vocabulary.decode(ids)  # 'not to'
    ```
    """

    def __init__(
        self,
        symbols: Iterable[str],
        level: str = "character",
        unknown: str = "error",
    ) -> None:
        if level not in LEVELS:
            raise ValueError(f"level={level!r} must be one of {', '.join(LEVELS)}.")
        self.level = level
        symbols = set(symbols)
        for symbol in symbols:
            if not isinstance(symbol, str):
                raise ValueError(f"The symbol {symbol!r} must be a str.")
        self.symbols: tuple[str, ...] = tuple(sorted(symbols))
        if not self.symbols:
            raise ValueError(
                "A vocabulary needs at least one symbol; this one has none."
            )
        for symbol in self.symbols:
            if list(self.tokens(symbol)) != [symbol]:
                raise ValueError(f"{symbol!r} is not one symbol at {level} level.")
        self.ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        self.unknown = unknown
        self._check_policy(unknown)

    @classmethod
    def from_text(
        cls,
        text: str,
        level: str = "character",
        max_size: int | None = None,
        unknown: str = "error",
    ) -> "Vocabulary":
        """Makes the vocabulary of a text.

        Args:
            text: str. Every symbol in it becomes one of the vocabulary.
            level: `"character"` or `"word"`.
            max_size: int or `None`. Keep only this many symbols, the most frequent
                ones (of equally frequent ones, the first in sorted order). `None`
                keeps all. Defaults to `None`.
            unknown: str. The policy for other symbols. A symbol given here is added
                to the vocabulary, within `max_size`.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: The text is empty, or an argument is invalid.
        """
        if max_size is not None and max_size < 1:
            raise ValueError(
                f"max_size={max_size} must be at least 1, or None for all."
            )
        if not text:
            raise ValueError("An empty text has no symbols to make a vocabulary of.")
        if level not in LEVELS:
            raise ValueError(f"level={level!r} must be one of {', '.join(LEVELS)}.")
        tokens = _tokens(text, level)
        stand_in = [] if unknown in ("error", "skip") else [unknown]
        if max_size is None:
            symbols = set(stand_in).union(tokens)
        else:
            counts = collections.Counter(tokens)
            for symbol in stand_in:
                del counts[symbol]
            ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
            symbols = {*stand_in, *ranked[: max_size - len(stand_in)]}
        return cls(symbols, level=level, unknown=unknown)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # equal by value

    def __repr__(self) -> str:
        return (
            f"Vocabulary({len(self)} symbols, level={self.level!r}, "
            f"unknown={self.unknown!r})"
        )

    @property
    def dtype(self) -> np.dtype:
        """The dtype of `encode`'s result: the smallest signed integer that fits."""
        return np.dtype(np.min_scalar_type(-len(self)))

    def tokens(self, text: str) -> Iterable[str]:
        """Cuts a text into the symbols of this level; joined, they are the text."""
        return _tokens(text, self.level)

    def encode(
        self, text: str, unknown: str | None = None, match_case: bool = True
    ) -> np.ndarray:
        """Turns a text into ids.

        Args:
            text: str.
            unknown: str or `None`. A policy for this call. Defaults to `None`, the
                policy of the vocabulary.
            match_case: bool. With `False`, a symbol that the vocabulary lacks is
                tried in other forms before the policy applies: lower and upper case,
                composed (NFC) and NFKC (a full-width letter as an ordinary one),
                typographic quotes, dashes and spaces as plain ones, and a letter
                without its accent; CRLF is a newline. Defaults to `True`.

        Returns:
            Array of ids, of shape `(symbols,)` and of the smallest of the dtypes int8,
            int16 and int32 that holds them all.

        Raises:
            UnknownSymbolsError: Symbols are not in the vocabulary, and the policy is
                `"error"`: a ValueError that names them and their positions.
        """
        unknown = self.unknown if unknown is None else unknown
        self._check_policy(unknown)
        # Characters can be counted beforehand; the array of words grows.
        expected = len(text) if self.level == "character" else 0
        result, count, position = np.empty(expected, self.dtype), 0, 0
        if not match_case:
            text = self._composed(text)
        missing: dict[str, int] = {}
        stand_in = -1 if unknown in ("error", "skip") else self.ids[unknown]
        for tokens in _pieces(text, self.level):
            ids = self._lookup(tokens)
            for index in np.flatnonzero(ids < 0).tolist():
                symbol = tokens[index]
                found = -1 if match_case else self._other_form(symbol)
                if found < 0 and unknown == "error" and symbol not in missing:
                    missing[symbol] = position + sum(map(len, tokens[:index]))
                ids[index] = stand_in if found < 0 else found
            # One symbol is one character in a str; counting them takes no loop.
            characters = isinstance(tokens, str)
            position += len(tokens) if characters else sum(map(len, tokens))
            known = ids[ids >= 0]
            if count + len(known) > len(result):
                # By an eighth: seldom, and with little to spare. Without a reference
                # to the array elsewhere, it can grow in its place.
                size = max(count + len(known), len(result) * 9 // 8)
                result.resize(size, refcheck=False)
            result[count : count + len(known)] = known
            count += len(known)
        if missing:
            raise UnknownSymbolsError(missing, len(self))
        result.resize(count, refcheck=False)
        return result

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Turns ids into text; -1 decodes to nothing.

        Args:
            ids: Array or iterable of ids, of shape `(symbols,)`.

        Returns:
            str.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        array = self._as_ids(ids)
        if array.ndim != 1:
            raise ValueError(
                f"One text has ids of shape (symbols,), not {array.shape}."
            )
        symbols = self.symbols
        return "".join([symbols[index] for index in array.tolist() if index >= 0])

    def one_hot(self, ids: Iterable[int] | np.ndarray) -> np.ndarray:
        """Turns ids into one-hot rows.

        Args:
            ids: Array of ids, of any shape; -1 becomes a row of zeros.

        Returns:
            bool array of shape `ids.shape + (vocabulary,)`.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        array = self._as_ids(ids)
        return array[..., np.newaxis] == np.arange(len(self))

    def get_config(self) -> dict:
        """Returns what makes this vocabulary, as JSON can hold it."""
        return {
            "level": self.level,
            "unknown": self.unknown,
            "symbols": list(self.symbols),
        }

    def to_json(self) -> str:
        """Returns the vocabulary as a JSON object, in ASCII."""
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """Makes the vocabulary that `to_json` wrote.

        Raises:
            ValueError: The text is not the JSON of a vocabulary.
        """
        try:
            config = json.loads(text)
            return cls(config["symbols"], config["level"], config["unknown"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"This is not the JSON of a vocabulary: {error}"
            ) from error

    def _check_policy(self, unknown: str) -> None:
        if unknown not in ("error", "skip") and unknown not in self.ids:
            raise ValueError(
                f"unknown={unknown!r} must be 'error', 'skip' or a symbol of the "
                "vocabulary."
            )

    def _as_ids(self, values: Iterable[int] | np.ndarray) -> np.ndarray:
        """Returns the array of some ids, all of them valid."""
        ids = np.asarray(values if isinstance(values, np.ndarray) else list(values))
        if ids.size == 0:
            return ids.astype(self.dtype)
        if ids.dtype.kind not in "iu":
            raise ValueError(f"Ids must be integers, not {ids.dtype}.")
        for extreme in (ids.min(), ids.max()):
            if not -1 <= extreme < len(self):
                raise ValueError(
                    f"Id {extreme} is not in this vocabulary of {len(self)} symbols; "
                    f"ids go from 0 to {len(self) - 1}, and -1 is no symbol."
                )
        return ids

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """Id of each code point up to the last of the vocabulary; -1 where none."""
        codes = _code_points("".join(self.symbols))
        table = np.full(int(codes.max()) + 2, -1, np.int32)
        table[codes] = np.arange(len(self))
        return table

    def _lookup(self, tokens: str | list[str]) -> np.ndarray:
        """Ids of the tokens, int32, -1 for unknown ones."""
        if isinstance(tokens, str):
            # The last entry of the table is -1: it stands for all beyond the end.
            return self._table[np.minimum(_code_points(tokens), len(self._table) - 1)]
        ids = map(self.ids.get, tokens, itertools.repeat(-1))
        return np.fromiter(ids, np.int32, len(tokens))

    def _composed(self, text: str) -> str:
        """A text with line ends and composed letters as the vocabulary has them."""
        if "\r" in text and "\r" not in self:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        composed = unicodedata.normalize("NFC", text)
        if composed != text and not set(self.tokens(text)) <= set(self.symbols):
            return composed
        return text

    def _other_form(self, symbol: str) -> int:
        """The id of another form of a symbol that the vocabulary lacks; -1 for none."""
        plain = symbol.translate(_PLAIN)
        bare = "".join(
            each
            for each in unicodedata.normalize("NFKD", plain)
            if not unicodedata.combining(each)
        )
        for form in (symbol, unicodedata.normalize("NFKC", symbol), plain, bare):
            for other in (form, form.lower(), form.casefold(), form.upper()):
                if other in self.ids:
                    return self.ids[other]
        return -1


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """Matches one symbol of word level.

    Every character of a text belongs to exactly one match, a word or any single
    character, so joining the matches restores the text.
    """
    # Python's \w lacks the marks that, in many scripts, stand within a word, and the
    # joiners. All are below U+20000, but for the variation selectors.
    marks = "".join(
        chr(code)
        for code in (*range(0x20000), *range(0xE0100, 0xE01F0))
        if unicodedata.category(chr(code)).startswith("M")
    )
    letter = rf"[\w{re.escape(marks)}\u200c\u200d]"
    return re.compile(rf"\w{letter}*(?:['’]{letter}+)*|.", re.DOTALL)


def _code_points(text: str) -> np.ndarray:
    """The code points of a text, lone surrogates included, as uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _tokens(text: str, level: str) -> Iterable[str]:
    """The symbols of a text, one at a time: a list of all words is far larger."""
    if level == "character":
        return text
    return map(re.Match.group, _word_pattern().finditer(text))


def _pieces(text: str, level: str) -> Iterator[str] | Iterator[list[str]]:
    """The symbols of a text, some at a time: strings, or lists of words."""
    if level == "character":
        return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    words = iter(_tokens(text, level))
    return iter(lambda: list(itertools.islice(words, _PIECE)), [])
