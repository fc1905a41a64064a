"""The base classes of tokenizers: text to ids, and ids to text."""

from collections.abc import Iterable

import numpy as np

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

    Subclasses set `symbols`, and implement `encode`, `encoder`, `decoder` and
    `get_config`.

    Attributes:
        symbols: tuple of str. The text of each token, by id.
        ids: dict of str and int. The id of each token, by its text.
    """

    symbols: tuple[str, ...]
    ids: dict[str, int]

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
