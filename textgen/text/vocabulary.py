"""The tokenizer of characters or words: `Vocabulary`."""

import collections
import functools
import itertools
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np

from textgen.text.levels import (
    SymbolSplitter,
    check_length,
    check_level,
    check_limits,
    code_points,
    kept_symbols,
    length_of,
    pieces_of,
    quoted,
    symbols_of,
)
from textgen.text.similar import similar_forms
from textgen.text.tokenizer import Decoder, Encoder, Tokenizer
from textgen.text.unknown import UnknownSymbolsError

_MAX_SYMBOLS = 1 << 24  # so that all vocabularies can be saved and loaded


class Vocabulary(Tokenizer):
    """The symbols of a text, and their ids: 0, 1, 2, … in sorted order.

    At character level, a symbol is one Unicode code point. At word level, a symbol is
    a word (letters, their combining marks, digits and underscores, with apostrophes
    inside) or any other single character: each space, newline and comma is a separate
    symbol. Decoding restores the text exactly at both levels.

    The id -1 means "no symbol" everywhere in textgen: its one-hot row is zero, and it
    decodes to the empty text.

    Args:
        symbols: Iterable of str. They are sorted by code point; duplicates are dropped.
        level: `"character"` or `"word"`. Defaults to `"character"`.
        unknown: str. What `encode` does with a symbol that is not in the vocabulary:
            `"error"` raises an error, `"skip"` leaves it out, and a symbol of the
            vocabulary replaces it. Defaults to `"error"`.

    Raises:
        ValueError: There are no symbols or too many, a symbol is not a single symbol at
            this level, is longer than 65,536 characters, or `unknown` is neither a
            policy nor a symbol. The message is one line.

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
        check_level(level)
        self.level = level
        self.symbols: tuple[str, ...] = tuple(sorted(_checked(symbols, level)))
        self.ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        self.unknown = unknown
        self.check_unknown(unknown)

    @classmethod
    def from_text(
        cls,
        text: str,
        level: str = "character",
        max_size: int | None = None,
        unknown: str = "error",
        min_count: int = 1,
    ) -> "Vocabulary":
        """Builds the vocabulary of a text.

        Args:
            text: str. Its symbols become the vocabulary.
            level: `"character"` or `"word"`. Defaults to `"character"`.
            max_size: int or `None`. Keep only this number of symbols, the most
                frequent ones (among equally frequent ones, the first in sorted order).
                `None` keeps all. Defaults to `None`.
            unknown: str. The policy for all other symbols, see `Vocabulary`. A symbol
                given here is added to the vocabulary, within `max_size`. Defaults to
                `"error"`.
            min_count: int. Keep only symbols that occur so many times. Defaults to `1`.

        Returns:
            A `Vocabulary`.

        Raises:
            ValueError: The text is empty, or an argument is invalid.
        """
        check_limits(max_size, min_count)
        if not text:
            raise ValueError("The text is empty: a vocabulary needs its symbols.")
        check_level(level)
        tokens = symbols_of(text, level)
        counts: Mapping[str, int]
        if max_size is None and min_count == 1:
            counts = dict.fromkeys(tokens, 1)  # smaller and faster
        else:
            counts = collections.Counter(tokens)
        symbols = kept_symbols(counts, max_size, min_count, unknown)
        return cls(symbols, level=level, unknown=unknown)

    def extended(self, symbols: str | Iterable[str]) -> "Vocabulary":
        """Returns this vocabulary with more symbols, for example those of another text.

        Ids follow the sorted order, so a symbol can have another id in the result:
        encode each text again. `LanguageModel.with_vocabulary` moves the weights of a
        model accordingly.

        Args:
            symbols: str, a text whose symbols are added, or an iterable of str, the
                symbols themselves.

        Returns:
            A `Vocabulary` of the same level and with the same policy for unknown
            symbols.

        Raises:
            ValueError: A symbol is not a single symbol at this level or too long, or
                there are too many.
        """
        if isinstance(symbols, str):
            symbols = self.tokens(symbols)
        every = set(self.symbols).union(symbols)
        return Vocabulary(every, self.level, self.unknown)

    def __repr__(self) -> str:
        return (
            f"Vocabulary({len(self)} symbols, level={self.level!r}, "
            f"unknown={self.unknown!r})"
        )

    def tokens(self, text: str) -> Iterable[str]:
        """Splits a text into the symbols of this level; joined, they are the text."""
        return symbols_of(text, self.level)

    def encode(
        self, text: str, unknown: str | None = None, match_case: bool = True
    ) -> np.ndarray:
        """Converts a text to ids.

        Args:
            text: str.
            unknown: str or `None`. The policy for this call. Defaults to `None`, the
                policy of the vocabulary.
            match_case: bool. With `False`, a symbol that is not in the vocabulary is
                first replaced by another form of it that is: lower or upper case, the
                composed form (NFC), the compatibility form (NFKC, such as an ordinary
                letter for a full-width one, or two letters for a ligature), a plain
                quote, dash or space for a typographic one, the letter without its
                accent, or a single quote for a double one. CRLF is a newline.
                Defaults to `True`.

        Returns:
            Array of ids of shape `(symbols,)`. Its dtype is the smallest of int8, int16
            and int32 that holds all ids of the vocabulary.

        Raises:
            UnknownSymbolsError: Symbols are not in the vocabulary, and the policy is
                `"error"`. It is a ValueError that names them and their positions.
        """
        unknown = self.check_unknown(unknown)
        # The number of characters is known; the array of words grows.
        expected = len(text) if self.level == "character" else 0
        result, count, position = np.empty(expected, self.dtype), 0, 0
        if not match_case:
            text = self._composed(text)
        missing: dict[str, int] = {}
        for tokens in pieces_of(text, self.level):
            known = self._encode_piece(tokens, position, unknown, match_case, missing)
            position += length_of(tokens)
            if count + len(known) > len(result):
                # Growing by an eighth is rare and wastes little. `refcheck=False`: no
                # other reference exists, so the array can grow in place.
                size = max(count + len(known), len(result) * 9 // 8)
                result.resize(size, refcheck=False)
            result[count : count + len(known)] = known
            count += len(known)
        if missing:
            raise UnknownSymbolsError(missing, len(self))
        result.resize(count, refcheck=False)
        return result

    def _encode_piece(
        self,
        tokens: str | list[str],
        position: int,
        unknown: str,
        match_case: bool,
        missing: dict[str, int],
    ) -> np.ndarray:
        """Returns the ids of some symbols of a text, int32.

        Args:
            tokens: The symbols.
            position: int. Where they begin in the text.
            unknown: str. As for `encode`.
            match_case: bool. As for `encode`.
            missing: dict. Gets the unknown symbols with the policy `"error"`.
        """
        ids = self._lookup(tokens)
        replacement = -1 if unknown in ("error", "skip") else self.ids[unknown]
        for index in np.flatnonzero(ids < 0).tolist():
            symbol = tokens[index]
            found = -1 if match_case else self._similar(symbol)
            if found < 0 and unknown == "error" and symbol not in missing:
                missing[symbol] = position + length_of(tokens[:index])
            ids[index] = replacement if found < 0 else found
        return ids[ids >= 0]

    def encoder(self, unknown: str | None = None) -> Encoder:
        """Returns an encoder of one text, which takes it in pieces.

        Args:
            unknown: str or `None`. As for `encode`.

        Raises:
            UnknownSymbolsError: In `feed` and `flush`, as for `encode`. The positions
                count from the start of the text.
        """
        return _VocabularyEncoder(self, unknown)

    def decoder(self) -> Decoder:
        """Returns a decoder; each symbol is complete, so nothing is held back."""
        return _SymbolDecoder(self.symbols)

    def text_lengths(self, ids: np.ndarray) -> np.ndarray:
        """Returns the number of characters of each id, int64 of shape `(symbols,)`."""
        lengths = np.array([*map(len, self.symbols), 0], np.int64)  # the last is of -1
        return lengths[ids]

    def get_config(self) -> dict:
        """Returns the arguments of the constructor, as values that JSON can hold."""
        return {
            "level": self.level,
            "unknown": self.unknown,
            "symbols": list(self.symbols),
        }

    @classmethod
    def from_config(cls, config: dict) -> "Vocabulary":
        """Builds a vocabulary from the result of `get_config`.

        Unlike the constructor, it accepts no other types, no other order of the symbols
        and no duplicates: these would be signs of damage, and would change the ids.

        Args:
            config: dict. It may come from a file that nobody has checked.

        Raises:
            ValueError: This is not the configuration of a vocabulary. The message is
                one line.
        """
        if type(config) is not dict or set(config) != {"level", "unknown", "symbols"}:
            raise ValueError(
                f"{quoted(config)} is not a vocabulary: it must have the fields "
                "level, unknown and symbols."
            )
        symbols = config["symbols"]
        if type(symbols) is not list or not all(type(each) is str for each in symbols):
            raise ValueError(f"symbols={quoted(symbols)} must be a list of str.")
        if not all(one < other for one, other in itertools.pairwise(symbols)):
            raise ValueError("symbols must be sorted, without duplicates.")
        return cls(symbols, config["level"], config["unknown"])

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """The id of each code point up to the last of the vocabulary; -1: unknown."""
        codes = code_points("".join(self.symbols))
        table = np.full(int(codes.max()) + 2, -1, np.int32)
        table[codes] = np.arange(len(self))
        return table

    def _lookup(self, tokens: str | list[str]) -> np.ndarray:
        """Returns the ids of symbols, int32; -1 for unknown ones."""
        if isinstance(tokens, str):
            # The last entry of the table is -1, for all code points beyond the table.
            return self._table[np.minimum(code_points(tokens), len(self._table) - 1)]
        ids = map(self.ids.get, tokens, itertools.repeat(-1))
        return np.fromiter(ids, np.int32, len(tokens))

    def _composed(self, text: str) -> str:
        """Returns a text with the line ends and composed letters of the vocabulary."""
        if "\r" in text and "\r" not in self:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.ids.keys() >= set(self.tokens(text)):
            return text
        # A form of several symbols, such as "fi" for the ligature, is not a form of one
        # symbol. It changes the whole text, so it is for texts that have no other ids.
        composed, compatible = (
            unicodedata.normalize(form, text) for form in ("NFC", "NFKC")
        )
        if not self._has_forms(composed) and self._has_forms(compatible):
            return compatible
        return composed

    def _has_forms(self, text: str) -> bool:
        """Whether each symbol of a text, or a similar form of it, is known."""
        return all(self._similar(symbol) >= 0 for symbol in set(self.tokens(text)))

    def _similar(self, symbol: str) -> int:
        """Returns the id of the most similar form of a symbol; -1 if there is none."""
        forms = similar_forms(symbol)
        return next((self.ids[form] for form in forms if form in self.ids), -1)


def _checked(symbols: Iterable[str], level: str) -> set[str]:
    """Returns the different symbols; raises ValueError if one is not valid."""
    try:
        unique = set(symbols)
    except TypeError:  # not iterable, or an item is not hashable
        raise ValueError(f"symbols={quoted(symbols)} must be str.") from None
    if not 0 < len(unique) <= _MAX_SYMBOLS:
        raise ValueError(
            "symbols is empty: give at least one symbol."
            if not unique
            else f"{len(unique):,} symbols are more than {_MAX_SYMBOLS:,}."
        )
    for symbol in unique:
        if not isinstance(symbol, str):
            raise ValueError(f"Symbol {quoted(symbol)} must be a str.")
        check_length([symbol])
        if list(symbols_of(symbol, level)) != [symbol]:
            raise ValueError(
                f"{quoted(symbol)} is not a single symbol at {level} level."
            )
    return unique


class _VocabularyEncoder(Encoder):
    """Encoder of a `Vocabulary`."""

    def __init__(self, vocabulary: Vocabulary, unknown: str | None) -> None:
        self._vocabulary = vocabulary
        self._unknown = vocabulary.check_unknown(unknown)
        self._splitter = SymbolSplitter(vocabulary.level)
        self._position = 0  # characters of the text before the next symbol

    def feed(self, text: str) -> np.ndarray:
        """Takes the next piece; returns the ids that are certain."""
        return self._encode(self._splitter.feed(text))

    def flush(self) -> np.ndarray:
        """Returns the ids of the end of the text."""
        return self._encode(self._splitter.flush())

    def _encode(self, symbols: str | list[str]) -> np.ndarray:
        vocabulary = self._vocabulary
        missing: dict[str, int] = {}
        ids = vocabulary._encode_piece(
            symbols, self._position, self._unknown, True, missing
        )
        if missing:
            raise UnknownSymbolsError(missing, len(vocabulary))
        self._position += length_of(symbols)
        return ids.astype(vocabulary.dtype)


class _SymbolDecoder(Decoder):
    """Decoder of ids that are complete symbols."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._symbols = symbols

    def feed(self, ids: np.ndarray) -> str:
        """Returns the text of the next ids."""
        symbols = self._symbols
        return "".join([symbols[index] for index in ids.tolist() if index >= 0])
