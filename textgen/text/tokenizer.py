"""The base classes of tokenizers: text to ids, and ids to text."""

import json
from collections.abc import Iterable
from typing import Self

import numpy as np

from textgen.messages import printable
from textgen.text.levels import quoted

NO_SYMBOL = -1  # a zero input vector, a target that does not count, an empty text


class Decoder:
    """Base class: decodes ids to text in pieces, as they are generated.

    The pieces, joined, are the text that `Tokenizer.decode` returns for all ids. A
    decoder holds back what is not complete yet, such as the first bytes of a
    character.

    Subclasses implement `feed`, and `flush` if they hold anything back.
    """

    def feed(self, ids: np.ndarray) -> str:
        """Takes the next ids, of shape `(tokens,)`; returns the text they complete."""
        raise NotImplementedError

    def flush(self) -> str:
        """Returns the text that was held back, when no more ids come."""
        return ""


class Encoder:
    """Base class: encodes one text that comes in pieces, such as a long file.

    The ids, joined, are those that `Tokenizer.encode` returns for the whole text,
    wherever it was cut. An encoder holds back what the next piece could change, such as
    the last word.
    """

    def feed(self, text: str) -> np.ndarray:
        """Takes the next piece; returns the ids that are certain, `(tokens,)`."""
        raise NotImplementedError

    def flush(self) -> np.ndarray:
        """Returns the ids of what was held back, when no more text comes."""
        raise NotImplementedError


class Tokenizer:
    """Base class: converts text to ids and back.

    Ids are integers from 0 to `len(tokenizer) - 1`. The id -1 means "no token": its
    one-hot row is zero, and it decodes to the empty text.

    Subclasses set the attributes, and implement `tokens`, `encode`, `encoder`,
    `decoder`, `get_config` and `from_config`. `textgen.text.tokenizers` lists them.

    Attributes:
        level: str. What a token is: `"character"`, `"word"`, `"byte"` or `"subword"`.
        symbols: tuple of str. The text of each token, by id. All are different; a part
            of a character is written as `<0xE9>`.
        ids: dict of str and int. The id of each token, by its text.
        unknown: str. What `encode` does with a symbol that is not in the vocabulary;
            see `Vocabulary`. It has no effect if nothing is unknown.
    """

    level: str
    symbols: tuple[str, ...]
    ids: dict[str, int]
    unknown: str = "error"

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # equal by value

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the ids: the smallest signed integer that holds them all."""
        return np.dtype(np.min_scalar_type(-len(self)))

    def tokens(self, text: str) -> Iterable[str]:
        """Splits a text into pieces that have whole tokens; joined, they are the text.

        A piece is one token of a `Vocabulary`, and one or more tokens otherwise.
        """
        raise NotImplementedError

    def ids_with(self, symbols: str | Iterable[str]) -> list[int]:
        """Returns the ids without which none of these symbols can be generated.

        Args:
            symbols: str or iterable of str. Symbols of other vocabularies are ignored.
        """
        symbols = self.tokens(symbols) if isinstance(symbols, str) else symbols
        return [self.ids[symbol] for symbol in symbols if symbol in self]

    def check_unknown(self, unknown: str | None) -> str:
        """Returns the policy for unknown symbols: the given one, or that of `self`.

        Raises:
            ValueError: It is not a policy.
        """
        unknown = self.unknown if unknown is None else unknown
        if not isinstance(unknown, str) or (
            unknown not in ("error", "skip") and unknown not in self.ids
        ):
            raise ValueError(
                f"unknown={quoted(unknown)} must be 'error', 'skip' or a symbol of "
                "the vocabulary."
            )
        return unknown

    def encode(
        self, text: str, unknown: str | None = None, match_case: bool = True
    ) -> np.ndarray:
        """Returns the ids of a text, of shape `(tokens,)`."""
        raise NotImplementedError

    def encoder(self, unknown: str | None = None) -> Encoder:
        """Returns an encoder of one text, which takes it in pieces.

        Args:
            unknown: str or `None`. As for `encode`.
        """
        raise NotImplementedError

    def decoder(self) -> Decoder:
        """Returns a decoder of one text, which takes its ids in pieces."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns what defines the tokenizer, as values that JSON can hold."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict) -> Self:
        """Builds a tokenizer from the result of `get_config`.

        Args:
            config: dict. It may come from a file that nobody has checked.

        Raises:
            ValueError: This is not such a configuration. The message is one line.
        """
        raise NotImplementedError

    def to_json(self) -> str:
        """Returns the tokenizer as a JSON object, in ASCII."""
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Builds a tokenizer from the result of `to_json`.

        Raises:
            ValueError: The text is not the JSON of such a tokenizer.
        """
        try:
            return cls.from_config(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"This is not the JSON text of a {cls.__name__}: {printable(error)}"
            ) from error

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Converts ids to text; -1 decodes to the empty text.

        Args:
            ids: Array or iterable of integers, of shape `(tokens,)`.

        Returns:
            str.

        Raises:
            ValueError: An id is not in the vocabulary, or the shape is another.
        """
        array = self.as_ids(ids)
        if array.ndim != 1:
            raise ValueError(f"The ids of a text are (tokens,), not {array.shape}.")
        decoder = self.decoder()
        return decoder.feed(array) + decoder.flush()

    def pieces(self, ids: np.ndarray) -> list[str]:
        """Returns the text that each id adds to the text before it.

        The text of an id that ends within a character is empty; the id that completes
        the character has it. What the ids leave incomplete belongs to the last one.

        Args:
            ids: integer array of shape `(tokens,)`.

        Returns:
            list of str; joined, they are `decode(ids)`.
        """
        decoder = self.decoder()
        found = [decoder.feed(ids[at : at + 1]) for at in range(len(ids))]
        if found:
            found[-1] += decoder.flush()
        return found

    def text_lengths(self, ids: np.ndarray) -> np.ndarray:
        """Returns how many characters each id adds to the text before it.

        Args:
            ids: integer array of shape `(tokens,)`.

        Returns:
            int64 array of shape `(tokens,)`.
        """
        decoder = self.decoder()
        lengths = [len(decoder.feed(ids[at : at + 1])) for at in range(len(ids))]
        return np.array(lengths, np.int64)

    def one_hot(self, ids: Iterable[int] | np.ndarray) -> np.ndarray:
        """Converts ids to one-hot rows.

        Args:
            ids: integer array of any shape; -1 becomes a row of zeros.

        Returns:
            bool array of shape `ids.shape + (vocabulary,)`.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        array = self.as_ids(ids)
        return array[..., np.newaxis] == np.arange(len(self))

    def as_ids(self, values: Iterable[int] | np.ndarray) -> np.ndarray:
        """Returns ids as an array; raises ValueError if one is not valid.

        Args:
            values: Array or iterable of integers, of any shape; -1 is "no token".
        """
        ids = np.asarray(values if isinstance(values, np.ndarray) else list(values))
        if ids.size == 0:
            return ids.astype(self.dtype)
        if ids.dtype.kind not in "iu":
            raise ValueError(f"Ids must be integers, not {ids.dtype}.")
        for extreme in (ids.min(), ids.max()):
            if not -1 <= extreme < len(self):
                raise ValueError(
                    f"Id {extreme} is not in this vocabulary of {len(self)} symbols: "
                    f"ids go from 0 to {len(self) - 1}, and -1 means no symbol."
                )
        return ids
